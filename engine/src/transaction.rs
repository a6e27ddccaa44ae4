//! Transactions: those that are open, whose they are, and when they end by themselves.
//!
//! A [`Transaction`] is begun by SQL, and then is its session's current one, or by a call, and then known by a number
//! that statements name. Either way it is found under its owner's number alone. Its snapshot is taken by its first
//! statement; from then on it holds back what the snapshot shows, and so it is ended when nobody uses it for a while,
//! or when it has grown too old. Before that it holds nothing, and stays as long as its session: clients that turn
//! autocommit off always have one open. `open` is one transaction, `control` the SQL that begins and ends them,
//! `statement` how statements run in one.

pub(crate) mod control;
mod open;
mod statement;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use datafusion::execution::memory_pool::MemoryPool;
use insula_proto::UserNo;
use insula_storage::Store;
use parking_lot::Mutex;

use crate::{Error, ErrorKind, Identity, Result, share::Shares};
pub use open::Transaction;
pub(crate) use open::{End, Moment, Turn, too_large};
pub(crate) use statement::run as run_within;

/// Transactions of one user that are known, those that have not read or written yet included.
const MOST_PER_USER: usize = 256;
/// One that the server ended is known for so long, so that its owner's ROLLBACK finds it. It holds next to nothing.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3_600);

#[derive(Clone, Copy, Debug)]
pub struct TransactionLimits {
    /// Time without a statement after which a transaction is rolled back.
    pub idle: Duration,
    /// Time from its first statement on after which it is, used or not.
    pub age: Duration,
    /// Bytes of rows that one may have written.
    pub bytes: usize,
}

impl Default for TransactionLimits {
    fn default() -> Self {
        Self { idle: Duration::from_secs(300), age: Duration::from_secs(3_600), bytes: 64 << 20 }
    }
}

/// All transactions of the server.
pub(crate) struct Transactions {
    pub limits: TransactionLimits,
    store: Arc<Store>,
    shares: Arc<Shares>,
    next: AtomicU64,
    /// Open ones, and those that the server ended and whose owner may not know yet.
    known: Mutex<BTreeMap<(UserNo, u64), Arc<Transaction>>>,
}

impl Transactions {
    pub fn new(store: &Arc<Store>, shares: &Arc<Shares>, limits: TransactionLimits) -> Self {
        let (store, shares) = (Arc::clone(store), Arc::clone(shares));
        Self { limits, store, shares, next: AtomicU64::new(1), known: Mutex::default() }
    }

    pub fn begin(&self, user: &Identity, read_only: bool) -> Result<Arc<Transaction>> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let pool: Arc<dyn MemoryPool> = self.shares.of(user.no);
        let transaction = Transaction::new(id, user.no, read_only, &self.store, &pool, self.limits);
        let mut known = self.known.lock();
        make_room(&mut known, user.no)?;
        known.insert((user.no, id), Arc::clone(&transaction));
        Ok(transaction)
    }

    /// A transaction of this user.
    pub fn find(&self, user: &Identity, id: u64) -> Result<Arc<Transaction>> {
        let found = self.known.lock().get(&(user.no, id)).cloned();
        found.ok_or_else(|| Error::not_found("the transaction has ended; begin a new one"))
    }

    /// Those that are open.
    pub fn count(&self) -> usize {
        self.known.lock().values().filter(|transaction| !transaction.is_over()).count()
    }

    pub fn forget(&self, transaction: &Transaction) {
        self.known.lock().remove(&(transaction.user, transaction.id));
    }

    /// Ends those that are too old or unused for too long, and forgets those that ended long ago.
    pub fn sweep(&self) {
        let now = Instant::now();
        let all: Vec<_> = self.known.lock().values().cloned().collect();
        for transaction in all {
            transaction.expire(now);
            if transaction.ended_before(now.checked_sub(KNOWN_FOR)) {
                self.forget(&transaction);
            }
        }
    }

    /// Ends those of a user who is no more.
    pub fn end_of(&self, user: UserNo) {
        let own: Vec<_> =
            self.known.lock().range((user, 0)..=(user, u64::MAX)).map(|(_, own)| Arc::clone(own)).collect();
        for transaction in own {
            transaction.end("its user was dropped");
            self.forget(&transaction);
        }
    }

    /// Ends all that hold a snapshot.
    pub fn end_all(&self, why: &str) {
        let all: Vec<_> = self.known.lock().values().cloned().collect();
        all.iter().filter(|transaction| transaction.has_begun()).for_each(|transaction| transaction.end(why));
    }
}

/// Of too many, the oldest that has not done anything goes: it was left behind, most likely.
fn make_room(known: &mut BTreeMap<(UserNo, u64), Arc<Transaction>>, user: UserNo) -> Result<()> {
    let own = || known.range((user, 0)..=(user, u64::MAX));
    if own().count() < MOST_PER_USER {
        return Ok(());
    }
    let unused = own().find(|(_, transaction)| transaction.is_over() || !transaction.has_begun());
    let unused = unused.map(|(key, transaction)| (*key, Arc::clone(transaction)));
    let Some((key, transaction)) = unused else {
        let message = format!("{MOST_PER_USER} transactions are open; commit or roll back some of them");
        return Err(Error::new(ErrorKind::ResourceExhausted, message));
    };
    transaction.end("too many others were begun after it");
    known.remove(&key);
    Ok(())
}
