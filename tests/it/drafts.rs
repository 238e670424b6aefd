//! Uploads that are not one clean sequence: working names, renames, removals, abandoned drafts, and a daemon that is told to stop.

use std::time::Duration;

use nightsafe::audit::Kind;
use rustix::process::Signal;

use crate::harness::{
    Gateway, PATIENCE, Setup, code, csv, digest, eventually, files_under, fresh_dir, keys, kind, open_with_age, string,
};

#[test]
fn a_working_name_is_accepted_at_the_rename_and_not_before() {
    let gateway = Gateway::start(Setup::new());
    let content = csv(150_000, 1);
    let dir = fresh_dir("working");
    let file = dir.path().join("visits.csv");
    std::fs::write(&file, &content).unwrap();
    // One session, as WinSCP does it.
    let batch = format!("put {} visits.csv.filepart\nls -l\nrename visits.csv.filepart visits.csv\n", file.display());
    let done = gateway.harbour().sftp(&batch).ok();
    assert!(done.stdout.contains("visits.csv.filepart"), "a draft is not listed: {done:#?}");

    let rows = gateway.uploads();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].receipt.name.as_str(), "visits.csv");
    assert_eq!(rows[0].receipt.sha256.to_string(), digest(&content));
    let object = gateway.object(&rows[0].receipt.upload.to_string());
    assert_eq!(open_with_age(&object, &keys().identity("harbour")), digest(&content));
    let listed = gateway.harbour().list("/");
    assert!(listed.contains(&"visits.csv".into()) && !listed.contains(&"visits.csv.filepart".into()), "{listed:?}");
    assert_eq!(gateway.events_of(Kind::DraftClosed).len(), 1);
}

#[test]
fn a_draft_can_be_renamed_in_another_session() {
    let gateway = Gateway::start(Setup::new());
    let content = csv(80_000, 2);
    gateway.put(&gateway.harbour(), &content, "/interventions/visits.csv.part");
    assert_eq!(gateway.deliveries().len(), 0, "a draft is in the queue");
    gateway.harbour().sftp("rename /interventions/visits.csv.part /interventions/visits.csv\n").ok();
    assert_eq!(gateway.uploads()[0].receipt.sha256.to_string(), digest(&content));
}

#[test]
fn every_working_name_of_the_common_clients_is_one() {
    let gateway = Gateway::start(Setup::new());
    let names = ["a.csv.filepart", "b.csv.part", "c.csv.partial", "d.csv.tmp", ".in.e.csv.", "f.csv.1a2b3c4d.partial"];
    for (name, whole) in names.into_iter().zip(["a.csv", "b.csv", "c.csv", "d.csv", "e.csv", "f.csv"]) {
        gateway.put(&gateway.harbour(), &csv(2_000, 3), &format!("/{name}"));
        assert!(gateway.deliveries().iter().all(|d| d.receipt.name.as_str() != name), "{name} was accepted");
        gateway.harbour().sftp(&format!("rename /{name} /{whole}\n")).ok();
    }
    assert_eq!(gateway.deliveries().len(), names.len());
}

#[test]
fn a_draft_can_be_removed_and_is_gone() {
    let mut gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.harbour(), &csv(80_000, 4), "/visits.csv.part");
    assert!(!files_under(&gateway.path("state/spool")).is_empty());
    gateway.harbour().sftp("rm /visits.csv.part\n").ok();
    eventually("an empty spool", || files_under(&gateway.path("state/spool")).is_empty().then_some(()));
    assert!(!gateway.harbour().list("/").contains(&"visits.csv.part".into()));
    gateway.await_events(Kind::DraftRemoved, 1);
    gateway.harbour().sftp("rename /visits.csv.part /visits.csv\n").fails();
    gateway.settle();
    assert_eq!(gateway.uploads().len(), 0);
}

#[test]
fn a_draft_that_is_uploaded_again_is_one_file_and_the_first_does_not_come_back() {
    let gateway = Gateway::start(Setup::new());
    for seed in [1, 2] {
        gateway.put(&gateway.harbour(), &csv(5_000, seed), "/visits.csv.part");
    }
    gateway.await_events(Kind::DraftRemoved, 1);
    gateway.harbour().sftp("rename /visits.csv.part /visits.csv\n").ok();
    assert_eq!(gateway.events_of(Kind::DraftRemoved).len(), 1);
    assert_eq!(gateway.uploads()[0].receipt.sha256.to_string(), digest(&csv(5_000, 2)));
    assert!(!gateway.harbour().list("/").contains(&"visits.csv.part".into()), "the first came back");
}

#[test]
fn a_draft_that_is_renamed_onto_another_takes_its_place() {
    let gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.harbour(), &csv(5_000, 1), "/older.csv.part");
    gateway.put(&gateway.harbour(), &csv(5_000, 2), "/newer.csv.part");
    gateway.harbour().sftp("rename /older.csv.part /newer.csv.part\nrename /newer.csv.part /visits.csv\n").ok();
    assert_eq!(gateway.uploads()[0].receipt.sha256.to_string(), digest(&csv(5_000, 1)));
    assert!(!gateway.harbour().list("/").contains(&"newer.csv.part".into()), "what was replaced came back");
}

#[test]
fn a_draft_that_nobody_renames_is_removed_and_audited() {
    let gateway = Gateway::start(Setup::new().intake("drafts_expire = \"1s\""));
    gateway.put(&gateway.harbour(), &csv(80_000, 5), "/visits.csv.part");
    // The daemon looks for such drafts now and then, at least once a minute.
    let removed = crate::harness::within(3 * PATIENCE, "the draft's removal", || {
        let removed = gateway.events_of(Kind::DraftExpired);
        (!removed.is_empty()).then_some(removed)
    });
    assert_eq!(removed[0].event.org.as_ref().unwrap().as_str(), "harbour");
    eventually("an empty spool", || files_under(&gateway.path("state/spool")).is_empty().then_some(()));
    assert!(!gateway.harbour().list("/").contains(&"visits.csv.part".into()));
}

#[test]
fn a_rename_to_a_name_that_is_not_taken_keeps_the_draft() {
    let gateway = Gateway::start(Setup::new());
    let mut session = gateway.harbour().session();
    let handle = session.create("/visits.csv.part");
    session.write(&handle, 0, &csv(10_000, 6)).unwrap();
    assert_eq!(session.close(&handle).code, code::OK);
    let refused = session.rename("/visits.csv.part", "/receipts/visits.csv");
    assert_ne!(refused.code, code::OK);
    assert_eq!(session.rename("/visits.csv.part", "/visits.csv").code, code::OK);
    assert_eq!(gateway.deliveries().len(), 1);
}

#[test]
fn an_upload_that_is_lost_and_sent_again_from_its_beginning_is_accepted_once() {
    let gateway = Gateway::start(Setup::new());
    let content = csv(300_000, 7);
    for round in 1..=3 {
        let mut session = gateway.harbour().session();
        let handle = session.create("/visits.csv");
        session.write(&handle, 0, &content[..100_000]).unwrap();
        session.kill();
        gateway.await_events(Kind::DraftKept, round);
    }
    assert_eq!(gateway.harbour().list("/").iter().filter(|name| *name == "visits.csv").count(), 1);
    gateway.put(&gateway.harbour(), &content, "/visits.csv");
    assert_eq!(gateway.uploads().len(), 1);
    assert_eq!(gateway.uploads()[0].receipt.sha256.to_string(), digest(&content));
    assert_eq!(gateway.await_events(Kind::DraftRemoved, 3).len(), 3);
}

#[test]
fn writes_out_of_order_within_the_window_are_put_in_order() {
    let gateway = Gateway::start(Setup::new());
    let content = csv(256 * 1024, 8);
    let mut session = gateway.harbour().session();
    let handle = session.create("/visits.csv");
    let mut ids = Vec::new();
    let parts: Vec<&[u8]> = content.chunks(32 * 1024).collect();
    for at in [1, 0, 3, 2, 7, 6, 5, 4] {
        let offset = at as u64 * 32 * 1024;
        let body = [&string(&handle)[..], &offset.to_be_bytes(), &string(parts[at])].concat();
        ids.push(session.post(kind::WRITE, &body));
    }
    for id in ids {
        assert_eq!(session.reply(id).status().code, code::OK);
    }
    assert_eq!(session.close(&handle).code, code::OK);
    assert_eq!(gateway.uploads()[0].receipt.sha256.to_string(), digest(&content));
}

#[test]
fn a_gap_that_is_never_filled_is_not_accepted() {
    let gateway = Gateway::start(Setup::new());
    let mut session = gateway.harbour().session();
    let handle = session.create("/visits.csv");
    session.write(&handle, 0, &csv(10_000, 9)).unwrap();
    session.write(&handle, 20_000, b"after a gap").ok();
    assert_ne!(session.close(&handle).code, code::OK);
    assert_eq!(gateway.deliveries().len(), 0);
}

#[test]
fn at_sigterm_a_running_upload_finishes_and_nobody_else_comes_in() {
    let mut gateway = Gateway::start(Setup::new().server("drain = \"60s\""));
    let content = csv(3_000_000, 10);
    let mut session = gateway.harbour().session();
    let handle = session.create("/visits.csv");
    session.write(&handle, 0, &content[..1_000_000]).unwrap();

    gateway.signal(Signal::TERM);
    eventually("the door to be closed", || (!gateway.meadow().sftp("ls\n").succeeded()).then_some(()));
    session.write(&handle, 1_000_000, &content[1_000_000..]).unwrap();
    assert_eq!(session.close(&handle).code, code::OK);
    drop(session);
    assert_eq!(gateway.await_exit().code(), Some(0));
    assert_eq!(gateway.uploads()[0].receipt.sha256.to_string(), digest(&content));
    assert_eq!(gateway.events_of(Kind::DaemonStopped).len(), 1);
}

#[test]
fn an_upload_that_outlasts_the_drain_is_a_draft_that_the_next_start_goes_on_with() {
    let mut gateway = Gateway::start(Setup::new().server("drain = \"1s\"").in_memory());
    let content = csv(900_000, 11);
    let mut session = gateway.harbour().session();
    let handle = session.create("/visits.csv");
    session.write(&handle, 0, &content[..500_000]).unwrap();
    gateway.terminate();
    session.await_end_within(Duration::from_secs(10));
    assert_eq!(gateway.events_of(Kind::DraftKept).len(), 1);
    assert_eq!(gateway.uploads().len(), 0);

    gateway.launch();
    let listed = gateway.command(&["upload", "list", "--drafts"]).ok().stdout;
    assert!(listed.contains("kept") && listed.contains("visits.csv"), "{listed}");
    reput(&gateway, &content, "/visits.csv").ok();
    assert_eq!(gateway.uploads()[0].receipt.sha256.to_string(), digest(&content));
    let object = gateway.object(&gateway.uploads()[0].receipt.upload.to_string());
    assert_eq!(open_with_age(&object, &keys().identity("harbour")), digest(&content));
    assert!(files_under(&gateway.path("state/spool")).is_empty());
    assert_eq!(gateway.command(&["upload", "list", "--drafts", "--json"]).ok().stdout.trim(), "[]");
}

/// OpenSSH's own resumption: it asks for the size, and appends.
fn reput(gateway: &Gateway, content: &[u8], remote: &str) -> crate::harness::Done {
    let dir = fresh_dir("reput");
    let file = dir.path().join("content");
    std::fs::write(&file, content).unwrap();
    gateway.harbour().sftp(&format!("reput {} {remote}\n", file.display()))
}

#[test]
fn after_a_kill_openssh_goes_on_where_it_was_and_without_the_key_the_draft_is_discarded() {
    let mut gateway = Gateway::start(Setup::new().in_memory());
    let content = csv(3_000_000, 12);
    for name in ["/visits.csv", "/lost.csv"] {
        let mut session = gateway.harbour().session();
        let handle = session.create(name);
        session.write(&handle, 0, &content[..2_000_000]).unwrap();
        gateway.kill();
        if name == "/visits.csv" {
            gateway.launch();
            assert!(gateway.harbour().list("/").contains(&"visits.csv".into()));
            reput(&gateway, &content, name).ok();
            assert_eq!(gateway.uploads()[0].receipt.sha256.to_string(), digest(&content));
            assert_eq!(gateway.events_of(Kind::DraftResumed).len(), 1);
        }
    }
    std::fs::remove_file(gateway.runtime().join("spool.key")).unwrap();
    gateway.launch();
    let discarded = gateway.await_events(Kind::DraftDiscarded, 1);
    assert_eq!(discarded[0].event.detail["name"], "lost.csv");
    assert!(files_under(&gateway.path("state/spool")).is_empty());
    assert!(!gateway.harbour().list("/").contains(&"lost.csv".into()));
}

#[test]
fn the_spool_key_is_in_memory_for_the_daemon_s_user_alone_and_never_on_a_disk() {
    use std::os::unix::fs::PermissionsExt;
    let gateway = Gateway::start(Setup::new().in_memory());
    let key = gateway.runtime().join("spool.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    gateway.command(&["check"]).ok();
    let gateway = Gateway::start(Setup::new());
    assert!(!gateway.runtime().join("spool.key").exists());
    let checked = gateway.command(&["check"]).ok();
    assert!(checked.stderr.contains("is on a disk, and no tmpfs"), "{checked:#?}");
}

#[test]
fn interrupted_openssh_closes_what_it_sent_and_that_is_told_from_a_whole_file() {
    let mut gateway = Gateway::prepare(Setup::new());
    gateway.edit("config/datasets/outreach.toml", "format =", "interrupted = \"reject\"\nformat =");
    gateway.launch();
    let mut session = gateway.harbour().session();
    // Three full-size writes, and the truncation to what was answered that OpenSSH sends.
    for path in ["/broken.csv", "/outreach/broken.csv", "/outreach/whole.csv", "/outreach/renamed.csv.part"] {
        let handle = session.create(path);
        session.write(&handle, 0, &csv(3 * 32 * 1024, 1)).unwrap();
        if path.ends_with("whole.csv") {
            session.write(&handle, 3 * 32 * 1024, b"C1,2024-03-31,visit,x\n").unwrap();
        }
        let closed = session.close(&handle);
        assert_eq!(closed.code == code::OK, path != "/outreach/broken.csv", "{path}: {closed:?}");
    }
    assert_eq!(session.rename("/outreach/renamed.csv.part", "/outreach/renamed.csv").code, code::OK);
    for row in gateway.uploads() {
        let receipt = row.receipt;
        let flags = receipt.report.flag_names();
        let doubted = receipt.report.groups.iter().any(|group| group.rule == "interrupted");
        let outreach = receipt.dataset.as_str() == "outreach";
        assert_eq!(
            flags.contains(&"interrupted".into()),
            receipt.name.as_str() == "broken.csv" && !outreach,
            "{flags:?}"
        );
        assert_eq!(doubted, receipt.name.as_str() == "broken.csv" && outreach);
    }
}

/// The real client, told to stop as a terminal's Ctrl-C tells it: it cuts the file to what was answered, and closes it.
#[test]
fn openssh_interrupted_by_ctrl_c_is_noticed() {
    let gateway = Gateway::start(Setup::new());
    let dir = fresh_dir("interrupted");
    let file = dir.path().join("content");
    std::fs::write(&file, csv(40_000_000, 3)).unwrap();
    // Slowed down, so that it is in the middle of it when it is told.
    let mut command = gateway.harbour().command("sftp");
    command.args(["-l", "40000", "-b", "-", "harbour-nightly@127.0.0.1"]);
    let running = crate::harness::start(command, format!("put {} /bulk/extract.bin\n", file.display()).as_bytes());
    eventually("a part of it to be sealed", || {
        let drafts = gateway.command(&["upload", "list", "--drafts"]).ok().stdout;
        drafts.contains("extract.bin").then_some(())
    });
    running.signal(Signal::INT);
    eventually("its end", || (gateway.uploads().len() + gateway.events_of(Kind::DraftKept).len() > 0).then_some(()));
    let rows = gateway.uploads();
    println!("{} closed, {} lost", rows.len(), gateway.events_of(Kind::DraftKept).len());
    for row in rows {
        assert!(row.receipt.size < 40_000_000);
        assert!(row.receipt.report.flag_names().contains(&"interrupted".into()), "{:?}", row.receipt);
    }
}

#[test]
fn a_marker_or_a_late_companion_completes_what_waits_for_it() {
    let mut gateway = Gateway::prepare(Setup::new());
    let marked = "complete = \"marker\"\nmarker = \"{name}.done\"\nformat =";
    gateway.edit("config/datasets/outreach.toml", "format =", marked);
    let vouched = "complete = \"companion\"\nname = '.+\\.csv'\nformat =";
    gateway.edit("config/datasets/interventions.toml", "format =", vouched);
    gateway.edit("config/datasets/interventions.toml", "\"csv\"\n", "\"csv\"\n[companion]\nkinds = [\"sha256\"]\n");
    gateway.launch();
    let content = csv(400_000, 1);
    let client = gateway.harbour();
    let fails = |content: &[u8], remote: &str| {
        let dir = fresh_dir("marker");
        let file = dir.path().join("content");
        std::fs::write(&file, content).unwrap();
        client.sftp(&format!("put {} {remote}\n", file.display())).fails()
    };
    let early = fails(b"", "/outreach/a.csv.done");
    assert!(early.stderr.contains("send the file first"), "{early:#?}");
    gateway.put(&client, &content, "/outreach/a.csv");
    assert_eq!(gateway.deliveries().len(), 0);
    assert!(client.list("/outreach").contains(&"a.csv".into()));
    gateway.put(&client, b"", "/outreach/a.csv.done");
    assert_eq!(gateway.deliveries().len(), 1);

    gateway.put(&client, &content, "/interventions/b.csv.part");
    client.sftp("rename /interventions/b.csv.part /interventions/b.csv\n").ok();
    gateway.put(&client, &content, "/interventions/c.csv");
    assert_eq!(gateway.deliveries().len(), 1);
    gateway.put(&client, format!("{}  b.csv\n", digest(&content)).as_bytes(), "/interventions/b.csv.sha256");
    assert_eq!(gateway.deliveries().len(), 2);
    let wrong = fails(format!("{}  c.csv\n", digest(b"other")).as_bytes(), "/interventions/c.csv.sha256");
    assert!(wrong.stderr.contains("\"c.csv\": the file does not have the digest"), "{wrong:#?}");
    assert_eq!(gateway.deliveries().len(), 2);
    gateway.put(&client, format!("{}  d.csv\n", digest(&content)).as_bytes(), "/interventions/d.csv.sha256");
    gateway.put(&client, &content, "/interventions/d.csv");
    assert_eq!(gateway.deliveries().len(), 3);
    let accepted = gateway.uploads();
    let accepted = accepted.iter().filter(|row| row.receipt.verdict == nightsafe::audit::Verdict::Accepted);
    assert!(accepted.into_iter().all(|row| row.receipt.sha256.to_string() == digest(&content)));
}
