//! The settings of `insula serve`: flag beats environment beats configuration file beats default.
//!
//! A key has one name everywhere: `--memory-limit`, `INSULA_MEMORY_LIMIT`, and `memory-limit` (or `memory_limit`) in
//! the file. An unknown key of the file is an error; so is a combination that would be unsafe.

use std::{
    fmt,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
    time::Duration,
};

use bytesize::ByteSize;
use clap::Args;
use figment::{
    Figment, Metadata, Profile, Provider,
    providers::{Env, Format, Serialized, Toml},
    value::{Dict, Map},
};
use http::HeaderName;
use serde::{Deserialize, Serialize};

use crate::{
    identity::{
        UserHeader,
        certificate::NameIn,
        jwt::{self, JwtSettings, Keys, Secret},
    },
    memory::Shares,
};

mod limits;

#[cfg(test)]
mod tests;

const ENV_PREFIX: &str = "INSULA_";

/// Below, files would be put aside all the time.
const SMALLEST_AUDIT: ByteSize = ByteSize::kib(16);

/// Messages with rows: below, most of them would be headers; above, memory would be theirs and clients refuse them.
const SMALLEST_MESSAGE: ByteSize = ByteSize::kib(16);
const LARGEST_MESSAGE: ByteSize = ByteSize::mib(256);

const KEYS: &[&str] = &[
    "listen",
    "http_listen",
    "data_dir",
    "store",
    "dev",
    "allow_external",
    "trust_user_header",
    "tls_cert",
    "tls_key",
    "tls_client_ca",
    "tls_client_name",
    "jwt_jwks",
    "jwt_secret_file",
    "jwt_issuer",
    "jwt_audience",
    "jwt_algorithms",
    "jwt_user_claim",
    "memory_limit",
    "user_memory_limit",
    "user_concurrency",
    "concurrency",
    "user_queue",
    "queue_timeout",
    "max_result_bytes",
    "user_spill_limit",
    "spill_limit",
    "user_sessions",
    "user_ingest_rate",
    "compaction_rate",
    "statement_timeout",
    "session_timeout",
    "token_max_age",
    "transaction_timeout",
    "transaction_max_age",
    "drain_timeout",
    "max_message_size",
    "result_message_size",
    "keepalive_interval",
    "audit_dir",
    "audit_text",
    "audit_file_size",
    "audit_files",
    "log",
];

/// Variables with our prefix that are no settings of the server.
const OTHER_VARIABLES: [&str; 6] = ["admin_password", "failpoints", "password", "user", "token", "url"];

/// What was given on the command line; the text is checked together with the other sources.
#[derive(Args, Serialize, Clone, Default, Debug)]
pub struct Flags {
    /// Address of the gRPC server; port 0 picks a free one [default: 127.0.0.1:50051]
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<String>,
    /// Address of the HTTP server for /metrics, /healthz and /readyz, without any login [default: off]
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    http_listen: Option<String>,
    /// Directory of the database [default: ./insula-data]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// Object store of the cold tier: file:///DIR, s3://BUCKET/PREFIX or memory:// [default: DATA_DIR/cold]
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<String>,
    /// Believe any user name without a password; on a loopback address only
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dev: bool,
    /// Let admins read and write files of the server: COPY … TO, CREATE EXTERNAL TABLE, paths as tables
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    allow_external: bool,
    /// Take the user's name from this gRPC metadata key, set by an authenticating proxy on this machine
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    trust_user_header: Option<String>,
    /// Certificate chain of the server, PEM
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cert: Option<PathBuf>,
    /// Private key of the server, PEM
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_key: Option<PathBuf>,
    /// Mutual TLS: clients need a certificate of one of these authorities, PEM; it names their user
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_client_ca: Option<PathBuf>,
    /// Where a client certificate names the user: cn or san [default: cn]
    #[arg(long, value_name = "cn|san")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_client_name: Option<String>,
    /// Take JWTs that are signed by these public keys (JWKS)
    #[arg(long, value_name = "FILE|URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt_jwks: Option<String>,
    /// Take JWTs that are signed with the shared secret in this file
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt_secret_file: Option<PathBuf>,
    /// Issuer (iss) that JWTs must have
    #[arg(long, value_name = "TEXT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt_issuer: Option<String>,
    /// Audience (aud) that JWTs must have
    #[arg(long, value_name = "TEXT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt_audience: Option<String>,
    /// Algorithms that JWTs may have, with commas between them [default: all for the kind of key]
    #[arg(long, value_name = "NAMES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt_algorithms: Option<String>,
    /// Claim that holds the user's name [default: sub]
    #[arg(long, value_name = "CLAIM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt_user_claim: Option<String>,
    /// Memory of the whole process [default: 2 GiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_limit: Option<String>,
    /// Memory that one user's statements may take of that of all statements [default: three quarters of it]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    user_memory_limit: Option<String>,
    /// Heavy statements of one user that run at a time [default: two for each processor, at least 4]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    user_concurrency: Option<usize>,
    /// Heavy statements of all users that run at a time [default: twice --user-concurrency]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<usize>,
    /// Heavy statements of one user that may wait for their turn [default: 64]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    user_queue: Option<usize>,
    /// Longest time that a heavy statement waits for its turn [default: 30s]
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_timeout: Option<String>,
    /// Largest result, as it is sent; 0 for no limit [default: 64 GiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_result_bytes: Option<String>,
    /// Temporary files of one user's statements [default: 32 GiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    user_spill_limit: Option<String>,
    /// Temporary files of all statements [default: 100 GiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    spill_limit: Option<String>,
    /// Open sessions of one user; beyond it the one that was idle longest is closed [default: 16384]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    user_sessions: Option<usize>,
    /// Bytes of rows that one user may write per second; faster ones wait; 0 for no limit [default: 0]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    user_ingest_rate: Option<String>,
    /// Bytes that compactions write per second at most, all together; 0 for no limit [default: 256 MiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    compaction_rate: Option<String>,
    /// Longest time of one statement, 0s for no limit [default: 10m]
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    statement_timeout: Option<String>,
    /// Time without use after which a session and its token end [default: 1h]
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    session_timeout: Option<String>,
    /// Time after which a session token ends, used or not, and its session with it; 0s for never [default: 12h]
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    token_max_age: Option<String>,
    /// Time without a statement after which an open transaction is rolled back [default: 5m]
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_timeout: Option<String>,
    /// Time after which an open transaction is rolled back, used or not [default: 1h]
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_max_age: Option<String>,
    /// Time that running statements get at shutdown [default: 10s]
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    drain_timeout: Option<String>,
    /// Largest message that a client may send [default: 256 MiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_message_size: Option<String>,
    /// Size that messages with rows aim at; one row is never cut [default: 2 MiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    result_message_size: Option<String>,
    /// Time after which a silent connection is asked whether it lives, 0s for never [default: 30s]
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    keepalive_interval: Option<String>,
    /// Directory of the audit's files [default: DATA_DIR/audit]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_dir: Option<PathBuf>,
    /// Write texts of statements to the audit's files, with their literals, which may be contents of rows
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    audit_text: bool,
    /// Size at which a file of the audit is put aside [default: 64 MiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_file_size: Option<String>,
    /// Files of the audit that are kept [default: 16]
    #[arg(long, value_name = "NUMBER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_files: Option<usize>,
    /// What to log: error, warn, info, debug, or a filter of the crate tracing-subscriber [default: info]
    #[arg(long, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
}

impl Flags {
    /// The two that say where a database is.
    pub fn of_database(data_dir: Option<PathBuf>, store: Option<String>) -> Self {
        Self { data_dir, store, ..Self::default() }
    }
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub listen: String,
    #[serde(default)]
    pub http_listen: Option<String>,
    pub data_dir: PathBuf,
    #[serde(default)]
    pub store: Option<String>,
    pub dev: bool,
    pub allow_external: bool,
    #[serde(default)]
    pub trust_user_header: Option<String>,
    #[serde(default)]
    pub tls_cert: Option<PathBuf>,
    #[serde(default)]
    pub tls_key: Option<PathBuf>,
    #[serde(default)]
    pub tls_client_ca: Option<PathBuf>,
    pub tls_client_name: NameIn,
    #[serde(default)]
    pub jwt_jwks: Option<String>,
    #[serde(default)]
    pub jwt_secret_file: Option<PathBuf>,
    #[serde(default)]
    pub jwt_issuer: Option<String>,
    #[serde(default)]
    pub jwt_audience: Option<String>,
    /// With commas between them.
    #[serde(default)]
    pub jwt_algorithms: Option<String>,
    pub jwt_user_claim: String,
    pub memory_limit: ByteSize,
    /// `None`: a share of what statements have.
    #[serde(default)]
    pub user_memory_limit: Option<ByteSize>,
    pub user_concurrency: usize,
    /// `None`: twice as many.
    #[serde(default)]
    pub concurrency: Option<usize>,
    pub user_queue: usize,
    #[serde(with = "humantime_serde")]
    pub queue_timeout: Duration,
    /// 0: no limit.
    pub max_result_bytes: ByteSize,
    pub user_spill_limit: ByteSize,
    pub spill_limit: ByteSize,
    pub user_sessions: usize,
    /// Per second; 0: no limit.
    pub user_ingest_rate: ByteSize,
    /// Per second; 0: no limit.
    pub compaction_rate: ByteSize,
    #[serde(with = "humantime_serde")]
    pub statement_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub session_timeout: Duration,
    /// 0: no limit.
    #[serde(with = "humantime_serde")]
    pub token_max_age: Duration,
    #[serde(with = "humantime_serde")]
    pub transaction_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub transaction_max_age: Duration,
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    pub max_message_size: ByteSize,
    pub result_message_size: ByteSize,
    #[serde(with = "humantime_serde")]
    pub keepalive_interval: Duration,
    #[serde(default)]
    pub audit_dir: Option<PathBuf>,
    pub audit_text: bool,
    pub audit_file_size: ByteSize,
    pub audit_files: usize,
    pub log: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:50051".into(),
            http_listen: None,
            data_dir: "./insula-data".into(),
            store: None,
            dev: false,
            allow_external: false,
            trust_user_header: None,
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
            tls_client_name: NameIn::default(),
            jwt_jwks: None,
            jwt_secret_file: None,
            jwt_issuer: None,
            jwt_audience: None,
            jwt_algorithms: None,
            jwt_user_claim: "sub".into(),
            memory_limit: ByteSize::gib(2),
            user_memory_limit: None,
            user_concurrency: limits::user_concurrency(),
            concurrency: None,
            user_queue: 64,
            queue_timeout: Duration::from_secs(30),
            max_result_bytes: ByteSize::gib(64),
            user_spill_limit: ByteSize::gib(32),
            spill_limit: ByteSize::gib(100),
            user_sessions: 16_384,
            user_ingest_rate: ByteSize(0),
            compaction_rate: ByteSize::mib(256),
            statement_timeout: Duration::from_secs(600),
            session_timeout: Duration::from_secs(3_600),
            // A working day, as session credentials of clouds have it.
            token_max_age: Duration::from_secs(12 * 3_600),
            transaction_timeout: Duration::from_secs(300),
            transaction_max_age: Duration::from_secs(3_600),
            drain_timeout: Duration::from_secs(10),
            max_message_size: ByteSize::mib(256),
            result_message_size: ByteSize::mib(2),
            // Proxies cut connections that say nothing for a minute or so.
            keepalive_interval: Duration::from_secs(30),
            audit_dir: None,
            audit_text: false,
            audit_file_size: ByteSize::mib(64),
            audit_files: 16,
            log: "info".into(),
        }
    }
}

/// RFC 7518 wants a key of at least 256 bits. An editor's last line break is no part of it.
fn secret(path: &Path) -> Result<Secret, Error> {
    let mut bytes = std::fs::read(path).map_err(|e| Error(format!("jwt_secret_file: {}: {e}", path.display())))?;
    while bytes.last().is_some_and(|byte| b"\r\n".contains(byte)) {
        bytes.pop();
    }
    match bytes.len() {
        0..32 => Err(Error(format!("jwt_secret_file: {} holds less than 32 bytes", path.display()))),
        _ => Ok(Secret(bytes)),
    }
}

/// What is wrong with the settings, one fault a line.
#[derive(thiserror::Error, Debug)]
#[error("{0}")]
pub struct Error(String);

impl Settings {
    pub fn load(flags: Flags, config: Option<&Path>) -> Result<Self, Error> {
        let mut sources = Figment::from(Serialized::defaults(Self::default()));
        if let Some(path) = config {
            sources = sources.merge(ConfigFile(path));
        }
        let settings: Self = sources
            .merge(Env::prefixed(ENV_PREFIX).only(KEYS))
            .merge(Named(Serialized::defaults(flags)))
            .extract()
            .map_err(|e| Error(e.into_iter().map(|e| fault(&e)).collect::<Vec<_>>().join("\n")))?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), Error> {
        let loopback = self.addresses()?.iter().all(|address| address.ip().is_loopback());
        if self.dev && !loopback {
            return Err(Error(format!(
                "--dev believes any user name; it needs a loopback --listen, not {}",
                self.listen
            )));
        }
        if self.trust_user_header.is_some() && !loopback && self.tls_client_ca.is_none() {
            return Err(Error(format!(
                "--trust-user-header believes whoever connects; it needs --tls-client-ca, or a loopback --listen, not {}",
                self.listen
            )));
        }
        if self.memory_limit < Shares::SMALLEST {
            return Err(Error(format!(
                "memory_limit: {} is too little; give at least {}",
                self.memory_limit,
                Shares::SMALLEST
            )));
        }
        if self.transaction_timeout.is_zero() || self.transaction_max_age.is_zero() {
            return Err(Error("transaction_timeout and transaction_max_age: give a time above 0, such as 5m".into()));
        }
        self.check_limits()?;
        self.trusted_header()?;
        self.http_addresses()?;
        if self.audit_files == 0 || self.audit_file_size < SMALLEST_AUDIT {
            return Err(Error(format!("audit_files: at least 1; audit_file_size: at least {SMALLEST_AUDIT}")));
        }
        if self.result_message_size < SMALLEST_MESSAGE || self.result_message_size > LARGEST_MESSAGE {
            return Err(Error(format!(
                "result_message_size: {} is not within {SMALLEST_MESSAGE} and {LARGEST_MESSAGE}",
                self.result_message_size
            )));
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err(Error("--tls-cert and --tls-key go together".into()));
        }
        if self.tls_client_ca.is_some() && self.tls_cert.is_none() {
            return Err(Error("--tls-client-ca needs --tls-cert and --tls-key".into()));
        }
        self.check_jwt()?;
        Ok(())
    }

    fn check_jwt(&self) -> Result<(), Error> {
        if self.jwt_jwks.is_some() && self.jwt_secret_file.is_some() {
            return Err(Error("--jwt-jwks and --jwt-secret-file exclude each other".into()));
        }
        let further = [&self.jwt_issuer, &self.jwt_audience, &self.jwt_algorithms];
        if self.jwt_jwks.is_none() && self.jwt_secret_file.is_none() && further.iter().any(|given| given.is_some()) {
            return Err(Error("JWTs need keys: give --jwt-jwks or --jwt-secret-file".into()));
        }
        if let Some(url) = self.jwt_jwks.as_deref().filter(|jwks| jwks.starts_with("http://"))
            && !is_local(url)
        {
            return Err(Error(format!("jwt_jwks: whoever answers for {url} can name any user; it must be https")));
        }
        Ok(())
    }

    /// How JWTs are checked; `None`: none are taken.
    pub fn jwt(&self) -> Result<Option<JwtSettings>, Error> {
        let keys = match (&self.jwt_jwks, &self.jwt_secret_file) {
            (None, None) => return Ok(None),
            (Some(url), _) if url.starts_with("https://") || url.starts_with("http://") => Keys::Url(url.clone()),
            (Some(path), _) => Keys::File(path.strip_prefix("file://").unwrap_or(path).into()),
            (None, Some(path)) => Keys::Secret(secret(path)?),
        };
        let names = self.jwt_algorithms.as_deref().unwrap_or_default().split(',').map(str::trim);
        let names: Vec<String> = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Ok(Some(JwtSettings {
            keys,
            issuer: self.jwt_issuer.clone(),
            audience: self.jwt_audience.clone(),
            algorithms: jwt::algorithms(&names).map_err(|e| Error(format!("jwt_algorithms: {e}")))?,
            user_claim: self.jwt_user_claim.clone(),
        }))
    }

    /// At least one.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, Error> {
        let unusable = |reason: String| Error(format!("listen: \"{}\" is not HOST:PORT: {reason}", self.listen));
        let addresses: Vec<_> = self.listen.to_socket_addrs().map_err(|e| unusable(e.to_string()))?.collect();
        if addresses.is_empty() { Err(unusable("it has no address".into())) } else { Ok(addresses) }
    }

    /// Empty where no HTTP is wanted.
    pub fn http_addresses(&self) -> Result<Vec<SocketAddr>, Error> {
        let Some(listen) = &self.http_listen else { return Ok(Vec::new()) };
        let unusable = |reason: String| Error(format!("http_listen: \"{listen}\" is not HOST:PORT: {reason}"));
        let addresses: Vec<_> = listen.to_socket_addrs().map_err(|e| unusable(e.to_string()))?.collect();
        if addresses.is_empty() { Err(unusable("it has no address".into())) } else { Ok(addresses) }
    }

    /// Name and value of each, for `system.settings`.
    pub fn list(&self) -> Vec<(String, String)> {
        let serde_json::Value::Object(all) = serde_json::to_value(self).unwrap_or_default() else { return Vec::new() };
        let text = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => text,
            serde_json::Value::Null => "off".to_owned(),
            other => other.to_string(),
        };
        let value = |name: &str, value| self.in_effect(name).unwrap_or_else(|| text(value));
        all.into_iter().map(|(name, given)| (name.clone(), value(&name, given))).collect()
    }

    pub fn trusted_header(&self) -> Result<Option<UserHeader>, Error> {
        let Some(name) = &self.trust_user_header else { return Ok(None) };
        let no_key = |_| Error(format!("trust_user_header: \"{name}\" is no metadata key"));
        let header = HeaderName::try_from(name.to_ascii_lowercase()).map_err(no_key)?;
        // The binary twin of a key is looked for by itself.
        if header.as_str().ends_with("-bin") {
            return Err(Error(format!("trust_user_header: give \"{name}\" without -bin")));
        }
        UserHeader::try_from(header).map(Some).map_err(no_key)
    }

    pub fn statement_limit(&self) -> Option<Duration> {
        (!self.statement_timeout.is_zero()).then_some(self.statement_timeout)
    }
}

/// The settings hold no secrets: passwords and keys are in files and variables that they only name.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: &Option<PathBuf>| path.as_ref().map_or("off".to_owned(), |path| path.display().to_string());
        write!(f, "listen={} http_listen={} ", self.listen, self.http_listen.as_deref().unwrap_or("off"))?;
        write!(f, "data_dir={} ", self.data_dir.display())?;
        let audit_dir = self.audit_dir.as_ref().map_or("DATA_DIR/audit".into(), |dir| dir.display().to_string());
        write!(f, "audit_dir={audit_dir} audit_text={} ", self.audit_text)?;
        write!(f, "audit_file_size={} audit_files={} ", self.audit_file_size, self.audit_files)?;
        write!(f, "store={} dev={} ", self.store.as_deref().unwrap_or("DATA_DIR/cold"), self.dev)?;
        write!(f, "allow_external={} ", self.allow_external)?;
        write!(f, "trust_user_header={} ", self.trust_user_header.as_deref().unwrap_or("off"))?;
        write!(f, "tls_cert={} tls_key={} ", path(&self.tls_cert), path(&self.tls_key))?;
        write!(f, "tls_client_ca={} tls_client_name={:?} ", path(&self.tls_client_ca), self.tls_client_name)?;
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "off".into());
        write!(f, "jwt_jwks={} jwt_secret_file={} ", text(&self.jwt_jwks), path(&self.jwt_secret_file))?;
        write!(f, "jwt_issuer={} jwt_audience={} ", text(&self.jwt_issuer), text(&self.jwt_audience))?;
        write!(f, "jwt_algorithms={} jwt_user_claim={} ", text(&self.jwt_algorithms), self.jwt_user_claim)?;
        write!(f, "memory_limit={} max_message_size={} ", self.memory_limit, self.max_message_size)?;
        write!(f, "compaction_rate={} ", self.compaction_rate)?;
        self.write_limits(f)?;
        write!(f, "result_message_size={} ", self.result_message_size)?;
        let time = humantime::format_duration;
        write!(
            f,
            "statement_timeout={} session_timeout={} token_max_age={} ",
            time(self.statement_timeout),
            time(self.session_timeout),
            time(self.token_max_age)
        )?;
        write!(
            f,
            "transaction_timeout={} transaction_max_age={} ",
            time(self.transaction_timeout),
            time(self.transaction_max_age)
        )?;
        write!(f, "drain_timeout={} keepalive_interval=", time(self.drain_timeout))?;
        write!(f, "{} log={}", time(self.keepalive_interval), self.log)
    }
}

/// Variables that look like settings and are none: misspelt ones would otherwise be passed over in silence.
pub fn unknown_variables() -> Vec<String> {
    let known = |key: &str| KEYS.contains(&key) || OTHER_VARIABLES.contains(&key);
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter(|name| name.strip_prefix(ENV_PREFIX).is_some_and(|key| !known(&key.to_ascii_lowercase()))).collect()
}

/// The file, its keys spelt as the settings' fields are.
struct ConfigFile<'a>(&'a Path);

impl Provider for ConfigFile<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(format!("configuration file {}", self.0.display()))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let spelt = |dict: Dict| dict.into_iter().map(|(key, value)| (key.replace('-', "_"), value)).collect();
        let data = Toml::file_exact(self.0).data()?;
        Ok(data.into_iter().map(|(profile, dict)| (profile, spelt(dict))).collect())
    }
}

/// Figment would call the flags by the name of their Rust type.
struct Named(Serialized<Flags>);

impl Provider for Named {
    fn metadata(&self) -> Metadata {
        Metadata::named("command line")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        self.0.data()
    }
}

/// Whether only this machine can answer for the address.
fn is_local(url: &str) -> bool {
    let url = reqwest::Url::parse(url).ok();
    url.as_ref().and_then(reqwest::Url::host_str).is_some_and(|host| {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

fn fault(error: &figment::Error) -> String {
    let place = error.metadata.as_ref().map(|source| format!(" in {}", source.name)).unwrap_or_default();
    match &error.kind {
        figment::error::Kind::UnknownField(key, _) => {
            format!("unknown setting \"{key}\"{place}; there are {}", KEYS.join(", "))
        }
        // A file that cannot be read, or is no TOML.
        kind if error.path.is_empty() => format!("settings{place}: {}", kind.to_string().trim_end()),
        kind => {
            let key = error.path.join(".");
            let hint = match key.rsplit('_').next() {
                Some("timeout" | "age" | "interval") => "; give a time such as 30s or 5m",
                Some("limit" | "size" | "bytes") => "; give a size such as 512MB",
                Some("rate") => "; give bytes per second such as 64MB",
                _ => "",
            };
            format!("setting {key}{place}: {kind}{hint}")
        }
    }
}
