//! The users: names, numbers, roles, password hashes. A name becomes a number once; rows know the number only.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use arrow::array::{StringArray, UInt64Array};
use insula_proto::UserNo;
use insula_storage::{EraseReport, MetaBatch, Store};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use self::passwords::Passwords;
use crate::{Error, ErrorKind, Identity, Result, Role};

mod passwords;

const USER_PREFIX: &[u8] = b"user/";
const NEXT_NO: &[u8] = b"next_user_no";
pub(crate) const ADMIN: &str = "admin";

/// One user, as stored under `user/NAME`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    no: u64,
    role: Role,
    /// PHC string of argon2id; `None`: no password was ever set, so no password is right.
    password: Option<String>,
    /// The user is no more, but their rows are still being erased: the number is needed until that is done.
    #[serde(default)]
    erasing: bool,
    /// How often the password was changed since the server was started. What was opened with an older one ends.
    #[serde(skip)]
    era: u64,
}

/// What is told of a user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserInfo {
    pub name: Arc<str>,
    pub role: Role,
    /// Without one they come by a JWT, a certificate or a proxy only.
    pub has_password: bool,
}

#[derive(Default)]
struct Known {
    by_name: HashMap<Arc<str>, Record>,
    by_no: HashMap<UserNo, Arc<str>>,
}

pub(crate) struct Users {
    store: Arc<Store>,
    known: RwLock<Known>,
    /// Held over check, write and publication of one change.
    change: tokio::sync::Mutex<()>,
    passwords: Passwords,
    /// The server takes any name as that of a user, by a proxy's word or an issuer's: there is nobody who is unknown.
    takes_any_name: AtomicBool,
}

impl Users {
    /// Loads the users; a store without any gets `admin`.
    pub async fn open(store: Arc<Store>, data_dir: &Path, admin_password: Option<String>) -> Result<Self> {
        let known = Known::load(&store)?;
        let first_start = known.by_name.is_empty();
        let passwords = Passwords::new(random_password()?).await?;
        let (change, takes_any_name) = Default::default();
        let users = Self { store, known: RwLock::new(known), change, passwords, takes_any_name };
        if first_start {
            users.create_admin(data_dir, admin_password).await?;
        }
        Ok(users)
    }

    async fn create_admin(&self, data_dir: &Path, password: Option<String>) -> Result<()> {
        let password = match password {
            Some(password) => password,
            None => {
                let password = random_password()?;
                let path = data_dir.join("admin-password");
                write_secret(&path, &password)
                    .map_err(|e| Error::internal(format!("cannot write {}: {e}", path.display())))?;
                tracing::info!(path = %path.display(), "the password of the user admin is in this file");
                password
            }
        };
        self.create(ADMIN, &password, Role::Admin).await
    }

    /// Unknown user and wrong password are one error, after the same work.
    pub async fn login(&self, name: &str, password: &str) -> Result<Identity> {
        let record = self.known.read().by_name.get(name).filter(|record| !record.erasing).cloned();
        let stored = record.as_ref().and_then(|record| record.password.clone());
        let right = self.passwords.is_right(stored, password.to_owned()).await?;
        match record {
            Some(record) if right => Ok(record.identity(name)),
            _ => Err(Error::new(ErrorKind::Unauthenticated, "wrong user name or password")),
        }
    }

    /// A name that the server's configuration vouches for; it gets its number at first sight.
    pub async fn vouched(&self, name: &str) -> Result<Identity> {
        check_name(name)?;
        if let Some(identity) = self.find(name) {
            return Ok(identity);
        }
        let _change = self.change.lock().await;
        match self.find(name) {
            Some(identity) => Ok(identity),
            None if self.is_erasing(name) => Err(being_erased(name)),
            None => self.add(name, Role::User, None).await,
        }
    }

    /// From now on whoever is named is somebody; see [`Self::meant`].
    pub fn take_any_name(&self) {
        self.takes_any_name.store(true, Relaxed);
    }

    /// The user whom a statement or a call means by name. Where any name is taken, one who has yet to come is made at
    /// once, so that nobody has to connect before they can be granted something or acted for.
    pub async fn meant(&self, name: &str) -> Result<Option<Identity>> {
        match self.find(name) {
            None if self.takes_any_name.load(Relaxed) => self.vouched(name).await.map(Some),
            found => Ok(found),
        }
    }

    /// Until the result is dropped, no user is made or changed. Refused where there ever was one but admin: sessions
    /// know their user by number, and a number must not come to mean somebody else.
    pub async fn exclusive_and_new(&self) -> Result<Exclusive<'_>> {
        let change = self.change.lock().await;
        let next = self.next_no()?;
        let known = self.known.read();
        if known.by_name.len() == 1 && known.by_name.get(ADMIN).is_some_and(|admin| admin.no + 1 == next) {
            return Ok(Exclusive { users: self, _change: change });
        }
        let message = "this server has, or had, users other than admin; RESTORE DATABASE takes a server with a fresh data \
                       directory";
        Err(Error::new(ErrorKind::FailedPrecondition, message))
    }

    /// The numbers of users by name, none of them null; unknown ones are registered, durably, before this returns.
    pub async fn numbers(&self, names: &[StringArray]) -> Result<Vec<UInt64Array>> {
        let mut unknown = HashSet::new();
        {
            let known = self.known.read();
            for name in distinct_neighbours(names) {
                if !known.by_name.contains_key(name) && unknown.insert(name) {
                    check_name(name)?;
                }
            }
        }
        if !unknown.is_empty() {
            let _change = self.change.lock().await;
            unknown.retain(|name| !self.known.read().by_name.contains_key(*name));
            self.add_all(unknown.into_iter().map(|name| (name, Role::User, None)).collect()).await?;
        }
        let known = self.known.read();
        // A user who is dropped in this very moment has no number any more.
        let gone = || Error::new(ErrorKind::Aborted, "a user of the rows was dropped meanwhile; load them again");
        let number = |name: &str| match known.by_name.get(name) {
            Some(record) if record.erasing => Err(being_erased(name)),
            record => record.map(|record| record.no).ok_or_else(gone),
        };
        let mut last: Option<(&str, u64)> = None;
        let numbers = names.iter().map(|names| {
            let numbers = names.iter().flatten().map(|name| match last {
                Some((same, no)) if same == name => Ok(no),
                _ => {
                    let no = number(name)?;
                    last = Some((name, no));
                    Ok(no)
                }
            });
            numbers.collect::<Result<Vec<u64>>>().map(UInt64Array::from)
        });
        numbers.collect()
    }

    pub fn find(&self, name: &str) -> Option<Identity> {
        self.known.read().by_name.get(name).filter(|record| !record.erasing).map(|record| record.identity(name))
    }

    /// In the order of their names: all for an admin, themselves for others.
    pub fn list(&self, reader: &Identity) -> Vec<UserInfo> {
        let known = self.known.read();
        let told = |name: &str, record: &Record| {
            !record.erasing && (reader.role == Role::Admin || record.no == reader.no.0 && *name == *reader.name)
        };
        let told = known.by_name.iter().filter(|(name, record)| told(name, record));
        let mut list: Vec<_> = told
            .map(|(name, record)| UserInfo {
                name: Arc::clone(name),
                role: record.role,
                has_password: record.password.is_some(),
            })
            .collect();
        drop(known);
        list.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        list
    }

    pub fn identity(&self, no: UserNo) -> Result<Identity> {
        self.identity_and_era(no).map(|(identity, _)| identity)
    }

    /// The same, and the era of their password.
    pub fn identity_and_era(&self, no: UserNo) -> Result<(Identity, u64)> {
        let known = self.known.read();
        let record = known.by_no.get(&no).and_then(|name| known.by_name.get_key_value(name));
        record.map(|(name, record)| (record.identity(name), record.era)).ok_or_else(no_more)
    }

    pub async fn create(&self, name: &str, password: &str, role: Role) -> Result<()> {
        check_name(name)?;
        let password = self.passwords.hash(checked_password(password)?).await?;
        let _change = self.change.lock().await;
        if self.find(name).is_some() {
            return Err(Error::exists(format!("user \"{name}\" exists already")));
        }
        if self.is_erasing(name) {
            return Err(being_erased(name));
        }
        self.add(name, role, Some(password)).await.map(drop)
    }

    pub async fn alter(&self, name: &str, password: Option<&str>, role: Option<Role>) -> Result<()> {
        let password = match password {
            Some(password) => Some(self.passwords.hash(checked_password(password)?).await?),
            None => None,
        };
        let _change = self.change.lock().await;
        let mut record = self.record(name)?;
        if record.erasing {
            return Err(being_erased(name));
        }
        if role.is_some_and(|role| role != Role::Admin) && self.is_needed(name, &record) {
            return Err(last_admin(name));
        }
        record.era += u64::from(password.is_some());
        record.password = password.or(record.password);
        record.role = role.unwrap_or(record.role);
        let mut batch = MetaBatch::default();
        batch.put(user_key(name), record.to_bytes()?);
        self.store.meta().write(batch).await?;
        self.known.write().insert(name, record);
        Ok(())
    }

    pub async fn drop(&self, name: &str) -> Result<()> {
        let _change = self.change.lock().await;
        if self.droppable(name)?.erasing {
            return Err(being_erased(name));
        }
        self.forget(name).await
    }

    /// Drops the user, and every byte of their rows. The user is gone at once; the name is free again when all rows
    /// are, and until then an erasure that was cut short is repeated by the same call.
    pub async fn erase(&self, name: &str) -> Result<EraseReport> {
        let no = {
            let _change = self.change.lock().await;
            let record = Record { erasing: true, password: None, ..self.droppable(name)? };
            let mut batch = MetaBatch::default();
            batch.put(user_key(name), record.to_bytes()?);
            self.store.meta().write(batch).await?;
            let no = UserNo(record.no);
            let mut known = self.known.write();
            known.by_no.remove(&no);
            known.by_name.insert(name.into(), record);
            no
        };
        let report = self.store.erase(no).await?;
        let _change = self.change.lock().await;
        // Somebody else may have asked for the same, and been first.
        if self.is_erasing(name) {
            self.forget(name).await?;
        }
        Ok(report)
    }

    fn is_erasing(&self, name: &str) -> bool {
        self.known.read().by_name.get(name).is_some_and(|record| record.erasing)
    }

    /// As the only admin.
    fn is_needed(&self, name: &str, record: &Record) -> bool {
        let known = self.known.read();
        let is_other =
            |(other, record): (&Arc<str>, &Record)| **other != *name && record.role == Role::Admin && !record.erasing;
        record.role == Role::Admin && !record.erasing && !known.by_name.iter().any(is_other)
    }

    fn droppable(&self, name: &str) -> Result<Record> {
        if name == ADMIN {
            return Err(Error::new(ErrorKind::FailedPrecondition, "the user admin cannot be dropped"));
        }
        let record = self.record(name)?;
        if self.is_needed(name, &record) { Err(last_admin(name)) } else { Ok(record) }
    }

    /// Under `change`.
    async fn forget(&self, name: &str) -> Result<()> {
        let record = self.record(name)?;
        let mut batch = MetaBatch::default();
        batch.delete(user_key(name));
        self.store.meta().write(batch).await?;
        let mut known = self.known.write();
        known.by_name.remove(name);
        known.by_no.remove(&UserNo(record.no));
        Ok(())
    }

    fn next_no(&self) -> Result<u64> {
        match self.store.meta().get(NEXT_NO)? {
            None => Ok(UserNo::SHARED.0 + 1),
            Some(bytes) => Ok(u64::from_be_bytes(
                bytes.try_into().map_err(|_| Error::new(ErrorKind::DataLoss, "the user counter is damaged"))?,
            )),
        }
    }

    fn record(&self, name: &str) -> Result<Record> {
        let record = self.known.read().by_name.get(name).cloned();
        record.ok_or_else(|| Error::not_found(format!("user \"{name}\" does not exist")))
    }

    /// Under `change`.
    async fn add(&self, name: &str, role: Role, password: Option<String>) -> Result<Identity> {
        self.add_all(vec![(name, role, password)]).await?;
        self.find(name).ok_or_else(|| Error::internal("a new user is not there"))
    }

    /// Under `change`, in one commit. Numbers are never used twice, so whoever takes a dropped name sees none of its old
    /// rows.
    async fn add_all(&self, users: Vec<(&str, Role, Option<String>)>) -> Result<()> {
        let no = self.next_no()?;
        let mut batch = MetaBatch::default();
        batch.put(NEXT_NO, (no + users.len() as u64).to_be_bytes());
        let mut records = Vec::with_capacity(users.len());
        for ((name, role, password), no) in users.into_iter().zip(no..) {
            let record = Record { no, role, password, erasing: false, era: 0 };
            batch.put(user_key(name), record.to_bytes()?);
            records.push((name, record));
        }
        self.store.meta().write(batch).await?;
        let mut known = self.known.write();
        records.into_iter().for_each(|(name, record)| known.insert(name, record));
        Ok(())
    }
}

/// The users, with nobody else changing them.
pub(crate) struct Exclusive<'a> {
    users: &'a Users,
    _change: tokio::sync::MutexGuard<'a, ()>,
}

impl Exclusive<'_> {
    /// Takes over what the store says now. The session of `admin` that asked for it goes on.
    pub fn reload(&self) -> Result<()> {
        let mut loaded = Known::load(&self.users.store)?;
        let mut known = self.users.known.write();
        if let (Some(admin), Some(before)) = (loaded.by_name.get_mut(ADMIN), known.by_name.get(ADMIN)) {
            admin.era = before.era;
        }
        *known = loaded;
        Ok(())
    }
}

impl Known {
    fn load(store: &Store) -> Result<Self> {
        let mut known = Self::default();
        for (key, value) in store.meta().scan(USER_PREFIX)? {
            let damaged = || Error::new(ErrorKind::DataLoss, "a user record cannot be read");
            let name = std::str::from_utf8(&key[USER_PREFIX.len()..]).map_err(|_| damaged())?;
            let record: Record = serde_json::from_slice(&value).map_err(|_| damaged())?;
            known.insert(name, record);
        }
        Ok(known)
    }

    fn insert(&mut self, name: &str, record: Record) {
        let name: Arc<str> = name.into();
        if !record.erasing {
            self.by_no.insert(UserNo(record.no), Arc::clone(&name));
        }
        self.by_name.insert(name, record);
    }
}

impl Record {
    fn identity(&self, name: &str) -> Identity {
        Identity { name: name.into(), no: UserNo(self.no), role: self.role, actor: None }
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::internal(e.to_string()))
    }
}

/// The names, without those that repeat the one before: rows often come user by user.
fn distinct_neighbours(names: &[StringArray]) -> impl Iterator<Item = &str> {
    let mut last = None;
    names.iter().flat_map(|names| names.iter().flatten()).filter(move |name| last.replace(*name) != Some(*name))
}

fn no_more() -> Error {
    Error::new(ErrorKind::Unauthenticated, "the user of this session is no more")
}

fn last_admin(name: &str) -> Error {
    let message =
        format!("\"{name}\" is the only admin, and nobody could make another; give the role to somebody first");
    Error::new(ErrorKind::FailedPrecondition, message)
}

fn being_erased(name: &str) -> Error {
    let message =
        format!("the rows of user \"{name}\" are being erased; DROP USER … ERASE again ends it, if it was cut short");
    Error::new(ErrorKind::FailedPrecondition, message)
}

fn user_key(name: &str) -> Vec<u8> {
    [USER_PREFIX, name.as_bytes()].concat()
}

fn check_name(name: &str) -> Result<()> {
    match name.len() {
        1..=256 if !name.contains('\0') => Ok(()),
        _ => Err(Error::invalid("a user name has 1 to 256 bytes of UTF-8 without NUL")),
    }
}

fn checked_password(password: &str) -> Result<String> {
    if password.is_empty() { Err(Error::invalid("the password is empty")) } else { Ok(password.to_owned()) }
}

/// 128 random bits in hexadecimal.
fn random_password() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| Error::internal(format!("no randomness: {e}")))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// A new file that only its owner can read, on disk when this returns.
fn write_secret(path: &Path, secret: &str) -> std::io::Result<()> {
    use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt};
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "{secret}")?;
    file.sync_all()
}
