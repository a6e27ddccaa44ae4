//! What a request's metadata says of who sent it; nothing is believed yet.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, HeaderName, header::InvalidHeaderName};
use tonic::Status;

#[cfg(test)]
mod tests;

/// Clients pad, or do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const USER: UserHeader = UserHeader::from_static("x-insula-user", "x-insula-user-bin");
const RUN_AS: UserHeader = UserHeader::from_static("x-insula-run-as", "x-insula-run-as-bin");

/// Where a request names a user: `NAME`, or in base64 `NAME-bin`, as gRPC has it for values beyond ASCII.
#[derive(Clone, Debug)]
pub struct UserHeader {
    text: HeaderName,
    binary: HeaderName,
}

impl UserHeader {
    const fn from_static(text: &'static str, binary: &'static str) -> Self {
        Self { text: HeaderName::from_static(text), binary: HeaderName::from_static(binary) }
    }
}

impl TryFrom<HeaderName> for UserHeader {
    type Error = InvalidHeaderName;

    fn try_from(text: HeaderName) -> Result<Self, InvalidHeaderName> {
        let binary = HeaderName::try_from(format!("{text}-bin"))?;
        Ok(Self { text, binary })
    }
}

/// Which claims the settings allow besides passwords and tokens.
#[derive(Clone, Default, Debug)]
pub struct Ways {
    pub dev: bool,
    pub trusted_header: Option<UserHeader>,
}

#[derive(PartialEq, Eq, Debug)]
pub enum Claim {
    Password {
        user: String,
        password: String,
    },
    Token(String),
    /// The settings vouch for it: `--dev`, `--trust-user-header`, or a client certificate.
    Vouched(String),
}

impl Ways {
    /// The trusted header comes first: whatever else a proxy lets through was meant for the proxy. The certificate of the
    /// connection comes last: it may be that of an application, which logs in as one of its users.
    pub fn claim(
        &self,
        headers: &HeaderMap,
        certificate: impl FnOnce() -> Option<Result<String, Status>>,
    ) -> Result<Claim, Status> {
        if let Some(header) = &self.trusted_header
            && let Some(user) = named(headers, header)?
        {
            return Ok(Claim::Vouched(user));
        }
        if let Some(value) = single(headers, &http::header::AUTHORIZATION)? {
            return self.authorization(&text(value)?);
        }
        match named(headers, &USER)? {
            Some(user) if self.dev => Ok(Claim::Vouched(user)),
            Some(_) => Err(Status::unauthenticated("x-insula-user is believed under --dev only; send authorization")),
            None => match certificate() {
                Some(user) => Ok(Claim::Vouched(checked(user?)?)),
                None => Err(Status::unauthenticated("no credentials: send authorization: Basic … or Bearer …")),
            },
        }
    }

    fn authorization(&self, value: &str) -> Result<Claim, Status> {
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Ok(Claim::Token(rest.to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(Status::unauthenticated("authorization must begin with Basic or Bearer"));
        }
        let malformed = || Status::unauthenticated("authorization: Basic must be base64 of NAME:PASSWORD in UTF-8");
        let decoded = String::from_utf8(BASE64.decode(rest).map_err(|_| malformed())?).map_err(|_| malformed())?;
        let (user, password) = decoded.split_once(':').ok_or_else(malformed)?;
        let (user, password) = (checked(user.to_owned())?, password.to_owned());
        Ok(if self.dev && password.is_empty() { Claim::Vouched(user) } else { Claim::Password { user, password } })
    }
}

/// The user as whom a service asks to run. It is no credential: a bad one is a bad argument of a known caller.
pub fn run_as(headers: &HeaderMap) -> Result<Option<String>, Status> {
    named(headers, &RUN_AS).map_err(|status| Status::invalid_argument(status.message()))
}

/// The namespace that a driver is given in its connection string: JDBC's makes a header of what it does not know.
pub fn schema(headers: &HeaderMap) -> Option<&str> {
    headers.get("schema").and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}

fn named(headers: &HeaderMap, UserHeader { text: plain, binary }: &UserHeader) -> Result<Option<String>, Status> {
    match (single(headers, plain)?, single(headers, binary)?) {
        (Some(_), Some(_)) => Err(twice(plain)),
        (Some(value), None) => checked(text(value)?).map(Some),
        (None, Some(value)) => {
            let malformed = || Status::unauthenticated(format!("{binary} must be base64 of UTF-8"));
            let decoded = BASE64.decode(value).map_err(|_| malformed())?;
            checked(String::from_utf8(decoded).map_err(|_| malformed())?).map(Some)
        }
        (None, None) => Ok(None),
    }
}

/// Two values would let a proxy check the one and the server believe the other.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a [u8]>, Status> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(twice(name)),
        (value, None) => Ok(value.map(|value| value.as_bytes())),
    }
}

fn twice(name: &HeaderName) -> Status {
    Status::unauthenticated(format!("{name} is given more than once"))
}

fn text(value: &[u8]) -> Result<String, Status> {
    String::from_utf8(value.to_vec()).map_err(|_| Status::unauthenticated("credentials must be UTF-8"))
}

fn checked(user: String) -> Result<String, Status> {
    if is_name(&user) {
        return Ok(user);
    }
    Err(Status::unauthenticated("a user name is 1 to 256 bytes of UTF-8 without NUL"))
}

/// Can a user be called that?
pub fn is_name(user: &str) -> bool {
    matches!(user.len(), 1..=256) && !user.contains('\0')
}
