//! From a URL and credentials to a channel whose requests carry an identity.

use std::{path::PathBuf, time::Duration};

use arrow_flight::{HandshakeRequest, flight_service_client::FlightServiceClient};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::{TryStreamExt, stream};
use tonic::{
    Request,
    metadata::{AsciiMetadataValue, MetadataMap},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::{Error, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle streams are cut by proxies; a ping now and then keeps them.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Who asks.
#[derive(Clone)]
pub enum Credentials {
    /// Exchanged for a session token by Handshake.
    Password { user: String, password: String },
    /// A session token or JWT, sent as it is.
    Token(String),
    /// A name without proof, for servers in `--dev` mode.
    User(String),
}

impl Credentials {
    pub fn password(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self::Password { user: user.into(), password: password.into() }
    }

    pub fn user(user: impl Into<String>) -> Self {
        Self::User(user.into())
    }
}

/// Where the server is.
#[derive(Clone, Debug)]
pub struct Connection {
    /// `grpc://HOST:PORT`, or `grpc+tls://HOST:PORT`.
    pub url: String,
    /// PEM file of the authority that signed the server's certificate; needed under TLS.
    pub tls_ca: Option<PathBuf>,
}

impl Connection {
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), tls_ca: None }
    }

    pub(crate) async fn open(&self) -> Result<Channel> {
        self.endpoint()?.connect().await.map_err(|error| self.failed(&error))
    }

    fn endpoint(&self) -> Result<Endpoint> {
        let (scheme, address) = self
            .url
            .split_once("://")
            .ok_or_else(|| Error::Usage(format!("`{}` is no URL: write grpc://HOST:PORT", self.url)))?;
        let tls = match scheme {
            "grpc" | "grpc+tcp" | "http" => false,
            "grpc+tls" | "https" => true,
            _ => {
                let known = "grpc:// and grpc+tls://";
                return Err(Error::Usage(format!("`{}`: unknown scheme `{scheme}`; known are {known}", self.url)));
            }
        };
        let uri = format!("{}://{address}", if tls { "https" } else { "http" });
        let endpoint = Endpoint::from_shared(uri)
            .map_err(|error| self.failed(&error))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        if !tls {
            return Ok(endpoint);
        }
        let path = self.tls_ca.as_deref().ok_or_else(|| {
            Error::Usage(format!("`{}`: TLS needs the server's certificate authority: --tls-ca FILE", self.url))
        })?;
        let pem = std::fs::read(path).map_err(|error| Error::file(path, error))?;
        let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
        endpoint.tls_config(config).map_err(|error| self.failed(&error))
    }

    /// tonic's own text is "transport error"; what happened is in its sources.
    fn failed(&self, error: &dyn std::error::Error) -> Error {
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            reason = error.to_string();
            cause = error.source();
        }
        Error::Connect { url: self.url.clone(), reason }
    }
}

/// The metadata that makes a request the user's.
pub(crate) async fn authenticate(
    flight: &FlightServiceClient<Channel>,
    credentials: &Credentials,
) -> Result<MetadataMap> {
    let mut metadata = MetadataMap::new();
    let bearer = match credentials {
        Credentials::Token(token) => format!("Bearer {token}"),
        Credentials::Password { user, password } => handshake(flight, user, password).await?,
        Credentials::User(user) if !user.contains(':') => handshake(flight, user, "").await?,
        // Basic ends the name at the first colon, so this name travels in its own header.
        Credentials::User(user) => {
            metadata.insert("x-insula-user", header(user)?);
            return Ok(metadata);
        }
    };
    metadata.insert("authorization", header(&bearer)?);
    Ok(metadata)
}

fn header(value: &str) -> Result<AsciiMetadataValue> {
    value.parse().map_err(|_| Error::Usage("a token or user name that no header can carry".to_owned()))
}

/// Returns the value of the `authorization` header for all later requests.
async fn handshake(flight: &FlightServiceClient<Channel>, user: &str, password: &str) -> Result<String> {
    let basic = BASE64_STANDARD.encode(format!("{user}:{password}"));
    let mut request = Request::new(stream::iter([HandshakeRequest::default()]));
    request.metadata_mut().insert("authorization", header(&format!("Basic {basic}"))?);
    let response = flight.clone().handshake(request).await?;
    let bearer = response.metadata().get("authorization").and_then(|value| value.to_str().ok()).map(str::to_owned);
    // The stream is read to its end, since an error may come behind the headers.
    let replies: Vec<_> = response.into_inner().try_collect().await?;
    if let Some(bearer) = bearer.filter(|value| value.starts_with("Bearer ")) {
        return Ok(bearer);
    }
    let payload = replies.into_iter().next().and_then(|reply| String::from_utf8(reply.payload.to_vec()).ok());
    match payload.filter(|token| !token.is_empty()) {
        Some(token) => Ok(format!("Bearer {}", token.trim_start_matches("Bearer "))),
        None => Err(Error::protocol("Handshake returned no session token")),
    }
}
