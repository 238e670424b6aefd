//! What names the file of an upload that is erased, and is not its own.

use super::*;

/// A request of somebody's that was refused, and names a file by its path.
async fn request(ledger: &Ledger, session: SessionId, path: &str) {
    let event = Event::new(at(30), Kind::RequestRefused, alice(session)).with("request", "mkdir").with("path", path);
    ledger.record(event.with("reason", format!("{path:?} is no directory of yours"))).await.unwrap();
}

#[tokio::test]
async fn requests_that_name_the_file_go_whatever_session_they_came_in() {
    let desk = Desk::new();
    let (first, _) = upload(&desk.ledger, 10).await;
    let later = SessionId::new(at(29));
    for path in ["/jane-doe-referral.csv", "jane-doe-referral.csv/", "/jane-doe-referral.csv.part"] {
        request(&desk.ledger, later, path).await;
    }
    request(&desk.ledger, later, &format!("/receipts/jane-doe-referral.csv.{first}.json")).await;
    request(&desk.ledger, later, "/not-jane-doe-referral.csv").await;
    let told = erase(&desk, first).await;
    assert_eq!((told.parts, told.named, told.others.len()), (8 + 4, 0, 0));
    let requests = Filter { kind: Some(Kind::RequestRefused), ..Filter::default() };
    let left = desk.ledger.events(&requests).await.unwrap();
    let left: Vec<_> = left.iter().filter_map(|logged| logged.event.detail.get("path")).collect();
    assert_eq!(left, ["/not-jane-doe-referral.csv"]);
    let name = b"\"/jane-doe-referral".to_vec();
    assert_eq!(bytes_with(desk._dir.path(), &[name]), []);
    desk.assert_whole().await;
}

#[tokio::test]
async fn what_may_be_about_another_upload_of_the_name_stays_and_is_told() {
    let desk = Desk::new();
    let (first, _) = upload(&desk.ledger, 10).await;
    let (second, _) = upload(&desk.ledger, 20).await;
    let later = SessionId::new(at(29));
    request(&desk.ledger, later, "/jane-doe-referral.csv").await;
    request(&desk.ledger, later, &format!("/receipts/jane-doe-referral.csv.{first}.json")).await;
    let told = erase(&desk, first).await;
    assert_eq!(told.parts, 8 + 1, "with its receipt's name");
    assert_eq!(told.named, 5, "begun, companion, accepted of the other; refused in its session and in the later one");
    assert!(told.others.contains(&second), "{told:?}");
    desk.assert_whole().await;

    // With the last of its name all goes, the file's name in the first one's session too.
    let told = erase(&desk, second).await;
    assert_eq!((told.named, told.others.len()), (0, 0));
    assert_eq!(bytes_with(desk._dir.path(), &secrets()), []);
    desk.assert_whole().await;
}

#[tokio::test]
async fn a_name_that_is_taken_in_another_directory_keeps_nothing_there() {
    let desk = Desk::new();
    let (first, _) = upload(&desk.ledger, 10).await;
    let mut elsewhere = ended("harbour", "jane-doe-referral.csv", at(11));
    elsewhere.place = Place::Dataset("ims-interventions".parse().unwrap());
    desk.ledger.accept(elsewhere).await.unwrap();
    let later = SessionId::new(at(29));
    request(&desk.ledger, later, "/jane-doe-referral.csv").await;
    request(&desk.ledger, later, "/ims-interventions/jane-doe-referral.csv").await;
    let told = erase(&desk, first).await;
    assert_eq!((told.parts, told.named), (8 + 1, 2));
}

#[tokio::test]
async fn what_another_organisation_calls_its_file_is_its_own_affair() {
    let desk = Desk::new();
    let (first, _) = upload(&desk.ledger, 10).await;
    desk.ledger.accept(ended("meadow", "jane-doe-referral.csv", at(11))).await.unwrap();
    let stranger = Actor { org: Some(org("meadow")), ..crate::ledger::testing::actor("meadow-nightly") };
    let refused = Event::new(at(12), Kind::RequestRefused, stranger).with("path", "/jane-doe-referral.csv");
    desk.ledger.record(refused).await.unwrap();
    let told = erase(&desk, first).await;
    assert_eq!((told.parts, told.named, told.others.len()), (8, 0, 0));
    let meadow = Filter { org: Some(org("meadow")), account: Some("meadow-nightly".into()), ..Filter::default() };
    assert_eq!(desk.ledger.events(&meadow).await.unwrap().len(), 2);
    desk.assert_whole().await;
}
