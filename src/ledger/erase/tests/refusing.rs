//! What is not erased: open sessions, drafts, deliveries in hand; and what stays of those that are.

use super::*;

#[tokio::test]
async fn while_the_session_that_sent_it_is_open_nothing_is_erased() {
    let desk = Desk::new();
    let session = SessionId::new(at(1));
    desk.ledger.record(Event::new(at(1), Kind::SessionAdmitted, alice(session))).await.unwrap();
    let mut end = ended("harbour", "jane-doe-referral.csv", at(2));
    end.actor = alice(session);
    let (receipt, _) = desk.ledger.accept(end).await.unwrap();
    let open = NotErased::OpenSession { account: "alice-nightly".into() };
    assert_eq!(refused(&desk, receipt.upload).await, open);
    // Another's end is not this one's.
    let other = SessionId::new(at(3));
    desk.ledger.record(Event::new(at(3), Kind::SessionEnded, alice(other))).await.unwrap();
    assert_eq!(desk.ledger.erasable(receipt.upload, true, at(4)).await.unwrap(), Err(open));
    assert_eq!(
        desk.ledger.erasable(receipt.upload, false, at(4)).await.unwrap(),
        Ok(()),
        "nothing runs that would end it"
    );

    desk.ledger.record(Event::new(at(5), Kind::SessionEnded, alice(session))).await.unwrap();
    assert_eq!(erase(&desk, receipt.upload).await.parts, 3);
    desk.assert_whole().await;
}

#[tokio::test]
async fn a_session_that_was_lost_with_its_daemon_hinders_no_erasure() {
    let desk = Desk::new();
    let mut end = ended("harbour", "jane-doe-referral.csv", at(2));
    end.actor = alice(SessionId::new(at(1)));
    let (receipt, _) = desk.ledger.accept(end).await.unwrap();
    assert!(matches!(refused(&desk, receipt.upload).await, NotErased::OpenSession { .. }));
    desk.ledger.record(event(Kind::DaemonStarted)).await.unwrap();
    erase(&desk, receipt.upload).await;
}

/// An upload that never came to an end of its own, with these events.
async fn unfinished(desk: &Desk, kinds: &[Kind]) -> UploadId {
    let (upload, session) = (UploadId::new(at(1)), SessionId::new(at(1)));
    for kind in kinds {
        let event = Event::new(at(1), *kind, alice(session)).dataset(&"ims".parse().unwrap());
        let event = match kind {
            Kind::SessionEnded => event,
            _ => event.upload(upload).with("place", "/").with("name", "jane-doe-referral.csv.part"),
        };
        desk.ledger.record(event).await.unwrap();
    }
    upload
}

#[tokio::test]
async fn what_was_aborted_or_removed_is_erased_and_a_draft_is_not() {
    let begun = [Kind::UploadBegun, Kind::DraftKept, Kind::SessionEnded];
    for end in [Kind::UploadAborted, Kind::DraftRemoved, Kind::DraftExpired, Kind::DraftDiscarded] {
        let desk = Desk::new();
        let upload = unfinished(&desk, &begun).await;
        assert_eq!(refused(&desk, upload).await, NotErased::NotEnded);
        let ended = Event::new(at(3), end, Actor::gateway()).upload(upload).with("name", "jane-doe-referral.csv.part");
        desk.ledger.record(ended).await.unwrap();

        let told = erase(&desk, upload).await;
        assert_eq!((told.parts, told.object, told.sha256, told.loading), (4, false, None, Loading::Never));
        assert_eq!((told.org, told.at), (Some(org("harbour")), at(5000)));
        assert_eq!(bytes_with(desk._dir.path(), &secrets()), [], "{}", end.as_str());
        desk.assert_whole().await;
        let again = erase_at(&desk.ledger, upload, at(6000)).await.0;
        assert_eq!((again.parts, again.at, again.sequence), (0, at(5000), told.sequence));
    }
}

#[tokio::test]
async fn a_companion_is_erased_by_the_upload_that_brought_it() {
    let desk = Desk::new();
    let about = Vouched {
        org: org("harbour"),
        dataset: "ims".parse().unwrap(),
        place: Place::Inbox,
        name: "jane-doe-referral.csv".parse().unwrap(),
    };
    let upload = unfinished(&desk, &[Kind::UploadBegun]).await;
    let content = serde_json::json!({"of": "jane-doe-referral.csv"});
    let companion = Companion { upload, kind: "md5".into(), content, received: at(2), used: None };
    let received = Event::new(at(2), Kind::CompanionReceived, Actor::gateway()).upload(upload);
    let received = received.org(&about.org).dataset(&about.dataset).with("about", "jane-doe-referral.csv");
    assert!(desk.ledger.companion(about.clone(), companion, received).await.unwrap());
    desk.ledger.record(event(Kind::DaemonStarted)).await.unwrap();
    assert_eq!(erase(&desk, upload).await.parts, 2);
    assert_eq!(desk.ledger.companions(&about).await.unwrap().1, []);
    assert_eq!(bytes_with(desk._dir.path(), &secrets()), []);
    desk.assert_whole().await;
}

#[tokio::test]
async fn what_a_loader_claims_while_the_operator_is_asked_is_not_erased() {
    let desk = Desk::new();
    let (receipt, delivery) = desk.accept("a.csv", at(1)).await;
    assert_eq!(desk.ledger.erasable(receipt.upload, true, at(2)).await.unwrap(), Ok(()));
    let lease = desk.claim("loader", 1, at(4990)).await[0].lease.unwrap();
    let held = refused(&desk, receipt.upload).await;
    assert_eq!(held, NotErased::InHand { delivery, holder: "loader".into(), until: at(5050) });
    let loader = crate::ledger::testing::actor("loader");
    desk.ledger.acknowledge(delivery, lease, loader, POLICY, at(4999)).await.unwrap().unwrap();
    assert_eq!(erase(&desk, receipt.upload).await.loading, Loading::Loaded);
    desk.assert_whole().await;
}

#[tokio::test]
async fn a_delivery_of_an_erased_upload_waits_for_nobody() {
    let desk = Desk::new();
    let (ready, _) = desk.accept("ready.csv", at(1)).await;
    let (lapsed, _) = desk.accept("lapsed.csv", at(2)).await;
    let queued = async |state| {
        let filter = Filter { state: Some(state), ..Filter::default() };
        desk.ledger.deliveries(&filter).await.unwrap().len()
    };
    let listed = async || desk.ledger.queue(&Take::default(), None, 9).await.unwrap().len();
    desk.claim("loader", 2, at(3)).await;
    assert_eq!((queued(DeliveryState::Leased).await, listed().await), (2, 2));
    for upload in [ready.upload, lapsed.upload] {
        erase(&desk, upload).await;
    }
    assert_eq!((queued(DeliveryState::Leased).await, listed().await), (0, 0));
    // What runs out is put back all the same.
    desk.ledger.expire(POLICY, at(9000)).await.unwrap();
    assert_eq!((queued(DeliveryState::Ready).await, queued(DeliveryState::Dead).await, listed().await), (0, 0, 0));
    desk.assert_whole().await;
}

#[tokio::test]
async fn a_reason_that_names_the_file_is_not_taken() {
    let desk = Desk::new();
    let (receipt, _) = desk.accept("jane-doe-referral.csv", at(1)).await;
    let told = Erasure { why: "the parents asked about jane-doe-referral.csv".into(), ..erasure(receipt.upload) };
    assert_eq!(desk.ledger.erase(told, at(2)).await.unwrap().err(), Some(NotErased::NamedByReason));
    desk.assert_whole().await;
}
