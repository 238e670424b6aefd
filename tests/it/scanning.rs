//! The real clamd: found, clean, over its limit, stopped in the middle, down; by the scanner's client alone, and through
//! the door of a gateway whose datasets must be scanned.

use std::time::Duration;

use nightsafe::audit::{Kind, Verdict};
use nightsafe::ledger::UploadRow;
use nightsafe::scan::{Address, Scan, Scanned, Settings, Unscanned, ping};

use crate::harness::{Clamd, Client, Done, Gateway, MARK, Setup, code, csv, digest, files_under, fresh_dir};

fn settings(clamd: &Clamd, max_size: u64) -> Settings {
    Settings { address: Address::Path(clamd.socket().to_owned()), max_size, timeout: Duration::from_secs(30) }
}

fn scan(settings: &Settings, bytes: &[u8]) -> Result<Scanned, Unscanned> {
    let mut scan = Scan::begin(settings)?;
    for piece in bytes.chunks(32 << 10) {
        if scan.push(piece).is_err() {
            break;
        }
    }
    scan.finish(bytes.len() as u64)
}

fn rows(bytes: usize) -> Vec<u8> {
    b"id,name\r\n1,x\r\n".iter().copied().cycle().take(bytes).collect()
}

#[test]
fn clamd_finds_its_signature_and_calls_the_rest_clean() {
    let clamd = Clamd::start(25 << 20);
    let settings = settings(&clamd, 25 << 20);
    let (engine, signatures) = ping(&settings).unwrap();
    assert!(engine.starts_with("ClamAV ") && signatures == "not told", "{engine} {signatures}");
    for size in [0, 1, 100_000, 3 << 20] {
        let scanned = scan(&settings, &rows(size)).unwrap();
        assert_eq!((scanned.found, scanned.size, &scanned.engine), (None, size as u64, &engine));
    }
    for before in [0, 65_530, 2 << 20] {
        let bytes = [rows(before), MARK.as_bytes().to_vec(), rows(1000)].concat();
        let found = scan(&settings, &bytes).unwrap().found.expect("it is found");
        assert!(found.starts_with("Nightsafe.Test.Mark"), "{found}");
    }
}

#[test]
fn a_file_over_clamds_own_limit_is_not_clean() {
    let clamd = Clamd::start(1 << 20);
    for size in [(1 << 20) + 1, 8 << 20] {
        let unscanned = scan(&settings(&clamd, 25 << 20), &rows(size)).unwrap_err();
        assert!(unscanned.too_large, "{unscanned:?}");
    }
    assert_eq!(scan(&settings(&clamd, 25 << 20), &rows(1 << 20)).unwrap().found, None);
}

#[test]
fn clamd_stopped_in_the_middle_gives_no_verdict_and_none_when_it_is_down() {
    let mut clamd = Clamd::start(25 << 20);
    let settings = settings(&clamd, 25 << 20);
    let mut scan = Scan::begin(&settings).unwrap();
    scan.push(&rows(1 << 20)).unwrap();
    clamd.kill();
    // The rest fits into nobody's buffer.
    let pushed = scan.push(&rows(4 << 20));
    let unscanned = scan.finish(5 << 20).unwrap_err();
    assert!(!unscanned.too_large && pushed == Err(unscanned.clone()), "{pushed:?}, {unscanned:?}");
    let mut settings = settings;
    settings.timeout = Duration::from_secs(2);
    let down = Scan::begin(&settings).err().expect("nobody answers");
    assert!(!down.too_large && down.reason.contains("again later"), "{down:?}");
}

/// A gateway whose datasets are scanned by this clamd; `bulk` takes bytes of any kind.
fn gateway(clamd: &Clamd, max_size: &str) -> Gateway {
    let mut gateway = Gateway::prepare(Setup::new());
    let scan = format!("[scan]\nclamd = {:?}\nmax_size = {max_size:?}\ntimeout = \"60s\"\n[log]", clamd.socket());
    gateway.edit("config/nightsafe.toml", "[log]", &scan);
    gateway.launch();
    gateway
}

fn put(client: &Client, content: &[u8], remote: &str) -> Done {
    let dir = fresh_dir("scanned");
    let local = dir.path().join("content");
    std::fs::write(&local, content).unwrap();
    client.sftp(&format!("put {} {remote}\n", local.display()))
}

fn get(gateway: &Gateway, remote: &str) -> String {
    let dir = fresh_dir("receipt");
    let local = dir.path().join("file");
    gateway.harbour().sftp(&format!("get {remote} {}\n", local.display())).ok();
    std::fs::read_to_string(&local).unwrap()
}

fn last(gateway: &Gateway) -> UploadRow {
    gateway.uploads().into_iter().max_by_key(|row| row.receipt.upload).unwrap()
}

/// Sealed objects, and files under way.
fn left(gateway: &Gateway) -> usize {
    ["state/vault", "state/spool"].iter().map(|dir| files_under(&gateway.path(dir)).len()).sum()
}

#[test]
fn what_clamd_calls_clean_is_accepted_and_its_receipt_says_who_said_so() {
    let clamd = Clamd::start(25 << 20);
    let gateway = gateway(&clamd, "25MiB");
    let content = csv(3 << 20, 1);
    put(&gateway.harbour(), &content, "/visits.csv").ok();
    let receipt = last(&gateway).receipt;
    let scan = receipt.scan.expect("it was scanned");
    assert!(scan.found.is_none() && scan.engine.starts_with("ClamAV ") && !scan.signatures.is_empty(), "{scan:?}");
    let words = get(&gateway, "/receipts/*.receipt.txt");
    assert!(words.contains("clean (ClamAV "), "{words}");
    let json: serde_json::Value = serde_json::from_str(&get(&gateway, "/receipts/*.receipt.json")).unwrap();
    assert_eq!(json["scan"]["engine"], scan.engine.as_str());
    assert_eq!((receipt.sha256.to_string(), left(&gateway)), (digest(&content), 1));
}

#[test]
fn what_clamd_finds_is_rejected_by_the_signatures_name() {
    let clamd = Clamd::start(25 << 20);
    let gateway = gateway(&clamd, "25MiB");
    let whole = String::from_utf8(csv(1 << 20, 1)).unwrap();
    let last_line = whole.trim_end().rsplit('\n').next().unwrap();
    let (kept, _) = last_line.rsplit_once(',').unwrap();
    for (remote, content) in [
        ("/interventions/visits.csv", format!("{whole}{kept},{MARK}\n").into_bytes()),
        ("/bulk/anything.bin", [vec![7; 100_000], MARK.as_bytes().to_vec()].concat()),
        // Whoever renames at the end is told at the latest then.
        ("/bulk/anything.bin.part", MARK.as_bytes().to_vec()),
    ] {
        let done = put(&gateway.harbour(), &content, remote).fails();
        assert!(done.stderr.contains("Nightsafe.Test.Mark"), "{remote}: {done:?}");
        let receipt = last(&gateway).receipt;
        assert_eq!((receipt.verdict, receipt.report.groups[0].rule.to_string()), (Verdict::Rejected, "malware".into()));
        assert!(receipt.scan.is_some_and(|scan| scan.found.is_some()), "{remote}");
        let words = get(&gateway, &format!("/receipts/*.{}.report.txt", receipt.upload));
        assert!(words.contains("Nightsafe.Test.Mark"), "{words}");
    }
    // A row that is too short is reason enough; the scanner is heard all the same.
    let done = put(&gateway.harbour(), format!("{whole}{MARK}\n").as_bytes(), "/visits.csv").fails();
    assert!(
        done.stderr.contains("from column 2 to column 4") && done.stderr.contains("Nightsafe.Test.Mark"),
        "{done:?}"
    );
    assert!(!done.stderr.contains(" more; see"), "{done:?}");
    assert!(last(&gateway).receipt.scan.is_some_and(|scan| scan.found.is_some()));
    assert_eq!((gateway.deliveries().len(), left(&gateway)), (0, 0));
}

#[test]
fn what_is_over_the_scanners_limit_is_refused_whoever_has_the_smaller_one() {
    // clamd's own is smaller than what the gateway is told, and the other way round.
    for (most, max_size) in [(1 << 20, "25MiB"), (25 << 20, "1MiB")] {
        let clamd = Clamd::start(most);
        let gateway = gateway(&clamd, max_size);
        let done = put(&gateway.harbour(), &csv(3 << 20, 1), "/visits.csv").fails();
        assert!(done.stderr.contains("too large"), "{done:?}");
        let receipt = last(&gateway).receipt;
        assert_eq!((receipt.verdict, receipt.report.groups[0].rule.to_string()), (Verdict::Rejected, "scan".into()));
        assert_eq!((gateway.deliveries().len(), left(&gateway)), (0, 0));
    }
}

#[test]
fn nothing_is_accepted_while_clamd_is_dead_or_dies_in_the_middle() {
    let mut clamd = Clamd::start(25 << 20);
    let gateway = gateway(&clamd, "25MiB");
    let content = csv(4 << 20, 1);
    let mut session = gateway.harbour().session();
    let handle = session.create("/visits.csv");
    session.write(&handle, 0, &content[..2 << 20]).unwrap();
    clamd.kill();
    // Told on a WRITE or at CLOSE: whichever comes first.
    let _ = session.write(&handle, 2 << 20, &content[2 << 20..]);
    let closed = session.close(&handle);
    assert_ne!(closed.code, code::OK);
    assert!(closed.message.contains("could not be scanned"), "{closed:?}");
    let aborted = gateway.await_events(Kind::UploadAborted, 1);
    assert_eq!(aborted[0].event.detail["reason"], "it could not be scanned for malware");
    assert_eq!((gateway.uploads().len(), left(&gateway)), (0, 0));

    for size in [128, 1 << 20] {
        let done = put(&gateway.harbour(), &csv(size, 1), "/again.csv").fails();
        assert!(done.stderr.contains("could not be scanned") && done.stderr.contains("again later"), "{done:?}");
    }
    assert_eq!((gateway.uploads().len(), gateway.deliveries().len(), left(&gateway)), (0, 0, 0));
    let check = gateway.command(&["check"]);
    assert!(check.words().contains("clamd"), "the operator is not told: {check:?}");
}
