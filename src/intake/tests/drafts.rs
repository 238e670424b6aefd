//! Drafts: lost, gone on with, cut, rewritten, put together; across a restart.

use super::*;

fn pieces(plain: &[u8], from: usize) -> impl Iterator<Item = (u64, &[u8])> {
    plain[from..].chunks(32_000).enumerate().map(move |(index, piece)| ((from + index * 32_000) as u64, piece))
}

pub(super) async fn write(upload: &mut Upload, plain: &[u8], from: usize) {
    for (offset, piece) in pieces(plain, from) {
        upload.write(offset, piece).await.unwrap();
        upload.end_write();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_upload_is_gone_on_with_at_its_size_as_often_as_it_takes() {
    let house = House::new().await;
    let plain = plaintext(3_000_000);
    let mut upload = house.begin("a.csv").await.unwrap();
    let id = upload.id();
    write(&mut upload, &plain[..700_000], 0).await;
    for (until, append) in [(900_000, true), (1_900_000, false), (2_500_000, true)] {
        drop(upload);
        house.idle().await;
        let size = house.size("a.csv").unwrap() as usize;
        assert!(size > 0 && size < until && size.is_multiple_of(65_536), "{size}");
        upload = house.resume("a.csv", append).await.unwrap();
        assert_eq!((upload.id(), upload.size()), (id, size as u64));
        write(&mut upload, &plain[..until], size).await;
    }
    write(&mut upload, &plain, 2_500_000).await;
    let receipt = accepted(upload.close().await);
    assert_eq!((receipt.upload, receipt.size, receipt.sha256), (id, 3_000_000, Sha256::of(&plain)));
    assert!(house.bench.opened(id) == plain);
    house.assert_settled().await;
    let kinds = house.kinds().await;
    assert_eq!(kinds.iter().filter(|kind| **kind == "draft.kept").count(), 3);
    assert_eq!(kinds.iter().filter(|kind| **kind == "draft.resumed").count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_upload_is_never_listed_at_the_size_that_its_client_has() {
    let house = House::new().await;
    let mut plain = plaintext(300_000);
    // A header that is mended at the end; what was too much cut off at the end.
    let mut upload = house.begin("a.csv").await.unwrap();
    write(&mut upload, &plain, 0).await;
    upload.write(0, b"patch").await.unwrap();
    plain[..5].copy_from_slice(b"patch");
    drop(upload);
    let mut upload = house.begin("b.csv").await.unwrap();
    write(&mut upload, &plaintext(300_007), 0).await;
    upload.set_size(300_000).await.unwrap();
    drop(upload);
    // A closed draft that is written to, and lost then.
    house.put("c.csv.part", &plain).await.unwrap();
    let mut upload = house.resume("c.csv.part", false).await.unwrap();
    upload.write(0, b"patch").await.unwrap();
    drop(upload);
    house.idle().await;
    for name in ["a.csv", "b.csv", "c.csv.part"] {
        assert_eq!(house.size(name), Some(299_999), "{name}");
    }
    // Nor does it shrink with each session that writes nothing, or mends the header once more.
    drop(house.resume("a.csv", false).await.unwrap());
    house.idle().await;
    let mut upload = house.resume("a.csv", false).await.unwrap();
    upload.write(0, b"patch").await.unwrap();
    drop(upload);
    house.idle().await;
    assert_eq!(house.size("a.csv"), Some(299_999));
    // Nor while the session that lost it is still there.
    let mut upload = house.resume("a.csv", false).await.unwrap();
    upload.write(299_999, &plain[299_999..]).await.unwrap();
    upload.write(0, b"patch").await.unwrap();
    upload.sync().await.unwrap();
    assert_eq!(house.size("a.csv"), Some(299_999));
    assert_eq!(accepted(upload.close().await).sha256, Sha256::of(&plain));
    house.remove("b.csv").await;
    house.remove("c.csv.part").await;
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rewinds_jumps_and_cuts_give_what_a_plain_file_would_have() {
    let house = House::new().await;
    let mut model = plaintext(500_000);
    let mut upload = house.begin("a.csv").await.unwrap();
    write(&mut upload, &model, 0).await;
    upload.write(10, b"rewound").await.unwrap();
    model[10..17].copy_from_slice(b"rewound");
    upload.set_size(300_000).await.unwrap();
    model.truncate(300_000);
    upload.write(2_000_000, &[b'x'; 40_000]).await.unwrap();
    model.resize(2_040_000, b'x');
    upload.write(300_000, &model[300_000..1_300_000]).await.unwrap();
    upload.write(1_300_000, &model[1_300_000..2_000_000]).await.unwrap();
    let receipt = accepted(upload.close().await);
    assert_eq!((receipt.size, receipt.sha256), (2_040_000, Sha256::of(&model)));
    assert!(house.bench.opened(receipt.upload) == model);
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_in_a_draft_is_rejected_and_too_many_pieces_are_refused() {
    let house = House::with(|config| config.intake.segments = 4).await;
    let mut upload = house.begin("a.csv").await.unwrap();
    upload.write(0, &plaintext(100_000)).await.unwrap();
    upload.write(5, b"x").await.unwrap();
    upload.set_size(150_000).await.unwrap();
    assert!(rejected(upload.close().await).contains("bytes 100000 to 149999 of the file never arrived"));
    let mut upload = house.begin("b.csv").await.unwrap();
    upload.write(0, &plaintext(100)).await.unwrap();
    let mut refused = None;
    for at in (0..10).rev() {
        refused = refused.or(upload.write(at * 10, b"y").await.err());
    }
    assert!(refused.unwrap().reason.contains("more than 4 places"));
    assert!(upload.close().await.is_err());
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draft_that_nothing_was_written_to_stays_and_is_not_completed() {
    let house = House::new().await;
    let mut upload = house.begin("a.csv").await.unwrap();
    write(&mut upload, &plaintext(400_000), 0).await;
    drop(upload);
    house.idle().await;
    let upload = house.resume("a.csv", false).await.unwrap();
    assert!(upload.close().await.unwrap_err().reason.contains("not whole"));
    assert!(house.rename("a.csv", "b.csv").await.unwrap_err().reason.contains("connection was lost"));
    assert_eq!(house.size("a.csv"), Some(393_216));
    house.remove("a.csv").await;
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_draft_is_gone_on_with_too_and_completed_by_its_rename() {
    let house = House::new().await;
    let plain = plaintext(600_000);
    house.put("a.csv.part", &plain[..400_000]).await.unwrap();
    let mut upload = house.resume("a.csv.part", true).await.unwrap();
    assert_eq!(upload.size(), 400_000);
    write(&mut upload, &plain, 400_000).await;
    assert!(matches!(upload.close().await, Ok(Closed::Draft { size: 600_000 })));
    let untouched = house.resume("a.csv.part", false).await.unwrap();
    assert!(matches!(untouched.close().await, Ok(Closed::Draft { size: 600_000 })));
    // Nor does a connection that is lost then make it less than closed.
    drop(house.resume("a.csv.part", false).await.unwrap());
    house.idle().await;
    let receipt = accepted(house.rename("a.csv.part", "a.csv").await);
    assert_eq!(receipt.sha256, Sha256::of(&plain));
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_session_takes_an_upload_over_at_the_size_that_it_was_told() {
    let house = House::new().await;
    let plain = plaintext(2_000_000);
    let mut first = house.begin("a.csv").await.unwrap();
    write(&mut first, &plain[..1_000_000], 0).await;
    while house.size("a.csv") < Some(600_000) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let told = house.size("a.csv").unwrap() as usize;
    write(&mut first, &plain[..1_600_000], 1_000_000).await;
    let mut second = house.resume("a.csv", true).await.unwrap();
    assert_eq!(second.size(), told as u64);
    assert!(first.write(1_600_000, b"late").await.unwrap_err().reason.contains("in another session"));
    write(&mut second, &plain, told).await;
    assert!(first.close().await.is_err());
    let receipt = accepted(second.close().await);
    assert!(house.bench.opened(receipt.upload) == plain);
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_accepted_name_may_be_written_over_in_place_and_is_never_shortened_unasked() {
    let house = House::new().await;
    accepted(house.put("a.csv", &plaintext(1000)).await);
    let (inbox, name) = (Place::Inbox, "a.csv".parse().unwrap());
    let over = async |plain: &[u8]| {
        let mut upload = house.intake.begin(&house.principal, &inbox, &name, 1000).await.unwrap();
        upload.write(0, plain).await.unwrap();
        upload.close().await
    };
    assert!(rejected(over(b"shorter").await).contains("bytes 7 to 999"));
    accepted(over(&[b'n'; 1000]).await);
    house.intake.empty(&house.principal, &inbox, &name).await.unwrap();
    assert_eq!(house.size("a.csv"), Some(0));
    let mut upload = house.resume("a.csv", false).await.unwrap();
    upload.write(0, b"anew").await.unwrap();
    let receipt = accepted(upload.close().await);
    assert_eq!((receipt.size, receipt.supersedes.is_some()), (4, true));
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_draft_is_cut_by_its_path_and_a_new_upload_of_its_name_ends_it() {
    let house = House::new().await;
    let (inbox, name) = (Place::Inbox, "a.csv".parse().unwrap());
    let mut upload = house.begin("a.csv").await.unwrap();
    write(&mut upload, &plaintext(400_000), 0).await;
    drop(upload);
    house.idle().await;
    house.intake.cut(&house.principal, &inbox, &name, 100_000).await.unwrap();
    assert!(house.intake.cut(&house.principal, &inbox, &name, 100_001).await.is_err());
    assert_eq!(house.size("a.csv"), Some(100_000));
    accepted(house.put("a.csv", b"all new").await);
    assert_eq!(house.size("a.csv"), None);
    house.assert_settled().await;
    assert!(house.kinds().await.contains(&"draft.removed"));
}

/// The intake that a start after a kill makes.
pub(super) async fn restarted(house: &House) -> Intake {
    let mut recovered = house.recover(&house.ledger).await;
    let (_, live) = watch::channel(house.config.clone());
    let (vault, ledger) = (house.bench.vault.clone(), house.ledger.clone());
    let intake = Intake::new(live, vault, ledger, house.clock.clone(), house.key.clone());
    intake.adopt(&mut recovered).await;
    intake
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_daemon_s_drafts_are_gone_on_with_from_their_tickets() {
    let mut house = House::with(|config| config.intake.reorder_window = 64 << 10).await;
    let plain = plaintext(3_000_000);
    let mut upload = house.begin("a.csv").await.unwrap();
    let id = upload.id();
    write(&mut upload, &plain[..1_500_000], 0).await;
    upload.write(70_000, &plain[70_000..90_000]).await.unwrap();
    upload.write(1_500_000, &plain[1_500_000..2_000_000]).await.unwrap();
    upload.sync().await.unwrap();
    house.put("b.csv.part", &plain[..300_000]).await.unwrap();
    std::mem::forget(upload);
    house.told().await;

    house.intake = restarted(&house).await;
    assert_eq!(house.size("b.csv.part"), Some(300_000));
    let size = house.size("a.csv").unwrap() as usize;
    assert!((1_600_000..2_000_000).contains(&size), "{size}");
    let mut upload = house.resume("a.csv", true).await.unwrap();
    write(&mut upload, &plain, size).await;
    let receipt = accepted(upload.close().await);
    assert_eq!((receipt.upload, receipt.sha256), (id, Sha256::of(&plain)));
    assert!(house.bench.opened(id) == plain);
    assert_eq!(accepted(house.rename("b.csv.part", "b.csv").await).sha256, Sha256::of(&plain[..300_000]));
    house.assert_settled().await;
    assert!(house.kinds().await.contains(&"draft.kept"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_their_key_drafts_are_discarded_and_told() {
    let mut house = House::new().await;
    house.put("b.csv.part", &plaintext(300_000)).await.unwrap();
    std::mem::forget(std::mem::replace(&mut house.key, SpoolKey::generate().unwrap()));
    house.told().await;
    // What holds the draft is forgotten, as by a kill.
    let intake = restarted(&house).await;
    std::mem::forget(std::mem::replace(&mut house.intake, intake));
    assert_eq!(house.size("b.csv.part"), None);
    house.assert_settled().await;
    let told = house.told().await;
    let discarded = told.iter().find(|event| event.kind == Kind::DraftDiscarded).unwrap();
    assert_eq!(discarded.detail["name"], "b.csv.part");
    assert!(discarded.detail["reason"].as_str().unwrap().contains("started anew"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draft_of_an_earlier_start_has_its_end_told_whenever_the_daemon_is_killed() {
    let mut house = House::new().await;
    for name in ["a.csv.part", "b.csv.part"] {
        house.put(name, &plaintext(300_000)).await.unwrap();
    }
    house.told().await;
    for _ in 0..2 {
        // The next recovery looks for missing ends behind this only.
        house.ledger.record(Event::new(house.clock.now(), Kind::DaemonStarted, Actor::gateway())).await.unwrap();
        let intake = restarted(&house).await;
        std::mem::forget(std::mem::replace(&mut house.intake, intake));
    }
    let facts = |name: &str| {
        let found = house.intake.0.registry.find(house.principal.org(), &Place::Inbox, &name.parse().unwrap());
        let Some(registry::Found::Kept { facts, .. }) = found else { panic!("no draft {name}") };
        facts
    };
    let (asked, removed) = (facts("a.csv.part"), facts("b.csv.part"));
    assert!(asked.old && removed.old);
    // Killed after the keys were forgotten and before the ledger answered; and after an end was told, before its ticket went.
    house.intake.0.tickets.end(&asked).unwrap();
    let event = ending::event(&removed, Kind::DraftRemoved, Actor::gateway(), house.clock.now());
    house.ledger.record(event).await.unwrap();
    let recovered = house.recover(&house.ledger).await;
    assert_eq!((recovered.aborted, recovered.drafts.len()), (vec![asked.upload], 0));
    assert_eq!((house.bench.spooled(), house.bench.vault.tickets().unwrap().len()), (0, 0));
    let told = house.told().await;
    for (facts, kind) in [(asked, Kind::UploadAborted), (removed, Kind::DraftRemoved)] {
        let ends = [Kind::UploadAborted, Kind::DraftRemoved, Kind::DraftDiscarded];
        let own: Vec<_> =
            told.iter().filter(|event| event.upload == Some(facts.upload)).map(|event| event.kind).collect();
        assert_eq!(own.iter().filter(|told| ends.contains(told)).collect::<Vec<_>>(), [&kind], "{own:?}");
    }
}
