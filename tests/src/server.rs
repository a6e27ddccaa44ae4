//! The server as a process of its own, on a data directory of its own.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use insula_client::{Client, Credentials};
use tempfile::TempDir;

/// The variable that arms fail points.
const FAIL_POINTS: &str = "INSULA_FAILPOINTS";

/// A machine under load starts slowly; one that needs longer than this is stuck.
const LIMIT: Duration = Duration::from_secs(120);

/// The program under test: `INSULA_BIN`, or the one beside this test's own executable.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("INSULA_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test knows its own path");
    // target/release/deps/test-hash, beside target/release/insula.
    let path = test.ancestors().nth(2).expect("a target directory").join("insula");
    assert!(path.exists(), "{} is missing: run `cargo build --release -p insula-server` first", path.display());
    path
}

/// How a server is started. Clones share the directory.
#[derive(Clone)]
pub struct Setup {
    home: Arc<TempDir>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// `insula serve` on a free port and a fresh data directory.
    pub fn new() -> Self {
        let home = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        Self { home, arguments: Vec::new(), environment: Vec::new() }.with_defaults()
    }

    /// The same with `--dev`: a name is all a user needs.
    pub fn dev() -> Self {
        Self::new().arguments(&["--dev"])
    }

    /// `insula serve` without any setting.
    pub fn bare() -> Self {
        let home = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        Self { home, arguments: Vec::new(), environment: Vec::new() }
    }

    fn with_defaults(self) -> Self {
        let data = self.data().display().to_string();
        self.arguments(&["--listen", "127.0.0.1:0", "--data-dir", &data])
    }

    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
        self
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The directory that goes when the last clone does.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.home.path().join("server.log")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(binary());
        // Settings of the person who runs the tests are not those of the test.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("INSULA_") {
                command.env_remove(name);
            }
        }
        command.arg("serve").args(&self.arguments).envs(self.environment.iter().cloned()).current_dir(self.home());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    /// Starts a process and waits for nothing.
    pub fn spawn(&self) -> Child {
        let log = File::options().create(true).append(true).open(self.log()).expect("a log file");
        self.command().stderr(log).spawn().expect("the server's binary starts")
    }

    /// Starts a server that listens when this returns.
    pub fn start(&self) -> Server {
        let mut server =
            Server { setup: self.clone(), child: self.spawn(), url: String::new(), first_line: String::new() };
        server.wait_until_ready();
        server
    }

    /// Runs a server that is expected to end by itself.
    pub fn run(&self) -> Output {
        let mut child = self.command().stderr(Stdio::piped()).spawn().expect("the server's binary starts");
        let status = wait(&mut child, LIMIT).unwrap_or_else(|| {
            let _ = child.kill();
            panic!("a server that should have refused to start is still running")
        });
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        child.stdout.take().expect("piped").read_to_end(&mut stdout).expect("output");
        child.stderr.take().expect("piped").read_to_end(&mut stderr).expect("output");
        Output { status, stdout, stderr }
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

/// A running server; dropped, it is killed.
pub struct Server {
    setup: Setup,
    child: Child,
    url: String,
    first_line: String,
}

impl Server {
    /// A server in `--dev` mode on fresh data.
    pub fn dev() -> Self {
        Setup::dev().start()
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it wrote first to standard output.
    pub fn first_line(&self) -> &str {
        &self.first_line
    }

    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.setup.log()).unwrap_or_default()
    }

    /// A user's client; the user needs no password.
    pub async fn client(&self, user: &str) -> Client {
        match Client::connect(&self.url, &Credentials::user(user)).await {
            Ok(client) => client,
            Err(error) => panic!("{user} cannot connect: {error}"),
        }
    }

    /// kill -9, and the process is gone when this returns.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// kill -9, and start again on the same data.
    pub fn restart(&mut self) {
        self.kill();
        self.child = self.setup.spawn();
        self.wait_until_ready();
    }

    /// The same with fail points armed, or with none.
    pub fn restart_armed(&mut self, points: Option<&str>) {
        assert!(self.starts_armed(points), "the server did not start; its log:\n{}", self.log());
    }

    /// The same, and whether it lived until it was ready: work in the background, such as a compaction, may meet an armed
    /// point before.
    pub fn starts_armed(&mut self, points: Option<&str>) -> bool {
        self.setup.environment.retain(|(name, _)| name != FAIL_POINTS);
        self.setup.environment.extend(points.map(|points| (FAIL_POINTS.to_owned(), points.to_owned())));
        self.kill();
        self.child = self.setup.spawn();
        self.becomes_ready()
    }

    /// Whether the process ends by itself within the time.
    pub fn ends_within(&mut self, limit: Duration) -> bool {
        wait(&mut self.child, limit).is_some()
    }

    /// SIGTERM, and how the process ended.
    pub fn terminate(&mut self) -> ExitStatus {
        self.ask_to_end();
        self.ended()
    }

    /// How the process ended, which has been asked to.
    pub fn ended(&mut self) -> ExitStatus {
        wait(&mut self.child, LIMIT).expect("the server ends after SIGTERM")
    }

    /// SIGTERM.
    pub fn ask_to_end(&self) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().expect("the program kill");
        assert!(sent.success(), "no process {id} to terminate");
    }

    /// Start again on the same data after [`Server::terminate`].
    pub fn start_again(&mut self) {
        self.child = self.setup.spawn();
        self.wait_until_ready();
    }

    fn wait_until_ready(&mut self) {
        assert!(self.becomes_ready(), "the server did not start; its log:\n{}", self.log());
    }

    fn becomes_ready(&mut self) -> bool {
        let stdout = self.child.stdout.take().expect("piped");
        let (sender, receiver) = mpsc::channel();
        // The thread reads on to the end, so that the server never writes into a full pipe.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let Ok(line) = receiver.recv_timeout(LIMIT) else {
            self.kill();
            return false;
        };
        self.first_line = line;
        let url = self.first_line.strip_prefix("insula listening on ");
        self.url = url.unwrap_or_else(|| panic!("unexpected first line: {}", self.first_line)).to_owned();
        true
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// `None` if the process outlives the limit.
fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Some(status) = child.try_wait().expect("a process of ours") {
            return Some(status);
        }
        // std has no wait with a limit.
        thread::sleep(Duration::from_millis(5));
    }
    None
}
