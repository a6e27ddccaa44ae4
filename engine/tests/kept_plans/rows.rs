//! A single row that is read at once is the row that the plan reads.

use super::*;

const KEYS: [Option<i64>; 8] = [Some(1), Some(2), Some(3), Some(4), Some(5), Some(6), Some(-9), None];

/// What [`Engine::row`] gives of a plan that has run before; `None`: it has to be run.
fn at_once(world: &World, (user, session): &Who, plan: &Plan, params: &[RecordBatch]) -> Option<Vec<String>> {
    let row = world.engine.row(user, session, plan, params)?.unwrap();
    let columns = row.into_iter().enumerate().map(|(i, column)| (i.to_string(), column, true));
    Some(lines(&[RecordBatch::try_from_iter_with_nullable(columns).unwrap()]))
}

/// The plan of a text that has run once.
async fn ran(world: &World, who: &Who, sql: &str, params: Vec<RecordBatch>) -> Arc<Plan> {
    let plan = world.engine.plan(&who.0, sql).unwrap();
    world.rows(who, &plan, params).await.unwrap();
    plan
}

/// Keys 1 to 3 are cold, of which 2 is updated and 3 deleted since; 4 and 5 are hot, 5 deleted; bob has 6.
async fn both_tiers() -> World {
    let world = World::new().await;
    let (admin, ann, bob) = (world.user("admin").await, world.user("ann").await, world.user("bob").await);
    world.run(&bob, "INSERT INTO t VALUES (6, 'secret')").await;
    world.run(&admin, "FLUSH TABLE t").await;
    world.run(&ann, "UPDATE t SET v = 'changed' WHERE id = 2").await;
    world.run(&ann, "DELETE FROM t WHERE id = 3").await;
    world.run(&ann, "INSERT INTO t VALUES (4, 'hot'), (5, 'gone')").await;
    world.run(&ann, "DELETE FROM t WHERE id = 5").await;
    world
}

#[tokio::test]
async fn the_row_at_once_is_the_row_of_the_plan() {
    let world = both_tiers().await;
    let texts = [
        "SELECT * FROM t WHERE id = $1",
        "SELECT v FROM t WHERE $1 = id",
        "SELECT v AS w, id, v FROM t AS x WHERE x.id = $1",
        "SELECT id, _deleted FROM t WHERE id = $1",
        "SELECT _seq, v FROM (SELECT v, id, _seq FROM t) AS y WHERE id = $1",
    ];
    for name in ["ann", "bob"] {
        let who = world.user(name).await;
        for text in texts {
            let plan = ran(&world, &who, text, ids(vec![Some(1)])).await;
            for key in KEYS {
                let planned = world.rows(&who, &plan, ids(vec![key])).await.unwrap();
                // A block of cold rows is decoded when it is first needed; from then on its rows are at hand.
                let found = at_once(&world, &who, &plan, &ids(vec![key]));
                match key {
                    Some(_) => assert_eq!(found, Some(planned), "{name}: {text} with {key:?}"),
                    None => assert_eq!(found, None, "NULL equals nothing: {text}"),
                }
            }
        }
    }
    world.close().await;
}

#[tokio::test]
async fn what_asks_for_more_than_a_row_is_run() {
    let world = both_tiers().await;
    let ann = world.user("ann").await;
    world.run(&world.user("admin").await, "CREATE TABLE f (x DOUBLE PRIMARY KEY)").await;
    world.run(&world.user("admin").await, "CREATE TABLE two (a BIGINT, b TEXT, PRIMARY KEY (a, b))").await;
    let texts = [
        "SELECT * FROM t WHERE id = 1 AND v = 'b'",
        "SELECT * FROM t WHERE id = 1 AND id = 2",
        "SELECT * FROM t WHERE id = 1 OR id = 2",
        "SELECT * FROM t WHERE id > 1",
        "SELECT * FROM t WHERE v = 'a'",
        "SELECT * FROM t",
        "SELECT id + 1 FROM t WHERE id = 1",
        "SELECT count(*) FROM t WHERE id = 1",
        "SELECT * FROM t WHERE id = 1 LIMIT 0",
        "SELECT * FROM t a JOIN t b ON a.id = b.id WHERE a.id = 1",
        "SELECT * FROM f WHERE x = 0.0",
        "SELECT * FROM two WHERE a = 1",
        "EXPLAIN SELECT * FROM t WHERE id = 1",
    ];
    for text in texts {
        let plan = ran(&world, &ann, text, vec![]).await;
        assert_eq!(at_once(&world, &ann, &plan, &[]), None, "{text}");
    }
    let plan = ran(&world, &ann, "SELECT * FROM t WHERE id = $1", ids(vec![Some(1)])).await;
    let narrow: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![1]));
    let narrow = RecordBatch::try_from_iter_with_nullable([("1", narrow, true)]).unwrap();
    for params in [vec![], ids(vec![]), ids(vec![Some(1), Some(2)]), vec![narrow]] {
        assert_eq!(at_once(&world, &ann, &plan, &params), None);
    }
    world.close().await;
}

#[tokio::test]
async fn keys_of_several_columns_and_shared_tables() {
    let world = World::new().await;
    let (admin, ann) = (world.user("admin").await, world.user("ann").await);
    world
        .run(&admin, "CREATE SHARED TABLE rates (day DATE, currency TEXT, rate DOUBLE, PRIMARY KEY (day, currency))")
        .await;
    world.run(&admin, "INSERT INTO rates VALUES ('2026-01-01', 'EUR', 1.5), ('2026-01-01', 'USD', 2.5)").await;
    world.run(&admin, "FLUSH TABLE rates").await;
    for who in [&admin, &ann] {
        for (currency, rate) in [("EUR", vec!["1.5"]), ("USD", vec!["2.5"]), ("usd", vec![])] {
            let sql = format!("SELECT rate FROM rates WHERE currency = '{currency}' AND day = DATE '2026-01-01'");
            let plan = ran(&world, who, &sql, vec![]).await;
            assert_eq!(at_once(&world, who, &plan, &[]), Some(rate.iter().map(|r| r.to_string()).collect()));
        }
    }
    world.close().await;
}

#[tokio::test]
async fn only_its_user_in_its_settings_under_its_catalog_and_outside_transactions() {
    let world = both_tiers().await;
    let (admin, ann, bob) = (world.user("admin").await, world.user("ann").await, world.user("bob").await);
    let plan = ran(&world, &ann, "SELECT * FROM t WHERE id = 1", vec![]).await;
    let row = Some(vec!["1|a".to_owned()]);
    assert_eq!(at_once(&world, &ann, &plan, &[]), row);
    assert_eq!(at_once(&world, &bob, &plan, &[]), None, "another user's plan");
    assert_eq!(at_once(&world, &(bob.0.clone(), Arc::clone(&ann.1)), &plan, &[]), None, "another user's session");
    ann.1.set("insula.show_system_columns", "true").unwrap();
    assert_eq!(at_once(&world, &ann, &plan, &[]), None, "other columns");
    ann.1.reset("insula.show_system_columns").unwrap();
    assert_eq!(at_once(&world, &ann, &plan, &[]), row);
    world.run(&ann, "BEGIN").await;
    world.run(&ann, "UPDATE t SET v = 'mine' WHERE id = 1").await;
    assert_eq!(at_once(&world, &ann, &plan, &[]), None, "a transaction reads its own rows");
    world.run(&ann, "ROLLBACK").await;
    world.run(&admin, "ALTER TABLE t ADD COLUMN more BIGINT DEFAULT 7").await;
    assert_eq!(at_once(&world, &ann, &plan, &[]), None, "the table has another column");
    assert_eq!(world.rows(&ann, &plan, vec![]).await.unwrap(), ["1|a|7"]);
    assert_eq!(at_once(&world, &ann, &plan, &[]), Some(vec!["1|a|7".to_owned()]));
    world.close().await;
}
