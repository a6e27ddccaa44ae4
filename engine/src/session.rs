//! What outlives a statement of one client: its settings, and the transactions that it began. Everything else of a
//! session is made anew per statement.

use std::sync::{Arc, Weak};

use datafusion::catalog::TableProvider;
use insula_proto::UserNo;
use parking_lot::{Mutex, RwLock};

use crate::{Engine, Error, ErrorKind, Identity, Result, Transaction, outside::Externals, transaction::End};

/// Settings of one client, of one user. The server keeps it under the bearer token or the connection.
pub struct Session {
    user: UserNo,
    settings: Arc<RwLock<Settings>>,
    transactions: Within,
}

/// In which transaction statements run that come by this session.
enum Within {
    /// The client itself: in the one that SQL began, if any.
    Client(Mutex<Begun>),
    /// A part of the client's: in this one, whatever SQL says.
    One(Arc<Transaction>, Arc<Session>),
    /// As another user than the client's: in none, beside the client's.
    Beside(Arc<Session>),
}

/// Transactions of one client.
#[derive(Default)]
struct Begun {
    /// By SQL. It stays after the server has ended it, so that no statement meant for it commits by itself.
    current: Option<Arc<Transaction>>,
    /// By calls.
    others: Vec<Weak<Transaction>>,
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
    /// Tables outside the database, which this session alone knows.
    pub externals: Externals,
}

impl Settings {
    pub const DEFAULT_TIME_ZONE: &str = "UTC";

    /// Name and value of every option.
    pub fn options(&self) -> Vec<(String, String)> {
        let values = [
            Engine::CATALOG.to_owned(),
            self.schema.clone(),
            self.show_system_columns.to_string(),
            self.time_zone.clone(),
        ];
        NAMES.map(String::from).into_iter().zip(values).collect()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            schema: "public".into(),
            show_system_columns: false,
            time_zone: Self::DEFAULT_TIME_ZONE.into(),
            oracle: false,
            externals: Externals::default(),
        }
    }
}

const NAMES: [&str; 4] = ["catalog", "schema", "insula.show_system_columns", "timezone"];

impl Session {
    pub fn new(user: &Identity) -> Self {
        Self { user: user.no, settings: Arc::default(), transactions: Within::Client(Mutex::default()) }
    }

    /// The same session for statements that name a transaction.
    pub fn within(self: &Arc<Self>, transaction: &Arc<Transaction>) -> Result<Arc<Self>> {
        if !transaction.is_of(self.user) {
            return Err(Error::denied("the transaction belongs to another user"));
        }
        let client = match &self.transactions {
            Within::Client(_) => self,
            Within::One(_, client) | Within::Beside(client) => client,
        };
        let transactions = Within::One(Arc::clone(transaction), Arc::clone(client));
        Ok(Arc::new(Self { user: self.user, settings: Arc::clone(&self.settings), transactions }))
    }

    /// The same client's session for statements that run as another user, by EXECUTE AS: with the client's settings, and in
    /// no transaction, since that is its user's own.
    pub fn acting(self: &Arc<Self>, user: &Identity) -> Arc<Self> {
        let (settings, transactions) = (Arc::clone(&self.settings), Within::Beside(Arc::clone(self)));
        Arc::new(Self { user: user.no, settings, transactions })
    }

    /// For a statement that runs beside the client's transaction: that one lets go of what it sees, and must not have
    /// changed anything yet.
    pub(crate) async fn step_aside(&self) -> Result<()> {
        let Within::Beside(client) = &self.transactions else { return Ok(()) };
        match client.now().transaction() {
            Some(transaction) => transaction.turn().await?.renew("EXECUTE AS"),
            None => Ok(()),
        }
    }

    /// The session for a statement that was prepared in this one and runs now. Drivers that turn autocommit off keep a
    /// statement beyond the transaction in which they prepared it: once its owner has ended that, the statement belongs
    /// to the one transaction that the client has begun since, if there is exactly one.
    pub fn now(self: &Arc<Self>) -> Arc<Self> {
        let Within::One(transaction, client) = &self.transactions else { return Arc::clone(self) };
        if !matches!(transaction.ended(), Some(End::Done)) {
            return Arc::clone(self);
        }
        let open: Vec<_> = match client.begun() {
            Ok(begun) => begun.lock().others.iter().filter_map(Weak::upgrade).collect(),
            Err(_) => Vec::new(),
        };
        let mut open = open.iter().filter(|other| other.ended().is_none());
        match (open.next(), open.next()) {
            (Some(next), None) => client.within(next).unwrap_or_else(|_| Arc::clone(self)),
            _ => Arc::clone(self),
        }
    }

    /// Whether both are one client's, within a transaction or not.
    pub fn is_client_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.settings, &other.settings)
    }

    /// For a statement beside the client's transaction, too.
    pub fn in_transaction(&self) -> bool {
        match &self.transactions {
            Within::Beside(client) => client.now().in_transaction(),
            _ => self.transaction().is_some(),
        }
    }

    /// The transaction in which a statement of this session runs that begins now.
    pub(crate) fn transaction(&self) -> Option<Arc<Transaction>> {
        match &self.transactions {
            Within::Beside(_) => None,
            Within::One(transaction, _) => Some(Arc::clone(transaction)),
            Within::Client(begun) => {
                let current = begun.lock().current.clone();
                current.filter(|transaction| !matches!(transaction.ended(), Some(End::Done | End::Refused(_))))
            }
        }
    }

    /// Makes it the one in which SQL of this session runs, if there is none.
    pub(crate) fn set_current(&self, begin: impl FnOnce() -> Result<Arc<Transaction>>) -> Result<()> {
        let mut begun = self.begun()?.lock();
        if begun.current.as_ref().is_some_and(|current| current.ended().is_none()) {
            let message = "a transaction is open already; COMMIT or ROLLBACK it before the next BEGIN";
            return Err(Error::new(ErrorKind::FailedPrecondition, message));
        }
        begun.current = Some(begin()?);
        Ok(())
    }

    /// The transaction that SQL began, to be ended.
    pub(crate) fn current(&self) -> Result<Option<Arc<Transaction>>> {
        Ok(self.begun()?.lock().current.clone())
    }

    /// SQL of this session commits by itself again.
    pub(crate) fn clear_current(&self) -> Result<()> {
        self.begun()?.lock().current = None;
        Ok(())
    }

    /// So that it ends with the session.
    pub(crate) fn note(&self, transaction: &Arc<Transaction>) -> Result<()> {
        let mut begun = self.begun()?.lock();
        begun.others.retain(|other| other.strong_count() > 0);
        begun.others.push(Arc::downgrade(transaction));
        Ok(())
    }

    fn begun(&self) -> Result<&Mutex<Begun>> {
        match &self.transactions {
            Within::Client(begun) => Ok(begun),
            Within::One(..) => {
                let message = "the statement runs in a transaction that a call began; end it by EndTransaction";
                Err(Error::new(ErrorKind::FailedPrecondition, message))
            }
            Within::Beside(_) => {
                let message = "EXECUTE AS is no part of a transaction; for one of another user send x-insula-run-as";
                Err(Error::new(ErrorKind::FailedPrecondition, message))
            }
        }
    }

    /// Rolls back what is open; for a session that ends.
    pub fn close(&self) {
        let Within::Client(begun) = &self.transactions else { return };
        let begun = std::mem::take(&mut *begun.lock());
        let open = begun.others.iter().filter_map(Weak::upgrade).chain(begun.current);
        open.for_each(|transaction| transaction.end("its session was closed"));
    }

    /// Queries of this session read through the oracle of the tests instead of the real scan.
    #[doc(hidden)]
    pub fn read_through_oracle(&self) {
        self.settings.write().oracle = true;
    }

    /// Is there an option of this name?
    pub fn knows(&self, name: &str) -> bool {
        canonical(name).is_ok()
    }

    /// The option of this name, with its value.
    pub(crate) fn option(&self, name: &str) -> Result<(String, String)> {
        let canonical = canonical(name)?;
        let found = self.options().into_iter().find(|(option, _)| option == canonical);
        found.ok_or_else(|| Error::internal(format!("\"{canonical}\" is no option")))
    }

    /// Is it the option that says where one-part names lead?
    pub fn names_schema(&self, name: &str) -> bool {
        canonical(name).is_ok_and(|name| name == "schema")
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

    pub(crate) fn externals(&self) -> Externals {
        self.settings.read().externals.clone()
    }

    /// Makes an external table known by a namespace and a name, or forgets it. Whether one was known by them.
    pub(crate) fn set_external(&self, name: (String, String), table: Option<Arc<dyn TableProvider>>) -> bool {
        self.settings.write().externals.set(name, table)
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
        self.settings().options()
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
        "timezone" | "time_zone" | "time zone" | "time.zone" => Ok("timezone"),
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
