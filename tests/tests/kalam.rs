//! The reference project's own test list (KalamDB, phase 18): create and insert, data isolation, multiple inserts,
//! system columns, update with isolation, delete with isolation, no access to other users' data. Each runs hot, and
//! again with the rows in Parquet.

use arrow::datatypes::{DataType, TimeUnit};
use insula_tests::{Server, count, execute, query, refused};
use tonic::Code;

/// A server with a namespace and the reference tests' table of messages.
async fn with_messages() -> Server {
    let server = Server::dev();
    let admin = server.client("admin").await;
    execute(&admin, "CREATE NAMESPACE app").await;
    let columns = "id BIGINT PRIMARY KEY, content VARCHAR NOT NULL, author VARCHAR, likes INT DEFAULT 0";
    execute(&admin, &format!("CREATE USER TABLE app.messages ({columns})")).await;
    server
}

async fn flush(server: &Server) {
    let admin = server.client("admin").await;
    query(&admin, "FLUSH TABLE app.messages").await;
}

#[tokio::test]
async fn create_and_insert() {
    let server = with_messages().await;
    let alice = server.client("alice").await;
    let sql = "INSERT INTO app.messages (id, content, author) VALUES (1, 'Hello, world', 'alice')";
    assert_eq!(execute(&alice, sql).await, 1);
    for _ in ["hot", "cold"] {
        assert_eq!(query(&alice, "SELECT * FROM app.messages").await, ["1|Hello, world|alice|0"]);
        flush(&server).await;
    }
}

#[tokio::test]
async fn data_isolation() {
    let server = with_messages().await;
    let (alice, bob) = (server.client("alice").await, server.client("bob").await);
    // The same key twice: keys are a user's own.
    execute(&alice, "INSERT INTO app.messages VALUES (1, 'of alice', 'a', 1), (2, 'of alice too', 'a', 2)").await;
    execute(&bob, "INSERT INTO app.messages VALUES (1, 'of bob', 'b', 3)").await;
    for _ in ["hot", "cold"] {
        let all = "SELECT id, content FROM app.messages ORDER BY id";
        assert_eq!(query(&alice, all).await, ["1|of alice", "2|of alice too"]);
        assert_eq!(query(&bob, all).await, ["1|of bob"]);
        assert_eq!(query(&bob, "SELECT sum(likes) FROM app.messages").await, ["3"]);
        assert_eq!(query(&bob, "SELECT count(*) FROM app.messages a, app.messages b").await, ["1"]);
        assert_eq!(count(&server.client("carol").await, "app.messages").await, 0);
        flush(&server).await;
    }
}

#[tokio::test]
async fn multiple_inserts() {
    let server = with_messages().await;
    let alice = server.client("alice").await;
    for id in 0..20 {
        let sql = format!("INSERT INTO app.messages (id, content) VALUES ({id}, 'message {id}')");
        assert_eq!(execute(&alice, &sql).await, 1);
        if id == 10 {
            flush(&server).await;
        }
    }
    let values: Vec<_> = (20..1020).map(|id| format!("({id}, 'message {id}')")).collect();
    let sql = format!("INSERT INTO app.messages (id, content) VALUES {}", values.join(", "));
    assert_eq!(execute(&alice, &sql).await, 1000);
    for _ in ["hot and cold", "cold"] {
        assert_eq!(count(&alice, "app.messages").await, 1020);
        assert_eq!(query(&alice, "SELECT content FROM app.messages WHERE id = 1019").await, ["message 1019"]);
        assert_eq!(query(&alice, "SELECT sum(id), min(id), max(id) FROM app.messages").await, ["519690|0|1019"]);
        flush(&server).await;
    }
}

#[tokio::test]
async fn system_columns() {
    let server = with_messages().await;
    let alice = server.client("alice").await;
    execute(&alice, "INSERT INTO app.messages VALUES (1, 'one', 'a', 0), (2, 'two', 'a', 0)").await;
    for _ in ["hot", "cold"] {
        let plain = alice.describe("SELECT * FROM app.messages").await.expect("a schema");
        assert_eq!(plain.fields().len(), 4, "system columns are not listed by *");
        let named = alice.describe("SELECT _updated, _deleted, _seq FROM app.messages").await.expect("a schema");
        let types: Vec<_> = named.fields().iter().map(|field| field.data_type().clone()).collect();
        let updated = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        assert_eq!(types, [updated, DataType::Boolean, DataType::Int64]);
        let recent =
            "SELECT count(*) FROM app.messages WHERE _updated > now() - INTERVAL '1 hour' AND _updated <= now()";
        assert_eq!(query(&alice, recent).await, ["2"]);
        assert_eq!(query(&alice, "SELECT id, _deleted FROM app.messages ORDER BY id").await, ["1|false", "2|false"]);
        flush(&server).await;
    }
    let newest = "SELECT id FROM app.messages ORDER BY _seq DESC LIMIT 1";
    let before = query(&alice, "SELECT _updated, _seq FROM app.messages WHERE id = 1").await;
    execute(&alice, "UPDATE app.messages SET content = 'uno' WHERE id = 1").await;
    assert_eq!(query(&alice, newest).await, ["1"], "the row changed last has the highest _seq");
    assert_ne!(query(&alice, "SELECT _updated, _seq FROM app.messages WHERE id = 1").await, before);
    execute(&alice, "DELETE FROM app.messages WHERE id = 2").await;
    assert_eq!(query(&alice, "SELECT * FROM app.messages").await, ["1|uno|a|0"]);
    assert_eq!(query(&alice, "SELECT id FROM app.messages WHERE _deleted").await, ["2"]);
    refused(&alice, "UPDATE app.messages SET _deleted = false", Code::InvalidArgument).await;
    refused(&alice, "INSERT INTO app.messages (id, content, _seq) VALUES (3, 'x', 1)", Code::InvalidArgument).await;
}

#[tokio::test]
async fn update_with_isolation() {
    for cold in [false, true] {
        let server = with_messages().await;
        let (alice, bob) = (server.client("alice").await, server.client("bob").await);
        for client in [&alice, &bob] {
            execute(client, "INSERT INTO app.messages VALUES (1, 'first', 'x', 0), (2, 'second', 'x', 0)").await;
        }
        if cold {
            flush(&server).await;
        }
        let sql = "UPDATE app.messages SET content = 'changed', likes = likes + 1 WHERE id = 1";
        assert_eq!(execute(&alice, sql).await, 1);
        assert_eq!(execute(&alice, "UPDATE app.messages SET likes = likes + 10").await, 2);
        let all = "SELECT id, content, likes FROM app.messages ORDER BY id";
        for _ in ["hot", "cold"] {
            assert_eq!(query(&alice, all).await, ["1|changed|11", "2|second|10"]);
            assert_eq!(query(&bob, all).await, ["1|first|0", "2|second|0"]);
            flush(&server).await;
        }
    }
}

#[tokio::test]
async fn delete_with_isolation() {
    for cold in [false, true] {
        let server = with_messages().await;
        let (alice, bob) = (server.client("alice").await, server.client("bob").await);
        for client in [&alice, &bob] {
            execute(client, "INSERT INTO app.messages VALUES (1, 'first', 'x', 0), (2, 'second', 'x', 0)").await;
        }
        if cold {
            flush(&server).await;
        }
        assert_eq!(execute(&alice, "DELETE FROM app.messages WHERE id = 1").await, 1);
        assert_eq!(execute(&alice, "DELETE FROM app.messages WHERE id = 1").await, 0, "it is gone already");
        for _ in ["hot", "cold"] {
            assert_eq!(query(&alice, "SELECT id FROM app.messages").await, ["2"]);
            assert_eq!(query(&bob, "SELECT id FROM app.messages ORDER BY id").await, ["1", "2"]);
            assert_eq!(query(&alice, "SELECT id FROM app.messages WHERE _deleted").await, ["1"]);
            assert_eq!(count(&bob, "app.messages WHERE _deleted").await, 0);
            flush(&server).await;
        }
        assert_eq!(execute(&alice, "DELETE FROM app.messages").await, 1);
        assert_eq!(count(&bob, "app.messages").await, 2);
    }
}

#[tokio::test]
async fn no_access_to_other_users_data() {
    let server = with_messages().await;
    let alice = server.client("alice").await;
    execute(&alice, "INSERT INTO app.messages VALUES (1, 'secret', 'alice', 7)").await;
    for _ in ["hot", "cold"] {
        // Not by name, by key, by subquery, by union, by role, and not by a write.
        for user in
            ["bob", "admin", "alice ", "Alice", "alice/../bob", "alice' OR '1'='1", "%", "アリス", "alic", "alice2"]
        {
            let other = server.client(user).await;
            for sql in [
                "SELECT * FROM app.messages",
                "SELECT * FROM insula.app.messages WHERE id = 1 OR true",
                "SELECT * FROM app.messages WHERE (_deleted OR NOT _deleted) AND content = 'secret'",
                "SELECT id FROM app.messages UNION ALL SELECT id FROM app.messages",
                "SELECT 1 WHERE EXISTS (SELECT 1 FROM app.messages)",
            ] {
                assert!(query(&other, sql).await.is_empty(), "{user:?} sees rows by {sql}");
            }
            assert_eq!(execute(&other, "UPDATE app.messages SET content = 'mine'").await, 0);
            assert_eq!(execute(&other, "DELETE FROM app.messages WHERE id = 1").await, 0);
            assert_eq!(execute(&other, "INSERT INTO app.messages (id, content) VALUES (1, 'own')").await, 1);
            assert_eq!(execute(&other, "DELETE FROM app.messages").await, 1);
        }
        assert_eq!(query(&alice, "SELECT * FROM app.messages").await, ["1|secret|alice|7"]);
        flush(&server).await;
    }
}
