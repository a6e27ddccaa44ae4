//! What comes over the network, any bytes at all: tickets, commands, headers, Arrow messages. See `fuzz/` in the repository.

use std::sync::OnceLock;

use arrow_flight::{CancelFlightInfoRequest, FlightData, FlightInfo, sql::Any};
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue};
use insula_engine::fuzz::Target;
use insula_proto::UserNo;
use prost::Message;

use crate::{
    deadline::Deadline,
    format::Format,
    identity::metadata::{self, Ways},
    seal::{Kind, Seal},
    service,
};

const TARGETS: &[Target] =
    &[("sealed", sealed), ("command", command), ("headers", headers), ("flight_data", flight_data)];

/// Those of all crates.
pub fn targets() -> impl Iterator<Item = Target> {
    insula_engine::fuzz::targets().chain(TARGETS.iter().copied())
}

fn sealed(data: &[u8]) {
    static SEAL: OnceLock<Option<Seal>> = OnceLock::new();
    let Some(seal) = SEAL.get_or_init(|| Seal::new().ok()) else { return };
    for kind in [Kind::Ticket, Kind::Handle, Kind::Transaction, Kind::Savepoint, Kind::Poll] {
        assert!(seal.open(kind, data, UserNo(1)).is_err(), "a ticket was made by chance");
    }
}

/// A descriptor, a ticket, the body of an action.
fn command(data: &[u8]) {
    let _ = service::command(data, "descriptor");
    let _ = Any::decode(data);
    let _ = FlightInfo::decode(data);
    let _ = CancelFlightInfoRequest::decode(data);
    let _ = insula_proto::flight::SetSessionOptionsRequest::decode(data);
}

/// Lines of `name: value`.
fn headers(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = (&line[..colon], line.get(colon + 1..).unwrap_or_default());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    for dev in [false, true] {
        let trusted_header = HeaderName::from_static("x-user").try_into().ok().filter(|_| dev);
        let _ = Ways { dev, trusted_header }.claim(&headers, || None);
    }
    let _ = (metadata::run_as(&headers), metadata::schema(&headers), Format::of(&headers));
    let _ = Deadline::new(&headers, None);
}

const LARGEST_MESSAGE: u64 = 16 << 20;

/// A stream of two messages, the schema first: lengths before each.
fn flight_data(data: &[u8]) {
    let mut rest = data;
    let mut taken = || {
        let (length, after) = rest.split_first_chunk::<2>().unwrap_or((&[0; 2], &[]));
        let (piece, after) = after.split_at(usize::from(u16::from_be_bytes(*length)).min(after.len()));
        rest = after;
        bytes::Bytes::copy_from_slice(piece)
    };
    let messages = [0, 1].map(|_| {
        let (data_header, data_body) = (taken(), taken());
        Ok(FlightData { data_header, data_body, ..FlightData::default() })
    });
    let decoded =
        service::decoded(stream::iter(messages).boxed(), LARGEST_MESSAGE, |_| Ok(())).take(4).collect::<Vec<_>>();
    let _ = futures::executor::block_on(decoded);
}

#[cfg(test)]
mod tests;
