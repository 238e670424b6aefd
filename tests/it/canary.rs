//! Plaintext never reaches a disk: a canary in the content is looked for in every byte that the daemon could have written.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nightsafe::audit::{Kind, Verdict};

use crate::harness::{Dice, Gateway, Raw, Setup, TempDir, code, digest, files_under, find_bytes, flag, fresh_dir};

/// A text that stands nowhere but in the content of one test.
struct Canary {
    text: String,
    /// Holds the content, which proves that the search finds what is there.
    dir: TempDir,
    since: SystemTime,
}

impl Canary {
    fn new() -> Self {
        let mut dice = Dice::new();
        // Put together at run time: neither the binary nor a core dump of the test has it in one piece on disk.
        let text: String = (0..24).map(|_| (b'a' + dice.within(0..26) as u8) as char).collect();
        let dir = fresh_dir("canary");
        let canary = Self { since: std::fs::metadata(dir.path()).unwrap().modified().unwrap(), text, dir };
        std::fs::write(canary.file(), canary.content(300_000)).unwrap();
        canary
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("visits.csv")
    }

    /// An extract of at least `size` bytes with the canary in each row.
    fn content(&self, size: usize) -> Vec<u8> {
        let mut text = String::from("client_id,note\n");
        for row in 0.. {
            if text.len() >= size {
                break;
            }
            text.push_str(&format!("C{row:09},{}\n", self.text));
        }
        text.into_bytes()
    }

    /// Searches the gateway's directory, what the daemon has open, and this machine's temporary directories.
    fn is_nowhere(&self, gateway: &Gateway, when: &str) {
        let needle = self.text.as_bytes();
        assert!(find_bytes(&self.file(), needle), "the search does not find what is there");
        let mut places = files_under(gateway.root());
        assert!(places.iter().any(|file| file.ends_with("state/ledger.sqlite")), "the ledger was not looked at");
        if gateway.is_running() {
            places.extend(open_files(gateway));
        }
        for dir in ["/tmp", "/var/tmp", "/dev/shm"] {
            places.extend(files_under(Path::new(dir)).into_iter().filter(|file| self.is_recent(file)));
        }
        // A clone under /tmp has the content's own file there.
        for file in places.into_iter().filter(|file| !file.starts_with(self.dir.path())) {
            assert!(!find_bytes(&file, needle), "{when}: plaintext in {}", file.display());
        }
    }

    fn is_recent(&self, file: &Path) -> bool {
        std::fs::metadata(file).and_then(|facts| facts.modified()).is_ok_and(|time| time >= self.since)
    }

    /// An upload that stands in the middle: begun, some MiB of it taken, not closed.
    fn half_an_upload(&self, gateway: &Gateway, path: &str) -> (Raw, Vec<u8>) {
        let mut session = gateway.harbour().session();
        let handle = session.create(path);
        session.write(&handle, 0, &self.content(3 << 20)).unwrap();
        assert!(!files_under(&gateway.path("state/spool")).is_empty(), "nothing is under way");
        (session, handle)
    }
}

/// The daemon's open regular files, the deleted ones too.
fn open_files(gateway: &Gateway) -> Vec<PathBuf> {
    let dir = format!("/proc/{}/fd", gateway.pid().as_raw_nonzero());
    let links = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    links.filter(|link| std::fs::metadata(link).is_ok_and(|facts| facts.is_file())).collect()
}

#[test]
fn plaintext_is_nowhere_during_and_after_an_upload() {
    let canary = Canary::new();
    let mut gateway = Gateway::start(Setup::new());
    let (mut session, handle) = canary.half_an_upload(&gateway, "/visits.csv");
    canary.is_nowhere(&gateway, "during");
    assert_eq!(session.close(&handle).code, code::OK);
    canary.is_nowhere(&gateway, "after");
    gateway.harbour().sftp(&format!("put {} /again.csv\n", canary.file().display())).ok();
    canary.is_nowhere(&gateway, "after a stock client's upload");
    drop(session);
    gateway.settle();
    canary.is_nowhere(&gateway, "after the daemon's end");
}

#[test]
fn plaintext_is_nowhere_during_and_after_a_draft_under_a_working_name() {
    let canary = Canary::new();
    let gateway = Gateway::start(Setup::new());
    let (mut session, handle) = canary.half_an_upload(&gateway, "/visits.csv.filepart");
    assert_eq!(session.close(&handle).code, code::OK);
    canary.is_nowhere(&gateway, "as a draft");
    assert_eq!(session.rename("/visits.csv.filepart", "/visits.csv").code, code::OK);
    canary.is_nowhere(&gateway, "after the rename");
}

#[test]
fn plaintext_is_nowhere_in_a_draft_that_was_lost_gone_on_with_rewritten_and_put_together() {
    let canary = Canary::new();
    let mut gateway = Gateway::start(Setup::new().in_memory());
    let (mut session, _) = canary.half_an_upload(&gateway, "/visits.csv");
    session.kill();
    gateway.await_events(Kind::DraftKept, 1);
    canary.is_nowhere(&gateway, "as a draft");
    gateway.kill();
    canary.is_nowhere(&gateway, "as the draft of a killed daemon");
    gateway.launch();
    let content = canary.content(3 << 20);
    let mut session = gateway.harbour().session();
    let handle = session.open(b"/visits.csv", flag::WRITE).unwrap();
    session.write(&handle, 1 << 20, &content[1 << 20..]).unwrap();
    session.write(&handle, 0, &content[..100_000]).unwrap();
    canary.is_nowhere(&gateway, "while it is gone on with");
    assert_eq!(session.close(&handle).code, code::OK);
    canary.is_nowhere(&gateway, "put together");
    assert_eq!(files_under(&gateway.path("state/spool")).len(), 0);
    assert_eq!(gateway.uploads()[0].receipt.sha256.to_string(), digest(&content));
}

#[test]
fn plaintext_is_nowhere_after_a_rejection() {
    let canary = Canary::new();
    let mut gateway = Gateway::prepare(Setup::new());
    gateway.edit("config/datasets/interventions.toml", "format =", "max_size = \"2MiB\"\nformat =");
    gateway.launch();
    let mut session = gateway.harbour().session();
    let handle = session.create("/visits.csv");
    // Too large: refused at a WRITE or at CLOSE, as the gateway likes.
    let written = session.write(&handle, 0, &canary.content(3 << 20));
    let closed = session.close(&handle);
    assert!(written.is_err() || closed.code != code::OK);
    gateway.await_events(Kind::UploadRejected, 1);
    assert_eq!(gateway.uploads()[0].receipt.verdict, Verdict::Rejected);
    canary.is_nowhere(&gateway, "after a rejection");
}

/// A dataset whose second column takes numbers only: the canary breaks it in each row, at the end of the file alone.
fn judged_by_content(gateway: &Gateway, more: &str) {
    gateway.edit("config/datasets/interventions.toml", "format =", &format!("schema = \"s.json\"\n{more}\nformat ="));
    let schema = r#"{"fields": [{"name": "client_id", "type": "string"}, {"name": "note", "type": "integer"}]}"#;
    std::fs::write(gateway.path("config/datasets/s.json"), schema).unwrap();
}

#[test]
fn plaintext_is_nowhere_after_a_rejection_by_content_nor_in_its_reports() {
    for (more, kept) in [("", false), ("on_reject = \"quarantine\"", true)] {
        let canary = Canary::new();
        let mut gateway = Gateway::prepare(Setup::new());
        judged_by_content(&gateway, more);
        gateway.launch();
        let (mut session, handle) = canary.half_an_upload(&gateway, "/visits.csv");
        canary.is_nowhere(&gateway, "during");
        let closed = session.close(&handle);
        assert!(closed.code != code::OK && closed.message.contains("note"), "{closed:?}");
        assert!(!closed.message.contains(&canary.text), "{closed:?}");
        let row = &gateway.uploads()[0];
        assert_eq!((row.receipt.verdict, row.receipt.quarantined), (Verdict::Rejected, kept));
        assert!(row.receipt.report.errors > 10_000, "{:?}", row.receipt.report.errors);
        canary.is_nowhere(&gateway, "after the rejection");
        let objects = files_under(&gateway.path("state/vault")).len();
        assert_eq!((objects, files_under(&gateway.path("state/spool")).len()), (usize::from(kept), 0));

        let reports = fresh_dir("reports");
        gateway.harbour().sftp(&format!("get /receipts/* {}/\n", reports.path().display())).ok();
        let reports = files_under(reports.path());
        assert_eq!(reports.len(), 3, "as JSON, as text, and its proof");
        assert!(!reports.iter().any(|report| find_bytes(report, canary.text.as_bytes())), "a report holds a value");
        assert!(!gateway.log_lines().join("\n").contains(&canary.text), "the log holds a value");

        // Cut off in the middle, when most of its errors are known already.
        let (mut session, _) = canary.half_an_upload(&gateway, "/again.csv");
        session.kill();
        gateway.await_events(Kind::DraftKept, 1);
        canary.is_nowhere(&gateway, "after a lost connection");
        assert_eq!(files_under(&gateway.path("state/vault")).len(), objects, "half an upload is kept");
        gateway.harbour().sftp("rm /again.csv\n").ok();
        assert_eq!(files_under(&gateway.path("state/spool")).len(), 0);
    }
}

#[test]
fn plaintext_is_nowhere_while_a_rejected_upload_is_in_quarantine() {
    let canary = Canary::new();
    let mut gateway = Gateway::prepare(Setup::new());
    gateway.edit("config/datasets/interventions.toml", "format =", "on_reject = \"quarantine\"\nformat =");
    gateway.launch();
    let mut session = gateway.harbour().session();
    let handle = session.create("/visits.csv");
    // A program by its first bytes, then rows.
    let content = [b"\x7fELF\x02\x01\x01\0".as_slice(), &canary.content(300_000)].concat();
    let _ = session.write(&handle, 0, &content);
    assert_ne!(session.close(&handle).code, code::OK);
    let row = &gateway.uploads()[0];
    assert!(row.receipt.quarantined && row.removed.is_none());
    canary.is_nowhere(&gateway, "in quarantine");
    gateway.command(&["upload", "discard", &row.receipt.upload.to_string(), "--why", "looked at"]).ok();
    canary.is_nowhere(&gateway, "after its end");
}

#[test]
fn plaintext_is_nowhere_after_a_kill() {
    let canary = Canary::new();
    let mut gateway = Gateway::start(Setup::new());
    let (_session, _) = canary.half_an_upload(&gateway, "/visits.csv");
    gateway.kill();
    canary.is_nowhere(&gateway, "after a kill");
    gateway.launch();
    canary.is_nowhere(&gateway, "after the recovery");
    gateway.await_events(Kind::DraftDiscarded, 1);
}
