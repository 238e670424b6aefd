//! The daemon as a service: readiness, watchdog, socket activation, hardening, one daemon for each state directory.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use nightsafe::audit::Kind;

use crate::harness::{Gateway, PATIENCE, Setup, csv, run};

/// Collects notices until one contains `wanted`.
fn await_notice(socket: &UnixDatagram, wanted: &str) {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 4096];
    loop {
        let count = socket.recv(&mut buffer).unwrap_or_else(|e| panic!("no {wanted} came: {e}"));
        if String::from_utf8_lossy(&buffer[..count]).lines().any(|line| line.starts_with(wanted)) {
            return;
        }
    }
}

#[test]
fn systemd_hears_of_readiness_life_and_stopping() {
    // In /tmp: a socket's path is short, a build tree's need not be.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let setup =
        Setup::new().environment("NOTIFY_SOCKET", path.to_str().unwrap()).environment("WATCHDOG_USEC", "1000000");
    let mut gateway = Gateway::start(setup);
    await_notice(&socket, "READY=1");
    await_notice(&socket, "WATCHDOG=1");
    await_notice(&socket, "WATCHDOG=1");
    gateway.terminate();
    await_notice(&socket, "STOPPING=1");
}

/// What systemd does for a socket unit: the bound socket as descriptor 3, its number and owner in the environment.
const ACTIVATE: &str = r#"
import os, socket, sys
listening = socket.socket()
listening.bind(("127.0.0.1", 0))
listening.listen()
if listening.fileno() == 3:
    os.set_inheritable(3, True)
else:
    os.dup2(listening.fileno(), 3)
# The configuration must name what systemd listens on.
with open(sys.argv[-1]) as config:
    text = config.read()
with open(sys.argv[-1], "w") as config:
    config.write(text.replace("127.0.0.1:0", "127.0.0.1:%d" % listening.getsockname()[1]))
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
print("activated on", listening.getsockname()[1], flush=True)
os.execvp(sys.argv[1], sys.argv[1:])
"#;

#[test]
fn a_socket_from_systemd_is_used() {
    let gateway = Gateway::start(Setup::new().launcher(&["python3", "-c", ACTIVATE]));
    let said = gateway.log_lines().into_iter().find_map(|line| line.strip_prefix("activated on ").map(str::to_owned));
    assert_eq!(said.unwrap().trim().parse::<u16>().unwrap(), gateway.port());
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/visits.csv");
}

#[test]
fn a_second_daemon_on_the_same_state_is_refused() {
    let gateway = Gateway::start(Setup::new());
    let mut second = Command::new(env!("CARGO_BIN_EXE_nightsafe"));
    second.args(["serve", "--config"]).arg(gateway.config_file());
    let refused = run(second, b"", PATIENCE).exits(3);
    let words = refused.words();
    assert!(words.contains("state"), "no word of what is shared: {refused:#?}");
    // The first is not harmed.
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/visits.csv");
}

#[test]
fn a_configuration_with_faults_does_not_start() {
    let gateway = Gateway::prepare(Setup::new());
    gateway.edit("config/nightsafe.toml", "contact =", "contcat =");
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_nightsafe"));
    daemon.args(["serve", "--config"]).arg(gateway.config_file());
    let refused = run(daemon, b"", PATIENCE).exits(2);
    assert!(refused.stderr.contains("nightsafe.toml:4:") && refused.stderr.contains("contact"), "{refused:#?}");
}

#[test]
fn starting_and_stopping_are_audited_and_the_state_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let mut gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.harbour(), &csv(100_000, 1), "/visits.csv");
    gateway.terminate();
    gateway.launch();
    gateway.settle();
    assert_eq!(gateway.events_of(Kind::DaemonStarted).len(), 2);
    assert_eq!(gateway.events_of(Kind::DaemonStopped).len(), 2);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&gateway.path("state")), 0o700);
    assert_eq!(mode(&gateway.path("state/vault")), 0o700);
    for file in crate::harness::files_under(&gateway.path("state")) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

/// Puts the ledger's files (with those that SQLite keeps beside it) of one folder in the place of another's.
fn replace_ledger(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for end in ["", "-wal", "-shm"] {
        let (from, to) = (from.join(format!("ledger.sqlite{end}")), to.join(format!("ledger.sqlite{end}")));
        let _ = std::fs::remove_file(&to);
        if from.exists() {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}

#[test]
fn an_older_ledger_than_the_vault_is_refused_and_nothing_is_removed() {
    let mut gateway = Gateway::start(Setup::new());
    let (state, older, right) = (gateway.path("state"), gateway.path("older"), gateway.path("right"));
    gateway.terminate();
    replace_ledger(&state, &older);
    gateway.launch();
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/visits.csv");
    gateway.terminate();

    replace_ledger(&state, &right);
    replace_ledger(&older, &state);
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_nightsafe"));
    daemon.args(["serve", "--config"]).arg(gateway.config_file());
    let refused = run(daemon, b"", PATIENCE).exits(3);
    assert!(refused.words().contains("old copy"), "{refused:#?}");

    // What was answered OK is still there for the right one: settling compares vault and ledger.
    replace_ledger(&right, &state);
    gateway.launch();
    gateway.settle();
    assert_eq!(gateway.uploads().len(), 1);
}

#[test]
fn the_audit_log_is_append_only_in_the_database_too() {
    let mut gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/visits.csv");
    gateway.terminate();
    let ledger = rusqlite::Connection::open(gateway.path("state/ledger.sqlite")).unwrap();
    let table: String = ledger
        .query_row("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '%event%'", [], |row| row.get(0))
        .unwrap();
    let column: String = ledger
        .query_row(&format!("SELECT name FROM pragma_table_info('{table}') LIMIT 1"), [], |row| row.get(0))
        .unwrap();
    assert!(ledger.execute(&format!("DELETE FROM {table}"), []).is_err(), "events can be deleted");
    assert!(ledger.execute(&format!("UPDATE {table} SET {column} = {column}"), []).is_err(), "events can be changed");
    drop(ledger);
    gateway.settle();
}

#[test]
fn the_units_are_hardened() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/nightsafe.service");
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--offline=true", "--no-pager"]).arg(&unit);
    let done = run(analyze, b"", PATIENCE);
    let line = done.stdout.lines().find(|line| line.contains("Overall exposure level"));
    let line = line.unwrap_or_else(|| panic!("systemd-analyze gave no verdict: {done:#?}"));
    let exposure: f64 = line.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    println!("{line}");
    assert!(exposure < 1.5, "{line}");
}

#[test]
fn the_log_tells_nothing_of_contents_and_keys() {
    let gateway = Gateway::start(Setup::new());
    let secret = "note-that-must-not-be-logged";
    let content = format!("client_id,note\n{}", format!("C1,{secret}\n").repeat(100));
    gateway.put(&gateway.harbour(), content.as_bytes(), "/visits.csv");
    gateway.await_events(Kind::SessionEnded, 1);
    for line in gateway.log_lines() {
        assert!(!line.contains(secret) && !line.contains("PRIVATE KEY") && !line.contains("AGE-SECRET"), "{line}");
    }
    let lines = gateway.log_lines();
    let json = lines.iter().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count();
    assert_eq!(json, lines.len(), "not every line of the log is JSON");
}
