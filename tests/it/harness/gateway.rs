//! One real daemon in a directory of its own: started, killed, restarted, looked into, and settled at the end.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nightsafe::audit::{Kind, Signer};
use nightsafe::ledger::{Delivery, Filter, Ledger, Logged, UploadRow};
use rustix::process::{Pid, Signal, kill_process};

use super::settle::settle;
use super::{Client, Done, PATIENCE, Setup, TempDir, eventually, fresh_dir, keys, run, within};

/// The binary under test.
pub const NIGHTSAFE: &str = env!("CARGO_BIN_EXE_nightsafe");

pub struct Gateway {
    dir: TempDir,
    /// Where its runtime directory is, when that is on a tmpfs.
    memory: Option<TempDir>,
    setup: Setup,
    daemon: Option<Child>,
    port: u16,
    log: Arc<Mutex<Vec<String>>>,
    readers: Vec<std::thread::JoinHandle<()>>,
    settled: bool,
    /// Leases that are still out at the end are part of the test.
    pub may_hold_leases: bool,
}

impl Gateway {
    /// A gateway with the configuration of [`Setup`], ready to be used.
    pub fn start(setup: Setup) -> Self {
        let mut gateway = Self::prepare(setup);
        gateway.launch();
        gateway
    }

    /// The same, not started yet.
    pub fn prepare(setup: Setup) -> Self {
        let dir = fresh_dir("gateway");
        let memory = setup.in_memory.then(|| TempDir::new_in("/dev/shm").unwrap());
        let runtime = memory.as_ref().map_or_else(|| "../run".into(), |memory| memory.path().join("run"));
        setup.write(dir.path(), &runtime);
        Self {
            dir,
            memory,
            setup,
            daemon: None,
            port: 0,
            log: Arc::default(),
            readers: Vec::new(),
            settled: false,
            may_hold_leases: false,
        }
    }

    /// Starts the daemon and waits until it is ready.
    pub fn launch(&mut self) {
        assert!(self.daemon.is_none(), "already running");
        let from = self.log_lines().len();
        let mut words = self.setup.launcher.clone();
        words.extend([NIGHTSAFE, "serve", "--config"].map(str::to_owned));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(self.config_file());
        for name in ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC", "RUST_LOG"] {
            command.env_remove(name);
        }
        command.env("TMPDIR", self.path("tmp")).env("RUST_BACKTRACE", "1");
        command.envs(self.setup.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("the daemon does not start: {e}"));
        self.readers = vec![self.follow(child.stdout.take().unwrap()), self.follow(child.stderr.take().unwrap())];
        self.daemon = Some(child);
        self.await_ready(from);
        self.write_known_hosts();
    }

    fn follow(&self, stream: impl Read + Send + 'static) -> std::thread::JoinHandle<()> {
        let log = self.log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                log.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
            }
        })
    }

    /// Learns the port from the log: the first `listening` line after `from`, once `ready` is there too.
    fn await_ready(&mut self, from: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let lines = self.log_lines().split_off(from);
            let events: Vec<serde_json::Value> = lines.iter().filter_map(|l| serde_json::from_str(l).ok()).collect();
            let said = |message: &str| events.iter().find(|e| field(e, "message") == Some(message));
            if let (Some(listening), Some(_)) = (said("listening"), said("ready")) {
                let address: std::net::SocketAddr = field(listening, "listener.address").unwrap().parse().unwrap();
                self.port = address.port();
                return;
            }
            let exited = self.daemon.as_mut().unwrap().try_wait().unwrap();
            assert!(exited.is_none(), "the daemon ended before it was ready: {exited:?}\n{}", lines.join("\n"));
            assert!(Instant::now() < deadline, "the daemon is not ready:\n{}", lines.join("\n"));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn write_known_hosts(&self) {
        let key = keys().public("host");
        // OpenSSH's clients here look for the alias; `nightsafe load` and the examples look for address and port.
        let text = format!("gateway {key}\n[127.0.0.1]:{} {key}\n", self.port);
        std::fs::write(self.known_hosts(), text).unwrap();
    }

    // -- where things are --

    /// A path inside this gateway's directory.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.dir.path().join(inside)
    }
    /// The runtime directory.
    pub fn runtime(&self) -> PathBuf {
        self.memory.as_ref().map_or_else(|| self.path("run"), |memory| memory.path().join("run"))
    }
    pub fn config_file(&self) -> PathBuf {
        self.path("config/nightsafe.toml")
    }
    pub fn known_hosts(&self) -> PathBuf {
        self.path("known_hosts")
    }
    pub fn port(&self) -> u16 {
        self.port
    }
    pub fn pid(&self) -> Pid {
        Pid::from_child(self.daemon.as_ref().expect("the daemon runs"))
    }
    /// Where the sealed object of an upload lies.
    pub fn object(&self, upload: &str) -> PathBuf {
        let name = format!("{upload}.age");
        let objects = super::files_under(&self.path("state/vault"));
        objects.into_iter().find(|file| file.ends_with(&name)).unwrap_or_else(|| panic!("no object {name}"))
    }

    // -- clients --

    /// The account's client, with the key that it is known by.
    pub fn client(&self, account: &str) -> Client {
        let key = account.strip_suffix("-nightly").unwrap_or(account);
        Client::new(account, &keys().ssh(key), &self.known_hosts(), self.port)
    }
    pub fn harbour(&self) -> Client {
        self.client("harbour-nightly")
    }
    pub fn meadow(&self) -> Client {
        self.client("meadow-nightly")
    }
    pub fn loader(&self) -> Client {
        self.client("loader-all")
    }

    /// Puts `content` as `name` (any remote path) and fails the test if the gateway does not take it.
    pub fn put(&self, client: &Client, content: &[u8], remote: &str) -> Done {
        let file = fresh_dir("put");
        let local = file.path().join("content");
        std::fs::write(&local, content).unwrap();
        client.sftp(&format!("put {} {remote}\n", local.display())).ok()
    }

    // -- operator's commands --

    /// `nightsafe WORDS... --config FILE`
    pub fn command(&self, words: &[&str]) -> Done {
        let mut command = Command::new(NIGHTSAFE);
        command.args(words).arg("--config").arg(self.config_file());
        run(command, b"", PATIENCE)
    }

    /// Replaces `from` (which must be there) by `to` in a file below this gateway's directory, in one step.
    pub fn edit(&self, inside: &str, from: &str, to: &str) {
        let file = self.path(inside);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{inside} has no {from:?}");
        let new = file.with_extension("new");
        std::fs::write(&new, text.replacen(from, to, 1)).unwrap();
        std::fs::rename(&new, &file).unwrap();
    }

    // -- what the daemon says and has recorded --

    pub fn log_lines(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Asks the ledger, through a connection of its own, as operator commands do.
    pub fn ledger<T, F: Future<Output = nightsafe::ledger::Result<T>>>(&self, ask: impl FnOnce(Ledger) -> F) -> T {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let key = std::fs::read_to_string(self.path("keys/audit/signing.key")).unwrap();
            let signer: Signer = key.trim().parse().unwrap();
            let ledger = Ledger::open(&self.path("state/ledger.sqlite"), signer).unwrap();
            let answer = ask(ledger.clone()).await.unwrap();
            ledger.close().await.unwrap();
            answer
        })
    }
    pub fn uploads(&self) -> Vec<UploadRow> {
        self.ledger(|ledger| async move { ledger.uploads(&Filter::default()).await })
    }
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.ledger(|ledger| async move { ledger.deliveries(&Filter::default()).await })
    }
    pub fn events(&self) -> Vec<Logged> {
        self.ledger(|ledger| async move { ledger.events(&Filter::default()).await })
    }
    pub fn events_of(&self, kind: Kind) -> Vec<Logged> {
        self.events().into_iter().filter(|logged| logged.event.kind == kind).collect()
    }
    /// Waits until there are at least `count` events of this kind, and gives all of them.
    #[track_caller]
    pub fn await_events(&self, kind: Kind, count: usize) -> Vec<Logged> {
        eventually(&format!("{count} events {}", kind.as_str()), || {
            let events = self.events_of(kind);
            (events.len() >= count).then_some(events)
        })
    }

    /// The daemon's highest resident memory so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_nonzero())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() * 1024
    }

    // -- the daemon's end --

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// SIGKILL: what a crash is, seen from the disk.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        assert_eq!(self.await_exit().signal(), Some(9));
    }

    /// SIGTERM, and an exit with status 0.
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
        let status = self.await_exit();
        assert_eq!(status.code(), Some(0), "the daemon ended badly ({status:?}):\n{}", self.log_lines().join("\n"));
    }

    /// After a signal: waits for the daemon's end.
    pub fn await_exit(&mut self) -> ExitStatus {
        let status = within(2 * PATIENCE, "the daemon's end", || self.daemon.as_mut().unwrap().try_wait().unwrap());
        self.daemon = None;
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        status
    }

    pub fn is_running(&self) -> bool {
        self.daemon.is_some()
    }

    /// Whether the daemon ended without being told to.
    pub fn has_ended(&mut self) -> bool {
        self.daemon.as_mut().expect("the daemon was started").try_wait().unwrap().is_some()
    }

    /// Ends the daemon and checks the invariants; done by itself when the gateway goes out of scope.
    pub fn settle(&mut self) {
        self.settled = true;
        settle(self);
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }
}

/// A field of a log line, whether the formatter nests the fields or not.
fn field<'a>(event: &'a serde_json::Value, name: &str) -> Option<&'a str> {
    event.get(name).or_else(|| event.get("fields")?.get(name))?.as_str()
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if !std::thread::panicking() && !self.settled {
            self.settle();
        }
        if let Some(mut daemon) = self.daemon.take() {
            // A failed test, or a failed settling: show what the daemon said, and leave nothing running.
            println!("the daemon's log:\n{}", self.log_lines().join("\n"));
            daemon.kill().ok();
            daemon.wait().ok();
        }
    }
}
