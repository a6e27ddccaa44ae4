//! The engine, its users, and the one way in which anything is asked: every reply is searched before it is looked at.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray},
    util::display::{ArrayFormatter, FormatOptions},
};
use futures::{StreamExt, TryStreamExt, stream};
use insula_engine::{
    Engine, EngineConfig, Error, ErrorKind, Identity, IngestMode, IngestTarget, Outcome, Parts, Plan, Running, Session,
    StoreConfig,
};
use parking_lot::Mutex;

use crate::{
    canary, names,
    rng::Rng,
    rows::{self, Rows},
};

/// One user, asked by one task at a time.
pub struct User {
    pub index: usize,
    pub identity: Identity,
    pub session: Arc<Session>,
    pub rows: Rows,
    /// Number and text canaries of theirs that others may try out.
    pub known: Known,
}

/// Canaries of a user, as somebody else may have learned them.
#[derive(Clone)]
pub struct Known {
    pub index: usize,
    pub tokens: Vec<String>,
    pub number: i64,
}

/// What another user of the server has got hold of.
pub struct Stolen {
    pub owner: usize,
    pub identity: Identity,
    pub session: Arc<Session>,
    pub plan: Arc<Plan>,
    pub parts: Option<Arc<Parts>>,
    pub transaction: u64,
    pub query: String,
    /// Keeps its place among those that run.
    _running: Running,
}

pub struct World {
    pub engine: Arc<Engine>,
    pub seed: u64,
    pub names: Vec<String>,
    pub known: Vec<Known>,
    pub stolen: Vec<Stolen>,
    pub asked: AtomicU64,
    pub answered: AtomicU64,
    /// How often each kind of refusal came.
    pub refusals: Mutex<BTreeMap<String, u64>>,
    _dir: tempfile::TempDir,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    Rows(Vec<String>),
    Count(u64),
    Refused(ErrorKind, String),
}

impl Reply {
    pub fn rows(self, sql: &str) -> Vec<String> {
        match self {
            Self::Rows(rows) => rows,
            other => panic!("{sql}: no rows, but {other:?}"),
        }
    }
}

impl World {
    pub async fn new(seed: u64, count: usize) -> (Self, Vec<User>) {
        let dir = tempfile::tempdir().unwrap();
        let config = EngineConfig {
            store: StoreConfig { chunk_rows: 4, ..StoreConfig::new(dir.path().to_path_buf()) },
            memory_limit: 512 << 20,
            transactions: Default::default(),
            limits: Default::default(),
            admin_password: Some("secret".into()),
        };
        let engine = Engine::open(config).await.unwrap();
        let mut rng = Rng::new(seed);
        let names = names::all(count, &mut rng);
        let mut world = Self {
            engine,
            seed,
            names,
            known: Vec::new(),
            stolen: Vec::new(),
            asked: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            refusals: Mutex::default(),
            _dir: dir,
        };
        let users = world.fill(&mut rng).await;
        for user in users.iter().step_by(7) {
            let stolen = world.steal(user).await;
            world.stolen.push(stolen);
        }
        (world, users)
    }

    async fn user(&self, index: usize) -> User {
        let identity = self.engine.vouched(&self.names[index]).await.unwrap();
        let session = Arc::new(Session::new(&identity));
        let known = Known { index, tokens: Vec::new(), number: canary::number(index, 1) };
        User { index, identity, session, rows: Rows::default(), known }
    }

    /// Every user has rows in files that all share, replaced and deleted ones among them, and hot rows above those.
    async fn fill(&mut self, rng: &mut Rng) -> Vec<User> {
        let admin = self.user(self.names.len() - 1).await;
        for sql in rows::TABLES {
            self.must(&admin, sql).await;
        }
        let public = (0..rows::PUBLIC).map(|id| format!("({id}, 'public {id}')")).collect::<Vec<_>>().join(", ");
        self.must(&admin, &format!("INSERT INTO pub VALUES {public}")).await;
        // Shared, and granted to nobody.
        let token = canary::token(admin.index, rng);
        self.must(&admin, &format!("INSERT INTO secret VALUES (1, '{token}')")).await;
        let mut users = Vec::new();
        for index in 0..self.names.len() - 1 {
            users.push(self.user(index).await);
        }
        self.load(&admin, &mut users, rng).await;
        let fill = stream::iter(users.into_iter().map(|user| (user, rng.fork())));
        let world = &*self;
        let mut users: Vec<User> = fill.map(|(user, rng)| world.fill_one(user, rng)).buffered(16).collect().await;
        self.must(&admin, "FLUSH ALL").await;
        let change = stream::iter(users.into_iter().map(|user| (user, rng.fork())));
        users = change.map(|(user, rng)| world.change_one(user, rng)).buffered(16).collect().await;
        self.must(&admin, "FLUSH TABLE t").await;
        users.push(admin);
        let mut known: Vec<_> = users.iter().map(|user| user.known.clone()).collect();
        known.sort_by_key(|known| known.index);
        known.retain(|known| !known.tokens.is_empty());
        self.known = known;
        users
    }

    /// `log` is filled by one load for all users.
    async fn load(&self, admin: &User, users: &mut [User], rng: &mut Rng) {
        let (mut numbers, mut tags, mut owners) = (Vec::new(), Vec::new(), Vec::new());
        for user in users {
            for _ in 0..2 + user.index % 5 {
                let row = (user.rows.number(user.index), canary::token(user.index, rng));
                numbers.push(row.0);
                tags.push(row.1.clone());
                owners.push(self.names[user.index].clone());
                user.rows.log.push(row);
            }
        }
        let count = numbers.len() as u64;
        let columns: [(&str, ArrayRef); 3] = [
            ("n", Arc::new(Int64Array::from(numbers))),
            ("tag", Arc::new(StringArray::from(tags))),
            ("owner", Arc::new(StringArray::from(owners))),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap();
        let target = IngestTarget {
            namespace: None,
            table: "log".into(),
            mode: IngestMode::Append,
            user_column: Some("owner".into()),
        };
        let (schema, rows) = (batch.schema(), stream::iter([Ok(batch)]).boxed());
        let stored = self.engine.ingest(&admin.identity, &admin.session, target, schema, rows).await.unwrap();
        assert_eq!(stored, count);
    }

    async fn fill_one(&self, mut user: User, mut rng: Rng) -> User {
        let (index, rng) = (user.index, &mut rng);
        let count = 6 + index % 9;
        for id in 0..count as i64 {
            let item = user.rows.item(index, rng);
            user.known.tokens.push(item.name.clone());
            user.known.number = item.v;
            user.rows.t.insert(id, item);
        }
        let all: Vec<_> = user.rows.t.iter().map(|(id, item)| rows::values(*id, item)).collect();
        self.must(&user, &format!("INSERT INTO t VALUES {}", all.join(", "))).await;
        for _ in 0..3 + index % 4 {
            let (token, t_id) = (canary::token(index, rng), user.rows.free_reference(rng));
            let amount = user.rows.number(index);
            user.known.tokens.push(token.clone());
            user.rows.s.insert(token, (t_id, amount));
        }
        let all = user.rows.s.iter().map(|(token, (t_id, amount))| format!("('{token}', {t_id}, {amount})"));
        self.must(&user, &format!("INSERT INTO s VALUES {}", all.collect::<Vec<_>>().join(", "))).await;
        let (token, number) = (canary::token(index, rng), user.rows.number(index));
        self.must(&user, &format!("INSERT INTO f VALUES (1, '{token}', {number}), (2, 'x', {number})")).await;
        self.must(&user, &format!("INSERT INTO other.t VALUES (1, '{token}'), (2, NULL)")).await;
        user
    }

    async fn change_one(&self, mut user: User, mut rng: Rng) -> User {
        let index = user.index;
        let note = canary::token(index, &mut rng);
        self.must(&user, &format!("UPDATE t SET note = '{note}' WHERE id < 2")).await;
        user.rows.t.range_mut(..2).for_each(|(_, item)| item.note = Some(note.clone()));
        self.must(&user, "DELETE FROM t WHERE id = 3").await;
        user.rows.t.remove(&3);
        user
    }

    async fn steal(&self, user: &User) -> Stolen {
        let sql = "SELECT id, name, v FROM t WHERE id >= 0";
        let session = Arc::new(Session::new(&user.identity));
        let plan = self.engine.plan(&user.identity, sql).unwrap();
        let parts = self.engine.parts(&user.identity, &session, &plan, Vec::new()).await.unwrap();
        let transaction = self.engine.begin_transaction(&user.identity, &user.session).unwrap().id();
        let text = format!("SELECT '{}'", user.known.tokens.first().map_or("", |token| token));
        let running = self.engine.begin(&user.identity, &session, &text.into());
        let query = self.engine.running(&user.identity).last().unwrap().id.clone();
        Stolen {
            owner: user.index,
            identity: user.identity.clone(),
            session,
            plan,
            parts,
            transaction,
            query,
            _running: running,
        }
    }

    /// A statement that the test itself relies on.
    pub async fn must(&self, user: &User, sql: &str) -> Reply {
        match self.ask(user, sql, Vec::new()).await {
            Reply::Refused(kind, message) => panic!("{sql}: {kind:?}: {message}"),
            reply => reply,
        }
    }

    /// The reply, after it was searched for whatever is not the user's.
    pub async fn ask(&self, user: &User, sql: &str, params: Vec<RecordBatch>) -> Reply {
        let asked = format!("{sql} {}", lines(&params).join(" "));
        let outcome = self.engine.execute(&user.identity, &user.session, sql, params).await;
        self.reply(user, &asked, outcome).await
    }

    /// `asked`: what the user has said, and may therefore hear again.
    pub async fn reply(&self, user: &User, asked: &str, outcome: Result<Outcome, Error>) -> Reply {
        let gathered = async {
            Ok::<_, Error>(match outcome? {
                Outcome::Count(count) => Reply::Count(count),
                Outcome::Rows { schema, rows } => {
                    self.search(user, asked, &format!("{schema:?}"));
                    Reply::Rows(lines(&rows.try_collect::<Vec<_>>().await?))
                }
            })
        };
        let reply = gathered.await.unwrap_or_else(|error| Reply::Refused(error.kind(), error.message().to_owned()));
        self.asked.fetch_add(1, Ordering::Relaxed);
        match &reply {
            Reply::Rows(rows) => rows.iter().for_each(|row| self.search(user, asked, row)),
            Reply::Refused(_, message) => self.search(user, asked, message),
            Reply::Count(_) => {}
        }
        match &reply {
            Reply::Refused(kind, message) => self.refuse(user, asked, *kind, message),
            _ => drop(self.answered.fetch_add(1, Ordering::Relaxed)),
        }
        reply
    }

    /// Fails the test if there is something in a reply that is another's.
    pub fn search(&self, user: &User, asked: &str, reply: &str) {
        if let Some(found) = canary::foreign(reply, user.index, asked) {
            self.fail(user, asked, &format!("the reply holds {found}, which is another user's:\n{reply}"));
        }
    }

    pub fn fail(&self, user: &User, asked: &str, what: &str) -> ! {
        panic!("INSULA_LEAK_SEED={}: user {} ({:?}): {asked}\n{what}", self.seed, user.index, self.names[user.index])
    }

    fn refuse(&self, user: &User, asked: &str, kind: ErrorKind, message: &str) {
        let is_bug = matches!(kind, ErrorKind::Internal | ErrorKind::DataLoss | ErrorKind::Unauthenticated);
        // A scan that met a row of somebody else showed nothing, and yet its statement could reach for it.
        if message.contains("not the user's") || message.contains("not its user's") {
            self.fail(user, asked, message);
        }
        let words: String = message.chars().filter(|c| !c.is_ascii_digit()).take(40).collect();
        let note = if is_bug { format!("{kind:?}: {message} <- {asked}") } else { format!("{kind:?}: {words}") };
        *self.refusals.lock().entry(note).or_default() += 1;
    }
}

/// Rows as text, one a line; NULL as `NULL`.
pub fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let mut lines = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options));
        let columns: Vec<_> = columns.collect::<Result<_, _>>().unwrap();
        let line = |i: usize| columns.iter().map(|c| c.value(i).to_string()).collect::<Vec<_>>().join("|");
        lines.extend((0..batch.num_rows()).map(line));
    }
    lines
}
