//! The server's life: open the engine, listen, say so, serve, drain, close.

use std::{
    io::{self, IsTerminal, Write},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow_flight::flight_service_server::FlightServiceServer;
use futures::TryStreamExt;
use insula_engine::{AuditConfig, Engine, EngineConfig, Host, StoreConfig, TransactionLimits};
use insula_proto::admin::admin_server::{self, AdminServer};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    task::JoinHandle,
};
use tonic::{
    server::NamedService,
    transport::{Certificate, Identity as TlsIdentity, Server, ServerTlsConfig, server::TcpIncoming},
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tonic_reflection::server::Builder as Reflection;
use tracing_subscriber::EnvFilter;

use crate::{
    admin::AdminService,
    executor::Executor,
    host::ServerHost,
    http::{self, Phase, Probes},
    identity::{
        self, Authenticator, Ways,
        jwt::Jwt,
        layer::{Authenticated, Gate},
    },
    memory::Shares,
    metrics::{Metrics, Watched},
    service::{Limits, Service},
    settings::{self, Settings},
    socket::Lingering,
    statements::Statements,
};

type Error = Box<dyn std::error::Error + Send + Sync>;
type Flight = FlightServiceServer<Service>;

const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);
/// For what has been cut off to let go of what it holds.
const END_TIMEOUT: Duration = Duration::from_secs(10);
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Of the histograms, which hold every value until then.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// Bytes of rows that a transaction may hold: this share of the memory limit, and no more than the largest.
const TRANSACTION_SHARE: usize = 32;
const LARGEST_TRANSACTION: usize = 256 << 20;
/// Entries of the audit that are kept in memory, by the same measure.
const AUDIT_SHARE: usize = 128;
const LARGEST_AUDIT: usize = 16 << 20;
/// Size of a Parquet file that flushes aim at.
const FILE_BYTES: u64 = 128 << 20;
/// An insert becomes a load above this share of the memory limit; it holds about ten times as much.
const LOAD_SHARE: usize = 64;
const SMALLEST_LOAD: usize = 2 << 20;
const LARGEST_LOAD: usize = 16 << 20;
/// Writes are refused before the disk is so full that RocksDB could not even compact.
const MIN_FREE_BYTES: u64 = 64 << 20;

/// What the parts of a running server share.
struct Shared {
    engine: Arc<Engine>,
    executor: Arc<Executor>,
    authenticator: Arc<Authenticator>,
    statements: Arc<Statements>,
    gate: Arc<Gate>,
}

impl Shared {
    /// A service that no call reaches without an identity.
    fn behind_identity<S>(&self, inner: S) -> Authenticated<S> {
        Authenticated { inner, authenticator: Arc::clone(&self.authenticator), gate: Arc::clone(&self.gate) }
    }
}

/// Runs until SIGTERM or SIGINT.
pub async fn serve(settings: Settings) -> Result<(), Error> {
    log_to_stderr(&settings)?;
    arm_fail_points()?;
    let mut signals = Signals::new()?;
    raise_open_files();
    let executor = Arc::new(Executor::new()?);
    // Opened here, not on the executor: the store's own tasks must go on when statements have taken all its threads.
    let probes = Arc::<Probes>::default();
    let metrics = Arc::new(Metrics::new()?);
    let http = http::listen(&settings, &metrics, &probes).await?;
    let engine = Engine::open_audited(engine_config(&settings), audit_config(&settings)).await?;
    if http.is_some() {
        engine.trail().observe(Arc::clone(&metrics) as _);
    }
    if settings.allow_external {
        engine.allow_external();
        tracing::warn!("admins may read and write the files that this process may (--allow-external)");
    }
    let statements = Arc::new(Statements::default());
    let authenticator =
        Arc::new(Authenticator::new(Arc::clone(&engine), Arc::clone(&statements), identities(&settings).await?));
    let host: Arc<dyn Host> = Arc::new(ServerHost::new(Arc::clone(&authenticator), &settings));
    engine.attach(&host);
    metrics.watch(Watched { engine: &engine, authenticator: &authenticator, statements: &statements });
    let shared = Shared { engine, executor, authenticator, statements, gate: Arc::default() };
    let sweeper = tokio::spawn(sweep(Arc::clone(&shared.authenticator), Arc::clone(&shared.statements)));
    let upkeep = tokio::spawn(keep_up(Arc::clone(&metrics)));
    let transactions = tokio::spawn(sweep_transactions(Arc::clone(&shared.engine)));

    let listener = listen(&settings).await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel();
    let (health, mut server) = start(&settings, &shared, listener, stopped)?;
    probes.set(Phase::Ready);
    announce(&settings, address, http.as_ref().map(|http| http.address))?;

    let ended = tokio::select! {
        name = signals.next() => {
            tracing::info!(signal = name, "draining");
            shared.gate.close();
            probes.set(Phase::Draining);
            tell_health(&health, ServingStatus::NotServing).await;
            // The server ends once its streams have; those that the time limit leaves are cut by the end of the process.
            let _ = stop.send(());
            match tokio::time::timeout(settings.drain_timeout, &mut server).await {
                Ok(ended) => ended?,
                Err(_) => {
                    tracing::warn!("statements still ran after {:?}; they are cut off", settings.drain_timeout);
                    shared.engine.cancel_all();
                    Ok(())
                }
            }
        }
        ended = &mut server => ended?,
    };
    sweeper.abort();
    upkeep.abort();
    transactions.abort();
    shared.executor.end(END_TIMEOUT).await;
    match tokio::time::timeout(CLOSE_TIMEOUT, shared.engine.close()).await {
        Ok(closed) => closed?,
        // What was acknowledged is on disk; the next start recovers, as after a crash.
        Err(_) => tracing::warn!("the store did not close within {CLOSE_TIMEOUT:?}"),
    }
    tracing::info!("stopped");
    Ok(ended?)
}

async fn identities(settings: &Settings) -> Result<identity::Config, Error> {
    let jwt = match settings.jwt()? {
        Some(jwt) => Some(Jwt::open(jwt).await?),
        None => None,
    };
    Ok(identity::Config {
        ways: Ways { dev: settings.dev, trusted_header: settings.trusted_header()? },
        jwt,
        name_in_certificate: settings.tls_client_name,
        idle_limit: settings.session_timeout,
        token_age: (!settings.token_max_age.is_zero()).then_some(settings.token_max_age),
        user_sessions: settings.user_sessions,
        statement_timeout: settings.statement_limit(),
    })
}

/// Reaches each of the services: Flight and Admin behind the layer that names their callers, health and reflection
/// open, since what they tell is public.
fn start(
    settings: &Settings,
    shared: &Shared,
    listener: TcpListener,
    stopped: oneshot::Receiver<()>,
) -> Result<(HealthReporter, JoinHandle<Result<(), tonic::transport::Error>>), Error> {
    let message_limit = usize::try_from(settings.max_message_size.as_u64()).unwrap_or(usize::MAX);
    let result_message = usize::try_from(settings.result_message_size.as_u64()).unwrap_or(usize::MAX);
    let service = Service::new(
        Arc::clone(&shared.engine),
        Arc::clone(&shared.executor),
        Arc::clone(&shared.authenticator),
        Arc::clone(&shared.statements),
        Limits {
            message: settings.max_message_size.as_u64(),
            parameters: message_limit,
            result_message,
            result: settings.result_limit(),
        },
    )?;
    // One row may be larger than any limit we could set on what is sent.
    let inner = Flight::new(service).max_decoding_message_size(message_limit).max_encoding_message_size(usize::MAX);
    let flight = shared.behind_identity(inner);
    let (engine, executor) = (Arc::clone(&shared.engine), Arc::clone(&shared.executor));
    let admin = AdminService::new(engine, executor, Arc::clone(&shared.authenticator));
    let admin = shared.behind_identity(AdminServer::new(admin));
    let (health, health_service) = tonic_health::server::health_reporter();
    let described = || {
        Reflection::configure()
            .register_encoded_file_descriptor_set(insula_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let router = builder(settings)?
        .add_service(health_service)
        .add_service(described().build_v1()?)
        .add_service(described().build_v1alpha()?)
        .add_service(admin)
        .add_service(flight);
    let linger = settings.drain_timeout;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).map_ok(move |tcp| Lingering::new(tcp, linger));
    let reporter = health.clone();
    let server = tokio::spawn(async move {
        tell_health(&reporter, ServingStatus::Serving).await;
        router.serve_with_incoming_shutdown(incoming, async { stopped.await.unwrap_or_default() }).await
    });
    Ok((health, server))
}

/// Of each service, and of the server as a whole, which is what a probe asks for that names none.
async fn tell_health(health: &HealthReporter, status: ServingStatus) {
    for service in ["", Flight::NAME, admin_server::SERVICE_NAME] {
        health.set_service_status(service, status).await;
    }
}

fn builder(settings: &Settings) -> Result<Server, Error> {
    let keepalive = (!settings.keepalive_interval.is_zero()).then_some(settings.keepalive_interval);
    let server = Server::builder()
        .http2_keepalive_interval(keepalive)
        .http2_keepalive_timeout(keepalive)
        // Bulk ingest over a long line would otherwise wait for a window update every 64 KB.
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20);
    match (&settings.tls_cert, &settings.tls_key) {
        (Some(cert), Some(key)) => {
            let read = |path: &std::path::Path| {
                std::fs::read(path).map_err(|e| Error::from(format!("cannot read {}: {e}", path.display())))
            };
            let identity = TlsIdentity::from_pem(read(cert)?, read(key)?);
            let config = ServerTlsConfig::new().identity(identity);
            let config = match &settings.tls_client_ca {
                Some(authorities) => config.client_ca_root(Certificate::from_pem(read(authorities)?)),
                None => config,
            };
            Ok(server.tls_config(config)?)
        }
        _ => Ok(server),
    }
}

pub fn store_config(settings: &Settings) -> StoreConfig {
    StoreConfig {
        store_url: settings.store.clone(),
        file_bytes: FILE_BYTES,
        min_free_bytes: MIN_FREE_BYTES,
        compaction_bytes_per_second: settings.compaction_rate.as_u64(),
        load_bytes: (memory_limit(settings) / LOAD_SHARE).clamp(SMALLEST_LOAD, LARGEST_LOAD),
        ..StoreConfig::new(settings.data_dir.clone())
    }
}

/// Of memory.
fn memory_limit(settings: &Settings) -> usize {
    usize::try_from(settings.memory_limit.as_u64()).unwrap_or(usize::MAX)
}

fn engine_config(settings: &Settings) -> EngineConfig {
    let memory = Shares::of(settings.memory_limit);
    tracing::info!("memory: {memory}");
    let limits = settings.limits(memory.statements);
    tracing::info!("memory of one user: {}", bytesize::ByteSize(limits.user_memory as u64));
    EngineConfig {
        limits,
        store: StoreConfig { memory: memory.store, ..store_config(settings) },
        memory_limit: memory.statements,
        transactions: TransactionLimits {
            idle: settings.transaction_timeout,
            age: settings.transaction_max_age,
            bytes: (memory_limit(settings) / TRANSACTION_SHARE).min(LARGEST_TRANSACTION),
        },
        admin_password: std::env::var("INSULA_ADMIN_PASSWORD").ok(),
    }
}

fn audit_config(settings: &Settings) -> AuditConfig {
    AuditConfig {
        directory: Some(settings.audit_dir.clone().unwrap_or_else(|| settings.data_dir.join("audit"))),
        texts: settings.audit_text,
        file_bytes: settings.audit_file_size.as_u64(),
        files: settings.audit_files,
        memory: (memory_limit(settings) / AUDIT_SHARE).min(LARGEST_AUDIT),
    }
}

/// Each connection is one open file, and so is each file of the store that is read; systems allow a thousand by default
/// and tens of thousands to those who ask.
fn raise_open_files() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(files) => tracing::debug!(files, "open files allowed"),
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
}

async fn listen(settings: &Settings) -> Result<TcpListener, Error> {
    let addresses = settings.addresses()?;
    let listener = TcpListener::bind(&addresses[..]).await;
    listener.map_err(|e| format!("cannot listen on {}: {e}", settings.listen).into())
}

/// Whoever started the server waits for this line, so it is the first on standard output, and flushed.
fn announce(settings: &Settings, address: SocketAddr, http: Option<SocketAddr>) -> io::Result<()> {
    let scheme = if settings.tls_cert.is_some() { "grpc+tls" } else { "grpc" };
    let mut out = io::stdout().lock();
    writeln!(out, "insula listening on {scheme}://{address}")?;
    if let Some(http) = http {
        writeln!(out, "insula metrics on http://{http}/metrics")?;
    }
    out.flush()
}

fn log_to_stderr(settings: &Settings) -> Result<(), Error> {
    let filter = EnvFilter::try_new(&settings.log).map_err(|e| format!("setting log: \"{}\": {e}", settings.log))?;
    // A second server in one process, as in tests, finds the log set up already.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .try_init();
    tracing::info!("settings: {settings}");
    for name in settings::unknown_variables() {
        tracing::warn!("the environment variable {name} is no setting of insula and has no effect");
    }
    Ok(())
}

/// For tests of crashes, which need this very program to die at a chosen step.
fn arm_fail_points() -> Result<(), Error> {
    let Ok(points) = std::env::var("INSULA_FAILPOINTS") else { return Ok(()) };
    insula_engine::arm_fail_points(&points).map_err(|e| format!("INSULA_FAILPOINTS: {e}"))?;
    tracing::warn!("fail points are armed, this server is made to fail: {points}");
    Ok(())
}

async fn sweep(authenticator: Arc<Authenticator>, statements: Arc<Statements>) {
    let mut interval = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        interval.tick().await;
        authenticator.sweep();
        statements.sweep(Instant::now());
    }
}

async fn keep_up(metrics: Arc<Metrics>) {
    let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        interval.tick().await;
        metrics.upkeep();
    }
}

/// Often enough that one holds its snapshot little longer than it may.
async fn sweep_transactions(engine: Arc<Engine>) {
    let TransactionLimits { idle, age, .. } = engine.transaction_limits();
    let every = (idle.min(age) / 4).clamp(Duration::from_millis(50), SWEEP_INTERVAL);
    let mut interval = tokio::time::interval(every);
    loop {
        interval.tick().await;
        engine.sweep();
    }
}

/// The signals that ask the server to stop; caught from the start, so that one during recovery is not lost.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
