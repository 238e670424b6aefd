//! Tests of `erase`.

mod naming;
mod refusing;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::scrub::contains;
use super::*;
use crate::ledger::testing::{Desk, POLICY, at, claim, ended, event, org};
use crate::ledger::{Companion, ErasureStep, Filter, Ledger, LedgerError, ProofOf, Vouched};

/// What only one upload says.
const SECRETS: [&str; 7] = [
    "jane-doe-referral",
    "alice-nightly",
    "SHA256:ofAlice",
    "192.0.2.77",
    "AliceClient",
    "row of Jane",
    "because of Jane",
];

/// Who sends it.
fn alice(session: SessionId) -> Actor {
    Actor {
        org: Some(org("harbour")),
        account: "alice-nightly".into(),
        fingerprint: Some(Fingerprint("SHA256:ofAlice".into())),
        address: Some("192.0.2.77:50122".parse().unwrap()),
        session: Some(session),
        client: Some("AliceClient_1".into()),
    }
}

/// A whole session of hers: an upload, claimed and given back with a reason. Its id, and the session's.
async fn upload(ledger: &Ledger, second: i64) -> (UploadId, SessionId) {
    let session = SessionId::new(at(second));
    let recorder = ledger.recorder();
    let tell = async |kind: Kind, upload: Option<UploadId>| {
        let event = Event::new(at(second), kind, alice(session));
        let names = [Kind::UploadBegun, Kind::RequestRefused].contains(&kind);
        let event = if names { event.with("place", "/").with("name", "jane-doe-referral.csv") } else { event };
        recorder.record(Event { upload, ..event }).await;
    };
    tell(Kind::SessionAdmitted, None).await;
    let mut end = ended("harbour", "jane-doe-referral.csv", at(second));
    end.receipt.account = "alice-nightly".parse().unwrap();
    end.receipt.fingerprint = Fingerprint("SHA256:ofAlice".into());
    end.receipt.report.remark(crate::check::ErrorType::RowCount, "x", "row of Jane".into());
    end.actor = alice(session);
    end.md5 = Some("0123456789abcdef0123456789abcdef".into());
    end.sha1 = Some("89abcdef0123456789abcdef0123456789abcdef".into());
    tell(Kind::UploadBegun, Some(end.receipt.upload)).await;
    let companion = UploadId::new(at(second));
    let about = Vouched {
        org: org("harbour"),
        dataset: end.receipt.dataset.clone(),
        place: Place::Inbox,
        name: end.receipt.name.clone(),
    };
    let dataset = about.dataset.clone();
    let content = serde_json::json!({"of": "jane-doe-referral.csv"});
    let noted = Companion { upload: companion, kind: "md5".into(), content, received: at(second), used: None };
    let received = Event::new(at(second), Kind::CompanionReceived, alice(session))
        .upload(companion)
        .dataset(&dataset)
        .with("place", "/");
    assert!(ledger.companion(about, noted, received.with("about", "jane-doe-referral.csv")).await.unwrap());
    end.vouched = vec![companion];
    let (receipt, _) = ledger.accept(end).await.unwrap();
    let got = ledger.claim(claim("loader", 100_000), POLICY, at(second)).await.unwrap();
    let got = got.iter().find(|delivery| delivery.receipt.upload == receipt.upload).unwrap();
    let lease = got.lease.unwrap();
    let loader = crate::ledger::testing::actor("loader");
    ledger.give_back(got.delivery, lease, "because of Jane", loader, POLICY, at(second)).await.unwrap().unwrap();
    tell(Kind::RequestRefused, None).await;
    tell(Kind::SessionEnded, None).await;
    (receipt.upload, session)
}

/// How often each of these is in the files of a directory.
fn bytes_with(dir: &Path, needles: &[Vec<u8>]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for needle in needles.iter().filter(|needle| contains(&bytes, needle)) {
            found.push((path.clone(), String::from_utf8_lossy(needle).into_owned()));
        }
    }
    found
}

fn salts(file: &Path) -> Vec<Vec<u8>> {
    let raw = Connection::open(file).unwrap();
    let mut rows = raw.prepare("SELECT salt FROM details WHERE instr(body, 'alice') OR instr(body, 'Jane')").unwrap();
    rows.query_map([], |row| row.get(0)).unwrap().map(|row| row.unwrap()).collect()
}

fn secrets() -> Vec<Vec<u8>> {
    SECRETS.map(|secret| secret.as_bytes().to_vec()).to_vec()
}

fn erasure(upload: UploadId) -> Erasure {
    Erasure { upload, actor: Actor::operator("eve"), why: "asked for".into(), daemon_runs: true }
}

/// An erasure at that time; its outcome, and what it told that it is at.
async fn erase_at(ledger: &Ledger, upload: UploadId, now: Timestamp) -> (Erased, Vec<ErasureStep>) {
    let taken = ledger.erase(erasure(upload), now).await.unwrap().unwrap();
    let steps = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&steps);
    let erased = ledger.scrub(taken, move |step| heard.lock().unwrap().push(step)).await.unwrap();
    let steps = steps.lock().unwrap().clone();
    (erased, steps)
}

async fn erase(desk: &Desk, upload: UploadId) -> Erased {
    erase_at(&desk.ledger, upload, at(5000)).await.0
}

async fn refused(desk: &Desk, upload: UploadId) -> NotErased {
    desk.ledger.erase(erasure(upload), at(5000)).await.unwrap().err().unwrap()
}

#[tokio::test]
async fn after_an_erasure_nothing_private_is_in_any_byte_and_the_log_still_holds() {
    let desk = Desk::new();
    let before = desk.accept("other.csv", at(1)).await.0;
    let (erased, _) = upload(&desk.ledger, 10).await;
    desk.accept("later.csv", at(20)).await;
    desk.assert_whole().await;
    let salts = salts(&desk.file);
    assert_eq!(salts.len(), 7, "admitted, begun, companion, accepted, returned, refused, ended");
    assert!(!bytes_with(desk._dir.path(), &secrets()).is_empty());

    let told = erase(&desk, erased).await;
    assert_eq!((told.parts, told.object, told.at), (8, true, at(5000)));
    let dir = desk._dir.path();
    assert_eq!(bytes_with(dir, &secrets()), []);
    assert_eq!(bytes_with(dir, &salts), []);
    desk.assert_whole().await;

    let events = desk.ledger.events(&Filter { upload: Some(erased), ..Filter::default() }).await.unwrap();
    let told_by = events.last().unwrap();
    assert_eq!((told_by.sequence, told_by.event.kind), (told.sequence, Kind::UploadErased));
    assert_eq!(told_by.event.detail["parts"], "2-5,7-10", "6 is the claim of the other");
    assert_eq!(told_by.event.detail["reason"], "asked for");
    assert!(events.iter().any(|e| e.event.kind == Kind::UploadAccepted && e.event.actor.account == ERASED));
    // What is public is still proven.
    let proven = desk.ledger.proof(ProofOf::End(erased)).await.unwrap().unwrap();
    assert!(proven.private.is_none() && proven.leaf.contains(&erased.to_string()));

    let rows = desk.ledger.uploads(&Filter::default()).await.unwrap();
    let row = rows.iter().find(|row| row.receipt.upload == erased).unwrap();
    assert_eq!((row.erased, row.removed, row.receipt.name.as_str()), (Some(at(5000)), Some(at(5000)), ERASED));
    let (harbour, since) = (org("harbour"), at(0));
    assert_eq!(desk.ledger.receipt(&harbour, erased, since).await.unwrap(), None);
    assert_eq!(desk.ledger.receipts(&harbour, since, None, 9).await.unwrap().len(), 2);
    assert!(desk.ledger.receipt(&harbour, before.upload, since).await.unwrap().is_some());
    assert_eq!(desk.ledger.list(&harbour, &Place::Inbox, since, None, 9).await.unwrap().len(), 2);
    assert_eq!(desk.claim("loader", 9, at(6000)).await.len(), 2, "it is queued no more");
    assert!(!desk.ledger.expected_objects().await.unwrap().contains(&erased));
}

#[tokio::test]
async fn erasing_again_is_fine_and_takes_what_came_since() {
    let desk = Desk::new();
    let (first, session) = upload(&desk.ledger, 10).await;
    erase(&desk, first).await;
    let (again, steps) = erase_at(&desk.ledger, first, at(6000)).await;
    assert_eq!((again.parts, again.object, again.at), (0, false, at(5000)));
    assert_eq!(steps, [ErasureStep::Searching], "the one before was not cut short: its copies are gone");
    let tombstones = Filter { kind: Some(Kind::UploadErased), ..Filter::default() };
    assert_eq!(desk.ledger.events(&tombstones).await.unwrap().len(), 1);

    let late =
        Event::new(at(7000), Kind::ReceiptRead, alice(session)).upload(first).with("name", "jane-doe-referral.csv");
    desk.ledger.record(late).await.unwrap();
    assert_eq!(erase(&desk, first).await.parts, 1);
    assert_eq!(bytes_with(desk._dir.path(), &secrets()), []);
    assert_eq!(desk.ledger.events(&tombstones).await.unwrap().len(), 2);
    desk.assert_whole().await;
    assert_eq!(refused(&desk, UploadId::new(at(3))).await, NotErased::Unknown);
}

#[tokio::test]
async fn a_session_with_another_upload_that_stays_keeps_its_own_events() {
    let desk = Desk::new();
    let (first, session) = upload(&desk.ledger, 10).await;
    let mut second = ended("harbour", "second.csv", at(11));
    second.actor = alice(session);
    let (second, _) = desk.ledger.accept(second).await.unwrap();
    let told = erase(&desk, first).await;
    assert_eq!((told.parts, told.sessions, told.named), (6, 2, 0), "but not admitted, ended");
    let hers = Filter { account: Some("alice-nightly".into()), ..Filter::default() };
    assert_eq!(desk.ledger.events(&hers).await.unwrap().len(), 3);
    // With the last of them the session goes too.
    assert_eq!(erase(&desk, second.upload).await.parts, 3);
    assert_eq!(desk.ledger.events(&hers).await.unwrap(), []);
    assert_eq!(bytes_with(desk._dir.path(), &secrets()), []);
    desk.assert_whole().await;
}

#[tokio::test]
async fn an_upload_that_took_the_place_of_another_is_erased_alone() {
    let desk = Desk::new();
    let (first, _) = desk.accept("a.csv", at(1)).await;
    let (second, _) = desk.accept("a.csv", at(2)).await;
    erase(&desk, second.upload).await;
    desk.assert_whole().await;
    assert_eq!(desk.ledger.list(&org("harbour"), &Place::Inbox, at(0), None, 9).await.unwrap(), []);
    let (third, _) = desk.accept("a.csv", at(3)).await;
    assert_eq!(third.supersedes, None);
    erase(&desk, first.upload).await;
    desk.assert_whole().await;
}

/// Pages split and merge, and leave copies in their free space, in a ledger where much is done between.
#[tokio::test]
async fn of_a_busy_ledger_with_thousands_of_events_nothing_private_stays_either() {
    let desk = Desk::new();
    let mut hers = Vec::new();
    for round in 0..3 {
        let fill = move |tx: &Tx<'_>| {
            for i in 0..500 {
                let second = round * 1000 + i;
                let mut end = ended("harbour", &format!("{:04}-{round}.csv", (i * 37) % 1000), at(second));
                end.receipt.account = format!("acc{}", i % 97).parse().unwrap();
                end.actor.account = end.receipt.account.to_string();
                crate::ledger::uploads::accept(tx, end)?;
            }
            Ok(())
        };
        desk.ledger.write(fill).await.unwrap();
        hers.push(upload(&desk.ledger, round * 1000 + 999).await.0);
        // Others' leases come and go.
        let others = desk.claim("loader", 20, at(round * 1000 + 1100)).await;
        for delivery in others {
            let why = format!("a reason of some length, to make the row grow: {}", "x".repeat(round as usize * 40));
            let (id, lease) = (delivery.delivery, delivery.lease.unwrap());
            let loader = crate::ledger::testing::actor("loader");
            let _ = desk.ledger.give_back(id, lease, &why, loader, POLICY, at(round * 1000 + 999)).await.unwrap();
        }
    }
    let salts = salts(&desk.file);
    assert!(salts.len() >= 20);
    for upload in hers {
        erase(&desk, upload).await;
    }
    assert_eq!(bytes_with(desk._dir.path(), &secrets()), []);
    assert_eq!(bytes_with(desk._dir.path(), &salts), []);
    desk.assert_whole().await;
}

#[tokio::test]
async fn another_process_that_reads_and_writes_meanwhile_hinders_nothing() {
    let desk = Desk::new();
    let (erased, _) = upload(&desk.ledger, 10).await;
    let daemon = Ledger::open(&desk.file, crate::ledger::testing::signer()).unwrap();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let busy = tokio::spawn({
        let (daemon, stop) = (daemon.clone(), Arc::clone(&stop));
        async move {
            let mut done = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                daemon.accept(ended("harbour", &format!("{done}.csv"), at(100 + done))).await.unwrap();
                daemon.events(&Filter::default()).await.unwrap();
                done += 1;
            }
            done
        }
    });
    erase(&desk, erased).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    busy.await.unwrap();
    daemon.close().await.unwrap();
    assert_eq!(bytes_with(desk._dir.path(), &secrets()), []);
    desk.assert_whole().await;
}

#[tokio::test]
async fn private_parts_that_come_back_or_go_without_a_tombstone_are_found() {
    let desk = Desk::new();
    let (erased, _) = upload(&desk.ledger, 10).await;
    desk.ledger.close().await.unwrap();
    let raw = Connection::open(&desk.file).unwrap();
    raw.execute_batch("CREATE TABLE kept AS SELECT * FROM details").unwrap();
    let ledger = Ledger::open(&desk.file, crate::ledger::testing::signer()).unwrap();
    erase_at(&ledger, erased, at(5000)).await;
    let back = "INSERT INTO details SELECT * FROM kept WHERE sequence = 3";
    assert!(raw.execute_batch(back).is_err());
    raw.execute_batch(&format!("DROP TRIGGER details_once; {back}; DROP TABLE kept")).unwrap();
    let found = ledger.verify(crate::ledger::testing::believing()).await.unwrap().findings;
    let found: Vec<&str> = found.iter().map(|finding| finding.what.as_str()).collect();
    let back = "event 3: its private part was erased, and is there again";
    assert_eq!(found, [back, "the trigger details_once is missing"]);
}

#[test]
fn runs_are_written_as_short_as_they_are_and_in_bounded_texts() {
    assert_eq!(runs(&[]), [""]);
    assert_eq!(runs(&[3]), ["3"]);
    assert_eq!(runs(&[1, 2, 3, 7, 9, 10]), ["1-3,7,9-10"]);
    let many: Vec<u64> = (0..20_000).map(|n| n * 2).collect();
    let texts = runs(&many);
    assert!(texts.len() > 1 && texts.iter().all(|text| text.len() <= PARTS_MAX));
    assert_eq!(texts.iter().map(|text| text.split(',').count()).sum::<usize>(), many.len());
}

#[tokio::test]
async fn a_full_disk_erases_nothing_and_says_so() {
    let desk = Desk::new();
    let (erased, _) = upload(&desk.ledger, 10).await;
    let limit = |tx: &Tx<'_>| {
        let pages = tx.connection.pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0))?;
        tx.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
        Ok(())
    };
    desk.ledger.write(limit).await.unwrap();
    // Its tombstone finds no room at some point.
    let mut full = None;
    for i in 0..200 {
        let told = desk.ledger.record(event(Kind::SessionEnded).with("x", "y".repeat(3000)).with("i", i)).await;
        if told.is_err() {
            full = Some(told);
            break;
        }
    }
    assert_eq!(full.unwrap(), Err(LedgerError::Storage("its disk is full".into())));
    desk.assert_whole().await;
    let row = desk.ledger.uploads(&Filter { upload: Some(erased), ..Filter::default() }).await.unwrap();
    assert_eq!(row[0].erased, None);
}

#[tokio::test]
async fn an_erasure_that_is_cut_short_is_finished_at_the_next_start_or_with_the_next() {
    let desk = Desk::new();
    let (first, _) = upload(&desk.ledger, 10).await;
    let (other, _) = desk.accept("other.csv", at(20)).await;
    assert!(!desk.ledger.finish_erasures().await.unwrap(), "nothing is owed");
    let owed = || scrub::is_owed(&Connection::open(&desk.file).unwrap()).unwrap();
    // Killed right after the commit: the write-ahead log has it all.
    drop(desk.ledger.erase(erasure(first), at(5000)).await.unwrap().unwrap());
    assert!(!bytes_with(desk._dir.path(), &secrets()).is_empty() && owed());
    assert!(desk.ledger.finish_erasures().await.unwrap());
    assert_eq!(bytes_with(desk._dir.path(), &secrets()), []);
    assert!(!owed() && !desk.ledger.finish_erasures().await.unwrap());

    let (second, _) = upload(&desk.ledger, 30).await;
    drop(desk.ledger.erase(erasure(second), at(5000)).await.unwrap().unwrap());
    let (_, steps) = erase_at(&desk.ledger, other.upload, at(5001)).await;
    assert_eq!(steps, [ErasureStep::Rebuilding]);
    assert_eq!(bytes_with(desk._dir.path(), &secrets()), []);
    assert!(!owed());
    desk.assert_whole().await;
}

#[tokio::test]
async fn an_idle_reader_delays_the_scrub_alone_and_it_is_given_up_in_time() {
    let desk = Desk::new();
    let (erased, _) = upload(&desk.ledger, 10).await;
    let reader = Connection::open(&desk.file).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM events").unwrap();
    let taken = desk.ledger.erase(erasure(erased), at(5000)).await.unwrap().unwrap();
    let file = desk.file.clone();
    let scrubbed = tokio::task::spawn_blocking(move || {
        let mut steps = Vec::new();
        let outcome = scrub::scrub(&file, &taken, Duration::from_secs(3), &mut |step| steps.push(step));
        (outcome, steps)
    });
    let mut longest = Duration::ZERO;
    let mut name = 0;
    while !scrubbed.is_finished() {
        let began = Instant::now();
        desk.accept(&format!("{name}.csv"), at(100 + name)).await;
        longest = longest.max(began.elapsed());
        name += 1;
    }
    let (outcome, steps) = scrubbed.await.unwrap();
    let words = outcome.unwrap_err().to_string();
    assert!(
        words.contains("another process has been reading its file") && words.contains("erase the upload again"),
        "{words}"
    );
    assert_eq!(steps, [ErasureStep::Waiting]);
    assert!(longest < Duration::from_secs(2), "an upload waited {longest:?}");

    drop(reader);
    let (_, steps) = erase_at(&desk.ledger, erased, at(6000)).await;
    assert_eq!(steps, [ErasureStep::Rebuilding]);
    assert_eq!(bytes_with(desk._dir.path(), &secrets()), []);
    desk.assert_whole().await;
}

#[tokio::test]
async fn what_was_longer_than_a_page_is_not_merely_searched_for() {
    let desk = Desk::new();
    let mut long = ended("harbour", "a.csv", at(1));
    long.receipt.verdict = crate::audit::Verdict::Rejected;
    long.receipt.reasons = vec!["jane ".repeat(800)];
    let receipt = desk.ledger.reject(long).await.unwrap();
    let (_, steps) = erase_at(&desk.ledger, receipt.upload, at(5000)).await;
    assert_eq!(steps, [ErasureStep::Rebuilding]);
    // A part of it, however short, is nowhere either.
    assert_eq!(bytes_with(desk._dir.path(), &[b"jane jane".to_vec()]), []);
    desk.assert_whole().await;

    // What the upload's row alone has: the log tells its digest.
    let mut long = ended("harbour", "b.csv", at(2));
    (1_000_001..1_003_000).step_by(2).for_each(|row| assert!(long.restricted.add(row)));
    let text = long.restricted.text();
    assert!(text.len() > 2 * 4096);
    let (receipt, _) = desk.ledger.accept(long).await.unwrap();
    let (_, steps) = erase_at(&desk.ledger, receipt.upload, at(5000)).await;
    assert_eq!(steps, [ErasureStep::Rebuilding]);
    assert_eq!(bytes_with(desk._dir.path(), &[text.as_bytes()[..24].to_vec()]), []);
    desk.assert_whole().await;
}

#[tokio::test]
async fn a_file_may_be_called_as_a_table_is() {
    let desk = Desk::new();
    let (receipt, _) = desk.accept("deliveries", at(1)).await;
    erase(&desk, receipt.upload).await;
    desk.assert_whole().await;
}
