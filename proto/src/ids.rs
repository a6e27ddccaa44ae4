//! Numbers that name things in storage. Each has a type of its own, so that a table can never be passed for a user.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// Dictionary number of a user. It is never reused, so a dropped and re-created name owns nothing of its namesake.
    UserNo(u64)
);
number!(
    /// A table, for ever; a re-created table of the same name has another id.
    TableId(u32)
);
number!(
    /// A column of a table, for ever: it survives renames and is never reused within its table.
    ColumnId(u32)
);
number!(
    /// Position in the commit order of the whole store. All rows of one commit share it.
    Seq(u64)
);
number!(
    /// A stretch of a table's hot rows that is flushed together.
    Generation(u32)
);

impl UserNo {
    /// Owner of the rows of shared tables.
    pub const SHARED: Self = Self(0);
}
