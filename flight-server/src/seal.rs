//! Seals tickets and handles, so that a client can neither read nor make one, nor use another user's.
//!
//! What is sealed names a statement in the registry ([`crate::statements`]), its owner and its end; it carries no
//! authority: who asks is known from the request alone. The key lives as long as the process, as the registry does.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use insula_proto::UserNo;
use tonic::Status;

use crate::status;

#[cfg(test)]
mod tests;

const NONCE: usize = 24;
const CONTENT: usize = 24;

/// What a sealed message is for; one kind never opens as another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Ticket,
    Handle,
    Transaction,
    Savepoint,
    /// What PollFlightInfo is asked with from its second call on.
    Poll,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Ticket => "ticket",
            Self::Handle => "prepared statement handle",
            Self::Transaction => "transaction id",
            Self::Savepoint => "savepoint id",
            Self::Poll => "descriptor of PollFlightInfo",
        }
    }
}

pub struct Seal {
    cipher: XChaCha20Poly1305,
}

impl Seal {
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self { cipher: XChaCha20Poly1305::new(&key.into()) })
    }

    pub fn close(&self, kind: Kind, statement: u64, user: UserNo, lifetime: Duration) -> Result<Bytes, Status> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(status::internal)?;
        let ends = now().saturating_add(lifetime.as_secs());
        let mut content = [0; CONTENT];
        content[..8].copy_from_slice(&statement.to_be_bytes());
        content[8..16].copy_from_slice(&user.0.to_be_bytes());
        content[16..].copy_from_slice(&ends.to_be_bytes());
        let payload = Payload { msg: &content, aad: kind.name().as_bytes() };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload).map_err(status::internal)?;
        Ok(Bytes::from([&nonce[..], &sealed].concat()))
    }

    /// The statement's id, for its owner and before its end.
    pub fn open(&self, kind: Kind, sealed: &[u8], user: UserNo) -> Result<u64, Status> {
        let (statement, owner, ends) = self.content(kind, sealed).ok_or_else(|| {
            Status::not_found(format!("there is no such {}: this server process did not issue it", kind.name()))
        })?;
        if owner != user {
            return Err(Status::permission_denied(format!("this {} belongs to another user", kind.name())));
        }
        if ends < now() {
            return Err(Status::not_found(format!("this {} has expired; ask for a new one", kind.name())));
        }
        Ok(statement)
    }

    fn content(&self, kind: Kind, sealed: &[u8]) -> Option<(u64, UserNo, u64)> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        let payload = Payload { msg: sealed, aad: kind.name().as_bytes() };
        let content: [u8; CONTENT] = self.cipher.decrypt(&XNonce::from(*nonce), payload).ok()?.try_into().ok()?;
        let number = |at: usize| content[at..].first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        Some((number(0)?, UserNo(number(8)?), number(16)?))
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
