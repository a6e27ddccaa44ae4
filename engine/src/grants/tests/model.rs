//! Random GRANTs, REVOKEs, ends of tables and users, and restarts, against a set of triples; after each step the
//! statements that need a privilege succeed just where the set says so.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::World;
use crate::{Error, ErrorKind, Result};

const USERS: [&str; 3] = ["ann", "bob", "svc"];
const ROLES: [&str; 2] = ["user", "service"];
/// Namespace and table.
const TABLES: [(&str, &str); 3] = [("one", "a"), ("one", "b"), ("two", "a")];
const PRIVILEGES: [&str; 5] = ["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE"];

#[derive(Clone, Debug)]
enum Op {
    /// Revoke, privileges, object (a table, or beyond them a namespace), grantee (a user, or beyond them a role).
    Change(bool, Vec<usize>, usize, usize),
    /// The table is dropped and made anew, for all to read or for nobody.
    Renew(usize, bool),
    /// The same of a user.
    Rebirth(usize),
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let objects = 0..TABLES.len() + 2;
    prop_oneof![
        12 => (any::<bool>(), prop::collection::vec(0..5usize, 1..4), objects, 0..USERS.len() + ROLES.len())
            .prop_map(|(revoke, privileges, object, grantee)| Op::Change(revoke, privileges, object, grantee)),
        2 => (0..TABLES.len(), any::<bool>()).prop_map(|(table, open)| Op::Renew(table, open)),
        1 => (0..USERS.len()).prop_map(Op::Rebirth),
        1 => Just(Op::Restart),
    ]
}

/// Object, grantee, privilege, as they are written.
type Held = BTreeSet<(String, String, &'static str)>;

fn object(index: usize) -> String {
    match TABLES.get(index) {
        Some((namespace, table)) => format!("TABLE {namespace}.{table}"),
        None => format!("NAMESPACE {}", ["one", "two"][index - TABLES.len()]),
    }
}

fn grantee(index: usize) -> String {
    USERS.get(index).map_or_else(|| format!("ROLE {}", ROLES[index - USERS.len()]), |user| (*user).to_owned())
}

async fn apply(world: &World, held: &mut Held, op: &Op) {
    match op {
        Op::Change(revoke, privileges, on, whom) => {
            let is_table = *on < TABLES.len();
            let privileges: Vec<_> =
                privileges.iter().map(|i| PRIVILEGES[*i]).filter(|name| !is_table || *name != "CREATE").collect();
            if privileges.is_empty() {
                return;
            }
            let (on, whom) = (object(*on), grantee(*whom));
            let (verb, to) = if *revoke { ("REVOKE", "FROM") } else { ("GRANT", "TO") };
            world.admin(&format!("{verb} {} ON {on} {to} {whom}", privileges.join(", "))).await;
            for privilege in privileges {
                let triple = (on.clone(), whom.clone(), privilege);
                if *revoke {
                    held.remove(&triple)
                } else {
                    held.insert(triple)
                };
            }
        }
        Op::Renew(table, open) => {
            let (namespace, name) = TABLES[*table];
            world.admin(&format!("DROP TABLE {namespace}.{name}")).await;
            held.retain(|(on, ..)| *on != object(*table));
            create(world, held, *table, *open).await;
        }
        Op::Rebirth(user) => {
            let name = USERS[*user];
            world.admin(&format!("DROP USER {name}")).await;
            held.retain(|(_, whom, _)| whom != name);
            let role = if name == "svc" { "service" } else { "user" };
            world.admin(&format!("CREATE USER {name} PASSWORD 'p' ROLE {role}")).await;
        }
        Op::Restart => {}
    }
}

async fn create(world: &World, held: &mut Held, table: usize, open: bool) {
    let (namespace, name) = TABLES[table];
    let grants = if open { "select" } else { "none" };
    let sql =
        format!("CREATE SHARED TABLE {namespace}.{name} (id BIGINT PRIMARY KEY, v BIGINT) WITH (grants = '{grants}')");
    world.admin(&sql).await;
    if open {
        held.insert((object(table), "ROLE user".into(), "SELECT"));
    }
}

/// By the set alone.
fn may(held: &Held, user: &str, table: usize, privilege: &'static str) -> bool {
    let objects = [object(table), format!("NAMESPACE {}", TABLES[table].0)];
    let roles: &[&str] = if user == "svc" { &["ROLE user", "ROLE service"] } else { &["ROLE user"] };
    let mut whom = roles.iter().copied().chain([user]);
    whom.any(|whom| objects.iter().any(|on| held.contains(&(on.clone(), whom.to_owned(), privilege))))
}

fn allowed(result: Result<u64, Error>) -> bool {
    match result {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => false,
        // It was let through to the keys.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => true,
        Err(error) => panic!("{error}"),
    }
}

async fn check(world: &World, held: &Held, user: &str, table: usize) {
    let (namespace, name) = TABLES[table];
    let name = format!("{namespace}.{name}");
    let may = |privilege| may(held, user, table, privilege);
    let (select, insert) = (may("SELECT"), may("INSERT"));
    let (update, delete) = (may("UPDATE"), may("DELETE"));
    for (sql, expected) in [
        (format!("SELECT count(*) FROM {name}"), select),
        (format!("SELECT * FROM {name} WHERE id = 1"), select),
        (format!("INSERT INTO {name} VALUES (1, 1)"), insert),
        (format!("UPDATE {name} SET v = 5"), update),
        (format!("UPDATE {name} SET v = v + 1 WHERE id = 1"), update && select),
        (format!("DELETE FROM {name} WHERE id = 1"), delete && select),
        (format!("DELETE FROM {name}"), delete),
        (format!("INSERT INTO {name} VALUES (1, 1) ON CONFLICT DO NOTHING"), insert),
        (format!("INSERT INTO {name} VALUES (1, 1) ON CONFLICT DO UPDATE SET v = excluded.v"), insert && update),
        (
            format!("INSERT INTO {name} AS t VALUES (1, 1) ON CONFLICT DO UPDATE SET v = t.v"),
            insert && update && select,
        ),
        (
            format!("MERGE INTO {name} AS t USING (VALUES (1)) AS s (id) ON t.id = s.id WHEN MATCHED THEN DELETE"),
            select && delete,
        ),
        (format!("DELETE FROM {name} RETURNING id"), select && delete),
        (format!("ALTER TABLE {name} SET (flush_rows = 500)"), may("CREATE")),
    ] {
        assert_eq!(allowed(world.run(user, &sql).await), expected, "{user}: {sql}\n{held:?}");
    }
    let told = world.engine.tables(&world.engine.find_user(user).unwrap());
    let is_told = told.iter().any(|table| format!("{}.{}", table.namespace, table.name) == name);
    assert_eq!(is_told, PRIVILEGES.into_iter().any(may), "{user}: {name}\n{held:?}");
}

async fn play(ops: Vec<Op>) {
    let (mut world, mut held) = (World::new().await, Held::new());
    for namespace in ["one", "two"] {
        world.admin(&format!("CREATE NAMESPACE {namespace}")).await;
    }
    for table in 0..TABLES.len() {
        create(&world, &mut held, table, table == 0).await;
    }
    for (step, op) in ops.iter().enumerate() {
        apply(&world, &mut held, op).await;
        if matches!(op, Op::Restart) {
            world = world.restart().await;
        }
        check(&world, &held, USERS[step % USERS.len()], step / USERS.len() % TABLES.len()).await;
    }
    for user in USERS {
        for table in 0..TABLES.len() {
            check(&world, &held, user, table).await;
        }
    }
    world.engine.close().await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, max_shrink_iters: 40, ..ProptestConfig::default() })]
    #[test]
    fn grants_are_as_a_set_of_them_says(ops in prop::collection::vec(op(), 20..40)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(play(ops));
    }
}
