//! Messages of Flight and Flight SQL that arrow-flight does not know yet: session options, and the result of
//! CreatePreparedStatement with `is_update`. The wire format is that of the files under `arrow/`.

#![allow(clippy::doc_markdown, missing_docs)]

tonic::include_proto!("arrow.flight.protocol");

pub mod sql {
    tonic::include_proto!("arrow.flight.protocol.sql");
}
