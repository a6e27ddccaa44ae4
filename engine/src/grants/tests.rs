use std::{collections::BTreeSet, sync::Arc};

use arrow::{
    array::{Int64Array, RecordBatch},
    datatypes::{DataType, Field, Schema},
};
use futures::{StreamExt, TryStreamExt, stream};

use super::*;
use crate::{Engine, EngineConfig, Identity, IngestMode, IngestTarget, Outcome, Plan, Session, StoreConfig};

mod model;

pub(super) struct World {
    pub engine: Arc<Engine>,
    dir: tempfile::TempDir,
}

/// A user in a session that lasts.
type Who = (Identity, Arc<Session>);

impl World {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = Self { engine: open(dir.path()).await, dir };
        for user in ["ann", "bob", "svc"] {
            world.admin(&format!("CREATE USER {user} PASSWORD 'p'")).await;
        }
        world.admin("ALTER USER svc ROLE service").await;
        world
    }

    /// The old engine must be gone before the new one takes its directory.
    pub async fn restart(self) -> Self {
        let Self { engine, dir } = self;
        engine.close().await.unwrap();
        drop(engine);
        Self { engine: open(dir.path()).await, dir }
    }

    pub fn who(&self, name: &str) -> Who {
        let identity = self.engine.find_user(name).unwrap();
        let session = Arc::new(Session::new(&identity));
        (identity, session)
    }

    pub async fn run_in(&self, (user, session): &Who, sql: &str) -> Result<u64> {
        let plan = self.engine.plan(user, sql)?;
        self.run_plan((user, session), &plan).await
    }

    pub async fn run_plan(&self, (user, session): (&Identity, &Arc<Session>), plan: &Plan) -> Result<u64> {
        let running = self.engine.begin(user, session, plan.shown_text());
        match self.engine.run(user, session, plan, Vec::new(), running).await? {
            Outcome::Count(count) => Ok(count),
            Outcome::Rows { rows, .. } => {
                let batches: Vec<RecordBatch> = rows.try_collect().await?;
                Ok(batches.iter().map(|batch| batch.num_rows() as u64).sum())
            }
        }
    }

    /// Rows or count.
    pub async fn run(&self, name: &str, sql: &str) -> Result<u64> {
        self.run_in(&self.who(name), sql).await
    }

    pub async fn admin(&self, sql: &str) -> u64 {
        self.run("admin", sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub async fn denied(&self, name: &str, sql: &str) {
        match self.run(name, sql).await {
            Ok(_) => panic!("{name} may: {sql}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{sql}: {error}"),
        }
    }

    fn told(&self, name: &str) -> Vec<String> {
        let grants = self.engine.grants(&self.engine.find_user(name).unwrap());
        let text = |g: GrantInfo| {
            format!(
                "{} {}{} {}",
                g.privilege,
                g.namespace,
                g.table.map_or(String::new(), |t| format!(".{t}")),
                g.grantee
            )
        };
        grants.into_iter().map(text).collect()
    }
}

async fn open(dir: &std::path::Path) -> Arc<Engine> {
    let store = StoreConfig { compaction: false, ..StoreConfig::new(dir.join("db")) };
    let config = EngineConfig {
        store,
        memory_limit: 256 << 20,
        transactions: Default::default(),
        limits: Default::default(),
        admin_password: Some("secret".into()),
    };
    Engine::open(config).await.unwrap()
}

#[tokio::test]
async fn a_new_shared_table_is_read_by_all_and_written_by_whom_it_is_granted() {
    let mut world = World::new().await;
    world.admin("CREATE SHARED TABLE open (id BIGINT PRIMARY KEY, v BIGINT)").await;
    world.admin("CREATE TABLE closed (id BIGINT PRIMARY KEY, v BIGINT) WITH (type = 'shared', grants = 'none')").await;
    world.admin("INSERT INTO open VALUES (1, 1)").await;
    world.admin("INSERT INTO closed VALUES (1, 1)").await;
    for user in ["ann", "svc"] {
        assert_eq!(world.run(user, "SELECT * FROM open").await.unwrap(), 1);
        for sql in
            ["INSERT INTO open VALUES (2, 2)", "UPDATE open SET v = 2", "DELETE FROM open", "TRUNCATE TABLE open"]
        {
            world.denied(user, sql).await;
        }
        world.denied(user, "SELECT * FROM closed").await;
        world.denied(user, "DESCRIBE closed").await;
        world.denied(user, "EXPLAIN SELECT v FROM closed").await;
    }
    world.admin("GRANT SELECT, INSERT ON closed TO ann, ROLE service").await;
    for _ in 0..2 {
        assert_eq!(world.run("ann", "SELECT * FROM closed").await.unwrap(), 1);
        assert_eq!(world.run("svc", "SELECT * FROM closed").await.unwrap(), 1);
        world.denied("bob", "SELECT * FROM closed").await;
        world.denied("ann", "UPDATE closed SET v = 3").await;
        world = world.restart().await;
    }
    assert_eq!(world.run("ann", "INSERT INTO closed VALUES (5, 5)").await.unwrap(), 1);
    assert_eq!(world.told("ann"), ["INSERT public.closed ann", "SELECT public.closed ann", "SELECT public.open user"]);
    assert_eq!(world.told("bob"), ["SELECT public.open user"]);
    assert_eq!(world.told("admin").len(), 5);
    world.engine.close().await.unwrap();
}

#[tokio::test]
async fn what_reads_needs_select_and_what_overwrites_needs_update() {
    let world = World::new().await;
    world.admin("CREATE SHARED TABLE s (id BIGINT PRIMARY KEY, v BIGINT DEFAULT 7) WITH (grants = 'none')").await;
    world.admin("CREATE TABLE mine (id BIGINT PRIMARY KEY)").await;
    world.admin("INSERT INTO s VALUES (1, 1)").await;
    world.admin("GRANT UPDATE, DELETE, INSERT ON s TO ann").await;
    for sql in [
        "UPDATE s SET v = v + 1",
        "UPDATE s SET v = 2 WHERE id = 1",
        "UPDATE s SET v = 2 FROM mine",
        "UPDATE s SET v = (SELECT max(id) FROM s)",
        "DELETE FROM s WHERE v = 1",
        "DELETE FROM s USING mine WHERE true",
        "INSERT INTO s SELECT id + 10, v FROM s",
        "INSERT INTO mine SELECT id FROM s",
        "EXPLAIN UPDATE s SET v = v + 1",
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM s)",
        "WITH x AS (SELECT * FROM s) SELECT 1 FROM x",
    ] {
        world.denied("ann", sql).await;
    }
    // The target's hidden name is nobody's way around.
    for sql in [
        "UPDATE s SET v = 2 WHERE EXISTS (SELECT 1 FROM \"(target)\".public.s)",
        "UPDATE s SET v = (SELECT count(*) FROM \"(target)\".public.s)",
        "INSERT INTO s SELECT * FROM \"(target)\".public.s",
        "INSERT INTO \"(target)\".public.s VALUES (3, 3)",
    ] {
        assert_eq!(world.run("ann", sql).await.unwrap_err().kind(), ErrorKind::NotFound, "{sql}");
    }
    assert_eq!(world.run("ann", "UPDATE s SET v = DEFAULT").await.unwrap(), 1);
    assert_eq!(world.run("ann", "INSERT INTO s VALUES (2, 2)").await.unwrap(), 1);
    assert_eq!(world.run("ann", "REPLACE INTO s VALUES (2, 3)").await.unwrap(), 1);
    world.admin("REVOKE UPDATE ON s FROM ann").await;
    world.denied("ann", "REPLACE INTO s VALUES (2, 4)").await;
    assert_eq!(world.run("ann", "TRUNCATE TABLE s").await.unwrap(), 2);
    world.engine.close().await.unwrap();
}

#[tokio::test]
async fn create_on_a_namespace_is_for_its_tables() {
    let world = World::new().await;
    world.admin("CREATE NAMESPACE app").await;
    for sql in ["CREATE TABLE app.t (id INT)", "CREATE TABLE app.t AS SELECT 1 AS one", "CREATE NAMESPACE other"] {
        world.denied("ann", sql).await;
    }
    world.admin("GRANT CREATE ON NAMESPACE app TO ann").await;
    world.run("ann", "CREATE SHARED TABLE app.s (id INT PRIMARY KEY) WITH (grants = 'none')").await.unwrap();
    world.run("ann", "INSERT INTO app.s VALUES (1)").await.unwrap();
    assert_eq!(world.run("ann", "SELECT * FROM app.s").await.unwrap(), 1);
    world.denied("bob", "SELECT * FROM app.s").await;
    world.run("ann", "ALTER TABLE app.s ADD COLUMN v INT").await.unwrap();
    world.run("ann", "CREATE TABLE app.u AS SELECT 1 AS one").await.unwrap();
    for sql in [
        "DROP NAMESPACE app CASCADE",
        "CREATE TABLE public.t (id INT)",
        "GRANT SELECT ON app.s TO bob",
        "DROP USER bob",
    ] {
        world.denied("ann", sql).await;
    }
    for sql in ["DROP TABLE app.u", "ALTER TABLE app.u ADD COLUMN v INT", "DROP TABLE IF EXISTS app.s"] {
        world.denied("bob", sql).await;
    }
    world.run("ann", "DROP TABLE app.u").await.unwrap();
    assert_eq!(ingest(&world, "ann", "app", IngestMode::Create).await.unwrap(), 2);
    assert_eq!(
        ingest(&world, "bob", "app", IngestMode::Replace).await.unwrap_err().kind(),
        ErrorKind::PermissionDenied
    );
    world.engine.close().await.unwrap();
}

async fn ingest(world: &World, user: &str, namespace: &str, mode: IngestMode) -> Result<u64> {
    let (identity, session) = world.who(user);
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(Int64Array::from(vec![8, 9]))]).unwrap();
    let target = IngestTarget { namespace: Some(namespace.into()), table: "taken".into(), mode, user_column: None };
    world.engine.ingest(&identity, &session, target, schema, stream::iter([Ok(batch)]).boxed()).await
}

#[tokio::test]
async fn an_ingest_needs_insert() {
    let world = World::new().await;
    world.admin("CREATE SHARED TABLE taken (id BIGINT) WITH (grants = 'none')").await;
    for mode in [IngestMode::Append, IngestMode::CreateAppend, IngestMode::Create, IngestMode::Replace] {
        assert_eq!(
            ingest(&world, "ann", "public", mode).await.unwrap_err().kind(),
            ErrorKind::PermissionDenied,
            "{mode:?}"
        );
    }
    world.admin("GRANT INSERT ON taken TO ann").await;
    assert_eq!(ingest(&world, "ann", "public", IngestMode::Append).await.unwrap(), 2);
    world.denied("ann", "SELECT * FROM taken").await;
    let ann = world.who("ann");
    world.run_in(&ann, "BEGIN").await.unwrap();
    world.admin("REVOKE ALL ON taken FROM ann").await;
    world.run_in(&ann, "SELECT 1").await.unwrap();
    assert!(world.run_in(&ann, "INSERT INTO taken VALUES (1)").await.is_err());
    world.engine.close().await.unwrap();
}

#[tokio::test]
async fn a_revoke_reaches_what_was_planned_before_it() {
    let world = World::new().await;
    world.admin("CREATE SHARED TABLE s (id BIGINT PRIMARY KEY)").await;
    world.admin("INSERT INTO s VALUES (1), (2)").await;
    world.admin("GRANT ALL PRIVILEGES ON TABLE s TO USER ann").await;
    let (ann, session) = world.who("ann");
    let plan = |sql: &str| world.engine.plan(&ann, sql).unwrap();
    let plans =
        ["SELECT * FROM s", "SELECT id FROM s WHERE id = 1", "INSERT INTO s VALUES (3)", "DELETE FROM s WHERE id = 3"];
    let plans = plans.map(plan);
    for plan in &plans {
        world.engine.describe(&ann, &session, plan, None).await.unwrap();
        world.run_plan((&ann, &session), plan).await.unwrap();
    }
    let within = world.who("ann");
    world.run_in(&within, "BEGIN").await.unwrap();
    assert_eq!(world.run_in(&within, "SELECT * FROM s").await.unwrap(), 2);
    world.admin("REVOKE ALL ON s FROM ann, PUBLIC").await;
    for plan in &plans {
        let error = world.run_plan((&ann, &session), plan).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{}", plan.shown_text());
        assert!(world.engine.describe(&ann, &session, plan, None).await.is_err());
        // Of a transaction's snapshot are its rows, not its rights.
        let error = world.run_plan((&within.0, &within.1), plan).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{}", plan.shown_text());
    }
    world.admin("GRANT SELECT ON s TO ROLE user").await;
    assert_eq!(world.run_plan((&ann, &session), &plans[0]).await.unwrap(), 2);
    assert_eq!(world.run_in(&within, "SELECT * FROM s").await.unwrap(), 2);
    world.engine.close().await.unwrap();
}

#[tokio::test]
async fn parts_are_refused_once_their_reader_may_not_read() {
    let world = World::new().await;
    world.admin("CREATE SHARED TABLE s (id BIGINT PRIMARY KEY)").await;
    for from in [0, 1000] {
        world.admin(&format!("INSERT INTO s SELECT value + {from} FROM generate_series(1, 500) AS g(value)")).await;
        world.admin("FLUSH TABLE s").await;
    }
    world.admin("INSERT INTO s VALUES (-1)").await;
    let (ann, session) = world.who("ann");
    let plan = world.engine.plan(&ann, "SELECT id FROM s").unwrap();
    let parts = world.engine.parts(&ann, &session, &plan, Vec::new()).await.unwrap().expect("several parts");
    let read = |part| {
        let running = world.engine.begin(&ann, &session, plan.shown_text());
        world.engine.part(&ann, &parts, part, running)
    };
    assert!(read(0).is_ok());
    world.admin("REVOKE SELECT ON s FROM ROLE user").await;
    for part in 0..parts.count() {
        assert_eq!(read(part).err().map(|error| error.kind()), Some(ErrorKind::PermissionDenied));
    }
    world.engine.close().await.unwrap();
}

#[tokio::test]
async fn grants_end_with_what_they_are_on_and_whose_they_are() {
    let mut world = World::new().await;
    world.admin("CREATE NAMESPACE app").await;
    world.admin("CREATE SHARED TABLE app.s (id BIGINT) WITH (grants = 'none')").await;
    world.admin("GRANT ALL ON TABLE app.s TO ann, bob").await;
    world.admin("GRANT SELECT, CREATE ON SCHEMA app TO ann, bob").await;
    world.admin("DROP TABLE app.s").await;
    world.admin("CREATE SHARED TABLE app.s (id BIGINT) WITH (grants = 'none')").await;
    world.denied("ann", "INSERT INTO app.s VALUES (1)").await;
    assert_eq!(world.run("ann", "SELECT * FROM app.s").await.unwrap(), 0);
    world.admin("DROP USER ann").await;
    world.admin("CREATE USER ann PASSWORD 'p'").await;
    world.denied("ann", "SELECT * FROM app.s").await;
    assert_eq!(world.told("admin"), ["CREATE app bob", "SELECT app bob"]);
    world.admin("DROP NAMESPACE app CASCADE").await;
    world.admin("CREATE NAMESPACE app").await;
    world.denied("bob", "CREATE TABLE app.t (id INT)").await;
    world = world.restart().await;
    assert!(world.told("admin").is_empty());
    assert!(world.engine.store().meta().scan(PREFIX).unwrap().is_empty());
    world.engine.close().await.unwrap();
}

/// As a crash between the end of a user and that of their grants leaves it.
#[tokio::test]
async fn records_that_are_nobodys_mean_nothing_and_go() {
    let mut world = World::new().await;
    world.admin("CREATE SHARED TABLE s (id BIGINT) WITH (grants = 'none')").await;
    let table = world.engine.store().tables()[0].id;
    let mut batch = MetaBatch::default();
    let everything = record(Privileges::of_namespaces());
    batch.put(key(Grantee::User(UserNo(99)), &Object::Table(table)), everything.clone());
    batch.put(key(Grantee::Role(Role::User), &Object::Table(TableId(99))), everything.clone());
    batch.put(key(Grantee::Role(Role::User), &Object::Namespace("a/b".into())), everything);
    world.engine.store().meta().write(batch).await.unwrap();
    world = world.restart().await;
    assert!(world.told("admin").is_empty());
    assert!(world.engine.store().meta().scan(PREFIX).unwrap().is_empty());
    world.denied("ann", "SELECT * FROM s").await;
    world.engine.close().await.unwrap();
}

#[tokio::test]
async fn a_backup_has_the_grants() {
    let world = World::new().await;
    world.admin("CREATE NAMESPACE \"a/b\"").await;
    world.admin("CREATE SHARED TABLE \"a/b\".s (id BIGINT) WITH (grants = 'none')").await;
    world.admin("GRANT SELECT ON \"a/b\".s TO ann").await;
    world.admin("GRANT INSERT ON NAMESPACE \"a/b\" TO bob").await;
    let place = world.dir.path().join("backup");
    world.admin(&format!("BACKUP DATABASE TO 'file://{}'", place.display())).await;
    let dir = tempfile::tempdir().unwrap();
    let copy = World { engine: open(dir.path()).await, dir };
    copy.admin("GRANT CREATE ON NAMESPACE public TO ROLE user").await;
    copy.admin(&format!("RESTORE DATABASE FROM 'file://{}'", place.display())).await;
    assert_eq!(copy.told("admin"), world.told("admin"));
    copy.run("bob", "INSERT INTO \"a/b\".s VALUES (1)").await.unwrap();
    copy.denied("bob", "SELECT * FROM \"a/b\".s").await;
    copy.denied("ann", "CREATE TABLE public.t (id INT)").await;
    for world in [world, copy] {
        world.engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn hidden_tables_are_in_no_list_and_no_hint() {
    let world = World::new().await;
    world.admin("CREATE SHARED TABLE salaries (id BIGINT) WITH (grants = 'none')").await;
    world.admin("CREATE TABLE own (id BIGINT)").await;
    let names = |user: &str| -> BTreeSet<String> {
        world.engine.tables(&world.engine.find_user(user).unwrap()).into_iter().map(|table| table.name).collect()
    };
    assert!(names("admin").contains("salaries"));
    assert!(!names("ann").contains("salaries") && names("ann").contains("own"));
    assert_eq!(world.run("ann", "SHOW TABLES").await.unwrap(), 1);
    let error = world.run("ann", "SELECT * FROM salarie").await.unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && !error.message().contains("salaries"), "{error}");
    let error = world.run("admin", "SELECT * FROM salarie").await.unwrap_err();
    assert!(error.message().contains("salaries"), "{error}");
    world.admin("GRANT INSERT ON salaries TO ann").await;
    assert!(names("ann").contains("salaries"));
    assert_eq!(world.run("ann", "DESCRIBE salaries").await.unwrap(), 1);
    world.engine.close().await.unwrap();
}

#[tokio::test]
async fn grants_on_user_tables_open_no_rows() {
    let world = World::new().await;
    world.admin("CREATE TABLE own (id BIGINT)").await;
    world.run("bob", "INSERT INTO own VALUES (1)").await.unwrap();
    world.admin("GRANT ALL ON own TO ann").await;
    assert_eq!(world.run("ann", "SELECT * FROM own").await.unwrap(), 0);
    world.admin("REVOKE ALL ON own FROM ann, PUBLIC").await;
    world.run("ann", "INSERT INTO own VALUES (1)").await.unwrap();
    assert_eq!(world.run("ann", "SELECT * FROM own").await.unwrap(), 1);
    world.engine.close().await.unwrap();
}

#[tokio::test]
async fn a_statement_that_names_what_is_not_there_grants_nothing() {
    let world = World::new().await;
    world.admin("CREATE SHARED TABLE s (id BIGINT) WITH (grants = 'none')").await;
    for (sql, kind) in [
        ("GRANT SELECT ON s TO ann, nobody", ErrorKind::NotFound),
        ("GRANT SELECT ON s, missing TO ann", ErrorKind::NotFound),
        ("GRANT SELECT ON NAMESPACE missing TO ann", ErrorKind::NotFound),
        ("GRANT CREATE ON s TO ann", ErrorKind::InvalidArgument),
        ("GRANT SELECT, CREATE ON s TO ann", ErrorKind::InvalidArgument),
        ("GRANT SELECT ON s TO ROLE boss", ErrorKind::InvalidArgument),
        ("GRANT SELECT (id) ON s TO ann", ErrorKind::Unimplemented),
        ("GRANT SELECT ON s TO ann WITH GRANT OPTION", ErrorKind::Unimplemented),
        ("GRANT DANCE ON s TO ann", ErrorKind::InvalidArgument),
        ("GRANT SELECT ON s FROM ann", ErrorKind::InvalidArgument),
        ("REVOKE SELECT ON s TO ann", ErrorKind::InvalidArgument),
        ("GRANT SELECT ON system.queries TO ann", ErrorKind::PermissionDenied),
    ] {
        let error = world.run("admin", sql).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{sql}: {error}");
    }
    assert!(world.told("admin").is_empty());
    world.admin("GRANT SELECT ON ALL TABLES IN SCHEMA public TO ann").await;
    assert_eq!(world.told("admin"), ["SELECT public.s ann"]);
    world.admin("REVOKE DELETE ON s FROM ann CASCADE").await;
    assert_eq!(world.told("admin"), ["SELECT public.s ann"]);
    world.engine.close().await.unwrap();
}
