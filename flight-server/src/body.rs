//! A request's body in which a client that broke off cannot be mistaken for one that has finished.
//!
//! tonic ends a request stream in good order when the client cancels the call. An ingest would then store what had
//! arrived by then as if it were the whole, so the cancellation is given another code before tonic sees it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::{Code, Status, body::Body};

pub struct Unbroken(Body);

impl Unbroken {
    pub fn body(inner: Body) -> Body {
        Body::new(Self(inner))
    }
}

impl http_body::Body for Unbroken {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.0).poll_frame(context).map_err(|status| match status.code() {
            Code::Cancelled => Status::aborted("the client cancelled the call"),
            _ => status,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
