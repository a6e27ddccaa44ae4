//! The audit: every statement, login, refusal and act in another's name, remembered and written down.
//!
//! [`Trail::note`] is what a statement's end costs: one lock, no I/O. A thread of its own writes what was noted, a batch at
//! a time. Where more comes than it can write, entries of reads and writes of rows are left out and counted; those of
//! definitions, users, rights, logins and refusals never are ([`Event::is_weighty`]): who makes them waits in
//! [`Trail::settled`] or [`Trail::room`] instead. A disk that takes no entries is told in the log and by a counter, and
//! stops nobody: else a full disk could not even be emptied by `DROP TABLE`.
//!
//! The newest entries stay in memory, bounded in bytes, for `system.audit`.

mod event;
mod file;
mod line;
mod verb;

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    io,
    path::PathBuf,
    sync::{Arc, OnceLock},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use insula_proto::UserNo;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

pub use event::{CANCELLED, DEADLINE_EXCEEDED, Event, Kind, OK, result};
pub(crate) use line::micros;
pub use verb::Verb;

use crate::{Error, ErrorKind, Identity, Result, Role};
use file::AuditFile;
use line::Line;

/// Entries that wait to be written.
const WAITING: usize = 16_384;
/// How long the writer lets entries gather that nobody waits for: it is woken once for all of them.
const GATHER: Duration = Duration::from_millis(100);
/// How long a definition waits until its entry is on disk, before it goes on all the same.
const PATIENCE: Duration = Duration::from_secs(5);
/// A longer text is cut.
const LONGEST_TEXT: usize = 4 << 10;
/// Log lines about a disk that takes no entries.
const COMPLAIN: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// `None`: nothing is written down.
    pub directory: Option<PathBuf>,
    /// Texts of statements are written down, with their literals.
    pub texts: bool,
    /// Size of a file in bytes.
    pub file_bytes: u64,
    /// Files that are kept.
    pub files: usize,
    /// Bytes of entries in memory.
    pub memory: usize,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { directory: None, texts: false, file_bytes: 64 << 20, files: 16, memory: 4 << 20 }
    }
}

/// Hears of every entry as it is noted; it must be quick.
pub trait Observer: Send + Sync {
    fn noted(&self, event: &Event);
}

/// Entries since the start.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct AuditFigures {
    pub noted: u64,
    /// Left out because they came faster than they could be written.
    pub dropped: u64,
    /// Not written because the disk did not take them.
    pub failed: u64,
}

pub struct Trail {
    config: AuditConfig,
    state: Mutex<State>,
    /// For the writer.
    wake: Condvar,
    /// Number of the last entry that survives a power cut, or was given up.
    synced: watch::Sender<u64>,
    hasher: RandomState,
    observer: OnceLock<Arc<dyn Observer>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    figures: AuditFigures,
    recent: VecDeque<Arc<Event>>,
    recent_bytes: usize,
    waiting: VecDeque<Arc<Event>>,
    /// Number of the last entry that waits or was written.
    last: u64,
    /// Whose texts are to be taken out of the files.
    forget: Vec<UserNo>,
    /// The highest number that somebody waits for.
    wanted: u64,
    /// The writer sleeps until it is woken.
    asleep: bool,
    closed: bool,
}

impl Trail {
    /// Remembers, and writes nothing down.
    pub fn in_memory() -> Arc<Self> {
        Arc::new(Self::new(AuditConfig::default()))
    }

    pub fn open(config: AuditConfig) -> Result<Arc<Self>> {
        let Some(directory) = config.directory.clone() else { return Ok(Arc::new(Self::new(config))) };
        let unusable = |error: io::Error| {
            let message = format!("cannot write the audit in {}: {error}", directory.display());
            Error::new(ErrorKind::FailedPrecondition, message)
        };
        let file = AuditFile::open(&directory, config.file_bytes, config.files).map_err(unusable)?;
        let trail = Arc::new(Self::new(config));
        for event in file.newest() {
            trail.state.lock().remember(Arc::new(event), trail.config.memory);
        }
        let (own, builder) = (Arc::clone(&trail), std::thread::Builder::new().name("insula-audit".into()));
        let writer =
            builder.spawn(move || Writer { trail: own, file, synced: 0, complained: None }.run()).map_err(unusable)?;
        *trail.writer.lock() = Some(writer);
        Ok(trail)
    }

    fn new(config: AuditConfig) -> Self {
        Self {
            config,
            state: Mutex::default(),
            wake: Condvar::new(),
            synced: watch::Sender::new(0),
            hasher: RandomState::new(),
            observer: OnceLock::new(),
            writer: Mutex::default(),
        }
    }

    /// Once.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        self.observer.set(observer).ok();
    }

    pub fn note(&self, mut event: Event) {
        if let Some(text) = event.text.as_ref().filter(|text| text.len() > LONGEST_TEXT) {
            event.text_hash = Some(self.hash(text));
            event.text = Some(format!("{}…", &text[..text.floor_char_boundary(LONGEST_TEXT)]).into());
        }
        if let Some(observer) = self.observer.get() {
            observer.noted(&event);
        }
        let weighty = event.is_weighty();
        let event = Arc::new(event);
        let mut state = self.state.lock();
        state.figures.noted += 1;
        if self.config.directory.is_some() && !state.closed {
            if weighty || state.waiting.len() < WAITING {
                state.waiting.push_back(Arc::clone(&event));
                state.last += 1;
                if state.asleep {
                    state.asleep = false;
                    self.wake.notify_one();
                }
            } else {
                state.figures.dropped += 1;
            }
        }
        state.remember(event, self.config.memory);
    }

    /// A statement that does not parse: nobody knows where in it a password is, so its text is not kept.
    pub fn unparsed(&self, user: &Identity, text: &str, error: ErrorKind) {
        let verb = Some(Verb::Unknown);
        let event = Event { verb, text_hash: Some(self.hash(text)), ..Event::new(Kind::Statement, result(error)) };
        self.note(event.by(user));
    }

    /// Waits until all that was noted before is on disk.
    pub async fn settled(&self) {
        let (last, mut synced) = {
            let mut state = self.state.lock();
            if state.last <= *self.synced.borrow() || state.closed {
                return;
            }
            state.wanted = state.last;
            self.wake.notify_one();
            (state.last, self.synced.subscribe())
        };
        if tokio::time::timeout(PATIENCE, synced.wait_for(|synced| *synced >= last)).await.is_err() {
            tracing::error!("the audit's files do not take an entry within {PATIENCE:?}; the statement goes on");
        }
    }

    /// Waits while more entries wait than should, for those who add entries that are never left out.
    pub async fn room(&self) {
        if self.state.lock().waiting.len() > WAITING {
            self.settled().await;
        }
    }

    /// The entries in memory that a user may see, the oldest first: those that concern them, for an admin all.
    pub fn visible_to(&self, user: &Identity) -> Vec<Arc<Event>> {
        let all = user.role == Role::Admin;
        let state = self.state.lock();
        state.recent.iter().filter(|event| all || event.concerns(user.no)).cloned().collect()
    }

    /// The same for the same text, as long as the server lives; keyed, so that nobody can try out texts.
    pub fn hash(&self, text: &str) -> u64 {
        self.hasher.hash_one(text)
    }

    pub fn hash_of(&self, event: &Event) -> Option<u64> {
        event.text_hash.or_else(|| event.text.as_deref().map(|text| self.hash(text)))
    }

    pub fn figures(&self) -> AuditFigures {
        self.state.lock().figures
    }

    /// Takes the texts of a user's statements out of memory and files: their literals may be rows of theirs.
    pub async fn forget_texts(&self, user: UserNo) {
        {
            let mut state = self.state.lock();
            let owned = |event: &Arc<Event>| event.user_no == Some(user) && event.text.is_some();
            let state = &mut *state;
            for event in state.recent.iter_mut().chain(&mut state.waiting).filter(|event| owned(event)) {
                let hash = self.hash_of(event);
                *event = Arc::new(Event { text: None, text_hash: hash, ..event.as_ref().clone() });
            }
            if !self.config.texts || self.config.directory.is_none() || state.closed {
                return;
            }
            state.forget.push(user);
            state.last += 1;
        }
        self.settled().await;
    }

    /// Writes what waits, and ends the writer.
    pub async fn close(&self) {
        self.state.lock().closed = true;
        self.wake.notify_one();
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            tokio::task::spawn_blocking(move || writer.join()).await.ok();
        }
    }
}

impl State {
    fn remember(&mut self, event: Arc<Event>, most: usize) {
        self.recent_bytes += event.weight();
        self.recent.push_back(event);
        while self.recent_bytes > most
            && let Some(oldest) = self.recent.pop_front()
        {
            self.recent_bytes = self.recent_bytes.saturating_sub(oldest.weight());
        }
    }
}

/// The thread that writes.
struct Writer {
    trail: Arc<Trail>,
    file: AuditFile,
    /// Number of the last entry that survives a power cut.
    synced: u64,
    complained: Option<Instant>,
}

/// What the writer takes at a time.
struct Batch {
    events: VecDeque<Arc<Event>>,
    forget: Vec<UserNo>,
    /// Number of the last of them.
    last: u64,
    end: bool,
}

impl Writer {
    fn run(mut self) {
        loop {
            let batch = self.next();
            if let Err(error) = self.write(&batch) {
                self.trail.state.lock().figures.failed += batch.events.len() as u64;
                self.complain(&error);
            }
            self.publish(&batch);
            if batch.end {
                return;
            }
        }
    }

    fn next(&self) -> Batch {
        let trail = &self.trail;
        let mut state = trail.state.lock();
        while state.waiting.is_empty() && state.forget.is_empty() && state.wanted <= self.synced && !state.closed {
            state.asleep = true;
            trail.wake.wait(&mut state);
        }
        state.asleep = false;
        if state.wanted <= self.synced && !state.closed {
            trail.wake.wait_for(&mut state, GATHER);
        }
        let (events, forget) = (std::mem::take(&mut state.waiting), std::mem::take(&mut state.forget));
        Batch { events, forget, last: state.last, end: state.closed }
    }

    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let mut lines = Vec::with_capacity(256 * batch.events.len());
        for event in &batch.events {
            Line::new(event, self.trail.hash_of(event), self.trail.config.texts).write(&mut lines);
        }
        if !lines.is_empty() {
            self.file.write(&lines)?;
        }
        batch.forget.iter().try_for_each(|user| self.file.forget_texts(*user))
    }

    /// Syncs if somebody waits for it, and tells them.
    fn publish(&mut self, batch: &Batch) {
        if self.trail.state.lock().wanted <= self.synced && !batch.end {
            return;
        }
        if let Err(error) = self.file.sync() {
            self.complain(&error);
        }
        self.synced = batch.last;
        self.trail.synced.send_replace(batch.last);
    }

    fn complain(&mut self, error: &io::Error) {
        if self.complained.is_none_or(|last| last.elapsed() >= COMPLAIN) {
            self.complained = Some(Instant::now());
            tracing::error!(%error, "the audit's file takes no entries");
        }
    }
}

#[cfg(test)]
mod tests;
