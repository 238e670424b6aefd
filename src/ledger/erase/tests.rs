//! Tests of `erase`.

use std::sync::Mutex as StdMutex;

use super::*;
use crate::ledger::testing::{Desk, POLICY, at, claim, ended, event, org};
use crate::ledger::{Companion, Ledger};
use crate::ledger::{Filter, LedgerError, ProofOf, Vouched};

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
        let event = Event::new(at(second), kind, alice(session)).with("name", "jane-doe-referral.csv");
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

async fn erase(desk: &Desk, upload: UploadId) -> Option<Erased> {
    desk.ledger.erase(upload, Actor::operator("eve"), "asked for", at(5000), |_| ()).await.unwrap()
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

    let told = erase(&desk, erased).await.unwrap();
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
    erase(&desk, first).await.unwrap();
    let steps = std::sync::Arc::new(StdMutex::new(Vec::new()));
    let heard = std::sync::Arc::clone(&steps);
    let step = move |step| heard.lock().unwrap().push(step);
    let again = desk.ledger.erase(first, Actor::operator("eve"), "again", at(6000), step).await.unwrap().unwrap();
    assert_eq!((again.parts, again.object, again.at), (0, false, at(5000)));
    assert_eq!(*steps.lock().unwrap(), [ErasureStep::Rebuilding], "an erasure before may have been cut short");
    let tombstones = Filter { kind: Some(Kind::UploadErased), ..Filter::default() };
    assert_eq!(desk.ledger.events(&tombstones).await.unwrap().len(), 1);

    let late =
        Event::new(at(7000), Kind::ReceiptRead, alice(session)).upload(first).with("name", "jane-doe-referral.csv");
    desk.ledger.record(late).await.unwrap();
    assert_eq!(erase(&desk, first).await.unwrap().parts, 1);
    assert_eq!(bytes_with(desk._dir.path(), &secrets()), []);
    assert_eq!(desk.ledger.events(&tombstones).await.unwrap().len(), 2);
    desk.assert_whole().await;
    assert_eq!(erase(&desk, UploadId::new(at(3))).await, None);
}

#[tokio::test]
async fn a_session_with_another_upload_that_stays_keeps_its_own_events() {
    let desk = Desk::new();
    let (first, session) = upload(&desk.ledger, 10).await;
    let mut second = ended("harbour", "second.csv", at(11));
    second.actor = alice(session);
    let (second, _) = desk.ledger.accept(second).await.unwrap();
    assert_eq!(erase(&desk, first).await.unwrap().parts, 5, "but not admitted, refused, ended");
    let hers = Filter { account: Some("alice-nightly".into()), ..Filter::default() };
    assert_eq!(desk.ledger.events(&hers).await.unwrap().len(), 4);
    // With the last of them the session goes too.
    assert_eq!(erase(&desk, second.upload).await.unwrap().parts, 4);
    assert_eq!(desk.ledger.events(&hers).await.unwrap(), []);
    assert_eq!(bytes_with(desk._dir.path(), &secrets()), []);
    desk.assert_whole().await;
}

#[tokio::test]
async fn an_upload_that_took_the_place_of_another_is_erased_alone() {
    let desk = Desk::new();
    let (first, _) = desk.accept("a.csv", at(1)).await;
    let (second, _) = desk.accept("a.csv", at(2)).await;
    erase(&desk, second.upload).await.unwrap();
    desk.assert_whole().await;
    assert_eq!(desk.ledger.list(&org("harbour"), &Place::Inbox, at(0), None, 9).await.unwrap(), []);
    let (third, _) = desk.accept("a.csv", at(3)).await;
    assert_eq!(third.supersedes, None);
    erase(&desk, first.upload).await.unwrap();
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
        erase(&desk, upload).await.unwrap();
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
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let busy = tokio::spawn({
        let (daemon, stop) = (daemon.clone(), std::sync::Arc::clone(&stop));
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
    erase(&desk, erased).await.unwrap();
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
    ledger.erase(erased, Actor::operator("eve"), "asked for", at(5000), |_| ()).await.unwrap();
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
