//! The settings of `insula serve`: flag beats environment beats configuration file beats default.
//!
//! A key has one name everywhere: `--memory-limit`, `INSULA_MEMORY_LIMIT`, and `memory-limit` (or `memory_limit`) in
//! the file. An unknown key of the file is an error; so is a combination that would be unsafe.

use std::{
    fmt,
    net::{SocketAddr, ToSocketAddrs},
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

use crate::memory::Shares;

#[cfg(test)]
mod tests;

const ENV_PREFIX: &str = "INSULA_";

const KEYS: [&str; 14] = [
    "listen",
    "data_dir",
    "store",
    "dev",
    "trust_user_header",
    "tls_cert",
    "tls_key",
    "memory_limit",
    "compaction_rate",
    "statement_timeout",
    "session_timeout",
    "drain_timeout",
    "max_message_size",
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
    /// Memory of the whole process [default: 2 GiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_limit: Option<String>,
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
    /// Time that running statements get at shutdown [default: 10s]
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    drain_timeout: Option<String>,
    /// Largest message that a client may send [default: 256 MiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_message_size: Option<String>,
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
    pub data_dir: PathBuf,
    #[serde(default)]
    pub store: Option<String>,
    pub dev: bool,
    #[serde(default)]
    pub trust_user_header: Option<String>,
    #[serde(default)]
    pub tls_cert: Option<PathBuf>,
    #[serde(default)]
    pub tls_key: Option<PathBuf>,
    pub memory_limit: ByteSize,
    /// Per second; 0: no limit.
    pub compaction_rate: ByteSize,
    #[serde(with = "humantime_serde")]
    pub statement_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub session_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    pub max_message_size: ByteSize,
    pub log: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:50051".into(),
            data_dir: "./insula-data".into(),
            store: None,
            dev: false,
            trust_user_header: None,
            tls_cert: None,
            tls_key: None,
            memory_limit: ByteSize::gib(2),
            compaction_rate: ByteSize::mib(256),
            statement_timeout: Duration::from_secs(600),
            session_timeout: Duration::from_secs(3_600),
            drain_timeout: Duration::from_secs(10),
            max_message_size: ByteSize::mib(256),
            log: "info".into(),
        }
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
            .merge(Env::prefixed(ENV_PREFIX).only(&KEYS))
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
        if self.trust_user_header.is_some() && !loopback {
            return Err(Error(format!(
                "--trust-user-header believes whoever connects; it needs a loopback --listen, not {}",
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
        self.trusted_header()?;
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err(Error("--tls-cert and --tls-key go together".into()));
        }
        Ok(())
    }

    /// At least one.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, Error> {
        let unusable = |reason: String| Error(format!("listen: \"{}\" is not HOST:PORT: {reason}", self.listen));
        let addresses: Vec<_> = self.listen.to_socket_addrs().map_err(|e| unusable(e.to_string()))?.collect();
        if addresses.is_empty() { Err(unusable("it has no address".into())) } else { Ok(addresses) }
    }

    pub fn trusted_header(&self) -> Result<Option<HeaderName>, Error> {
        let Some(name) = &self.trust_user_header else { return Ok(None) };
        let header = HeaderName::try_from(name.to_ascii_lowercase());
        match header {
            // The binary twin of a key is looked for by itself.
            Ok(header) if !header.as_str().ends_with("-bin") => Ok(Some(header)),
            Ok(_) => Err(Error(format!("trust_user_header: give \"{name}\" without -bin"))),
            Err(_) => Err(Error(format!("trust_user_header: \"{name}\" is no metadata key"))),
        }
    }

    pub fn statement_limit(&self) -> Option<Duration> {
        (!self.statement_timeout.is_zero()).then_some(self.statement_timeout)
    }
}

/// The settings hold no secrets: passwords and keys are in files and variables that they only name.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: &Option<PathBuf>| path.as_ref().map_or("off".to_owned(), |path| path.display().to_string());
        write!(f, "listen={} data_dir={} ", self.listen, self.data_dir.display())?;
        write!(f, "store={} dev={} ", self.store.as_deref().unwrap_or("DATA_DIR/cold"), self.dev)?;
        write!(f, "trust_user_header={} ", self.trust_user_header.as_deref().unwrap_or("off"))?;
        write!(f, "tls_cert={} tls_key={} ", path(&self.tls_cert), path(&self.tls_key))?;
        write!(f, "memory_limit={} max_message_size={} ", self.memory_limit, self.max_message_size)?;
        write!(f, "compaction_rate={} ", self.compaction_rate)?;
        let time = humantime::format_duration;
        write!(
            f,
            "statement_timeout={} session_timeout={} ",
            time(self.statement_timeout),
            time(self.session_timeout)
        )?;
        write!(f, "drain_timeout={} log={}", time(self.drain_timeout), self.log)
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

fn fault(error: &figment::Error) -> String {
    let place = error.metadata.as_ref().map(|source| format!(" in {}", source.name)).unwrap_or_default();
    match &error.kind {
        figment::error::Kind::UnknownField(key, _) => {
            format!("unknown setting \"{key}\"{place}; there are {}", KEYS.join(", "))
        }
        kind => {
            let key = error.path.join(".");
            let hint = match key.rsplit('_').next() {
                Some("timeout") => "; give a time such as 30s or 5m",
                Some("limit" | "size") => "; give a size such as 512MB",
                Some("rate") => "; give bytes per second such as 64MB",
                _ => "",
            };
            format!("setting {key}{place}: {kind}{hint}")
        }
    }
}
