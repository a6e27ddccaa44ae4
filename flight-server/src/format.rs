//! How a client wants its results: which encodings of Arrow it reads beside the plain ones, and compressed or not.
//!
//! It says so by headers on any call. What types a statement's rows have is settled when it is described, so that
//! FlightInfo, GetSchema, a prepared statement and its DoGet agree; compression is a matter of each DoGet.

use arrow::ipc::CompressionType;
use http::HeaderMap;
use tonic::Status;

#[cfg(test)]
mod tests;

const TYPES: &str = "x-insula-arrow-types";
const COMPRESSION: &str = "x-insula-compression";
const PARTITIONS: &str = "x-insula-partitions";

/// Encodings that are sent as they are; the others are undone.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Types {
    pub views: bool,
    pub dictionaries: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Format {
    pub types: Types,
    pub compression: Option<CompressionType>,
    /// Rows may come in parts, each as an endpoint of its own.
    pub partitions: bool,
}

impl Format {
    pub fn of(headers: &HeaderMap) -> Result<Self, Status> {
        let mut format = Self::default();
        for word in words(headers, TYPES)? {
            match word {
                "views" => format.types.views = true,
                "dictionaries" => format.types.dictionaries = true,
                _ => return Err(unknown(TYPES, word, "views and dictionaries, with a comma between")),
            }
        }
        for word in words(headers, COMPRESSION)? {
            format.compression = match word {
                "none" => None,
                "lz4" => Some(CompressionType::LZ4_FRAME),
                "zstd" => Some(CompressionType::ZSTD),
                _ => return Err(unknown(COMPRESSION, word, "lz4, zstd or none")),
            };
        }
        for word in words(headers, PARTITIONS)? {
            format.partitions = match word {
                "on" => true,
                "off" => false,
                _ => return Err(unknown(PARTITIONS, word, "on or off")),
            };
        }
        Ok(format)
    }
}

fn words<'a>(headers: &'a HeaderMap, name: &str) -> Result<Vec<&'a str>, Status> {
    let Some(value) = headers.get(name) else { return Ok(Vec::new()) };
    let text = value.to_str().map_err(|_| Status::invalid_argument(format!("{name} is not ASCII")))?;
    Ok(text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect())
}

fn unknown(name: &str, word: &str, known: &str) -> Status {
    Status::invalid_argument(format!("{name}: \"{word}\" is not known; it takes {known}"))
}
