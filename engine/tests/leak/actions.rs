//! What a user does next: asks, changes, or tries what is not theirs to do.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use insula_engine::{ErrorKind, Outcome, Role};

use crate::{
    changes,
    grammar::Grammar,
    known::{self, Question},
    rng::Rng,
    rows::PUBLIC,
    world::{Known, Reply, User, World, lines},
};

impl World {
    /// One statement, or a few that belong together.
    pub async fn act(&self, user: &mut User, rng: &mut Rng) {
        let other = self.other(user, rng);
        match rng.below(100) {
            0..30 => self.know(user, rng, other).await,
            30..68 => {
                let sql = self.anything(user, rng, other);
                self.ask(user, &sql, Vec::new()).await;
            }
            68..80 => self.change(user, rng, other).await,
            80..84 => self.explain(user, rng, other).await,
            84..86 => self.prepared(user, rng, other).await,
            86 | 87 => self.point(user, rng, other).await,
            88..90 => self.parts(user, rng).await,
            90..93 => self.system(user, rng).await,
            93..96 => self.transaction(user, rng, other).await,
            96 => self.foreign_key(user, other).await,
            97 => self.mistake(user, rng, other).await,
            98 => self.stolen(user, rng).await,
            _ => self.maintenance(user, rng).await,
        }
    }

    fn other(&self, user: &User, rng: &mut Rng) -> &Known {
        loop {
            let other = &self.known[rng.below(self.known.len() as u64) as usize];
            if other.index != user.index {
                return other;
            }
        }
    }

    fn anything(&self, user: &User, rng: &mut Rng, other: &Known) -> String {
        Grammar::new(rng, &user.known, other).query()
    }

    async fn know(&self, user: &User, rng: &mut Rng, other: &Known) {
        let question = known::question(rng, &self.names[user.index], &user.rows, other);
        self.verify(user, &question).await;
    }

    pub async fn verify(&self, user: &User, question: &Question) {
        let reply = self.ask(user, &question.sql, Vec::new()).await;
        self.compare(user, question, reply);
    }

    fn compare(&self, user: &User, question: &Question, reply: Reply) {
        let mut rows = match reply {
            Reply::Rows(rows) => rows,
            other => self.fail(user, &question.sql, &format!("no rows, but {other:?}")),
        };
        let mut expected = question.rows.clone();
        if !question.ordered {
            rows.sort();
            expected.sort();
        }
        if rows != expected {
            self.fail(user, &question.sql, &format!("is        {rows:?}\nshould be {expected:?}"));
        }
    }

    async fn change(&self, user: &mut User, rng: &mut Rng, other: &Known) {
        if user.identity.role == Role::Admin {
            return;
        }
        let change = changes::change_of(rng, user.index, &user.rows, other);
        let reply = self.ask(user, &change.sql, Vec::new()).await;
        if !change.reply.is(&reply) {
            self.fail(user, &change.sql, &format!("is        {reply:?}\nshould be {:?}", change.reply));
        }
        user.rows = change.after;
    }

    /// Plans tell of files, statistics and rows; of the user's own.
    async fn explain(&self, user: &User, rng: &mut Rng, other: &Known) {
        let how = ["EXPLAIN", "EXPLAIN VERBOSE", "EXPLAIN ANALYZE", "EXPLAIN ANALYZE VERBOSE", "EXPLAIN FORMAT tree"];
        let how = how[rng.below(how.len() as u64) as usize];
        if rng.below(3) > 0 {
            let sql = format!("{how} {}", self.anything(user, rng, other));
            self.ask(user, &sql, Vec::new()).await;
            return;
        }
        let (table, most) = match rng.below(3) {
            0 => ("t", user.rows.t.len()),
            1 => ("s", user.rows.s.len()),
            _ => ("log", user.rows.log.len()),
        };
        let filter = ["", " WHERE true", " WHERE _seq > 0", " LIMIT 5"][rng.below(4) as usize];
        let sql = format!("{how} SELECT * FROM {table}{filter}");
        if let Reply::Rows(lines) = self.ask(user, &sql, Vec::new()).await {
            // What was replaced or deleted is counted below the nodes that hide it; nobody changes their rows so often.
            let most = 4 * most + 60;
            if let Some(count) = lines.iter().flat_map(|line| counts(line)).find(|count| *count > most) {
                self.fail(user, &sql, &format!("a plan counts {count} rows:\n{}", lines.join("\n")));
            }
        }
    }

    /// Parameters that are another's keys; a plan that is kept; a description made before the rows are there.
    async fn prepared(&self, user: &User, rng: &mut Rng, other: &Known) {
        let token = &other.tokens[rng.below(other.tokens.len() as u64) as usize];
        let own = rng.below(12) as i64;
        let sql = "SELECT id, name FROM t WHERE name = $1 OR id = $2";
        let columns: [(&str, ArrayRef); 2] = [
            ("1", Arc::new(StringArray::from(vec![token.as_str(), "none"]))),
            ("2", Arc::new(Int64Array::from(vec![own, -1]))),
        ];
        let params =
            RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
        let found = user.rows.t.get(&own).into_iter().map(|item| format!("{own}|{}", item.name)).collect();
        let question = Question { sql: sql.into(), rows: found, ordered: false };
        let plan = self.engine.plan(&user.identity, sql).unwrap();
        let described = self.engine.describe(&user.identity, &user.session, &plan, None).await.unwrap();
        self.search(user, sql, &format!("{described:?}"));
        for _ in 0..2 {
            let running = self.engine.begin(&user.identity, &user.session, plan.shown_text());
            let outcome = self.engine.run(&user.identity, &user.session, &plan, vec![params.clone()], running).await;
            let reply = self.reply(user, &format!("{sql} {token}"), outcome).await;
            self.compare(user, &question, reply);
        }
    }

    /// Reads of one row by its key, which are answered without a plan once they have run.
    async fn point(&self, user: &User, rng: &mut Rng, other: &Known) {
        let token = match rng.below(2) {
            0 => other.tokens[rng.below(other.tokens.len() as u64) as usize].clone(),
            _ => user.rows.s.keys().next().cloned().unwrap_or_default(),
        };
        let key = rng.below(14) as i64;
        let (sql, param, rows): (_, ArrayRef, Vec<String>) = match rng.below(3) {
            0 => {
                let found = user.rows.t.get(&key).map(|item| format!("{key}|{}|{}", item.name, item.v));
                (
                    "SELECT id, name, v FROM t WHERE id = $1",
                    Arc::new(Int64Array::from(vec![key])),
                    found.into_iter().collect(),
                )
            }
            1 => {
                let found = user.rows.s.get(&token).map(|(t_id, amount)| format!("{token}|{t_id}|{amount}"));
                (
                    "SELECT token, t_id, amount FROM s WHERE token = $1",
                    Arc::new(StringArray::from(vec![token.clone()])),
                    found.into_iter().collect(),
                )
            }
            _ => {
                let found = (0..PUBLIC).contains(&key).then(|| format!("public {key}"));
                (
                    "SELECT label FROM pub WHERE id = $1",
                    Arc::new(Int64Array::from(vec![key])),
                    found.into_iter().collect(),
                )
            }
        };
        let params = vec![RecordBatch::try_from_iter_with_nullable([("1", param, true)]).unwrap()];
        let plan = self.engine.plan(&user.identity, sql).unwrap();
        let question = Question { sql: sql.into(), rows, ordered: false };
        let asked = format!("{sql} {token}");
        let running = self.engine.begin(&user.identity, &user.session, plan.shown_text());
        let outcome = self.engine.run(&user.identity, &user.session, &plan, params.clone(), running).await;
        let reply = self.reply(user, &asked, outcome).await;
        self.compare(user, &question, reply);
        // The row may not be at hand; then there is no short answer.
        let Some(row) = self.engine.row(&user.identity, &user.session, &plan, &params) else { return };
        let reply = row.map(|columns| {
            let named = columns.into_iter().enumerate().map(|(i, column)| (i.to_string(), column, true));
            Reply::Rows(lines(&[RecordBatch::try_from_iter_with_nullable(named).unwrap()]))
        });
        let reply = reply.unwrap_or_else(|error| Reply::Refused(error.kind(), error.message().to_owned()));
        self.search(user, &asked, &format!("{reply:?}"));
        self.compare(user, &question, reply);
    }

    async fn parts(&self, user: &User, rng: &mut Rng) {
        let sql = ["SELECT id, v FROM t", "SELECT token, t_id FROM s", "SELECT n, tag FROM log WHERE n > 0"];
        let sql = sql[rng.below(3) as usize];
        let plan = self.engine.plan(&user.identity, sql).unwrap();
        let parts = self.engine.parts(&user.identity, &user.session, &plan, Vec::new()).await;
        let Ok(Some(parts)) = parts else { return };
        let mut all = Vec::new();
        for part in 0..parts.count() {
            let running = self.engine.begin(&user.identity, &user.session, plan.shown_text());
            all.extend(self.reply(user, sql, self.engine.part(&user.identity, &parts, part, running)).await.rows(sql));
        }
        let whole = self.ask(user, sql, Vec::new()).await.rows(sql);
        if all.len() != whole.len() {
            self.fail(user, sql, &format!("{} rows in parts, {} as a whole", all.len(), whole.len()));
        }
    }

    /// Every table that the server makes itself, whatever there is; and what else tells of the server.
    async fn system(&self, user: &User, rng: &mut Rng) {
        let tables = self.engine.tables(&user.identity);
        let tables: Vec<_> = tables.iter().filter(|table| table.table_type == "SYSTEM TABLE").collect();
        let sql = match rng.below(12) {
            0 => "SHOW TABLES".to_owned(),
            1 => "SHOW ALL".into(),
            2 => "DESCRIBE t".into(),
            3 => "SHOW NAMESPACES".into(),
            4 => "DESCRIBE TABLE t HISTORY".into(),
            5 => "SELECT current_user, session_user, current_schema()".into(),
            6 => "SHOW JOBS".into(),
            _ => {
                let table = tables[rng.below(tables.len() as u64) as usize];
                // Texts of the user's own statements hold whatever they have tried out.
                let columns = table.schema.fields().iter().filter(|field| field.name() != "text");
                let columns: Vec<_> = columns.map(|field| format!("\"{}\"", field.name())).collect();
                format!("SELECT {} FROM {}.{}", columns.join(", "), table.namespace, table.name)
            }
        };
        let outcome = self.engine.execute(&user.identity, &user.session, &sql, Vec::new()).await;
        let is_admin = user.identity.role == Role::Admin;
        // An admin is told the names of all, and nothing else of them; others not even that.
        let names = if is_admin { self.names.join(" ") } else { String::new() };
        let reply = self.reply(user, &format!("{sql} {names}"), outcome).await;
        if let (Reply::Rows(rows), false) = (reply, is_admin) {
            let own = &self.names[user.index];
            let is_foreign = |cell: &&str| {
                *cell != own.as_str()
                    && cell.len() > 4
                    && !["public", "insula"].contains(cell)
                    && self.names.iter().any(|name| name.as_str() == *cell)
            };
            for row in &rows {
                if let Some(cell) = row.split('|').find(|cell| is_foreign(cell)) {
                    self.fail(user, &sql, &format!("another user's name, {cell:?}: {row}"));
                }
            }
        }
    }

    /// Several statements at one moment, kept or thrown away.
    async fn transaction(&self, user: &mut User, rng: &mut Rng, other: &Known) {
        let before = user.rows.clone();
        self.must(user, "BEGIN").await;
        for _ in 0..1 + rng.below(4) {
            match rng.below(3) {
                0 => self.change_within(user, rng, other).await,
                1 => self.know(user, rng, other).await,
                _ => {
                    let sql = self.anything(user, rng, other);
                    self.ask(user, &sql, Vec::new()).await;
                }
            }
        }
        if rng.below(2) == 0 {
            self.must(user, "COMMIT").await;
        } else {
            self.must(user, "ROLLBACK").await;
            user.rows = before;
        }
    }

    async fn change_within(&self, user: &mut User, rng: &mut Rng, other: &Known) {
        let before = user.rows.clone();
        if rng.below(3) > 0 {
            return self.change(user, rng, other).await;
        }
        self.must(user, "SAVEPOINT here").await;
        self.change(user, rng, other).await;
        self.must(user, "ROLLBACK TO SAVEPOINT here").await;
        user.rows = before;
    }

    /// What another has under a key is no obstacle, and nobody learns of it.
    async fn foreign_key(&self, user: &User, other: &Known) {
        let Some(token) = other.tokens.last() else { return };
        self.must(user, "BEGIN").await;
        let sql = format!("INSERT INTO s VALUES ('{token}', 1, 1)");
        let reply = self.ask(user, &sql, Vec::new()).await;
        if reply != Reply::Count(1) {
            self.fail(user, &sql, &format!("{reply:?}"));
        }
        self.must(user, "ROLLBACK").await;
    }

    /// Messages of errors speak of the statement, and of the user's own rows at most.
    async fn mistake(&self, user: &User, rng: &mut Rng, other: &Known) {
        let token = &other.tokens[0];
        let sql = match rng.below(12) {
            9 => "SELECT count(*) FROM secret".to_owned(),
            10 => "INSERT INTO t (id, v) SELECT id + 800, 1 FROM secret".into(),
            11 => "UPDATE t SET note = secret.label FROM secret WHERE secret.id = 1".into(),
            0 => "SELECT CAST(name AS BIGINT) FROM t".to_owned(),
            1 => "SELECT nmae FROM t".into(),
            2 => format!("SELECT * FROM \"{token}\""),
            3 => "SELECT 1 / (id - id) FROM t WHERE v > 0".into(),
            4 => "INSERT INTO t (id, v) SELECT id, v * 9223372 FROM t".into(),
            5 => format!("INSERT INTO t (id, name) VALUES (900, '{token}')"),
            6 => "SELECT to_timestamp(name) FROM t".into(),
            7 => "SELECT arrow_cast(name, 'Int32') FROM t WHERE CAST(note AS INT) = 1".into(),
            _ => "INSERT INTO pub VALUES (77, 'mine')".into(),
        };
        let is_admin = user.identity.role == Role::Admin;
        if is_admin && sql.contains("secret") {
            return;
        }
        match self.ask(user, &sql, Vec::new()).await {
            Reply::Refused(kind, _) if sql.contains("secret") && kind != ErrorKind::PermissionDenied => {
                self.fail(user, &sql, &format!("{kind:?}"));
            }
            Reply::Rows(_) if sql.contains("secret") => self.fail(user, &sql, "was answered"),
            Reply::Count(_) if !is_admin && !user.rows.t.is_empty() => self.fail(user, &sql, "was accepted"),
            _ if sql.contains("pub") && is_admin => drop(self.must(user, "DELETE FROM pub WHERE id = 77").await),
            _ => {}
        }
    }

    /// Plans, parts, sessions, transactions and running statements of another, each as if it had been one's own.
    async fn stolen(&self, user: &User, rng: &mut Rng) {
        let stolen = &self.stolen[rng.below(self.stolen.len() as u64) as usize];
        if stolen.owner == user.index {
            return;
        }
        let (engine, thief) = (&self.engine, &user.identity);
        let denied = |what: &str, error: insula_engine::Error| {
            let kinds = [ErrorKind::PermissionDenied, ErrorKind::NotFound];
            if !kinds.contains(&error.kind()) {
                self.fail(user, what, &format!("{:?}: {error}", error.kind()));
            }
            self.search(user, "", error.message());
        };
        let begin = |session| engine.begin(thief, session, &"".into());
        match engine.run(thief, &user.session, &stolen.plan, Vec::new(), begin(&user.session)).await {
            Ok(_) => self.fail(user, "a stolen plan", "ran"),
            Err(error) => denied("a stolen plan", error),
        }
        match engine.describe(thief, &user.session, &stolen.plan, None).await {
            Ok(_) => self.fail(user, "a stolen plan", "was described"),
            Err(error) => denied("a stolen plan", error),
        }
        if engine.row(thief, &user.session, &stolen.plan, &[]).is_some() {
            self.fail(user, "a stolen plan", "was read by its key");
        }
        match engine.execute(thief, &stolen.session, "SELECT * FROM t", Vec::new()).await {
            Ok(Outcome::Rows { .. } | Outcome::Count(_)) => self.fail(user, "a stolen session", "was used"),
            Err(error) => denied("a stolen session", error),
        }
        match engine.transaction(thief, stolen.transaction) {
            Ok(_) => self.fail(user, "a stolen transaction", "was found"),
            Err(error) => denied("a stolen transaction", error),
        }
        let owned = engine.transaction(&stolen.identity, stolen.transaction).unwrap();
        match user.session.within(&owned) {
            Ok(_) => self.fail(user, "a stolen transaction", "was entered"),
            Err(error) => denied("a stolen transaction", error),
        }
        if let Some(parts) = &stolen.parts {
            match engine.part(thief, parts, 0, begin(&user.session)) {
                Ok(_) => self.fail(user, "stolen parts", "were read"),
                Err(error) => denied("stolen parts", error),
            }
        }
        if user.identity.role == Role::User {
            match engine.kill(thief, &stolen.query) {
                Ok(()) => self.fail(user, "another's statement", "was killed"),
                Err(error) => denied("another's statement", error),
            }
        }
        for query in engine.running(thief) {
            let is_own = query.user == thief.name;
            if query.text.is_some() != is_own || (!is_own && user.identity.role != Role::Admin) {
                self.fail(user, "the statements that run", &format!("{query:?}"));
            }
        }
    }

    async fn maintenance(&self, user: &User, rng: &mut Rng) {
        let table = ["t", "s", "log", "f", "other.t"][rng.below(5) as usize];
        let sql = if rng.below(4) == 0 { format!("COMPACT TABLE {table}") } else { format!("FLUSH TABLE {table}") };
        let reply = self.must(user, &sql).await;
        let told = user.identity.role == Role::Admin;
        for row in reply.rows(&sql) {
            if !told && row.split('|').skip(2).any(|count| count != "NULL") {
                self.fail(user, &sql, &format!("counts of all users: {row}"));
            }
        }
    }
}

/// Numbers of rows that a line of a plan names.
fn counts(line: &str) -> impl Iterator<Item = usize> {
    ["output_rows=", "Rows=Exact(", "Rows=Inexact("].into_iter().flat_map(move |name| {
        line.match_indices(name).filter_map(move |(at, _)| {
            let digits: String = line[at + name.len()..].chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        })
    })
}
