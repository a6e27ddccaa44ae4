//! The program from the outside: its first line, its settings, its signals, and what it refuses.

use std::{
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use futures::TryStreamExt;
use insula_client::{Client, Credentials};
use insula_tests::{Server, Setup, count, execute, query, refused};
use tonic::Code;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn the_first_line_names_the_port_that_was_picked() {
    let server = Server::dev();
    let line = server.first_line();
    let address = line.strip_prefix("insula listening on grpc://127.0.0.1:").expect("the agreed line");
    let port: u16 = address.parse().expect("a port and nothing after it");
    assert_ne!(port, 0);
    assert_eq!(query(&server.client("alice").await, "SELECT 1").await, ["1"]);
}

// The client's side of the connections needs a thread of its own while the test waits for the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_it_with_0_and_loses_nothing() {
    let mut server = Server::dev();
    execute(&server.client("admin").await, "CREATE TABLE t (id INT PRIMARY KEY)").await;
    let alice = server.client("alice").await;
    execute(&alice, "INSERT INTO t VALUES (1), (2)").await;
    let start = Instant::now();
    assert_eq!(server.terminate().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(8), "an idle connection holds it for the whole grace period");
    drop(alice);
    server.start_again();
    assert_eq!(count(&server.client("alice").await, "t").await, 2);
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused() {
    let server = Server::dev();
    let output = server.setup().run();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty(), "no readiness line: {}", text(&output.stdout));
    let message = text(&output.stderr);
    let data = server.setup().data().display().to_string();
    assert!(message.contains(&data), "it names the directory: {message}");
    // The first goes on undisturbed.
    assert_eq!(query(&server.client("alice").await, "SELECT 1").await, ["1"]);
}

#[tokio::test]
async fn an_unknown_setting_is_named() {
    let setup = Setup::dev();
    let file = setup.home().join("insula.toml");
    std::fs::write(&file, "memory-limit = \"512MB\"\nlissten = \"127.0.0.1:0\"\n").expect("a settings file");
    let output = setup.clone().arguments(&["--config", "insula.toml"]).run();
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("lissten"), "{}", text(&output.stderr));
    let output = setup.arguments(&["--config", "missing.toml"]).run();
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("missing.toml"), "{}", text(&output.stderr));
}

#[tokio::test]
async fn flag_beats_environment_beats_file() {
    let setup = Setup::bare();
    let home = setup.home().to_owned();
    let file = "listen = \"not an address\"\ndata-dir = \"of-file\"\ndev = true\n";
    std::fs::write(home.join("insula.toml"), file).expect("a settings file");
    let setup = setup
        .environment("INSULA_LISTEN", "127.0.0.1:0")
        .environment("INSULA_DATA_DIR", "of-environment")
        .arguments(&["--config", "insula.toml", "--data-dir", "of-flag"]);
    let server = setup.start();
    assert_eq!(query(&server.client("alice").await, "SELECT 1").await, ["1"], "`dev` is the file's");
    assert!(home.join("of-flag").is_dir());
    assert!(!home.join("of-environment").exists() && !home.join("of-file").exists());
}

#[tokio::test]
async fn dev_mode_stays_on_the_loopback() {
    for mode in [&["--dev"][..], &["--trust-user-header", "x-user"]] {
        let setup = Setup::bare().arguments(&["--listen", "0.0.0.0:0", "--data-dir", "data"]).arguments(mode);
        let output = setup.run();
        assert!(!output.status.success(), "{mode:?}");
        assert!(output.stdout.is_empty());
        assert!(text(&output.stderr).contains(mode[0].trim_start_matches('-')), "{}", text(&output.stderr));
    }
}

#[tokio::test]
async fn the_first_start_writes_a_password_for_admin() {
    let mut server = Setup::new().start();
    let file = server.setup().data().join("admin-password");
    let mode = std::fs::metadata(&file).expect("the password file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let password = std::fs::read_to_string(&file).expect("the password").trim().to_owned();
    assert!(password.len() >= 16, "long enough to be random");
    assert!(!server.log().contains(&password), "only the path is logged");
    assert!(server.log().contains("admin-password"), "the path is logged");
    for _ in ["first start", "second start"] {
        let admin = Client::connect(server.url(), &Credentials::password("admin", &password)).await.expect("a login");
        assert_eq!(query(&admin, "SELECT 1").await, ["1"]);
        server.restart();
    }
}

async fn login(server: &Server, user: &str, password: &str) -> Result<Client, Option<Code>> {
    Client::connect(server.url(), &Credentials::password(user, password)).await.map_err(|error| error.code())
}

#[tokio::test]
async fn users_come_change_and_go() {
    let mut server = Setup::new().environment("INSULA_ADMIN_PASSWORD", "first secret").start();
    let admin = login(&server, "admin", "first secret").await.expect("a login");
    execute(&admin, "CREATE TABLE t (id INT PRIMARY KEY)").await;
    execute(&admin, "CREATE USER \"zoë: the 1st\" PASSWORD 'it''s'").await;
    execute(&admin, "CREATE USER bob PASSWORD 'b'").await;
    refused(&admin, "CREATE USER bob PASSWORD 'c'", Code::AlreadyExists).await;
    assert!(!server.log().contains("it's") && !server.log().contains("it''s"), "no password in the log");

    let unauthenticated = Some(Code::Unauthenticated);
    assert_eq!(login(&server, "bob", "wrong").await.err(), Some(unauthenticated));
    assert_eq!(login(&server, "nobody", "b").await.err(), Some(unauthenticated));
    assert_eq!(
        Client::connect(server.url(), &Credentials::user("bob")).await.err().and_then(|e| e.code()),
        unauthenticated
    );
    let bob = login(&server, "bob", "b").await.expect("a login");
    execute(&bob, "INSERT INTO t VALUES (1)").await;
    refused(&bob, "CREATE TABLE u (id INT PRIMARY KEY)", Code::PermissionDenied).await;
    refused(&bob, "CREATE USER eve PASSWORD 'e'", Code::PermissionDenied).await;
    refused(&bob, "ALTER USER admin PASSWORD 'mine'", Code::PermissionDenied).await;

    execute(&admin, "ALTER USER bob PASSWORD 'new'").await;
    assert_eq!(login(&server, "bob", "b").await.err(), Some(unauthenticated));
    server.restart();
    let bob = login(&server, "bob", "new").await.expect("a login");
    assert_eq!(count(&bob, "t").await, 1);
    let admin = login(&server, "admin", "first secret").await.expect("a login");
    execute(&admin, "DROP USER bob").await;
    let error = bob.update("INSERT INTO t VALUES (2)").await.expect_err("the session ended with its user");
    assert_eq!(error.code(), unauthenticated);
    // A new user of the old name is another user.
    execute(&admin, "CREATE USER bob PASSWORD 'b'").await;
    assert_eq!(count(&login(&server, "bob", "b").await.expect("a login"), "t").await, 0);
}

/// Two clients, of which one reads a long result; and the server has been asked to end.
async fn draining(timeout: &str) -> (Server, insula_client::Rows, Client) {
    let server = Setup::dev().arguments(&["--drain-timeout", timeout]).start();
    let (reader, other) = (server.client("alice").await, server.client("bob").await);
    let rows = reader.query("SELECT value, repeat('x', 100) FROM generate_series(1, 1000000)").await.expect("rows");
    server.ask_to_end();
    let refused = async {
        loop {
            match other.update("SELECT 1").await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => return error,
            }
        }
    };
    let refusal = tokio::time::timeout(Duration::from_secs(60), refused).await.expect("refused at last");
    assert_eq!(refusal.code(), Some(Code::Unavailable), "{refusal}");
    (server, rows, other)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_is_drained_and_nothing_new_begins() {
    let (mut server, rows, _other) = draining("60s").await;
    let batches: Vec<_> = rows.try_collect().await.expect("the whole result");
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1_000_000);
    assert_eq!(server.ended().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_does_not_hold_up_the_end() {
    let (mut server, rows, _other) = draining("300ms").await;
    assert_eq!(server.ended().code(), Some(0));
    let end = rows.try_collect::<Vec<_>>().await;
    assert!(end.is_err(), "what was cut off does not pass for the whole");
    assert!(server.log().contains("cut off"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_computes_at_the_end_of_the_drain_is_cut_off_at_once() {
    const SILENT: &str = "SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b
                          WHERE a.value * b.value % 7 = 3";
    let mut server = Setup::dev().arguments(&["--drain-timeout", "300ms"]).start();
    let (alice, admin) = (server.client("alice").await, server.client("admin").await);
    let running = tokio::spawn(async move {
        let rows = alice.query(SILENT).await?;
        rows.try_collect::<Vec<_>>().await
    });
    let states = "SELECT state FROM system.queries WHERE \"user\" = 'alice'";
    while query(&admin, states).await != ["running"] {
        tokio::task::yield_now().await;
    }
    let began = Instant::now();
    server.ask_to_end();
    assert_eq!(server.ended().code(), Some(0));
    // A join yields for its stream, and not for the end of the threads; those were waited for, ten seconds.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let code = running.await.expect("a task").err().and_then(|error| error.code());
    assert!(matches!(code, Some(Code::Cancelled | Code::Unavailable)), "{code:?}");
}
