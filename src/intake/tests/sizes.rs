//! A draft's size: what a plain file would have, through closes, losses and kills.

use super::drafts::{restarted, write};
use super::ticket::State;
use super::*;

fn state(house: &House) -> Vec<(State, Timestamp)> {
    let waiting = ticket::waiting(&house.bench.vault).unwrap();
    waiting.into_iter().map(|draft| (draft.state, draft.since)).collect()
}

/// The daemon is killed with all that it has in memory, and starts anew.
async fn killed(house: &mut House, upload: Option<Upload>) {
    house.intake.workers_rest().await;
    std::mem::forget(upload);
    house.told().await;
    let intake = restarted(house).await;
    std::mem::forget(std::mem::replace(&mut house.intake, intake));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_draft_that_ends_in_a_gap_is_gone_on_with_at_its_size() {
    let house = House::with(|config| config.intake.reorder_window = 100).await;
    let mut upload = house.begin("a.csv.part").await.unwrap();
    for _ in 0..2 {
        upload.write(5000, &plaintext(1000)).await.unwrap();
    }
    upload.set_size(1288).await.unwrap();
    assert!(matches!(upload.close().await, Ok(Closed::Draft { size: 1288 })));
    // Nor does a session that only opens it change that.
    drop(house.resume("a.csv.part", false).await.unwrap());
    house.idle().await;
    assert_eq!(house.size("a.csv.part"), Some(1288));
    let mut upload = house.resume("a.csv.part", false).await.unwrap();
    assert_eq!(upload.size(), 1288);
    upload.write(1288, &plaintext(1712)).await.unwrap();
    upload.write(1700, &plaintext(2300)).await.unwrap();
    assert!(matches!(upload.close().await, Ok(Closed::Draft { size: 4000 })));
    assert!(rejected(house.rename("a.csv.part", "a.csv").await).contains("bytes 0 to 1287 of the file never arrived"));
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_size_that_was_set_ahead_is_kept_by_a_draft_in_pieces_and_over_a_kill() {
    let mut house = House::new().await;
    for killed_between in [false, true] {
        let mut upload = house.begin("a.csv.part").await.unwrap();
        for _ in 0..2 {
            upload.write(0, &plaintext(100)).await.unwrap();
        }
        upload.set_size(1000).await.unwrap();
        assert!(matches!(upload.close().await, Ok(Closed::Draft { size: 1000 })));
        if killed_between {
            killed(&mut house, None).await;
        }
        assert_eq!(house.size("a.csv.part"), Some(1000));
        assert!(rejected(house.rename("a.csv.part", "a.csv").await).contains("bytes 100 to 999"));
    }
    let mut upload = house.begin("b.csv.part").await.unwrap();
    upload.write(0, &plaintext(100)).await.unwrap();
    assert!(matches!(upload.close().await, Ok(Closed::Draft { size: 100 })));
    let mut upload = house.resume("b.csv.part", false).await.unwrap();
    upload.set_size(5000).await.unwrap();
    assert!(matches!(upload.close().await, Ok(Closed::Draft { size: 5000 })));
    assert!(rejected(house.rename("b.csv.part", "b.csv").await).contains("bytes 100 to 4999"));
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_size_that_is_set_into_a_gap_is_the_size_that_the_file_must_have() {
    let house = House::new().await;
    let mut upload = house.begin("a.csv").await.unwrap();
    upload.write(0, &plaintext(1000)).await.unwrap();
    upload.write(5000, b"held").await.unwrap();
    upload.set_size(3000).await.unwrap();
    assert_eq!(upload.size(), 3000);
    assert!(rejected(upload.close().await).contains("bytes 1000 to 2999"));
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_draft_that_is_written_to_is_closed_no_more_when_the_client_is_answered() {
    let mut house = House::new().await;
    let plain = plaintext(300_000);
    for how in 0..3 {
        house.put("a.csv.part", &plain[..262_144]).await.unwrap();
        let mut upload = house.resume("a.csv.part", false).await.unwrap();
        assert_eq!(state(&house)[0].0, State::Closed, "it was only opened");
        match how {
            0 => upload.write(262_144, &plain[262_144..]).await.unwrap(),
            1 => upload.write(100_000, b"patch").await.unwrap(),
            _ => upload.set_size(100_000).await.unwrap(),
        }
        assert_eq!(state(&house)[0].0, State::Writing);
        killed(&mut house, Some(upload)).await;
        let listed = house.size("a.csv.part").unwrap();
        assert!(listed <= [262_144, 100_000, 100_000][how], "{listed}");
        assert!(house.rename("a.csv.part", "a.csv").await.unwrap_err().reason.contains("connection was lost"));
        house.remove("a.csv.part").await;
    }
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_over_does_not_come_back_by_a_kill() {
    let mut house = House::new().await;
    let mut upload = house.begin("a.csv").await.unwrap();
    write(&mut upload, &plaintext(300_000), 0).await;
    upload.write(150_000, b"patch").await.unwrap();
    killed(&mut house, Some(upload)).await;
    assert_eq!(house.size("a.csv"), Some(150_000));
    house.remove("a.csv").await;
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_over_does_not_come_back_with_another_session() {
    let house = House::new().await;
    let mut plain = plaintext(400_000);
    for taken_over in [false, true] {
        let mut first = house.begin("a.csv").await.unwrap();
        write(&mut first, &plain[..300_000], 0).await;
        for at in [0, 100, 70_000] {
            first.write(at, b"mended").await.unwrap();
            plain[at as usize..][..6].copy_from_slice(b"mended");
        }
        let mut second = match taken_over {
            true => house.resume("a.csv", false).await.unwrap(),
            false => {
                drop(first);
                house.idle().await;
                house.resume("a.csv", false).await.unwrap()
            }
        };
        let size = second.size() as usize;
        assert!((200_000..300_000).contains(&size), "{size}");
        write(&mut second, &plain, size).await;
        assert_eq!(accepted(second.close().await).sha256, Sha256::of(&plain));
    }
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_loss_makes_a_file_smaller_that_is_written_in_place() {
    let mut house = House::new().await;
    let plain = plaintext(1_000_000);
    for killed_between in [false, true] {
        accepted(house.put("a.csv", &plain).await);
        let (inbox, name) = (Place::Inbox, "a.csv".parse().unwrap());
        let mut upload = house.intake.begin(&house.principal, &inbox, &name, 1_000_000).await.unwrap();
        write(&mut upload, &plain[..600_000], 0).await;
        if killed_between {
            killed(&mut house, Some(upload)).await;
        } else {
            drop(upload);
            house.idle().await;
        }
        let mut upload = house.resume("a.csv", false).await.unwrap();
        let size = upload.size() as usize;
        assert!((200_000..600_000).contains(&size), "{size}");
        upload.write(size as u64, &plain[size..size + 10_000]).await.unwrap();
        // As an interrupted OpenSSH does.
        upload.set_size(size as u64 + 10_000).await.unwrap();
        assert!(upload.close().await.unwrap_err().reason.contains("is not whole: its connection was lost"));
        assert!(house.rename("a.csv", "b.csv").await.is_err());
        let size = house.size("a.csv").unwrap() as usize;
        let mut upload = house.resume("a.csv", false).await.unwrap();
        write(&mut upload, &plain, size).await;
        accepted(upload.close().await);
    }
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_does_not_make_a_draft_younger() {
    let mut house = House::new().await;
    house.put("a.csv.part", &plaintext(1000)).await.unwrap();
    let closed = state(&house);
    for hours in 1..3 {
        house.clock = Clock::fixed(house.clock.now() + jiff::SignedDuration::from_hours(hours));
        killed(&mut house, None).await;
        assert_eq!(state(&house), closed);
    }
    house.remove("a.csv.part").await;
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_that_cannot_be_replaced_is_removed() {
    let mut house = House::new().await;
    house.put("a.csv.part", &plaintext(1000)).await.unwrap();
    let mut upload = house.resume("a.csv.part", false).await.unwrap();
    let blocked = house.bench.dir.path().join(format!("spool/{}.ticket.new", upload.id()));
    std::fs::create_dir(&blocked).unwrap();
    upload.write(1000, b"more").await.unwrap();
    assert_eq!(state(&house), []);
    std::fs::remove_dir(&blocked).unwrap();
    killed(&mut house, Some(upload)).await;
    assert_eq!(house.size("a.csv.part"), None);
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_was_refused_is_no_draft_when_its_rejection_fails() {
    let house = House::new().await;
    let mut upload = house.begin("a.csv").await.unwrap();
    write(&mut upload, &plaintext(300_000), 0).await;
    upload.write(0, b"patch").await.unwrap();
    upload.sync().await.unwrap();
    assert!(upload.write(u64::MAX, b"refused").await.is_err());
    for file in std::fs::read_dir(house.bench.dir.path().join("spool")).unwrap() {
        std::fs::write(file.unwrap().path(), b"").unwrap();
    }
    assert!(upload.close().await.is_err());
    assert_eq!(house.size("a.csv"), None);
    house.assert_settled().await;
}
