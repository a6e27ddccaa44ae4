//! The HTTP side, for monitoring: `/metrics`, `/healthz`, `/readyz`. It asks nobody who they are, so what it tells is of
//! the server as a whole: no names of users, no tables, no texts.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{metrics::Metrics, settings::Settings};

/// How far the server's life has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    Starting,
    Ready,
    Draining,
}

#[derive(Default)]
pub struct Probes(AtomicU8);

impl Probes {
    pub fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Relaxed);
    }

    fn phase(&self) -> Phase {
        match self.0.load(Ordering::Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }
}

/// The HTTP server; it ends when this is dropped.
pub struct Http {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Http {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone)]
struct Told {
    metrics: Arc<Metrics>,
    probes: Arc<Probes>,
}

/// Answers from now on, if the settings want it: whoever starts the server sees it alive while it still recovers.
pub async fn listen(settings: &Settings, metrics: &Arc<Metrics>, probes: &Arc<Probes>) -> Result<Option<Http>, Error> {
    let addresses = settings.http_addresses()?;
    if addresses.is_empty() {
        return Ok(None);
    }
    let listener = TcpListener::bind(&addresses[..]).await;
    let given = settings.http_listen.as_deref().unwrap_or_default();
    let listener = listener.map_err(|e| format!("cannot listen on {given} (http_listen): {e}"))?;
    let address = listener.local_addr()?;
    let told = Told { metrics: Arc::clone(metrics), probes: Arc::clone(probes) };
    let router = router(told);
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the HTTP server has ended");
        }
    });
    tracing::info!(%address, "metrics over HTTP");
    Ok(Some(Http { address, task }))
}

fn router(told: Told) -> Router {
    let router = Router::new().route("/metrics", get(metrics)).route("/healthz", get(healthz));
    router.route("/readyz", get(readyz)).with_state(told)
}

async fn metrics(State(told): State<Told>) -> Response {
    // Asking the store costs a few hundred microseconds, and may block behind its locks.
    let text = tokio::task::spawn_blocking(move || told.metrics.render()).await;
    match text {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// It answers, so it lives.
async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(told): State<Told>) -> (StatusCode, &'static str) {
    match told.probes.phase() {
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Phase::Ready => (StatusCode::OK, "ready\n"),
        Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}
