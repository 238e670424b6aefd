//! What leaves the machine by itself: the published log, read with nothing but independent code; witnesses, honest and
//! dead; the copy of each event for syslog.

mod oracle;
mod rollback;
mod tls;
mod witness;

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use nightsafe::audit::Kind;
use nightsafe::ledger::{DeliveryState, ProofOf};

use crate::harness::{Gateway, NIGHTSAFE, PATIENCE, Setup, csv, eventually, fresh_dir, keys, run};
use crate::loading::{claim_one, load_command, text};
use oracle::Published;
use tls::{Authority, Front};
use witness::Witness;

/// Waits until what is published has all events that the ledger has now.
fn published(gateway: &Gateway) -> Published {
    let events = gateway.events().len() as u64;
    let directory = gateway.path("public/audit");
    eventually("the log is published as far as the ledger has come", || {
        let published = Published::read(&directory)?;
        (published.size >= events).then_some(published)
    })
}

#[test]
fn the_published_log_is_read_by_independent_code_also_after_a_crash() {
    let mut gateway = Gateway::start(Setup::new().audit("tiles = \"../public/audit\""));
    for number in 0..3 {
        gateway.put(&gateway.harbour(), &csv(1_000, number), &format!("/before-{number}.csv"));
    }
    let before = published(&gateway);
    for number in 3..20 {
        gateway.put(&gateway.harbour(), &csv(1_000, number), &format!("/before-{number}.csv"));
    }
    gateway.kill();
    // What a crash may leave: a temporary file, and a tile of a checkpoint that was never published.
    let leaves = gateway.path("public/audit/tile/0");
    std::fs::write(leaves.join(".000.new"), b"half a tile").unwrap();
    gateway.launch();
    gateway.put(&gateway.meadow(), &csv(1_000, 99), "/after.csv");
    let after = published(&gateway);
    after.continues(&before);

    // Each upload's acceptance is an entry, and no entry tells a name or an account.
    for row in gateway.uploads() {
        let upload = row.receipt.upload.to_string();
        let told = |entry: &&String| entry.contains(&upload) && entry.contains("\"kind\":\"upload.accepted\"");
        assert_eq!(after.entries.iter().filter(told).count(), 1, "{upload}");
    }
    let private = ["before-", "after.csv", "harbour-nightly", "meadow-nightly", "127.0.0.1", "OpenSSH", "SHA256:"];
    for word in private {
        assert!(!after.entries.iter().any(|entry| entry.contains(word)), "the published log tells {word}");
    }
    assert!(gateway.events_of(Kind::LogContradicted).is_empty());
}

#[test]
fn an_older_copy_of_the_ledger_does_not_overwrite_what_was_published() {
    let mut gateway = Gateway::start(Setup::new().audit("tiles = \"../public/audit\""));
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/first.csv");
    gateway.terminate();
    // The ledger is a file, and what SQLite has put beside it.
    let files = ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"];
    let yesterday = fresh_dir("yesterday");
    for file in files {
        let _ = std::fs::copy(gateway.path("state").join(file), yesterday.path().join(file));
    }
    gateway.launch();
    gateway.put(&gateway.harbour(), &csv(1_000, 2), "/second.csv");
    gateway.await_events(Kind::SessionEnded, 2);
    let newest = published(&gateway);
    gateway.terminate();

    // Yesterday's copy is put back, without the mark that would have it refused at the start.
    for file in files {
        let _ = std::fs::remove_file(gateway.path("state").join(file));
        let _ = std::fs::copy(yesterday.path().join(file), gateway.path("state").join(file));
    }
    std::fs::remove_file(gateway.path("state/ledger.mark")).unwrap();
    gateway.launch();
    let told = gateway.await_events(Kind::LogContradicted, 1);
    let why = told[0].event.detail["reason"].as_str().unwrap();
    assert!(why.contains("older copy"), "{why}");
    assert_eq!(Published::read(&gateway.path("public/audit")).unwrap().size, newest.size);
}

#[test]
fn a_witness_sees_a_log_that_only_grows_and_its_word_is_in_the_proofs() {
    let witness = Witness::start(&keys().verifier());
    let gateway = Gateway::start(Setup::new().audit(&witness.settings()));
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/first.csv");
    let upload = gateway.uploads()[0].receipt.upload;
    let proven = eventually("the upload's proof is cosigned", || {
        let proven = gateway.ledger(|ledger| async move { ledger.proof(ProofOf::End(upload)).await }).unwrap();
        (!proven.witnesses.is_empty()).then_some(proven)
    });
    assert_eq!(proven.witnesses[0].to_string(), witness.key());
    assert!(proven.checkpoint.lines().last().unwrap().starts_with("— witness.example.org "));

    // The file that the provider fetches verifies, and its cosignature counts.
    let dir = fresh_dir("proof");
    let file = dir.path().join("receipt.tlog-proof");
    let remote = gateway.harbour().list("/receipts").into_iter().find(|name| name.ends_with(".tlog-proof")).unwrap();
    gateway.harbour().sftp(&format!("get /receipts/{remote} {}\n", file.display())).ok();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("— witness.example.org "), "{text}");
    let mut verify = std::process::Command::new(NIGHTSAFE);
    verify.args(["receipt", "verify"]).arg(&file).args(["--key", &keys().verifier()]);
    run(verify, b"", PATIENCE).ok();

    // It goes on from what it has seen, and a proof that is cosigned stays as it is.
    gateway.put(&gateway.harbour(), &csv(1_000, 2), "/second.csv");
    let seen = witness.size();
    eventually("the witness saw more", || (witness.size() > seen).then_some(()));
    let again = gateway.ledger(|ledger| async move { ledger.proof(ProofOf::End(upload)).await }).unwrap();
    assert_eq!(again, proven);
    assert_eq!(witness.refused(), Vec::<String>::new());
}

#[test]
fn a_witness_behind_https_is_believed_when_the_operator_trusts_its_authority() {
    let (witness, inside, stranger) = (Witness::start(&keys().verifier()), Authority::new(), Authority::new());
    let front = Front::start(&inside, witness.port());
    let started = |trusted: &Authority| {
        let bundle = trusted.bundle().display().to_string();
        let setup = Setup::new().audit(&witness.settings_at(front.url())).environment("SSL_CERT_FILE", &bundle);
        let gateway = Gateway::start(setup);
        gateway.put(&gateway.harbour(), &csv(1_000, 1), "/visits.csv");
        gateway
    };
    // Who trusts another authority sends the witness nothing, and says why.
    let gateway = started(&stranger);
    let told =
        eventually("it is told", || gateway.log_lines().into_iter().find(|line| line.contains("does not cosign")));
    assert!(told.contains("invalid peer certificate") && told.contains("SSL_CERT_FILE"), "{told}");
    drop(gateway);
    assert_eq!(witness.size(), 0);

    let gateway = started(&inside);
    let upload = gateway.uploads()[0].receipt.upload;
    eventually("the upload's proof is cosigned", || {
        let proven = gateway.ledger(|ledger| async move { ledger.proof(ProofOf::End(upload)).await }).unwrap();
        (proven.witnesses.first()?.to_string() == witness.key()).then_some(())
    });
    assert_eq!(witness.refused(), Vec::<String>::new());
}

#[test]
fn a_loader_waits_for_the_witnesses_that_it_demands_and_burns_no_attempt() {
    let log = keys().verifier();
    let [one, two] = ["one.example.org", "another.example.org"].map(|name| Witness::named(name, &log));
    two.stay_away(true);
    let settings = format!("{}\n{}", one.settings(), two.settings());
    // With one attempt, whatever is given back ends in the dead letters.
    let gateway = Gateway::start(Setup::new().audit(&settings).queue("attempts = 1\n"));
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/visits.csv");
    let into = gateway.path("out");
    std::fs::create_dir_all(&into).unwrap();
    let mut command = load_command(&gateway, "loader-all", "work");
    command.args(["--once", "--lease", "10s", "--require-proof", "--audit-key", &log]).arg("--into").arg(&into);
    command.args(["--witness", &one.key(), "--witness", &two.key()]);
    let loading = std::thread::spawn(move || run(command, b"", 2 * PATIENCE));
    // Three times as long as the lease was.
    gateway.await_events(Kind::DeliveryExtended, 9);
    assert_eq!(gateway.deliveries()[0].state, DeliveryState::Leased);
    two.stay_away(false);
    let done = loading.join().unwrap().ok();
    assert!(done.stderr.contains("has not the word of another.example.org yet"), "{done:#?}");
    assert!(done.stderr.contains("1 loaded") && !done.stderr.contains("failed"), "{done:#?}");
    let delivery = &gateway.deliveries()[0];
    assert_eq!((delivery.state, delivery.attempt), (DeliveryState::Loaded, 1));

    // In the usual case, while the log grows all the time, it takes seconds, and nothing is told.
    for number in 2..4 {
        gateway.put(&gateway.harbour(), &csv(1_000, number), &format!("/visits-{number}.csv"));
        let mut command = load_command(&gateway, "loader-all", "work");
        command.args(["--once", "--require-proof", "--audit-key", &log]).arg("--into").arg(&into);
        command.args(["--witness", &one.key(), "--witness", &two.key()]);
        let done = run(command, b"", PATIENCE).ok();
        assert!(done.stderr.contains("1 loaded"), "{done:#?}");
    }
    assert!(gateway.deliveries().iter().all(|one| (one.state, one.attempt) == (DeliveryState::Loaded, 1)));
    assert_eq!((one.refused(), two.refused()), (Vec::new(), Vec::new()));
}

#[test]
fn a_dead_witness_delays_nothing_and_is_told_of_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (sender, connections) = mpsc::channel();
    let address = listener.local_addr().unwrap();
    // Takes each connection and never says a word.
    std::thread::spawn(move || listener.incoming().for_each(|stream| sender.send(stream.unwrap()).unwrap_or(())));
    let settings = format!(
        "[[audit.witnesses]]\nurl = \"http://{address}\"\nkey = \"{}\"",
        Witness::start(&keys().verifier()).key()
    );
    let mut gateway = Gateway::start(Setup::new().audit(&settings));
    let silent = connections.recv_timeout(PATIENCE).expect("the witness is asked");
    for number in 0..10 {
        gateway.put(&gateway.harbour(), &csv(1_000, number), &format!("/file-{number}.csv"));
    }
    assert_eq!(gateway.uploads().len(), 10);
    let warnings =
        |gateway: &Gateway| gateway.log_lines().iter().filter(|line| line.contains("does not cosign")).count();
    // The request's time runs out, another is made, and the log does not hear of it a second time.
    eventually("it is told", || (warnings(&gateway) > 0).then_some(()));
    let again = connections.recv_timeout(PATIENCE).expect("the witness is asked again");
    gateway.put(&gateway.harbour(), &csv(1_000, 11), "/last.csv");
    // With a request under way, the daemon ends without waiting for it.
    gateway.terminate();
    assert_eq!(warnings(&gateway), 1);
    drop((silent, again));
}

/// A syslog daemon: gives the numbers of the events that come, each with its kind.
struct Syslog(mpsc::Receiver<(u64, String)>);

impl Syslog {
    fn start(path: &Path) -> Self {
        let _ = std::fs::remove_file(path);
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (sender, messages) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 20];
            loop {
                let message = match socket.recv(&mut buffer) {
                    Ok(size) => String::from_utf8(buffer[..size].to_vec()).unwrap(),
                    // Nothing came; or the test has let go of it, and then the socket closes.
                    Err(_) if sender.send((0, String::new())).is_ok() => continue,
                    Err(_) => return,
                };
                let words: Vec<&str> = message.splitn(9, ' ').collect();
                assert!(words[0].starts_with("<1") && words[0].ends_with(">1"), "{message}");
                assert_eq!((words[2], words[3]), ("sftp.example.org", "nightsafe"), "{message}");
                let event: serde_json::Value = serde_json::from_str(words[8]).unwrap();
                assert_eq!(event["kind"], words[5]);
                if sender.send((event["sequence"].as_u64().unwrap(), words[5].to_owned())).is_err() {
                    return;
                }
            }
        });
        Self(messages)
    }

    /// Waits for an event of this kind past `after`, and gives the numbers of all that came until then.
    fn until(&self, kind: Kind, after: u64) -> Vec<u64> {
        let mut numbers = Vec::new();
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            assert!(std::time::Instant::now() < deadline, "no {} came; only {numbers:?}", kind.as_str());
            let (number, came) = self.0.recv_timeout(PATIENCE).unwrap();
            if number > 0 {
                numbers.push(number);
            }
            if came == kind.as_str() && number > after {
                return numbers;
            }
        }
    }
}

#[test]
fn syslog_gets_each_event_in_order_also_after_it_was_away_and_after_a_crash() {
    // A socket's path is short, and the build tree's may not be.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut syslog = Syslog::start(&path);
    let mut gateway = Gateway::start(Setup::new().audit(&format!("syslog = \"unix:{}\"", path.display())));
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/first.csv");
    let mut numbers = syslog.until(Kind::SessionEnded, 0);

    // It goes away, with nothing unread; uploads go on, and an operator's command comes from another process.
    drop(syslog);
    gateway.put(&gateway.harbour(), &csv(1_000, 2), "/second.csv");
    let claimed = claim_one(&gateway.loader(), "--lease 5m");
    gateway.command(&["queue", "release", &text(&claimed, "delivery")]).ok();
    gateway.await_events(Kind::DeliveryReleased, 1);
    syslog = Syslog::start(&path);
    numbers.extend(syslog.until(Kind::DeliveryReleased, *numbers.last().unwrap()));

    gateway.kill();
    gateway.launch();
    numbers.extend(syslog.until(Kind::DaemonStarted, *numbers.last().unwrap()));
    // In order and without a gap; what was sent just before a crash may come twice.
    for pair in numbers.windows(2) {
        assert!(pair[1] <= pair[0] + 1, "from {} to {}: {numbers:?}", pair[0], pair[1]);
    }
    numbers.dedup();
    assert!(numbers.len() > 10, "{numbers:?}");
}
