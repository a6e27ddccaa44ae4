//! What the crates of Insula, and its files, agree on: ids, persisted messages, and the wire's own descriptions.

pub mod flight;
pub mod ids;

pub use ids::{ColumnId, Generation, Seq, TableId, UserNo};

/// Descriptions of `arrow.flight.protocol.FlightService`, the Flight SQL messages and `insula.v1.Admin`, for gRPC
/// reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/flight_descriptor.bin"));

/// The service for maintenance, and for a view of what runs.
pub mod admin {
    #![allow(clippy::doc_markdown, missing_docs)]
    tonic::include_proto!("insula.v1");
}

/// Persisted messages of the storage tier.
pub mod storage {
    #![allow(clippy::doc_markdown, missing_docs)]
    tonic::include_proto!("insula.storage.v1");
}
