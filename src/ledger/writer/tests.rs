//! Tests of `writer`.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::audit::Kind;
use crate::ledger::testing::{Desk, at, ended, event};
use crate::ledger::{Filter, LedgerError};

/// Keeps the writer busy inside a transaction until the returned sender is used or dropped.
async fn hold(desk: &Desk) -> (std::sync::mpsc::Sender<()>, tokio::task::JoinHandle<()>) {
    let (go, wait) = channel::<()>();
    let (began, begun) = tokio::sync::oneshot::channel();
    let ledger = desk.ledger.clone();
    let task = tokio::spawn(async move {
        let work = move |_: &super::Tx<'_>| {
            let _ = began.send(());
            let _ = wait.recv();
            Ok(())
        };
        ledger.write(work).await.unwrap();
    });
    begun.await.unwrap();
    (go, task)
}

#[tokio::test]
async fn verbs_that_wait_share_one_commit() {
    let desk = Desk::new();
    let (go, held) = hold(&desk).await;
    let before = desk.ledger.commits();
    let verbs: Vec<_> = (0..50)
        .map(|i| {
            let ledger = desk.ledger.clone();
            tokio::spawn(async move { ledger.accept(ended("harbour", &format!("{i}.csv"), at(i))).await })
        })
        .collect();
    while desk.ledger.0.verbs.max_capacity() - desk.ledger.0.verbs.capacity() < 50 {
        tokio::task::yield_now().await;
    }
    go.send(()).unwrap();
    held.await.unwrap();
    for verb in verbs {
        verb.await.unwrap().unwrap();
    }
    // That of the one that held it, and one for the fifty.
    assert_eq!(desk.ledger.commits() - before, 2);
    assert_eq!(desk.kinds().await.len(), 50);
    desk.assert_whole().await;
}

#[tokio::test]
async fn the_beginning_of_an_upload_shares_the_commit_of_its_end() {
    let desk = Desk::new();
    let (mut prompt, mut shared) = (0, 0);
    for i in 0..400 {
        let (before, began) = (desk.ledger.commits(), Instant::now());
        desk.ledger.recorder().record(event(Kind::UploadBegun)).await;
        // What an upload takes. On a loaded machine it may take longer than company is waited for: such a one does not count.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let in_time = began.elapsed() < Duration::from_millis(15);
        desk.accept(&format!("{i}.csv"), at(i)).await;
        if in_time {
            prompt += 1;
            shared += u32::from(desk.ledger.commits() - before == 1);
        }
        if prompt == 20 {
            break;
        }
    }
    assert!(prompt == 20 && shared > 10, "{shared} of {prompt}");
    // Alone it is stored all the same, and everything else at once.
    let before = desk.kinds().await.len();
    desk.ledger.recorder().record(event(Kind::UploadBegun)).await;
    while desk.kinds().await.len() == before {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn an_error_undoes_its_own_verb_alone() {
    let desk = Desk::new();
    let twin = ended("harbour", "a.csv", at(1));
    let (go, held) = hold(&desk).await;
    let spawn = |ended| {
        let ledger = desk.ledger.clone();
        tokio::spawn(async move { ledger.accept(ended).await })
    };
    let (first, second, third) = (spawn(twin.clone()), spawn(twin), spawn(ended("harbour", "b.csv", at(2))));
    while desk.ledger.0.verbs.max_capacity() - desk.ledger.0.verbs.capacity() < 3 {
        tokio::task::yield_now().await;
    }
    go.send(()).unwrap();
    held.await.unwrap();
    let answers = [first.await.unwrap(), second.await.unwrap(), third.await.unwrap()];
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 2);
    assert_eq!(answers[1].as_ref().unwrap_err().to_string(), "the ledger failed: this contradicts what is recorded");
    assert_eq!(desk.kinds().await, ["upload.accepted"; 2]);
    desk.assert_whole().await;
}

#[tokio::test]
async fn a_claim_whose_caller_went_away_takes_nothing() {
    let desk = Desk::new();
    desk.accept("a.csv", at(1)).await;
    let (go, held) = hold(&desk).await;
    let mut gone = Box::pin(desk.claim("loader", 1, at(2)));
    assert!(std::future::poll_fn(|context| std::task::Poll::Ready(gone.as_mut().poll(context).is_pending())).await);
    drop(gone);
    go.send(()).unwrap();
    held.await.unwrap();
    assert_eq!(desk.claim("other", 1, at(2)).await.len(), 1);
}

#[tokio::test]
async fn a_panic_undoes_its_own_verb_alone() {
    let desk = Desk::new();
    let failed = desk.ledger.write(|tx| -> super::Result<()> {
        tx.record(&event(Kind::SessionEnded))?;
        panic!("a fault in a verb")
    });
    assert!(matches!(failed.await, Err(LedgerError::Storage(_))));
    desk.accept("a.csv", at(1)).await;
    assert_eq!(desk.kinds().await, ["upload.accepted"]);
    desk.assert_whole().await;
}

#[tokio::test]
async fn what_was_undone_leaves_no_gap_in_the_sequence() {
    let desk = Desk::new();
    for round in 0..3 {
        let undone = desk.ledger.write(|tx| -> super::Result<()> {
            tx.record(&event(Kind::SessionEnded))?;
            Err(LedgerError::Storage("no".into()))
        });
        assert!(undone.await.is_err());
        desk.accept(&format!("{round}.csv"), at(round)).await;
    }
    let events = desk.ledger.events(&Filter::default()).await.unwrap();
    assert_eq!(events.iter().map(|logged| logged.sequence).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test]
async fn recorded_events_are_stored_in_order_and_before_the_verbs_asked_for_later() {
    let desk = Desk::new();
    let recorder = desk.ledger.recorder();
    for i in 0..3000 {
        recorder.record(event(Kind::SessionEnded).with("i", i)).await;
    }
    desk.ledger.record(event(Kind::DaemonStopped)).await.unwrap();
    let events = desk.ledger.events(&Filter::default()).await.unwrap();
    let numbers: Vec<_> = events.iter().filter_map(|logged| logged.event.detail.get("i")?.as_i64()).collect();
    assert!(numbers.iter().copied().eq(0..3000), "{} of 3000", numbers.len());
    assert_eq!(events[3000].event.kind, Kind::DaemonStopped);
    assert!(desk.ledger.commits() < 3000, "events are not grouped");
}

#[tokio::test]
async fn closing_stores_what_was_handed_over_and_refuses_what_comes_later() {
    let desk = Desk::new();
    let recorder = desk.ledger.recorder();
    for _ in 0..100 {
        recorder.record(event(Kind::SessionEnded)).await;
    }
    desk.ledger.close().await.unwrap();
    desk.ledger.close().await.unwrap();
    assert_eq!(desk.ledger.record(event(Kind::SessionEnded)).await, Err(LedgerError::Closed));
    assert_eq!(desk.ledger.events(&Filter::default()).await, Err(LedgerError::Closed));
    let again = crate::ledger::Ledger::open(&desk.file, crate::ledger::testing::signer()).unwrap();
    assert_eq!(again.events(&Filter::default()).await.unwrap().len(), 100);
}

#[tokio::test]
async fn dropping_the_ledger_stores_what_was_handed_over() {
    let desk = Desk::new();
    let recorder = desk.ledger.recorder();
    for _ in 0..100 {
        recorder.record(event(Kind::SessionEnded)).await;
    }
    let Desk { ledger, file, _dir, .. } = desk;
    let thread = ledger.0.thread.lock().unwrap().take().unwrap();
    drop(ledger);
    tokio::task::spawn_blocking(|| thread.join()).await.unwrap().unwrap();
    let again = crate::ledger::Ledger::open(&file, crate::ledger::testing::signer()).unwrap();
    assert_eq!(again.events(&Filter::default()).await.unwrap().len(), 100);
}

#[tokio::test]
async fn a_full_disk_is_answered_and_the_ledger_goes_on_when_there_is_space() {
    let desk = Desk::new();
    desk.accept("before.csv", at(0)).await;
    let limit = |pages: &'static str| {
        let work = move |tx: &super::Tx<'_>| {
            let pages = match pages {
                "as is" => tx.connection.pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0))?,
                _ => 1 << 30,
            };
            Ok(tx.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?)
        };
        desk.ledger.write(work)
    };
    limit("as is").await.unwrap();
    desk.ledger.recorder().record(event(Kind::SessionEnded)).await;
    let mut failed = None;
    for i in 0..2000 {
        if let Err(error) = desk.ledger.accept(ended("harbour", &format!("{i}.csv"), at(i))).await {
            failed = Some(error);
            break;
        }
    }
    assert_eq!(failed, Some(LedgerError::Storage("its disk is full".into())));
    let stuck = desk.ledger.recorder();
    stuck.record(event(Kind::RequestRefused)).await;

    limit("free").await.unwrap();
    desk.accept("after.csv", at(5000)).await;
    let kinds = desk.kinds().await;
    assert_eq!(kinds.iter().filter(|kind| **kind == "request.refused").count(), 1, "an event was lost");
    assert_eq!(kinds.iter().filter(|kind| **kind == "session.ended").count(), 1, "an event was lost");
    desk.assert_whole().await;
}

#[tokio::test]
async fn a_file_that_another_process_holds_is_waited_for() {
    let desk = Desk::new();
    let other = rusqlite::Connection::open(&desk.file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let ledger = desk.ledger.clone();
    let mut verb = tokio::spawn(async move { ledger.accept(ended("harbour", "a.csv", at(1))).await });
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut verb).await.is_err());
    other.execute_batch("COMMIT").unwrap();
    verb.await.unwrap().unwrap();
}
