//! Companion files beside their extracts, in the orders in which clients send them.

use super::*;
use crate::config::CompanionKind::{Md5, Sha256, Totals};
use crate::config::{Companion, CompanionKind};

const PLAIN: &[u8] = b"x,y\n1,2\n";
const OTHER: &[u8] = b"x,y\n1,3\n";

async fn house(kinds: &[CompanionKind], required: bool) -> House {
    let companion = Companion { kinds: kinds.iter().copied().collect(), required };
    House::asking(|dataset| {
        dataset.companion = companion;
        dataset.repeated = Severity::Accept;
    })
    .await
}

fn sha(plain: &[u8]) -> String {
    format!("{}  a.csv\n", crate::types::Sha256::of(plain))
}

fn noted(closed: Result<Closed, Refusal>) {
    assert!(matches!(closed, Ok(Closed::Companion)), "{closed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_companion_that_came_first_vouches_for_its_extract_once() {
    let house = house(&[Sha256, Md5], true).await;
    noted(house.put("a.csv.sha256", sha(PLAIN).as_bytes()).await);
    noted(house.put("a.csv.md5", format!("{:x} *a.csv\n", md5::compute(PLAIN)).as_bytes()).await);
    accepted(house.put("a.csv", PLAIN).await);
    let told = house.told().await;
    let event = told.iter().find(|event| event.kind == Kind::UploadAccepted).unwrap();
    assert_eq!(event.detail["companions"], serde_json::json!(["sha256", "md5"]));
    assert_eq!(house.intake.drafts(house.principal.org(), &Place::Inbox).len(), 0);
    let listed = house.ledger.list(house.principal.org(), &Place::Inbox, Timestamp::UNIX_EPOCH, None, 9).await.unwrap();
    assert_eq!(listed.len(), 1, "companions are listed nowhere");

    let again = rejected(house.put("a.csv", PLAIN).await);
    assert!(again.contains("send \"a.csv.sha256\" or \"a.csv.md5\" beside it first"), "{again}");
    noted(house.put("a.csv.sha256", sha(OTHER).as_bytes()).await);
    accepted(house.put("a.csv", OTHER).await);
    house.assert_settled().await;
    assert_eq!(house.bench.vault.objects().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extract_that_does_not_agree_is_rejected_and_its_companion_waits_on() {
    let house = house(&[Sha256, Md5], false).await;
    noted(house.put("a.csv.sha256", sha(PLAIN).as_bytes()).await);
    let told = rejected(house.put("a.csv", OTHER).await);
    assert!(told.contains("does not have the digest that \"a.csv.sha256\" states"), "{told}");
    assert_eq!(house.bench.vault.objects().unwrap(), []);
    let report = &house.ledger.uploads(&Filter::default()).await.unwrap()[0].receipt.report;
    assert_eq!(
        (report.groups[0].kind, report.groups[0].rule.as_str()),
        (crate::check::ErrorType::HashCount, "companion")
    );
    accepted(house.put("a.csv", PLAIN).await);
    noted(house.put("b.csv.md5", b"00000000000000000000000000000000").await);
    assert!(rejected(house.put("b.csv", PLAIN).await).contains("b.csv.md5"));
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_companion_that_comes_late_is_compared_at_once() {
    let house = house(&[Sha256, Md5, Totals], false).await;
    accepted(house.put("a.csv", PLAIN).await);
    let told = rejected(house.put("a.csv.sha256", sha(OTHER).as_bytes()).await);
    assert!(told.contains("was accepted on 2026-03-01") && told.contains("send that one first"), "{told}");
    assert!(rejected(house.put("a.csv.md5", b"00000000000000000000000000000000").await).contains("digest"));
    noted(house.put("a.csv.sha256", sha(PLAIN).as_bytes()).await);
    noted(house.put("a.csv.md5", format!("{:x}", md5::compute(PLAIN)).as_bytes()).await);
    // It was vouched for: a further one is for a newer file.
    noted(house.put("a.csv.sha256", sha(OTHER).as_bytes()).await);
    assert!(rejected(house.put("a.csv", PLAIN).await).contains("a.csv.sha256"));
    accepted(house.put("a.csv", OTHER).await);
    // Sums are not known any more: it is for a file to come.
    noted(house.put("a.csv.totals", b"sum x = 1").await);
    assert!(rejected(house.put("a.csv", OTHER).await).contains("does not sum"));
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_companion_under_a_working_name_is_recorded_at_its_rename() {
    let house = house(&[Sha256], true).await;
    house.put("a.csv.sha256.part", sha(PLAIN).as_bytes()).await.unwrap();
    house.put("a.csv.part", PLAIN).await.unwrap();
    assert!(house.rename("a.csv.sha256.part", "a.csv").await.is_err(), "it is no extract");
    assert!(house.rename("a.csv.part", "a.csv.sha256").await.is_err(), "nor is that one a companion");
    noted(house.rename("a.csv.sha256.part", "a.csv.sha256").await);
    accepted(house.rename("a.csv.part", "a.csv").await);
    house.assert_settled().await;
    let kinds = house.kinds().await;
    assert_eq!(kinds.iter().filter(|kind| **kind == "companion.received").count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_companion_is_rejected_with_a_report_and_never_kept() {
    let house = House::asking(|dataset| {
        dataset.on_reject = OnReject::Quarantine;
        dataset.companion = Companion { kinds: [Sha256].into(), required: false };
    })
    .await;
    for (name, text) in [
        ("a.csv.sha256", b"".to_vec()),
        ("a.csv.sha256", b"%PDF-1.7".to_vec()),
        ("a.csv.sha256", sha(PLAIN).replace("a.csv", "b.csv").into_bytes()),
        ("a.csv.sha256", b"#".repeat(70_000)),
    ] {
        rejected(house.put(name, &text).await);
    }
    assert!(house.begin("a.csv.md5").await.err().unwrap().reason.contains("name the file like"), "a kind not taken");
    assert!(house.begin("a.xlsx.sha256").await.is_err(), "of a file that is not taken");
    assert_eq!((house.bench.vault.objects().unwrap(), house.bench.spooled()), (vec![], 0));
    let reports = house.ledger.uploads(&Filter::default()).await.unwrap();
    assert!(reports.len() == 4 && reports.iter().all(|row| row.receipt.report.groups[0].rule == "companion"));
    house.assert_settled().await;
}
