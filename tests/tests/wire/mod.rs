//! Calls below the client: without an identity, with damaged bytes.

use arrow_flight::{FlightData, FlightDescriptor};
use bytes::Bytes;
use futures::TryStreamExt;
use tonic::{
    Code, Request, Response, Status, Streaming,
    metadata::{AsciiMetadataKey, MetadataMap},
    transport::{Channel, Endpoint},
};

pub async fn channel(url: &str) -> Channel {
    let uri = url.replacen("grpc://", "http://", 1);
    Endpoint::from_shared(uri).expect("a URL").connect().await.expect("a connection")
}

/// Makes requests that carry only the headers given.
pub struct Anonymous(MetadataMap);

impl Anonymous {
    pub fn new(headers: &[(&'static str, &'static str)]) -> Self {
        let mut metadata = MetadataMap::new();
        for (name, value) in headers {
            metadata.insert(AsciiMetadataKey::from_static(name), value.parse().expect("a header"));
        }
        Self(metadata)
    }

    pub fn of<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.0.clone();
        request
    }
}

/// The code of a refusal; `None`: it was answered.
pub fn outcome<T>(answer: Result<Response<T>, Status>) -> Option<Code> {
    answer.err().map(|status| status.code())
}

/// The same of a stream, where the refusal may come as its end.
pub async fn code_of<T>(answer: Result<Response<Streaming<T>>, Status>) -> Option<Code> {
    match answer {
        Err(status) => Some(status.code()),
        Ok(stream) => stream.into_inner().try_collect::<Vec<_>>().await.err().map(|status| status.code()),
    }
}

/// A DoPut of one command and no data.
pub fn put_command(command: FlightDescriptor) -> Vec<FlightData> {
    vec![FlightData { flight_descriptor: Some(command), ..Default::default() }]
}

/// What a ticket may look like after someone played with it.
pub fn damaged(ticket: &Bytes) -> Vec<Bytes> {
    let mut flipped = ticket.to_vec();
    if let Some(last) = flipped.last_mut() {
        *last ^= 1;
    }
    let mut first = ticket.to_vec();
    first[0] ^= 0x80;
    let cut = ticket.slice(..ticket.len() / 2);
    vec![Bytes::new(), "nonsense".into(), flipped.into(), first.into(), cut, vec![0; 4096].into()]
}
