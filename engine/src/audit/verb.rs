//! What a statement does, in a word or two: for the audit and for counters.

/// The order is that of [`Verb::ALL`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Verb {
    Select,
    Explain,
    Insert,
    Update,
    Delete,
    Merge,
    Ingest,
    Create,
    Alter,
    Drop,
    /// Makes, changes or drops a user.
    User,
    Grant,
    Revoke,
    /// COPY and external tables: what reaches outside the database.
    External,
    Set,
    Show,
    Flush,
    Compact,
    Backup,
    Restore,
    Kill,
    /// Of a transaction, by SQL or by a call, as are the next three.
    Begin,
    Commit,
    Rollback,
    /// Makes a savepoint, goes back to one, or gives one up.
    Savepoint,
    /// It does not parse.
    Unknown,
}

impl Verb {
    pub const ALL: [Self; 26] = [
        Self::Select,
        Self::Explain,
        Self::Insert,
        Self::Update,
        Self::Delete,
        Self::Merge,
        Self::Ingest,
        Self::Create,
        Self::Alter,
        Self::Drop,
        Self::User,
        Self::Grant,
        Self::Revoke,
        Self::External,
        Self::Set,
        Self::Show,
        Self::Flush,
        Self::Compact,
        Self::Backup,
        Self::Restore,
        Self::Kill,
        Self::Begin,
        Self::Commit,
        Self::Rollback,
        Self::Savepoint,
        Self::Unknown,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Explain => "EXPLAIN",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Merge => "MERGE",
            Self::Ingest => "INGEST",
            Self::Create => "CREATE",
            Self::Alter => "ALTER",
            Self::Drop => "DROP",
            Self::User => "USER",
            Self::Grant => "GRANT",
            Self::Revoke => "REVOKE",
            Self::External => "EXTERNAL",
            Self::Set => "SET",
            Self::Show => "SHOW",
            Self::Flush => "FLUSH",
            Self::Compact => "COMPACT",
            Self::Backup => "BACKUP",
            Self::Restore => "RESTORE",
            Self::Kill => "KILL",
            Self::Begin => "BEGIN",
            Self::Commit => "COMMIT",
            Self::Rollback => "ROLLBACK",
            Self::Savepoint => "SAVEPOINT",
            Self::Unknown => "UNKNOWN",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.name() == name)
    }

    /// Definitions, users and rights, and what takes rows out of the server or ends the work of others.
    pub fn is_weighty(self) -> bool {
        match self {
            Self::Create | Self::Alter | Self::Drop | Self::User | Self::Grant | Self::Revoke => true,
            Self::External | Self::Backup | Self::Restore | Self::Kill => true,
            Self::Select | Self::Explain | Self::Insert | Self::Update | Self::Delete | Self::Merge | Self::Ingest => {
                false
            }
            Self::Begin | Self::Commit | Self::Rollback | Self::Savepoint => false,
            Self::Set | Self::Show | Self::Flush | Self::Compact | Self::Unknown => false,
        }
    }

    /// Does its text hold names only, once passwords are out of it, and no value of a row? Then it is written down
    /// whatever the settings say: an audit of rights has to tell which.
    pub fn is_of_names(self) -> bool {
        matches!(self, Self::User | Self::Grant | Self::Revoke)
    }
}
