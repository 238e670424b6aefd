//! The invariants that hold after every test, whatever it did: checked on the state directory of an ended daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use nightsafe::audit::{Kind, Verdict};
use nightsafe::ledger::DeliveryState;
use nightsafe::types::UploadId;

use super::{Gateway, files_under};

/// Ends the daemon if it runs, then checks that nothing is half done.
pub fn settle(gateway: &mut Gateway) {
    if gateway.is_running() {
        gateway.terminate();
    }
    no_panics(gateway);
    if !gateway.path("state/ledger.sqlite").exists() {
        return;
    }
    only_drafts_in_the_spool(gateway);
    rows_and_objects_match(gateway);
    each_accepted_upload_is_audited_and_queued_once(gateway);
    each_beginning_has_an_end(gateway);
    the_log_is_whole(gateway);
}

fn no_panics(gateway: &Gateway) {
    let panicked: Vec<String> = gateway.log_lines().into_iter().filter(|line| line.contains("panicked")).collect();
    assert!(panicked.is_empty(), "the daemon panicked:\n{}", panicked.join("\n"));
}

pub fn nothing_under_way(gateway: &Gateway) {
    let spool = files_under(&gateway.path("state/spool"));
    assert!(spool.is_empty(), "left in the spool: {spool:?}");
}

/// Uploads that have a ticket: drafts that the next start goes on with.
fn drafts(gateway: &Gateway) -> BTreeSet<UploadId> {
    let upload = |file: &PathBuf| file.file_name()?.to_str()?.strip_suffix(".ticket")?.parse().ok();
    files_under(&gateway.path("state/spool")).iter().filter_map(upload).collect()
}

/// Each file of the spool belongs to a draft, and no ticket is left of what has ended: nothing here opens that any more.
pub fn only_drafts_in_the_spool(gateway: &Gateway) {
    let drafts = drafts(gateway);
    for file in files_under(&gateway.path("state/spool")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let upload = name.split('.').next().unwrap().parse().unwrap();
        assert!(drafts.contains(&upload) && !name.ends_with(".new"), "left in the spool: {name}");
    }
    let recorded: BTreeSet<_> = gateway.uploads().iter().map(|row| row.receipt.upload).collect();
    let both: Vec<_> = recorded.intersection(&drafts).collect();
    assert!(both.is_empty(), "these uploads have ended, and their tickets are here: {both:?}");
}

/// Each upload that is kept (accepted, or quarantined) has its object, of the recorded size; each object its row.
pub fn rows_and_objects_match(gateway: &Gateway) {
    let mut recorded = BTreeMap::new();
    for row in gateway.uploads() {
        let kept = row.receipt.verdict == Verdict::Accepted || row.receipt.quarantined;
        if kept && row.removed.is_none() {
            recorded.insert(format!("{}.age", row.receipt.upload), row.sealed_size);
        }
    }
    let mut stored = BTreeMap::new();
    for file in files_under(&gateway.path("state/vault")) {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        stored.insert(name, std::fs::metadata(&file).unwrap().len());
    }
    assert_eq!(recorded, stored, "the ledger's uploads (left) and the vault's objects (right) differ");
}

pub fn each_accepted_upload_is_audited_and_queued_once(gateway: &Gateway) {
    let rows = gateway.uploads();
    let accepted: BTreeSet<_> =
        rows.iter().filter(|row| row.receipt.verdict == Verdict::Accepted).map(|row| row.receipt.upload).collect();
    assert_eq!(
        accepted.len(),
        rows.iter().filter(|row| row.receipt.verdict == Verdict::Accepted).count(),
        "an upload stands in the ledger twice"
    );

    let audited: Vec<_> = gateway.events_of(Kind::UploadAccepted).iter().map(|e| e.event.upload.unwrap()).collect();
    assert_eq!(audited.len(), accepted.len(), "acceptances in the log and in the ledger differ in number");
    assert_eq!(audited.into_iter().collect::<BTreeSet<_>>(), accepted, "acceptances in the log and the ledger differ");

    let deliveries = gateway.deliveries();
    assert_eq!(deliveries.len(), accepted.len(), "deliveries and accepted uploads differ in number");
    let queued: BTreeSet<_> = deliveries.iter().map(|delivery| delivery.receipt.upload).collect();
    assert_eq!(queued, accepted, "deliveries and accepted uploads differ");

    let acknowledged = gateway.events_of(Kind::DeliveryAcknowledged);
    let distinct: BTreeSet<_> = acknowledged.iter().map(|e| e.event.delivery.unwrap()).collect();
    assert_eq!(distinct.len(), acknowledged.len(), "a delivery was acknowledged twice");
    let loaded: BTreeSet<_> =
        deliveries.iter().filter(|d| d.state == DeliveryState::Loaded).map(|d| d.delivery).collect();
    assert_eq!(distinct, loaded, "acknowledgements in the log and loaded deliveries differ");
    if !gateway.may_hold_leases {
        let leased: Vec<_> = deliveries.iter().filter(|d| d.state == DeliveryState::Leased).collect();
        assert!(leased.is_empty(), "still leased: {leased:?}");
    }
}

/// Silence is impossible: what began was accepted, rejected, aborted or removed, by recovery if by nobody else.
fn each_beginning_has_an_end(gateway: &Gateway) {
    let (mut begun, mut ended) = (BTreeSet::new(), BTreeSet::new());
    for logged in gateway.events() {
        let Some(upload) = logged.event.upload else { continue };
        match logged.event.kind {
            Kind::UploadBegun => begun.insert(upload),
            Kind::UploadAccepted
            | Kind::UploadRejected
            | Kind::UploadAborted
            | Kind::DraftRemoved
            | Kind::DraftExpired
            | Kind::DraftDiscarded
            | Kind::CompanionReceived => ended.insert(upload),
            _ => false,
        };
    }
    let drafts = drafts(gateway);
    let open: Vec<_> = begun.difference(&ended).filter(|upload| !drafts.contains(*upload)).collect();
    assert!(open.is_empty(), "these uploads began and have no end in the audit log: {open:?}");
    let unheralded: Vec<_> = ended.difference(&begun).collect();
    assert!(unheralded.is_empty(), "these uploads ended and never began: {unheralded:?}");
}

fn the_log_is_whole(gateway: &Gateway) {
    for (expected, logged) in (1..).zip(gateway.events()) {
        assert_eq!(logged.sequence, expected, "the audit log has a gap");
    }
    gateway.command(&["audit", "verify"]).ok();
}
