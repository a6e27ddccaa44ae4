//! Compiles the `.proto` files with a protobuf compiler written in Rust, so that a build needs no `protoc`.

use std::{env, error::Error, fs, path::Path};

use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

/// Messages of Flight and Flight SQL that arrow-flight has no Rust code for, or an older version of.
const LACKING: [&str; 8] = [
    "ActionCreatePreparedStatementResult",
    "SessionOptionValue",
    "SetSessionOptionsRequest",
    "SetSessionOptionsResult",
    "GetSessionOptionsRequest",
    "GetSessionOptionsResult",
    "CloseSessionRequest",
    "CloseSessionResult",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=insula");
    println!("cargo:rerun-if-changed=arrow");
    let storage = protox::compile(["insula/storage/v1/storage.proto"], ["."])?;
    tonic_prost_build::configure().compile_fds(storage)?;

    let admin = protox::compile(["insula/v1/admin.proto"], ["."])?;
    tonic_prost_build::configure().compile_fds(admin)?;

    let wire =
        ["arrow/flight/protocol/Flight.proto", "arrow/flight/protocol/sql/FlightSql.proto", "insula/v1/admin.proto"];
    let described = protox::compile(wire, ["."])?;
    let out = env::var("OUT_DIR")?;
    fs::write(Path::new(&out).join("flight_descriptor.bin"), described.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(lacking(described))?;
    Ok(())
}

/// Cuts a set down to [`LACKING`]; types that arrow-flight has as well would only be mistaken for its own.
fn lacking(described: FileDescriptorSet) -> FileDescriptorSet {
    let cut = |file: FileDescriptorProto| FileDescriptorProto {
        message_type: file.message_type.into_iter().filter(|message| LACKING.contains(&message.name())).collect(),
        enum_type: Vec::new(),
        service: Vec::new(),
        dependency: Vec::new(),
        // Its paths count messages, and so would be wrong now.
        source_code_info: None,
        ..file
    };
    FileDescriptorSet {
        file: described.file.into_iter().filter(|file| file.package().starts_with("arrow.")).map(cut).collect(),
    }
}
