//! Erasure through the real daemon: nothing private of the upload is left in any byte of the state directory, and the log
//! still verifies, against what was kept before too.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use nightsafe::audit::{Kind, evidence};
use nightsafe::types::Clock;

use crate::harness::{
    Done, Gateway, NIGHTSAFE, PATIENCE, Setup, csv, eventually, files_under, find_bytes, fresh_dir, keys, run, start,
};
use crate::loading::{claim_one, load_into, text};

const NAME: &str = "very-telling-name_2025-02.csv";
/// Its account's, and the key's.
const ACCOUNT: &str = "meadow-nightly";

fn fingerprint() -> String {
    keys().fingerprint("meadow").trim_start_matches("SHA256:").to_owned()
}

/// Files of the state, of what is published and of the runtime directory that have these bytes.
fn holders(gateway: &Gateway, needle: impl AsRef<[u8]>) -> Vec<PathBuf> {
    let mut files = files_under(&gateway.path("state"));
    files.extend(
        ["public", "run"]
            .map(|dir| gateway.path(dir))
            .iter()
            .filter(|dir| dir.exists())
            .flat_map(|dir| files_under(dir)),
    );
    files.retain(|file| find_bytes(file, needle.as_ref()));
    files
}

/// The id of the one upload of that name.
fn sent(gateway: &Gateway, name: &str) -> String {
    sessions_are_over(gateway);
    gateway.uploads().into_iter().find(|row| row.receipt.name.as_str() == name).unwrap().receipt.upload.to_string()
}

/// Waits until the log has the end of each session that it has. One whose requests changed nothing may get there after
/// its client has ended: of such a one something is awaited first.
fn sessions_are_over(gateway: &Gateway) {
    eventually("the end of each session", || {
        let events = gateway.events();
        let count = |kind| events.iter().filter(|logged| logged.event.kind == kind).count();
        (count(Kind::SessionAdmitted) == count(Kind::SessionEnded)).then_some(())
    });
}

fn erase(gateway: &Gateway, id: &str) -> Done {
    gateway.command(&["upload", "erase", id, "--why", "asked for", "--yes"])
}

#[test]
fn after_an_erasure_no_byte_of_the_state_tells_of_the_person_and_the_log_still_verifies() {
    let gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/stays.csv");
    gateway.put(&gateway.meadow(), &csv(3_000, 2), &format!("/{NAME}"));
    let id = sent(&gateway, NAME);
    let object = gateway.object(&id);
    let kept = gateway.path("kept").display().to_string();
    std::fs::write(&kept, gateway.command(&["audit", "checkpoint"]).ok().stdout).unwrap();

    // What must be gone: the salts of all its events, the name, the account, its key's fingerprint.
    let pack = fresh_dir("pack").path().join("pack");
    std::fs::create_dir_all(pack.parent().unwrap()).unwrap();
    gateway.command(&["audit", "prove", &id, "--out", pack.to_str().unwrap()]).ok();
    let key = keys().verifier().parse().unwrap();
    let mut private: Vec<Vec<u8>> = vec![NAME.into(), ACCOUNT.into(), fingerprint().into()];
    for proof in files_under(&pack.join("proofs")) {
        let verified = evidence::verify(&std::fs::read(proof).unwrap(), std::slice::from_ref(&key), &[]).unwrap();
        private.push(verified.private.unwrap().salt.to_vec());
    }
    assert!(private.len() >= 3 + 4, "begun, accepted, admitted, ended");
    for needle in &private {
        assert!(!holders(&gateway, needle).is_empty(), "the test looks for what never was there: {needle:?}");
    }

    // Nobody there to ask.
    let asked = gateway.command(&["upload", "erase", &id, "--why", "asked for"]).exits(2);
    assert!(asked.stderr.contains("--yes"), "{asked:#?}");
    let told = erase(&gateway, &id).ok().stdout;
    for words in [
        "Confirmation of an erasure",
        &id,
        "Tombstone:     entry ",
        &keys().verifier(),
        "had not been loaded",
        "— sftp.example.org/audit ",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(!told.contains(ACCOUNT) && !told.contains(NAME), "{told}");
    for needle in &private {
        assert_eq!(holders(&gateway, needle), Vec::<PathBuf>::new(), "{}", String::from_utf8_lossy(needle));
    }
    assert!(!object.exists());

    let verified = gateway.command(&["audit", "verify", "--checkpoint", &kept]).ok().stdout;
    assert!(verified.contains("Erased:        the private parts of "), "{verified}");
    let listed = gateway.command(&["upload", "list"]).ok().stdout;
    assert!(listed.contains(" erased ") && listed.contains("stays.csv") && !listed.contains(NAME), "{listed}");
    let shown = gateway.command(&["upload", "show", &id]).ok().stdout;
    assert!(shown.contains("An upload that was erased") && shown.contains("upload.erased"), "{shown}");
    let events = gateway.command(&["audit", "list", "--upload", &id]).ok().stdout;
    assert!(events.contains(" upload.accepted erased - "), "{events}");
    for format in ["jsonl", "csv", "ocsf"] {
        let exported = gateway.command(&["audit", "export", "--format", format, "--upload", &id]).ok().stdout;
        assert!(exported.contains("erased") && !exported.contains(NAME), "{format}: {exported}");
    }
    // The pack of what stays, and the tombstone's proof, which names nobody.
    gateway.command(&["audit", "prove", &id, "--out", gateway.path("after.zip").to_str().unwrap()]).ok();
    let again = gateway.command(&["upload", "erase", &id, "--why", "again", "--yes", "--json"]).ok().stdout;
    let again: serde_json::Value = serde_json::from_str(&again).unwrap();
    let mut verify = Command::new(NIGHTSAFE);
    verify.args(["receipt", "verify", "-", "--key", &keys().verifier()]);
    let told = run(verify, again["proof"].as_str().unwrap().as_bytes(), PATIENCE).ok().stdout;
    assert!(told.contains("PROVEN: this upload was erased") && told.contains("not told by this proof"), "{told}");

    // For its provider and for loaders it is gone; what stayed is there.
    let status = gateway.meadow().exec("status").ok().stdout;
    assert!(status.contains(" erased ") && status.contains(&id) && !status.contains("accepted"), "{status}");
    let status = gateway.meadow().exec("status --json").ok().json_lines();
    assert_eq!((&status[0]["state"], status[0].get("path")), (&"erased".into(), None), "{status:?}");
    assert!(gateway.meadow().list("/receipts").is_empty() && !gateway.meadow().list("/").contains(&NAME.to_owned()));
    assert_eq!(gateway.harbour().list("/receipts").len(), 3);
    load_into(&gateway, "loader-all", &gateway.path("out")).ok();
    let loaded = files_under(&gateway.path("out"));
    assert!(loaded.iter().any(|file| file.ends_with("stays.csv")) && !loaded.iter().any(|file| file.ends_with(NAME)));
}

#[test]
fn what_a_loader_has_in_hand_and_what_is_unknown_is_not_erased() {
    let mut gateway = Gateway::start(Setup::new());
    gateway.may_hold_leases = true;
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/a.csv");
    let claimed = claim_one(&gateway.loader(), "");
    let id = text(&claimed, "upload");
    sessions_are_over(&gateway);
    let refused = erase(&gateway, &id).exits(1);
    assert!(
        refused.stderr.contains("loader-all has it in hand") && refused.stderr.contains("queue release"),
        "{refused:#?}"
    );
    let delivery = text(&claimed, "delivery");
    gateway.command(&["queue", "release", &delivery]).ok();
    let told = erase(&gateway, &id).ok().stdout;
    assert!(told.contains("had the file in hand before"), "{told}");
    assert!(gateway.command(&["queue", "list"]).ok().stdout.contains("Everything is loaded."));
    let shown = gateway.command(&["upload", "show", &id]).ok().stdout;
    assert!(shown.contains("State:         erased"), "{shown}");
    // The loader that was released cannot acknowledge, and nobody is given it again.
    assert!(!gateway.loader().exec(&format!("ack {delivery} --lease {}", text(&claimed, "lease"))).succeeded());
    assert!(gateway.loader().exec("claim --max 1").ok().stdout.trim().is_empty());

    let unknown = erase(&gateway, &delivery).exits(1);
    assert!(unknown.stderr.contains("nothing to erase"), "{unknown:#?}");
    gateway.command(&["upload", "erase", &id, "--yes"]).exits(2);
    gateway.command(&["audit", "verify"]).ok();
}

#[test]
fn what_later_sessions_asked_for_by_its_name_is_gone_too() {
    let gateway = Gateway::start(Setup::new().audit("tiles = \"../public/audit\""));
    gateway.put(&gateway.meadow(), &csv(1_000, 1), &format!("/{NAME}"));
    let id = sent(&gateway, NAME);
    // Another session, each line of which is refused: reading back, moving, a directory, and a receipt that is not to go.
    let asked = format!(
        "-get {NAME} /dev/null\n-rename {NAME} other.csv\n-mkdir {NAME}\n-rm /receipts/{NAME}.{id}.json\n-mkdir unrelated\n"
    );
    gateway.meadow().sftp(&asked);
    gateway.meadow().exec(&format!("receipt {NAME}"));
    gateway.await_events(Kind::RequestRefused, 4);
    gateway.await_events(Kind::SessionAdmitted, 3);
    sessions_are_over(&gateway);
    let named = |gateway: &Gateway| {
        let refused = gateway.events_of(Kind::RequestRefused).into_iter();
        refused.filter(|logged| serde_json::to_string(&logged.event.detail).unwrap().contains(NAME)).count()
    };
    assert!(named(&gateway) >= 4, "{:#?}", gateway.events_of(Kind::RequestRefused));

    let told = erase(&gateway, &id).ok().stdout;
    assert!(!told.contains("still stands"), "{told}");
    assert_eq!(holders(&gateway, NAME), Vec::<PathBuf>::new());
    let left = gateway.events_of(Kind::RequestRefused);
    assert!(
        left.iter().any(|logged| logged.event.detail.get("path").is_some_and(|path| path == "/unrelated")),
        "{left:#?}"
    );
    gateway.command(&["audit", "verify"]).ok();
}

#[test]
fn while_another_upload_of_the_name_stays_the_confirmation_says_so() {
    let gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.meadow(), &csv(1_000, 1), &format!("/{NAME}"));
    let first = sent(&gateway, NAME);
    gateway.put(&gateway.meadow(), &csv(1_000, 2), &format!("/{NAME}"));
    gateway.meadow().sftp(&format!("-get {NAME} /dev/null\n"));
    gateway.await_events(Kind::RequestRefused, 1);
    sessions_are_over(&gateway);
    let second = gateway.uploads().iter().map(|row| row.receipt.upload.to_string()).find(|id| *id != first).unwrap();
    let told = erase(&gateway, &first).ok().stdout;
    assert!(
        told.contains("The name of the file still stands in 3 entries of the log") && told.contains(&second),
        "{told}"
    );
    assert!(!told.contains(NAME), "{told}");
    assert!(!holders(&gateway, NAME).is_empty());

    let told = erase(&gateway, &second).ok().stdout;
    assert!(!told.contains("still stands"), "{told}");
    assert_eq!(holders(&gateway, NAME), Vec::<PathBuf>::new());
    gateway.command(&["audit", "verify"]).ok();
}

#[test]
fn while_its_session_is_open_nothing_is_erased_and_the_end_brings_nobody_back() {
    let mut gateway = Gateway::start(Setup::new());
    let mut session = gateway.meadow().session();
    let handle = session.create(&format!("/{NAME}"));
    session.write(&handle, 0, &csv(1_000, 1)).unwrap();
    let under_way = gateway.await_events(Kind::UploadBegun, 1)[0].event.upload.unwrap().to_string();
    let refused = erase(&gateway, &under_way).exits(1);
    assert!(refused.stderr.contains("is under way, or a draft"), "{refused:#?}");
    assert_eq!(session.close(&handle).code, crate::harness::code::OK);

    let refused = erase(&gateway, &under_way).exits(1);
    assert!(
        refused.stderr.contains("a session of meadow-nightly that sent it is still open")
            && refused.stderr.contains("nightsafe account disable meadow-nightly"),
        "{refused:#?}"
    );
    assert!(gateway.events_of(Kind::UploadErased).is_empty() && gateway.object(&under_way).exists());
    // As the words say.
    gateway.command(&["account", "disable", ACCOUNT]).ok();
    sessions_are_over(&gateway);
    gateway.command(&["account", "enable", ACCOUNT]).ok();
    erase(&gateway, &under_way).ok();
    for needle in [NAME.to_owned(), fingerprint()] {
        assert_eq!(holders(&gateway, &needle), Vec::<PathBuf>::new(), "{needle}");
    }

    // A crash takes the session's end away: that hinders nothing, whether the daemon is there again or not.
    let mut session = gateway.meadow().session();
    for name in ["a.csv", "b.csv"] {
        let handle = session.create(&format!("/{name}"));
        session.write(&handle, 0, &csv(1_000, 3)).unwrap();
        assert_eq!(session.close(&handle).code, crate::harness::code::OK);
    }
    let id = |name: &str| {
        let rows = gateway.uploads();
        rows.iter().find(|row| row.receipt.name.as_str() == name).unwrap().receipt.upload.to_string()
    };
    let (first, second) = (id("a.csv"), id("b.csv"));
    erase(&gateway, &first).exits(1);
    gateway.kill();
    let told = erase(&gateway, &first).ok().stdout;
    assert!(told.contains("1 entry about the session in which it came"), "{told}");
    gateway.launch();
    erase(&gateway, &second).ok();
    assert_eq!(holders(&gateway, fingerprint()), Vec::<PathBuf>::new());
    gateway.command(&["audit", "verify"]).ok();
}

#[test]
fn what_never_came_to_an_end_is_erased_once_it_is_no_draft_any_more() {
    let gateway = Gateway::start(Setup::new());
    let mut session = gateway.meadow().session();
    let handle = session.create(&format!("/{NAME}"));
    session.write(&handle, 0, &csv(200_000, 1)).unwrap();
    let id = gateway.await_events(Kind::UploadBegun, 1)[0].event.upload.unwrap().to_string();
    session.kill();
    gateway.await_events(Kind::DraftKept, 1);
    sessions_are_over(&gateway);
    let refused = erase(&gateway, &id).exits(1);
    assert!(
        refused.stderr.contains("or a draft that can be gone on with") && refused.stderr.contains("drafts_expire"),
        "{refused:#?}"
    );

    gateway.meadow().sftp(&format!("rm {NAME}\n")).ok();
    gateway.await_events(Kind::DraftRemoved, 1);
    sessions_are_over(&gateway);
    assert!(!holders(&gateway, NAME).is_empty());
    let told = erase(&gateway, &id).ok().stdout;
    assert!(
        told.contains("did not come whole") && !told.contains("SHA-256") && told.contains("Organisation:  meadow"),
        "{told}"
    );
    for needle in [NAME.to_owned(), ACCOUNT.to_owned(), fingerprint()] {
        assert_eq!(holders(&gateway, &needle), Vec::<PathBuf>::new(), "{needle}");
    }
    gateway.command(&["audit", "verify"]).ok();
    gateway.command(&["audit", "prove", &id, "--out", gateway.path("after.zip").to_str().unwrap()]).ok();
}

#[test]
fn an_erasure_that_is_killed_is_finished_when_the_daemon_starts() {
    let mut gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.meadow(), &csv(1_000, 1), &format!("/{NAME}"));
    let id = sent(&gateway, NAME);
    let object = gateway.object(&id);
    // Somebody looks into the ledger and goes to lunch.
    let reader = rusqlite::Connection::open(gateway.path("state/ledger.sqlite")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM events").unwrap();
    let mut command = Command::new(NIGHTSAFE);
    command.args(["upload", "erase", &id, "--why", "asked for", "--yes", "--config"]).arg(gateway.config_file());
    let erasing = start(command, b"");
    eventually("the object to be gone, whatever hinders the search", || (!object.exists()).then_some(()));
    // The gateway goes on meanwhile.
    gateway.put(&gateway.harbour(), &csv(1_000, 2), "/stays.csv");
    erasing.kill();
    drop(reader);
    gateway.kill();
    assert!(!holders(&gateway, NAME).is_empty());

    gateway.launch();
    assert!(gateway.log_lines().iter().any(|line| line.contains("an erasure that was cut short is finished")));
    for needle in [NAME.to_owned(), fingerprint()] {
        assert_eq!(holders(&gateway, &needle), Vec::<PathBuf>::new(), "{needle}");
    }
    let told = erase(&gateway, &id).ok().stdout;
    assert!(told.contains("Confirmation of an erasure"), "{told}");
    gateway.command(&["audit", "verify"]).ok();
}

#[test]
fn uploads_are_taken_while_others_are_erased() {
    let gateway = Gateway::start(Setup::new());
    let names: Vec<String> = (0..3).map(|number| format!("telling-{number}.csv")).collect();
    for name in &names {
        gateway.put(&gateway.meadow(), &csv(1_000, 1), &format!("/{name}"));
    }
    let ids: Vec<String> = names.iter().map(|name| sent(&gateway, name)).collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut put = 0;
            while !over.load(Ordering::Relaxed) || put < 3 {
                gateway.put(&gateway.harbour(), &csv(1_000, put), &format!("/other-{put}.csv"));
                put += 1;
            }
            put
        });
        for id in &ids {
            erase(&gateway, id).ok();
        }
        over.store(true, Ordering::Relaxed);
        let put = sending.join().unwrap() as usize;
        assert_eq!(gateway.deliveries().len(), ids.len() + put);
    });
    for needle in [ACCOUNT.to_owned(), fingerprint(), "telling-".into()] {
        assert_eq!(holders(&gateway, &needle), Vec::<PathBuf>::new(), "{needle}");
    }
    gateway.command(&["audit", "verify"]).ok();
}

/// The command on a terminal of its own (util-linux's `script`): what it says until its question, then `between`, then
/// the answer. All that stood on the terminal, and the exit status.
fn on_a_terminal(gateway: &Gateway, id: &str, between: impl FnOnce(), answer: &str) -> (String, Option<i32>) {
    let config = gateway.config_file();
    let line = format!("{NIGHTSAFE} upload erase {id} --why 'asked for' --config {}", config.display());
    let mut command = Command::new("script");
    command.args(["-qefc", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let said = Arc::new(Mutex::new(String::new()));
    let reader = std::thread::spawn({
        let said = Arc::clone(&said);
        move || {
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = stdout.read(&mut piece) {
                said.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..read]));
            }
        }
    });
    eventually("the question", || said.lock().unwrap().contains("Type yes:").then_some(()));
    between();
    stdin.write_all(format!("{answer}\n").as_bytes()).unwrap();
    let status = eventually("the end of the command", || child.try_wait().unwrap());
    drop(stdin);
    reader.join().unwrap();
    let said = said.lock().unwrap().clone();
    (said, status.code())
}

#[test]
fn a_loader_that_claims_while_the_question_waits_keeps_its_delivery() {
    let mut gateway = Gateway::start(Setup::new());
    gateway.may_hold_leases = true;
    gateway.put(&gateway.meadow(), &csv(1_000, 1), &format!("/{NAME}"));
    let id = sent(&gateway, NAME);
    let (said, status) = on_a_terminal(&gateway, &id, || (), "no");
    assert!(status == Some(1) && said.contains("nothing was erased") && said.contains(NAME), "{said}");

    let mut delivery = String::new();
    let (said, status) =
        on_a_terminal(&gateway, &id, || delivery = text(&claim_one(&gateway.loader(), ""), "delivery"), "yes");
    assert!(status == Some(1) && said.contains("loader-all has it in hand"), "{said}");
    assert!(gateway.object(&id).exists() && gateway.events_of(Kind::UploadErased).is_empty());

    gateway.command(&["queue", "release", &delivery]).ok();
    sessions_are_over(&gateway);
    let mut answered = None;
    let (said, status) = on_a_terminal(&gateway, &id, || answered = Some(Clock::system().now()), "yes");
    assert!(status == Some(0) && said.contains("Confirmation of an erasure"), "{said}");
    // Each step has a line of its own: the spinner's is wiped before.
    let step = "nightsafe: searching the ledger's files for what was erased";
    let before = said.lines().find_map(|line| line.strip_suffix(step)).unwrap_or_else(|| panic!("{said:?}"));
    assert!(before.is_empty() || before.ends_with("\u{1b}[2K"), "{said:?}");
    let tombstone = gateway.events_of(Kind::UploadErased).remove(0).event;
    assert!(tombstone.at.as_microsecond() >= answered.unwrap().as_microsecond(), "the time of the question was taken");
    assert_eq!(holders(&gateway, NAME), Vec::<PathBuf>::new());
}
