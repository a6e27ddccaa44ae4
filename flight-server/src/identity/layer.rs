//! Stands before the Flight service: no request passes without an identity, while draining none passes at all, and a
//! panic behind it is one request's internal error.

use std::{
    convert::Infallible,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures::{FutureExt, future::BoxFuture};
use http::{HeaderValue, Request, Response, header::AUTHORIZATION, request::Parts};
use tonic::{
    Status,
    body::Body,
    codegen::Service,
    server::NamedService,
    transport::server::{TcpConnectInfo, TlsConnectInfo},
};

use super::{Authenticator, Caller, Peer};
use crate::{body::Unbroken, status};

/// `PERMISSION_DENIED` in the headers of an answer that has nothing else.
const DENIED: &[u8] = b"7";

/// Closed once, when the server begins to drain.
#[derive(Default)]
pub struct Gate {
    closed: AtomicBool,
}

impl Gate {
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> Result<(), Status> {
        match self.closed.load(Ordering::Relaxed) {
            true => Err(Status::unavailable("the server is shutting down")),
            false => Ok(()),
        }
    }
}

#[derive(Clone)]
pub struct Authenticated<S> {
    pub inner: S,
    pub authenticator: Arc<Authenticator>,
    pub gate: Arc<Gate>,
}

impl<S: NamedService> NamedService for Authenticated<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Authenticated<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone stays behind; the instance that was polled ready is the one that is called.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let (authenticator, gate) = (Arc::clone(&self.authenticator), Arc::clone(&self.gate));
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let from = address(&parts).map(|address| address.ip());
            let caller = match admit(&gate, &authenticator, &parts).await {
                Ok(caller) => caller,
                Err(status) => return Ok(status.into_http()),
            };
            let token = caller.new_token.clone();
            let identity = caller.identity.clone();
            parts.extensions.insert(caller);
            let answer = inner.call(Request::from_parts(parts, Unbroken::body(body)));
            let mut response = match AssertUnwindSafe(answer).catch_unwind().await {
                Ok(response) => response?,
                Err(panic) => status::panicked(&*panic).into_http(),
            };
            if response.headers().get(Status::GRPC_STATUS).is_some_and(|code| code.as_bytes() == DENIED) {
                authenticator.denied(&identity, from).await;
            }
            if let Some(value) = token.and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok()) {
                response.headers_mut().insert(AUTHORIZATION, value);
            }
            Ok(response)
        })
    }
}

async fn admit(gate: &Gate, authenticator: &Authenticator, parts: &Parts) -> Result<Caller, Status> {
    gate.check()?;
    let handshake = parts.uri.path().ends_with("/Handshake");
    authenticator.caller(&parts.headers, peer(parts), handshake).await
}

fn address(parts: &Parts) -> Option<SocketAddr> {
    let plain = parts.extensions.get::<TcpConnectInfo>();
    let tls = parts.extensions.get::<TlsConnectInfo<TcpConnectInfo>>();
    plain.or(tls.map(TlsConnectInfo::get_ref)).and_then(TcpConnectInfo::remote_addr)
}

fn peer(parts: &Parts) -> Peer {
    let address = address(parts);
    let tls = parts.extensions.get::<TlsConnectInfo<TcpConnectInfo>>();
    let certificates = tls.and_then(TlsConnectInfo::peer_certs);
    let certificate = certificates.and_then(|chain| chain.first().map(|own| own.as_ref().to_vec()));
    Peer { address, certificate }
}
