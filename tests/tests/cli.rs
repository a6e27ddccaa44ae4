//! `insula sql` and `insula import` as a person or a script runs them.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use insula_tests::{Server, binary, execute, query};

fn run(server: &Server, command: &str, arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(binary())
        .args([command, "--url", server.url(), "--user", "admin"])
        .args(arguments)
        .current_dir(server.setup().home())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // A command that does not read its input may be gone already.
    let _ = child.stdin.take().expect("piped").write_all(stdin.as_bytes());
    child.wait_with_output().expect("its output")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn sql_runs_statements_and_prints_each_format() {
    let server = Server::dev();
    let statements = "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR); INSERT INTO t VALUES (1, 'a;b'), (2, NULL);";
    let output = run(&server, "sql", &["-c", statements], "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("(2 rows changed)"), "{}", text(&output.stdout));
    let all = "SELECT * FROM t ORDER BY id";
    let csv = run(&server, "sql", &["--format", "csv", "-c", all], "");
    assert_eq!(text(&csv.stdout), "id,v\n1,a;b\n2,\n");
    let json = run(&server, "sql", &["--format", "json"], all);
    assert_eq!(text(&json.stdout), "{\"id\":1,\"v\":\"a;b\"}\n{\"id\":2,\"v\":null}\n", "from standard input");
    let table = run(&server, "sql", &["-c", all], "");
    assert!(text(&table.stdout).contains("| 1  | a;b |"), "{}", text(&table.stdout));
    let arrow = run(&server, "sql", &["--format", "arrow", "-c", all], "");
    let reader = arrow::ipc::reader::StreamReader::try_new(arrow.stdout.as_slice(), None).expect("an Arrow stream");
    assert_eq!(reader.map(|batch| batch.expect("a batch").num_rows()).sum::<usize>(), 2);
}

#[tokio::test]
async fn sql_stops_at_the_first_error_with_the_server_s_message() {
    let server = Server::dev();
    let output = run(&server, "sql", &["-c", "CREATE TABLE t (id INT); SELECT * FROM missing; DROP TABLE t"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("missing"), "{}", text(&output.stderr));
    assert_eq!(query(&server.client("admin").await, "SELECT count(*) FROM t").await, ["0"], "nothing ran after it");
    let output =
        Command::new(binary()).args(["sql", "--url", "grpc://127.0.0.1:1", "--user", "a", "-c", "SELECT 1"]).output();
    let output = output.expect("its output");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("grpc://127.0.0.1:1"), "{}", text(&output.stderr));
}

#[tokio::test]
async fn import_loads_files_and_says_how_many_rows() {
    let server = Server::dev();
    let admin = server.client("admin").await;
    let home = server.setup().home();
    std::fs::write(home.join("a.csv"), "id,name,at\n1,one,2024-01-01\n2,NA,\n").expect("a file");
    std::fs::write(home.join("b.ndjson"), "{\"id\": 3, \"name\": \"three\"}\n").expect("a file");
    execute(&admin, "CREATE TABLE t (id BIGINT PRIMARY KEY, name VARCHAR, at DATE, n INT DEFAULT 7)").await;
    let output = run(&server, "import", &["a.csv", "--into", "public.t", "--null", "NA"], "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("2 rows"), "{}", text(&output.stderr));
    let output = run(&server, "import", &["b.ndjson", "--into", "t"], "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let expected = ["1|one|2024-01-01|7", "2|NULL|NULL|7", "3|three|NULL|7"];
    assert_eq!(query(&admin, "SELECT * FROM t ORDER BY id").await, expected);
    // All or nothing: the key 2 is taken.
    std::fs::write(home.join("c.csv"), "id,name\n8,eight\n2,two\n9,nine\n").expect("a file");
    let output = run(&server, "import", &["c.csv", "--into", "t"], "");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(query(&admin, "SELECT count(*) FROM t").await, ["3"]);
    let output = run(&server, "import", &["a.csv", "--into", "made", "--create", "--null", "NA"], "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(query(&admin, "SELECT id, name FROM made ORDER BY id").await, ["1|one", "2|NULL"]);
}
