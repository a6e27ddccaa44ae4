//! The process dies at each fail point of what an administrator starts by hand: a backup, a restore, an erasure. After
//! the next start everybody's rows are as before or as they were to become, and the same statement brings it to its end.

use std::{io::Write, path::Path};

use futures::TryStreamExt;
use insula_client::{Client, Credentials};
use insula_tests::{Server, Setup, execute, query};

/// Rows of each user on either tier.
const ROWS: usize = 40;
const USERS: [&str; 2] = ["ann", "bob"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_a_backup_leaves_the_database_and_the_place_to_be_used_again() {
    for point in super::points::points_of("backup.") {
        let place = tempfile::tempdir().expect("a directory for the backup");
        let url = format!("file://{}", place.path().join("backup").display());
        let mut server = filled().await;
        die(&mut server, &point, &format!("BACKUP DATABASE TO '{url}'")).await;
        server.restart_armed(None);
        compare(&server).await;
        let again = server.client("admin").await.query(&format!("BACKUP DATABASE TO '{url}'")).await.map(drop);
        // Only the last point lies behind the end of the backup.
        assert_eq!(again.is_err(), point == "backup.finished", "{point}: {again:?}");
        assert!(!server.setup().data().join("scratch").read_dir().is_ok_and(|mut left| left.next().is_some()));
        let restored = Setup::dev().start();
        query(&restored.client("admin").await, &format!("RESTORE DATABASE FROM '{url}'")).await;
        compare(&restored).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_a_restore_leaves_all_of_it_or_nothing() {
    let place = tempfile::tempdir().expect("a directory for the backup");
    let restore = format!("RESTORE DATABASE FROM 'file://{}'", place.path().join("backup").display());
    let backup = restore.replace("RESTORE DATABASE FROM", "BACKUP DATABASE TO");
    query(&filled().await.client("admin").await, &backup).await;
    for point in super::points::points_of("restore.") {
        let mut server = Setup::dev().start();
        die(&mut server, &point, &restore).await;
        server.restart_armed(None);
        let admin = server.client("admin").await;
        if point != "restore.committed" {
            assert!(query(&admin, "SHOW TABLES").await.is_empty(), "{point}: half a restore is there");
            assert_eq!(files(&server.setup().data().join("cold"), "parquet"), 0, "{point}: objects of nobody");
            query(&admin, &restore).await;
        }
        compare(&server).await;
        super::workload::no_orphans(&mut server);
        compare(&server).await;
    }
}

/// What the batch names must not be removed when nobody knows whether the batch is on disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_or_backup_whose_end_is_in_doubt_is_all_or_nothing() {
    let place = tempfile::tempdir().expect("a directory for the backup");
    let restore = format!("RESTORE DATABASE FROM 'file://{}'", place.path().join("backup").display());
    let backup = restore.replace("RESTORE DATABASE FROM", "BACKUP DATABASE TO");
    let mut server = filled().await;
    server.restart_armed(Some("backup.finished=1*return"));
    let admin = server.client("admin").await;
    assert!(admin.query(&backup).await.is_err(), "the backup's end did not fail");
    query(&admin, &backup).await;
    let (mut failed, mut kept) = (0, 0);
    for commits in 0.. {
        let mut server = Setup::dev().start();
        // The commit is on disk, and those who asked for it are told that it failed.
        server.restart_armed(Some(&format!("commit.written={commits}*off->1*return")));
        let answer = server.client("admin").await.query(&restore).await.map(drop);
        server.restart_armed(None);
        let admin = server.client("admin").await;
        let there = !query(&admin, "SHOW TABLES").await.is_empty();
        if !there {
            query(&admin, &restore).await;
        }
        compare(&server).await;
        if answer.is_ok() {
            break;
        }
        failed += 1;
        kept += u32::from(there);
    }
    assert!(failed >= 3 && kept == 1, "{failed} restores failed, {kept} of them at their last commit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_an_erasure_is_brought_to_its_end_by_the_same_statement() {
    for point in super::points::points_of("erase.") {
        let mut server = filled().await;
        die(&mut server, &point, "DROP USER ann ERASE").await;
        server.restart_armed(None);
        let [ann, bob] = rows(&server).await;
        assert_eq!(bob, expected("bob"), "{point}: an erasure took the rows of another user");
        assert!(ann.is_empty(), "{point}: the user was to be gone at once, and sees {} rows", ann.len());
        let admin = server.client("admin").await;
        query(&admin, "DROP USER ann ERASE").await;
        assert!(!mentions(&server.setup().data(), "ann"), "{point}: bytes of the user are left");
        assert!(mentions(&server.setup().data(), "bob"), "the test would not see them");
        super::workload::no_orphans(&mut server);
    }
}

/// Runs a statement that the process does not survive.
async fn die(server: &mut Server, point: &str, sql: &str) {
    let _ = writeln!(std::io::stderr(), "crash at {point}");
    server.restart_armed(Some(&format!("{point}=return(crash)")));
    let admin = server.client("admin").await;
    assert!(admin.query(sql).await.is_err(), "{sql} survived {point}");
    assert!(server.ends_within(std::time::Duration::from_secs(60)), "{point}: the process lives");
}

/// A table with rows of both users on both tiers, some of them replaced.
async fn filled() -> Server {
    let server = Setup::dev().start();
    let admin = server.client("admin").await;
    execute(&admin, "CREATE NAMESPACE app").await;
    execute(&admin, "CREATE TABLE app.t (id BIGINT PRIMARY KEY, note TEXT, bytes BYTEA)").await;
    for flushed in [true, true, false] {
        for user in USERS {
            let client = server.client(user).await;
            let bytes: String = noise(user).iter().map(|byte| format!("{byte:02x}")).collect();
            let values: Vec<_> = (0..ROWS).map(|id| format!("({id}, '{user}{id}', X'{bytes}')")).collect();
            execute(&client, &format!("REPLACE INTO app.t VALUES {}", values.join(", "))).await;
        }
        if flushed {
            query(&admin, "FLUSH TABLE app.t").await;
        }
    }
    server
}

/// Bytes that no compression shortens, so that they lie in the files as they are.
fn noise(user: &str) -> Vec<u8> {
    let mut rng = insula_tests::Rng::new(user.bytes().map(u64::from).sum());
    (0..2000).map(|_| rng.next_u64() as u8).collect()
}

fn expected(user: &str) -> Vec<String> {
    (0..ROWS).map(|id| format!("{id}|{user}{id}|4000")).collect()
}

/// Rows of all users. One that is being erased is refused, and has none.
async fn rows(server: &Server) -> [Vec<String>; 2] {
    let mut found = [Vec::new(), Vec::new()];
    for (user, found) in USERS.into_iter().zip(&mut found) {
        let answer = async {
            let client = Client::connect(server.url(), &Credentials::user(user)).await?;
            let sql = "SELECT id, note, length(encode(bytes, 'hex')) FROM app.t ORDER BY id";
            client.query(sql).await?.try_collect::<Vec<_>>().await
        };
        match answer.await {
            Ok(rows) => *found = insula_tests::rows(&rows),
            Err(error) if error.code() == Some(tonic::Code::FailedPrecondition) => {}
            Err(error) => panic!("{user}: {error}"),
        }
    }
    found
}

async fn compare(server: &Server) {
    assert_eq!(rows(server).await, USERS.map(expected));
}

fn walk(directory: &Path, each: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { walk(&path, each) } else { each(&path) }
    }
}

fn files(directory: &Path, extension: &str) -> usize {
    let mut count = 0;
    walk(directory, &mut |path| count += usize::from(path.extension().is_some_and(|e| e == extension)));
    count
}

/// Whether any file shows a part of the user's bytes.
fn mentions(directory: &Path, user: &str) -> bool {
    let (noise, mut found) = (noise(user), false);
    walk(directory, &mut |path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        found |= noise.chunks(400).any(|part| bytes.windows(16).any(|window| window == &part[..16]));
    });
    found
}
