use arrow::datatypes::{DataType, TimeUnit};

use crate::world::World;

/// Every column of the one row is true.
async fn holds(world: &World, sql: &str) {
    let rows = world.rows(sql).await;
    assert!(rows.len() == 1 && rows[0].split('|').all(|value| value == "true"), "{sql}: {rows:?}");
}

#[tokio::test]
async fn the_time_is_of_microseconds_with_the_zone_of_the_session() {
    let world = World::new().await;
    for zone in ["UTC", "+02:00"] {
        world.run(&format!("SET TIME ZONE '{zone}'")).await;
        let (schema, rows) = world.run("SELECT now(), CURRENT_TIMESTAMP, now() + INTERVAL '1 day'").await;
        let kind = DataType::Timestamp(TimeUnit::Microsecond, Some(zone.into()));
        assert!(schema.fields().iter().all(|field| *field.data_type() == kind), "{schema}");
        assert_eq!(rows[0].schema().field(0).data_type(), &kind);
        assert!(!schema.field(0).is_nullable());
    }
}

#[tokio::test]
async fn it_can_be_compared_with_the_end_of_all_days() {
    let world = World::new().await;
    holds(
        &world,
        "SELECT now() < TIMESTAMP '9999-12-31', now() < '9999-12-31 23:59:59', now() > '0001-01-01',
                 now() + INTERVAL '5000 years' > now(), now() = CURRENT_TIMESTAMP, now() - INTERVAL '1 day' < now(),
                 CAST(now() AS DATE) = CURRENT_DATE, now() BETWEEN '2020-01-01' AND '9999-12-31',
                 date_trunc('day', now()) <= now(), extract(year FROM now()) > 2020",
    )
    .await;
    world
        .run("CREATE TABLE t (id INT PRIMARY KEY, ends TIMESTAMP, zoned TIMESTAMPTZ, at TIMESTAMP DEFAULT now())")
        .await;
    world.run("INSERT INTO t (id, ends, zoned) VALUES (1, '9999-12-31', '9999-12-31')").await;
    world.run("ALTER TABLE t ADD COLUMN added TIMESTAMPTZ DEFAULT now()").await;
    holds(
        &world,
        "SELECT ends > now(), zoned > now(), at <= now(), at > now() - INTERVAL '1 hour', added <= now(),
                 _updated <= now(), _updated > now() - INTERVAL '1 hour' FROM t WHERE ends > now() AND zoned > now()",
    )
    .await;
}

/// Whatever the zone of the session is, it is the moment of the insert.
#[tokio::test]
async fn a_default_is_the_time_of_the_insert() {
    let world = World::new().await;
    world.run("CREATE TABLE t (id INT PRIMARY KEY, at TIMESTAMP DEFAULT now(), zoned TIMESTAMPTZ DEFAULT now())").await;
    world.run("SET TIME ZONE '+02:00'").await;
    world.run("INSERT INTO t (id) VALUES (1)").await;
    for zone in ["+02:00", "UTC"] {
        world.run(&format!("SET TIME ZONE '{zone}'")).await;
        holds(
            &world,
            "SELECT at BETWEEN now() - INTERVAL '1 minute' AND now(), zoned BETWEEN now() - INTERVAL '1 minute' AND now()
             FROM t",
        )
        .await;
    }
}
