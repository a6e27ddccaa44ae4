//! What the optimizer makes of a user's tables: filters, limits, orders and counts reach the cold files, and what must
//! stay above stays there.

use std::{collections::BTreeMap, sync::Arc};

use arrow::array::AsArray;
use futures::TryStreamExt;
use insula_engine::{Engine, EngineConfig, Error, Identity, Outcome, Session, StoreConfig};

struct World {
    engine: Arc<Engine>,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = StoreConfig::new(dir.path().to_path_buf());
        let config = EngineConfig {
            store,
            memory_limit: 256 << 20,
            transactions: Default::default(),
            limits: Default::default(),
            admin_password: Some("secret".into()),
        };
        let world = Self { engine: Engine::open(config).await.unwrap(), _dir: dir };
        world.run("admin", "CREATE TABLE t (id BIGINT PRIMARY KEY, v BIGINT NOT NULL, note TEXT)").await;
        world
    }

    /// `ann` has three rows in the cold tier, `bob` a thousand around them.
    async fn flushed() -> Self {
        let world = Self::new().await;
        let rows: Vec<_> = (-500..500).map(|id| format!("({id}, {id}, 'bob')")).collect();
        world.run("bob", &format!("INSERT INTO t VALUES {}", rows.join(", "))).await;
        world.run("ann", "INSERT INTO t VALUES (10, 1, 'a'), (20, 2, NULL), (30, 3, 'c')").await;
        world.run("admin", "FLUSH TABLE t").await;
        world
    }

    async fn identity(&self, user: &str) -> (Identity, Arc<Session>) {
        let identity = self.engine.vouched(user).await.unwrap();
        let session = Arc::new(Session::new(&identity));
        (identity, session)
    }

    async fn try_text(&self, user: &str, sql: &str) -> Result<String, Error> {
        let (identity, session) = self.identity(user).await;
        match self.engine.execute(&identity, &session, sql, Vec::new()).await? {
            Outcome::Count(count) => Ok(count.to_string()),
            Outcome::Rows { rows, .. } => {
                let batches: Vec<_> = rows.try_collect().await?;
                let mut lines = Vec::new();
                for batch in batches {
                    let columns: Vec<_> = batch
                        .columns()
                        .iter()
                        .map(|column| arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8).unwrap())
                        .collect();
                    for row in 0..batch.num_rows() {
                        let values = columns.iter().map(|column| column.as_string::<i32>().value(row).to_owned());
                        lines.push(values.collect::<Vec<_>>().join("|"));
                    }
                }
                Ok(lines.join("\n"))
            }
        }
    }

    async fn run(&self, user: &str, sql: &str) -> String {
        self.try_text(user, sql).await.unwrap()
    }

    /// RocksDB's threads must not outlive the process's statics.
    async fn close(&self) {
        self.engine.close().await.unwrap();
    }

    async fn explain(&self, sql: &str) -> String {
        self.run("ann", &format!("EXPLAIN {sql}")).await.split("physical_plan").nth(1).unwrap_or_default().to_owned()
    }
}

#[tokio::test]
async fn counts_and_bounds_of_the_key_come_from_metadata() {
    let world = World::flushed().await;
    let sql = "SELECT count(*), min(id), max(id) FROM t";
    let plan = world.explain(sql).await;
    assert!(plan.contains("PlaceholderRowExec") && !plan.contains("DataSourceExec"), "{plan}");
    assert_eq!(world.run("ann", sql).await, "3|10|30");
    assert_eq!(world.run("bob", sql).await, "1000|-500|499");
    assert_eq!(world.run("eve", "SELECT count(*) FROM t").await, "0");
    // A filter, a hot row, a deleted row, a replaced row: each time the rows are read.
    assert_eq!(world.run("ann", "SELECT count(*), min(id), max(id) FROM t WHERE v > 1").await, "2|20|30");
    world.run("ann", "UPDATE t SET v = 9 WHERE id = 30").await;
    assert_eq!(world.run("ann", sql).await, "3|10|30");
    world.run("ann", "DELETE FROM t WHERE id = 10").await;
    assert_eq!(world.run("ann", sql).await, "2|20|30");
    world.run("admin", "FLUSH TABLE t").await;
    assert_eq!(world.run("ann", sql).await, "2|20|30");
    assert_eq!(world.run("ann", "SELECT count(*) FROM t WHERE _deleted").await, "1");
    world.close().await;
}

#[tokio::test]
async fn the_order_of_the_key_needs_no_sort() {
    let world = World::flushed().await;
    let sql = "SELECT id, v FROM t ORDER BY id LIMIT 2";
    let plan = world.explain(sql).await;
    assert!(!plan.contains("SortExec"), "{plan}");
    assert!(plan.contains("limit=2") || plan.contains("fetch=2"), "{plan}");
    assert_eq!(world.run("ann", sql).await, "10|1\n20|2");
    assert_eq!(world.run("ann", "SELECT id FROM t ORDER BY id DESC LIMIT 2").await, "30\n20");
    // A second file behind the first one, and one that overlaps.
    world.run("ann", "INSERT INTO t VALUES (40, 4, 'd'), (50, 5, 'e')").await;
    world.run("admin", "FLUSH TABLE t").await;
    let plan = world.explain(sql).await;
    assert!(!plan.contains("SortExec"), "{plan}");
    assert_eq!(world.run("ann", "SELECT id FROM t ORDER BY id").await, "10\n20\n30\n40\n50");
    world.run("ann", "INSERT INTO t VALUES (15, 4, 'd'), (60, 5, 'e')").await;
    world.run("admin", "FLUSH TABLE t").await;
    let plan = world.explain(sql).await;
    assert!(!plan.contains("SortExec"), "{plan}");
    assert_eq!(world.run("ann", "SELECT id FROM t ORDER BY id").await, "10\n15\n20\n30\n40\n50\n60");
    assert_eq!(world.run("ann", "SELECT id FROM t ORDER BY id DESC LIMIT 3").await, "60\n50\n40");
    world.close().await;
}

#[tokio::test]
async fn filters_reach_the_files() {
    let world = World::flushed().await;
    let sql = "SELECT id FROM t WHERE v > 1 AND note = 'c'";
    let plan = world.explain(sql).await;
    assert!(plan.contains("predicate="), "{plan}");
    assert_eq!(world.run("ann", sql).await, "30");
    // With hot rows: the filter is on both sides, also where the cold version would pass and the hot one does not.
    world.run("ann", "UPDATE t SET v = 0 WHERE id = 30").await;
    let plan = world.explain(sql).await;
    assert!(plan.contains("Shadow") && plan.contains("predicate="), "{plan}");
    assert_eq!(world.run("ann", sql).await, "");
    assert_eq!(world.run("ann", "SELECT id FROM t WHERE v < 1").await, "30");
    // What only the filter and the guard need is not copied along for the shadow.
    let filter = plan.split("Shadow").nth(1).and_then(|below| below.lines().find(|line| line.contains("FilterExec")));
    let yields = filter.and_then(|line| line.split("projection=").nth(1)).unwrap_or("everything");
    assert_eq!(yields, "[c1@1]", "{plan}");
    world.close().await;
}

#[tokio::test]
async fn a_filter_that_can_fail_does_not_see_hidden_rows() {
    let world = World::flushed().await;
    world.run("ann", "INSERT INTO t VALUES (1, 0, 'zero'), (2, 0, 'zero')").await;
    world.run("admin", "FLUSH TABLE t").await;
    let sql = "SELECT id FROM t WHERE 6 / v > 2 ORDER BY id";
    assert!(world.try_text("ann", sql).await.is_err(), "the division by zero is an error as long as the rows live");
    world.run("ann", "UPDATE t SET v = 1 WHERE id = 1").await;
    world.run("ann", "DELETE FROM t WHERE id = 2").await;
    assert_eq!(world.run("ann", sql).await, "1\n10\n20", "hidden by hot rows");
    world.run("admin", "FLUSH TABLE t").await;
    assert_eq!(world.run("ann", sql).await, "1\n10\n20", "hidden in the files");
    world.close().await;
}

#[tokio::test]
async fn limits_and_dynamic_filters_reach_the_files() {
    let world = World::flushed().await;
    let plan = world.explain("SELECT v FROM t LIMIT 1").await;
    assert!(plan.contains("limit=1"), "{plan}");
    let plan = world.explain("SELECT id, v FROM t ORDER BY v DESC LIMIT 1").await;
    assert!(plan.contains("DynamicFilter"), "{plan}");
    assert_eq!(world.run("ann", "SELECT id, v FROM t ORDER BY v DESC LIMIT 1").await, "30|3");
    let join = "SELECT a.id FROM t a JOIN t b ON a.v = b.v WHERE b.note = 'c'";
    let plan = world.explain(join).await;
    assert_eq!(plan.matches("DataSourceExec").count(), 2, "{plan}");
    assert!(plan.contains("DynamicFilter"), "{plan}");
    assert_eq!(world.run("ann", join).await, "30");
    // Also through the nodes that hide rows.
    world.run("ann", "UPDATE t SET v = 100 WHERE id = 10").await;
    let plan = world.explain("SELECT id, v FROM t ORDER BY v LIMIT 1").await;
    assert!(plan.contains("DynamicFilter") && plan.contains("Shadow"), "{plan}");
    assert_eq!(world.run("ann", "SELECT id, v FROM t ORDER BY v LIMIT 1").await, "20|2");
    assert_eq!(world.run("ann", "SELECT v FROM t LIMIT 3").await.lines().count(), 3);
    world.close().await;
}

/// Even keys up to 18,000, in files of several blocks, then with newer versions and deletions, then those flushed.
#[tokio::test]
async fn reads_by_key_find_what_they_ask_for_and_nothing_else() {
    let world = World::new().await;
    let rows: Vec<_> = (0..9000).map(|i| format!("({}, {i}, 'cold')", 2 * i)).collect();
    world.run("ann", &format!("INSERT INTO t VALUES {}", rows.join(", "))).await;
    world.run("bob", "INSERT INTO t VALUES (8192, 1, 'bob'), (8193, 1, 'bob')").await;
    let mut model: BTreeMap<i64, i64> = (0..9000).map(|i| (2 * i, i)).collect();
    let points = [-1, 0, 1, 6, 14, 8190, 8191, 8192, 8193, 16_384, 17_997, 17_998, 17_999, 18_000];
    for stage in ["hot", "cold", "changed", "flushed"] {
        if stage == "changed" {
            world.run("ann", "UPDATE t SET v = -v WHERE id % 7 = 0").await;
            world.run("ann", "DELETE FROM t WHERE id % 11 = 5").await;
            model.iter_mut().filter(|(id, _)| *id % 7 == 0).for_each(|(_, v)| *v = -*v);
            model.retain(|id, _| id % 11 != 5);
        } else if stage != "hot" {
            world.run("admin", "FLUSH TABLE t").await;
        }
        for (i, id) in points.into_iter().enumerate() {
            let expected = model.get(&id).map(i64::to_string).unwrap_or_default();
            assert_eq!(world.run("ann", &format!("SELECT v FROM t WHERE id = {id}")).await, expected, "{stage} {id}");
            for to in &points[i..] {
                let sum = |within: &dyn Fn(i64) -> bool| {
                    let rows: Vec<i64> = model.iter().filter(|(id, _)| within(**id)).map(|(_, v)| *v).collect();
                    format!("{}|{}", rows.len(), rows.iter().sum::<i64>())
                };
                let ask = async |filter: String| {
                    world.run("ann", &format!("SELECT count(*), coalesce(sum(v), 0) FROM t WHERE {filter}")).await
                };
                let between = ask(format!("id BETWEEN {id} AND {to}")).await;
                assert_eq!(between, sum(&|key| (id..=*to).contains(&key)), "{stage} {id} {to}");
                let either = ask(format!("id IN ({to}, {id}) AND v IS NOT NULL")).await;
                assert_eq!(either, sum(&|key| key == id || key == *to), "{stage} {id} {to}");
            }
        }
    }
    assert_eq!(world.run("bob", "SELECT note FROM t WHERE id = 8192").await, "bob");
    assert_eq!(world.run("bob", "SELECT note FROM t WHERE id = 8190").await, "");
    world.close().await;
}

#[tokio::test]
async fn statistics_tell_of_own_rows_only() {
    let world = World::flushed().await;
    let plan = world.run("ann", "EXPLAIN VERBOSE SELECT id, v, note FROM t").await;
    let with_stats = plan.lines().find(|line| line.contains("statistics=")).unwrap_or_default();
    assert!(with_stats.contains("Rows=Exact(3)"), "{plan}");
    for foreign in ["1003", "1000", "-500", "499"] {
        assert!(!plan.contains(foreign), "{foreign} is of others: {plan}");
    }
    world.close().await;
}
