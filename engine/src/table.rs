//! A user's tables: from a name to a provider that can yield that user's rows and no others, and its scan:
//!
//! ```text
//! Union( HotExec , Projection · Shadow · Live · TenantGuard · Parquet ranges of the user )
//! ```

mod cold;
mod evolve;
mod guard;
mod hot;
mod infallible;
mod keys;
mod live;
mod oracle;
mod point;
mod prefilter;
mod provider;
mod resolver;
mod restore;
mod seen;
mod shadow;
mod wrapper;

pub(crate) use cold::OBJECT_STORE_URL;
pub(crate) use point::PointRead;
pub(crate) use provider::UserTable;
pub(crate) use resolver::{CatalogList, Tables, filled_name, is_target_name, owner_of, target_name};
pub(crate) use seen::SeenTables;

#[cfg(test)]
mod tests;
