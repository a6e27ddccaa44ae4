//! What outlives a statement of one client: its settings. Everything else of a session is made anew per statement.

use insula_proto::UserNo;
use parking_lot::RwLock;

use crate::{Engine, Error, Identity, Result};

/// Settings of one client, of one user. The server keeps it under the bearer token or the connection.
#[derive(Debug)]
pub struct Session {
    user: UserNo,
    settings: RwLock<Settings>,
}

/// The settings as one statement sees them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Settings {
    /// Namespace of one-part table names.
    pub schema: String,
    /// `SELECT *` lists the system columns.
    pub show_system_columns: bool,
    /// Of timestamps with time zone that are read from text or shown as text.
    pub time_zone: String,
    /// Scans are those of the tests' oracle; no option sets it.
    pub oracle: bool,
}

impl Settings {
    pub const DEFAULT_TIME_ZONE: &str = "UTC";
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            schema: "public".into(),
            show_system_columns: false,
            time_zone: Self::DEFAULT_TIME_ZONE.into(),
            oracle: false,
        }
    }
}

const NAMES: [&str; 4] = ["catalog", "schema", "insula.show_system_columns", "timezone"];

impl Session {
    pub fn new(user: &Identity) -> Self {
        Self { user: user.no, settings: RwLock::default() }
    }

    /// Queries of this session read through the oracle of the tests instead of the real scan.
    #[doc(hidden)]
    pub fn read_through_oracle(&self) {
        self.settings.write().oracle = true;
    }

    /// Sets one option by the name that `SET` takes; names outside [`Session::options`] are refused.
    pub fn set(&self, name: &str, value: &str) -> Result<()> {
        let mut settings = self.settings.write();
        match canonical(name)? {
            "catalog" if value == Engine::CATALOG => {}
            "catalog" => {
                return Err(Error::not_found(format!("catalog \"{value}\" does not exist; there is only insula")));
            }
            "schema" => settings.schema = value.to_owned(),
            "insula.show_system_columns" => settings.show_system_columns = boolean(name, value)?,
            _ => settings.time_zone = time_zone(value)?,
        }
        Ok(())
    }

    /// Back to the default.
    pub fn reset(&self, name: &str) -> Result<()> {
        let default = Settings::default();
        let mut settings = self.settings.write();
        match canonical(name)? {
            "schema" => settings.schema = default.schema,
            "insula.show_system_columns" => settings.show_system_columns = default.show_system_columns,
            "timezone" => settings.time_zone = default.time_zone,
            _ => {}
        }
        Ok(())
    }

    /// Name and value of every option.
    pub fn options(&self) -> Vec<(String, String)> {
        let settings = self.settings();
        let values =
            [Engine::CATALOG.to_owned(), settings.schema, settings.show_system_columns.to_string(), settings.time_zone];
        NAMES.map(String::from).into_iter().zip(values).collect()
    }

    /// The settings, for their owner only: a session handed to another user is refused.
    pub(crate) fn settings_of(&self, user: &Identity) -> Result<Settings> {
        if user.no == self.user {
            Ok(self.settings())
        } else {
            Err(Error::denied("the session belongs to another user"))
        }
    }

    fn settings(&self) -> Settings {
        self.settings.read().clone()
    }
}

fn canonical(name: &str) -> Result<&'static str> {
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        "catalog" => Ok("catalog"),
        "schema" | "search_path" | "current_schema" => Ok("schema"),
        "insula.show_system_columns" => Ok("insula.show_system_columns"),
        "timezone" | "time_zone" | "time zone" => Ok("timezone"),
        _ if lower.starts_with("datafusion.") => {
            Err(Error::denied(format!("\"{name}\" is a setting of the engine's inside and cannot be set")))
        }
        _ => Err(Error::invalid(format!("unknown setting \"{name}\"; there are {}", NAMES.join(", ")))),
    }
}

fn boolean(name: &str, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "on" | "1" | "yes" => Ok(true),
        "false" | "off" | "0" | "no" => Ok(false),
        _ => Err(Error::invalid(format!("\"{name}\" takes true or false, not \"{value}\""))),
    }
}

fn time_zone(value: &str) -> Result<String> {
    use std::str::FromStr;
    arrow::array::timezone::Tz::from_str(value)
        .map(|_| value.to_owned())
        .map_err(|_| Error::invalid(format!("unknown time zone \"{value}\"")))
}
