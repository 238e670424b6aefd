//! Drafts that wait: bounded, spared by what a client does wrong, and none lost without its event.

use super::drafts::{restarted, write};
use super::*;

fn inbox(name: &str) -> (Place, FileName) {
    (Place::Inbox, name.parse().unwrap())
}

fn registered(house: &House, name: &str) -> Arc<Facts> {
    let (place, name) = inbox(name);
    match house.intake.0.registry.find(house.principal.org(), &place, &name) {
        Some(registry::Found::Kept { facts, .. } | registry::Found::UnderWay(facts, _)) => facts,
        _ => panic!("no draft {name:?}"),
    }
}

/// Replaces the daemon as a kill does: what the old one holds is never dropped.
async fn kill(house: &mut House) {
    house.told().await;
    let intake = restarted(house).await;
    std::mem::forget(std::mem::replace(&mut house.intake, intake));
}

fn spool(house: &House) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(house.bench.dir.path().join("spool")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_often_a_draft_is_opened_its_files_are_no_more_than_its_segments_may_be() {
    let house = House::with(|config| config.intake.segments = 6).await;
    let plain = plaintext(70_000);
    house.put("a.csv.part", &plain[..60_000]).await.unwrap();
    for at in 60_000..60_040 {
        let mut upload = house.resume("a.csv.part", true).await.unwrap();
        upload.write(at as u64, &plain[at..=at]).await.unwrap();
        assert!(matches!(upload.close().await, Ok(Closed::Draft { .. })));
        assert!(house.bench.spooled() <= 6, "{at}");
    }
    // Put together or not, a header may be mended: half of the places are left for that.
    let mut upload = house.resume("a.csv.part", false).await.unwrap();
    upload.write(7, &plain[7..9]).await.unwrap();
    upload.write(60_040, &plain[60_040..]).await.unwrap();
    upload.close().await.unwrap();
    let receipt = accepted(house.rename("a.csv.part", "a.csv").await);
    assert_eq!(receipt.sha256, Sha256::of(&plain));
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_its_turn_at_a_close_counts_as_the_places_that_it_is() {
    let house = House::with(|config| config.intake.segments = 4).await;
    let mut upload = house.begin("a.csv.part").await.unwrap();
    upload.write(0, &plaintext(100)).await.unwrap();
    upload.write(5, b"x").await.unwrap();
    for at in 0..20 {
        upload.write(1000 + at * 10, b"y").await.unwrap();
    }
    assert!(upload.close().await.unwrap_err().reason.contains("more than 4 places"));
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_that_cannot_be_read_costs_its_draft_and_not_the_start() {
    let mut house = House::new().await;
    for name in ["a.csv.part", "b.csv.part", "c.csv.part"] {
        house.put(name, &plaintext(300_000)).await.unwrap();
    }
    let ticket = |name| house.bench.dir.path().join(format!("spool/{}.ticket", registered(&house, name).upload));
    let (large, directory) = (ticket("a.csv.part"), ticket("b.csv.part"));
    std::fs::File::options().write(true).open(&large).unwrap().set_len(20 << 20).unwrap();
    std::fs::remove_file(&directory).unwrap();
    std::fs::create_dir(&directory).unwrap();
    assert_eq!(waiting(&house.bench.vault).unwrap().len(), 1);
    kill(&mut house).await;
    assert_eq!(["a.csv.part", "b.csv.part", "c.csv.part"].map(|name| house.size(name)), [None, None, Some(300_000)]);
    let told = house.told().await;
    let discarded: Vec<_> = told.iter().filter(|event| event.kind == Kind::DraftDiscarded).collect();
    let mut names: Vec<_> = discarded.iter().map(|event| event.detail["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["a.csv.part", "b.csv.part"]);
    for event in discarded {
        assert!(event.org.is_some() && event.detail["reason"].as_str().unwrap().contains("ticket cannot be read"));
    }
    // What could not be removed is told of once.
    kill(&mut house).await;
    assert_eq!(house.kinds().await.iter().filter(|kind| **kind == "draft.discarded").count(), 2);
    std::fs::remove_dir(&directory).unwrap();
    house.remove("c.csv.part").await;
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_drafts_of_one_name_at_a_kill_one_is_removed_with_its_event() {
    let mut house = House::new().await;
    let (mut first, mut second) = (house.begin("a.csv").await.unwrap(), house.begin("a.csv").await.unwrap());
    for upload in [&mut first, &mut second] {
        write(upload, &plaintext(700_000), 0).await;
        upload.sync().await.unwrap();
    }
    let (older, newer) = (first.id().min(second.id()), first.id().max(second.id()));
    std::mem::forget((first, second));
    kill(&mut house).await;
    let told = house.told().await;
    let removed: Vec<_> = told.iter().filter(|event| event.kind == Kind::DraftRemoved).collect();
    assert_eq!(removed.iter().map(|event| event.upload).collect::<Vec<_>>(), [Some(older)]);
    let left = waiting(&house.bench.vault).unwrap();
    assert_eq!(left.iter().map(|draft| draft.upload).collect::<Vec<_>>(), [newer]);
    house.remove("a.csv").await;
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_refused_leaves_the_draft_to_be_gone_on_with() {
    let house = House::with(|config| config.intake.segments = 8).await;
    let plain = plaintext(500_000);
    drop({
        let mut upload = house.begin("a.csv").await.unwrap();
        write(&mut upload, &plain[..300_000], 0).await;
        upload
    });
    house.put("b.csv.part", &plain[..300_000]).await.unwrap();
    house.idle().await;
    let size = house.size("a.csv").unwrap();
    // An append at another size than the draft's, ended by a CLOSE, and by a lost connection.
    for close in [true, false] {
        let mut upload = house.resume("a.csv", true).await.unwrap();
        assert!(upload.write(size - 1000, b"late").await.unwrap_err().reason.contains("look at the size again"));
        assert!(upload.write(size, &plain[size as usize..]).await.is_err(), "nor is it half taken");
        match close {
            true => assert!(upload.close().await.unwrap_err().reason.contains("look at the size again")),
            false => drop(upload),
        }
        house.idle().await;
        assert_eq!(house.size("a.csv"), Some(size));
    }
    // A closed one stays closed.
    let mut upload = house.resume("b.csv.part", true).await.unwrap();
    upload.write(200, b"late").await.unwrap_err();
    upload.close().await.unwrap_err();
    accepted(house.rename("b.csv.part", "b.csv").await);
    // Too many places, in a draft that is gone on with.
    let mut upload = house.resume("a.csv", false).await.unwrap();
    let mut refused = None;
    for at in (0..10).rev() {
        refused = refused.or(upload.write(at * 10, &plain[at as usize * 10..][..1]).await.err());
    }
    assert!(refused.unwrap().reason.contains("more than 8 places"));
    assert!(upload.close().await.is_err());
    house.idle().await;
    // A write that its caller gave up in the middle.
    let size = house.size("a.csv").unwrap();
    let more = vec![b'x'; 3_900_000];
    for attempt in 0.. {
        let mut upload = house.resume("a.csv", true).await.unwrap();
        let written = tokio::time::timeout(Duration::ZERO, upload.write(size, &more)).await;
        match &written {
            Err(_) => assert!(upload.close().await.unwrap_err().reason.contains("was lost")),
            // On a loaded machine the lane may be through with it before its caller looks.
            Ok(done) => {
                assert!(done.is_ok() && attempt < 20, "{done:?}");
                drop(upload);
            }
        }
        house.idle().await;
        house.intake.cut(&house.principal, &Place::Inbox, &"a.csv".parse().unwrap(), size).await.unwrap();
        if written.is_err() {
            break;
        }
    }
    let mut upload = house.resume("a.csv", true).await.unwrap();
    write(&mut upload, &plain, size as usize).await;
    assert_eq!(accepted(upload.close().await).sha256, Sha256::of(&plain));
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_upload_replaces_its_namesake_also_where_there_is_no_room_for_another() {
    let house = House::with(|config| config.intake.uploads_per_org = 2).await;
    for name in ["a.csv.part", "b.csv.part"] {
        house.put(name, &plaintext(1000)).await.unwrap();
    }
    assert!(house.begin("c.csv.part").await.err().unwrap().reason.contains("2 unfinished uploads"));
    house.put("a.csv.part", &plaintext(1001)).await.unwrap();
    assert_eq!(house.size("a.csv.part"), Some(1001));
    let house = House::with(|config| config.orgs.values_mut().for_each(|org| org.quota = 1000)).await;
    house.put("a.csv.part", &plaintext(1000)).await.unwrap();
    assert!(house.begin("c.csv.part").await.err().unwrap().reason.contains("quota"));
    house.put("a.csv.part", &plaintext(999)).await.unwrap();
    house.remove("a.csv.part").await;
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rename_that_does_not_complete_is_not_told_as_one() {
    let house = House::new().await;
    let plain = plaintext(300_000);
    house.put("a.csv.part", &plain[..200_000]).await.unwrap();
    let mut upload = house.resume("a.csv.part", true).await.unwrap();
    write(&mut upload, &plain, 200_000).await;
    upload.close().await.unwrap();
    let moved = house.bench.dir.path().join("moved");
    let file = spool(&house).into_iter().find(|path| path.extension().is_none_or(|end| end != "ticket")).unwrap();
    std::fs::rename(&file, &moved).unwrap();
    assert!(house.rename("a.csv.part", "a.csv").await.unwrap_err().reason.contains("kept as a draft"));
    assert!(!house.kinds().await.contains(&"draft.renamed"));
    std::fs::rename(&moved, &file).unwrap();
    assert_eq!(accepted(house.rename("a.csv.part", "a.csv").await).sha256, Sha256::of(&plain));
    let kinds = house.kinds().await;
    assert!(kinds.ends_with(&["draft.renamed", "upload.accepted"]), "{kinds:?}");
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_under_another_upload_s_name_is_nobody_s() {
    let mut house = House::new().await;
    house.put("a.csv.part", &plaintext(300_000)).await.unwrap();
    let own = registered(&house, "a.csv.part").upload;
    let other = UploadId::new(house.clock.now());
    let path = |upload: UploadId| house.bench.dir.path().join(format!("spool/{upload}.ticket"));
    std::fs::copy(path(own), path(other)).unwrap();
    kill(&mut house).await;
    let told = house.told().await;
    let discarded: Vec<_> = told.iter().filter(|event| event.kind == Kind::DraftDiscarded).collect();
    assert_eq!(discarded.iter().map(|event| event.upload).collect::<Vec<_>>(), [Some(other)]);
    accepted(house.rename("a.csv.part", "a.csv").await);
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_drafts_of_an_organisation_that_is_disabled_outlive_a_restart() {
    let mut house = House::new().await;
    house.put("a.csv.part", &plaintext(300_000)).await.unwrap();
    let enabled = house.config.clone();
    let mut config = Config::clone(&enabled);
    config.orgs.values_mut().for_each(|org| org.disabled = true);
    house.config = Arc::new(config);
    kill(&mut house).await;
    assert!(house.rename("a.csv.part", "a.csv").await.unwrap_err().reason.contains("turned off"));
    house.config = enabled;
    kill(&mut house).await;
    accepted(house.rename("a.csv.part", "a.csv").await);
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restricted_rows_of_closed_drafts_are_bounded_and_judged_again_past_that() {
    let house = House::new().await;
    let names = ["a", "b", "c", "d", "e"].map(|name| format!("{name}.csv.part"));
    for (index, name) in names.iter().enumerate() {
        house.put(name, &plaintext(1000 + index)).await.unwrap();
        let facts = registered(&house, name);
        let mut draft = house.intake.0.registry.complete(facts.upload).unwrap();
        let registry::Body::Whole(mut finished) = draft.body else { panic!("not one pass") };
        finished.outcome.restricted.ranges = vec![(1, 1); crate::audit::Restricted::MOST];
        draft.body = house.intake.0.at_rest(finished).await.unwrap();
        house.intake.0.registry.keep(draft);
    }
    assert_eq!(house.intake.0.registry.restricted(), keeping::RESTRICTED);
    accepted(house.rename("e.csv.part", "e.csv").await);
    for name in &names[..4] {
        house.remove(name).await;
    }
    house.assert_settled().await;
}
