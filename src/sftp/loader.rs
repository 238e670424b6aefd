//! What a loader sees: `/queue/<delivery>/` with `manifest.json`, `receipt.tlog-proof`, `object.age` and, when rows are
//! restricted, `restricted.txt`, for the deliveries that its account may take.
//!
//! Must never show a delivery that the account's `take` does not cover, nor an object that another holds or nobody
//! claimed. Called by `tree`, and by READ when a lease may have ended.

use std::sync::Arc;
use std::time::Duration;

use super::attrs::{Entry, Stat};
use super::handles::{File, Lease};
use super::proofs;
use super::reads::Source;
use super::shared::{Shared, ledger_failed};
use super::tree::{Listing, More, PAGE, is_a_directory, missing, not_a_directory};
use crate::audit::{Event, Kind};
use crate::ledger::{Delivery, DeliveryState, ProofOf};
use crate::types::{AccountName, DeliveryId, Refusal, Timestamp};

/// How long a lease that was found held is taken to be held without asking again.
const TRUST: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Root,
    Queue,
    Delivery(DeliveryId),
    Manifest(DeliveryId),
    Restricted(DeliveryId),
    Proof(DeliveryId),
    Object(DeliveryId),
}

pub(super) fn locate(components: &[&[u8]]) -> Result<Node, Refusal> {
    let (first, rest) = match components {
        [] => return Ok(Node::Root),
        [first, rest @ ..] => (first, rest),
    };
    if *first != b"queue" {
        return Err(missing());
    }
    let id = |bytes: &[u8]| std::str::from_utf8(bytes).ok().and_then(|id| id.parse().ok()).ok_or_else(missing);
    match *rest {
        [] => Ok(Node::Queue),
        [delivery] => Ok(Node::Delivery(id(delivery)?)),
        [delivery, b"manifest.json"] => Ok(Node::Manifest(id(delivery)?)),
        [delivery, b"restricted.txt"] => Ok(Node::Restricted(id(delivery)?)),
        [delivery, b"receipt.tlog-proof"] => Ok(Node::Proof(id(delivery)?)),
        [delivery, b"object.age"] => Ok(Node::Object(id(delivery)?)),
        _ => Err(missing()),
    }
}

pub(super) async fn stat(shared: &Shared, node: &Node) -> Result<Stat, Refusal> {
    match *node {
        Node::Root | Node::Queue => Ok(Stat::shelf(shared.begun)),
        Node::Delivery(id) => Ok(Stat::shelf(delivery(shared, id).await?.receipt.time)),
        Node::Manifest(id) => {
            let delivery = delivery(shared, id).await?;
            Ok(Stat::file(manifest(&delivery).len() as u64, delivery.receipt.time))
        }
        Node::Restricted(id) => {
            let delivery = delivery(shared, id).await?;
            Ok(Stat::file(restricted(shared, &delivery).await?.len() as u64, delivery.receipt.time))
        }
        Node::Proof(id) => proofs::stat(shared, proof_of(&delivery(shared, id).await?)).await,
        Node::Object(id) => {
            let delivery = delivery(shared, id).await?;
            if !delivery.object {
                return Err(missing());
            }
            Ok(object(&delivery))
        }
    }
}

pub(super) async fn list(shared: &Shared, node: &Node) -> Result<Listing, Refusal> {
    let shelf = Stat::shelf(shared.begun);
    match *node {
        Node::Root => Ok(Listing::new(shelf, shelf, [Entry { name: "queue".into(), stat: shelf }], More::Nothing)),
        Node::Queue => Ok(Listing::new(shelf, shelf, [], More::Deliveries(Deliveries { after: None }))),
        Node::Delivery(id) => {
            let delivery = delivery(shared, id).await?;
            let time = delivery.receipt.time;
            let size = manifest(&delivery).len() as u64;
            let mut entries = vec![Entry { name: "manifest.json".into(), stat: Stat::file(size, time) }];
            if delivery.receipt.report.restricted > 0 {
                let size = restricted(shared, &delivery).await?.len() as u64;
                entries.push(Entry { name: "restricted.txt".into(), stat: Stat::file(size, time) });
            }
            let proof = proofs::stats(shared, vec![proof_of(&delivery)]).await?.pop().flatten();
            entries.extend(proof.map(|stat| Entry { name: "receipt.tlog-proof".into(), stat }));
            if delivery.object {
                entries.push(Entry { name: "object.age".into(), stat: object(&delivery) });
            }
            Ok(Listing::new(Stat::shelf(time), shelf, entries, More::Nothing))
        }
        Node::Manifest(_) | Node::Restricted(_) | Node::Proof(_) | Node::Object(_) => Err(not_a_directory()),
    }
}

pub(super) async fn read(shared: &Shared, node: &Node) -> Result<File, Refusal> {
    match *node {
        Node::Root | Node::Queue | Node::Delivery(_) => Err(is_a_directory()),
        Node::Manifest(id) => {
            let delivery = delivery(shared, id).await?;
            Ok(File::text(manifest(&delivery), delivery.receipt.time))
        }
        Node::Restricted(id) => {
            let delivery = delivery(shared, id).await?;
            Ok(File::text(restricted(shared, &delivery).await?, delivery.receipt.time))
        }
        Node::Proof(id) => proofs::file(shared, proof_of(&delivery(shared, id).await?)).await,
        Node::Object(id) => open(shared, id).await,
    }
}

/// That its upload was accepted.
fn proof_of(delivery: &Delivery) -> ProofOf {
    ProofOf::End(delivery.receipt.upload)
}

async fn open(shared: &Shared, id: DeliveryId) -> Result<File, Refusal> {
    let delivery = delivery(shared, id).await?;
    let until = held_until(&delivery, shared.principal.account(), shared.now()).ok_or_else(not_held)?;
    let (vault, upload) = (shared.services.vault.clone(), delivery.receipt.upload);
    let opened = tokio::task::spawn_blocking(move || vault.read(upload)).await;
    let object = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound && !delivery.object => return Err(missing()),
        Ok(Err(error)) => return Err(unreadable(&delivery, &error)),
        Err(error) => return Err(unreadable(&delivery, &error)),
    };
    let event = Event::new(shared.now(), Kind::ObjectRead, shared.principal.actor().clone())
        .org(&delivery.receipt.organisation)
        .dataset(&delivery.receipt.dataset)
        .upload(upload)
        .delivery(id);
    shared.services.recorder.record(event).await;
    let stat = Stat::file(object.size(), delivery.receipt.time);
    Ok(File { source: Source::Object(Arc::new(object)), stat, lease: Some(Lease { delivery: id, until }) })
}

fn unreadable(delivery: &Delivery, error: &dyn std::fmt::Display) -> Refusal {
    tracing::error!(upload.id = %delivery.receipt.upload, error = %error, "an object cannot be opened in the vault");
    Refusal::failure("the gateway cannot open this object now: try again later, or ask the people who run it")
}

/// Asks again whether a lease is held, once what was known of it is over.
///
/// # Errors
/// The lease ended.
pub(super) async fn renew(shared: &Shared, lease: &mut Lease) -> Result<(), Refusal> {
    let now = shared.now();
    if now < lease.until {
        return Ok(());
    }
    let delivery = delivery(shared, lease.delivery).await.map_err(|_| not_held())?;
    lease.until = held_until(&delivery, shared.principal.account(), now).ok_or_else(not_held)?;
    Ok(())
}

fn not_held() -> Refusal {
    Refusal::denied(
        "you hold no live lease on this delivery: claim it first (ssh ... claim), or extend the lease in time",
    )
}

/// Until when `account` may read the object without asking again, if it holds the lease now.
fn held_until(delivery: &Delivery, account: &AccountName, now: Timestamp) -> Option<Timestamp> {
    let expires = delivery.lease_expires.filter(|&expires| expires > now)?;
    let held = delivery.state == DeliveryState::Leased && delivery.holder.as_ref() == Some(account);
    held.then(|| now.checked_add(TRUST).map_or(expires, |trust| trust.min(expires)))
}

/// A delivery that waits or is leased, and that this account may take; any other does not exist for it.
async fn delivery(shared: &Shared, id: DeliveryId) -> Result<Delivery, Refusal> {
    let found = shared.services.ledger.delivery(id).await.map_err(ledger_failed)?;
    let open = |delivery: &Delivery| {
        matches!(delivery.state, DeliveryState::Ready | DeliveryState::Leased)
            && shared.principal.take().covers(&delivery.receipt.organisation, &delivery.receipt.dataset)
    };
    found.filter(open).ok_or_else(missing)
}

fn object(delivery: &Delivery) -> Stat {
    Stat::file(delivery.sealed_size, delivery.receipt.time)
}

fn manifest(delivery: &Delivery) -> String {
    format!("{:#}\n", delivery.manifest())
}

/// The lines that name the delivery's restricted rows.
///
/// # Errors
/// It has none; or the ledger lost them, which must not look like none.
async fn restricted(shared: &Shared, delivery: &Delivery) -> Result<String, Refusal> {
    if delivery.receipt.report.restricted == 0 {
        return Err(missing());
    }
    let upload = delivery.receipt.upload;
    match shared.services.ledger.restricted(upload).await.map_err(ledger_failed)? {
        Some(lines) => Ok(lines),
        None => {
            tracing::error!(upload.id = %upload, "the ledger counts restricted rows of an upload and does not list them");
            Err(Refusal::failure("the gateway does not find the list of restricted rows: ask the people who run it"))
        }
    }
}

/// Deliveries of the queue, page by page.
pub(super) struct Deliveries {
    after: Option<DeliveryId>,
}

impl Deliveries {
    pub async fn next(&mut self, shared: &Shared) -> Result<Option<Vec<Entry>>, Refusal> {
        let (ledger, take) = (&shared.services.ledger, shared.principal.take());
        let page = ledger.queue(take, self.after, PAGE).await.map_err(ledger_failed)?;
        let Some(last) = page.last() else { return Ok(None) };
        self.after = Some(last.delivery);
        let entry = |delivery: &Delivery| Entry {
            name: delivery.delivery.to_string(),
            stat: Stat::shelf(delivery.receipt.time),
        };
        Ok(Some(page.iter().map(entry).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Receipt, Verdict};
    use crate::types::{Fingerprint, LeaseId, RefusalKind, Sha256};

    const ID: &str = "0190a6a2-7b2c-7def-8abc-0123456789ab";

    fn at(path: &str) -> Result<Node, RefusalKind> {
        let components = crate::sftp::names::components(path.as_bytes()).unwrap();
        locate(&components).map_err(|refusal| refusal.kind)
    }

    fn leased(expires: Timestamp) -> Delivery {
        Delivery {
            delivery: ID.parse().unwrap(),
            state: DeliveryState::Leased,
            receipt: Receipt {
                gateway: "sftp.example.org".into(),
                upload: ID.parse().unwrap(),
                verdict: Verdict::Accepted,
                reasons: vec![],
                name: "a.csv".parse().unwrap(),
                size: 12,
                sha256: Sha256([7; 32]),
                time: expires,
                organisation: "harbour".parse().unwrap(),
                dataset: "ims-interventions".parse().unwrap(),
                account: "harbour-nightly".parse().unwrap(),
                fingerprint: Fingerprint("SHA256:abc".into()),
                supersedes: None,
                report: crate::audit::Report::default(),
                scan: None,
                quarantined: false,
            },
            sealed_size: 250,
            attempt: 1,
            available: expires,
            lease: Some(LeaseId::new(expires)),
            lease_expires: Some(expires),
            holder: Some("loader".parse().unwrap()),
            last_reason: None,
            object: true,
        }
    }

    #[test]
    fn paths_lead_to_deliveries_and_nowhere_else() {
        let id: DeliveryId = ID.parse().unwrap();
        assert_eq!(at("/"), Ok(Node::Root));
        assert_eq!(at("/queue/"), Ok(Node::Queue));
        assert_eq!(at(&format!("queue/{ID}")), Ok(Node::Delivery(id)));
        assert_eq!(at(&format!("/queue/{ID}/manifest.json")), Ok(Node::Manifest(id)));
        assert_eq!(at(&format!("/queue/{ID}/restricted.txt")), Ok(Node::Restricted(id)));
        assert_eq!(at(&format!("/queue/{ID}/receipt.tlog-proof")), Ok(Node::Proof(id)));
        assert_eq!(at(&format!("/queue/{ID}/object.age")), Ok(Node::Object(id)));
        let upper = format!("/queue/{}", ID.to_uppercase());
        for path in ["/a.csv", "/receipts", "/help.txt", "/queue/x", "/queue/x/object.age", "/queue2", upper.as_str()] {
            assert_eq!(at(path), Err(RefusalKind::NotFound), "{path}");
        }
        assert_eq!(at(&format!("/queue/{ID}/object.age/x")), Err(RefusalKind::NotFound));
    }

    #[test]
    fn only_the_holder_of_a_live_lease_may_read() {
        let now: Timestamp = "2026-03-04T05:06:07Z".parse().unwrap();
        let (soon, later) = (now + Duration::from_secs(5), now + Duration::from_secs(600));
        let (holder, other): (AccountName, AccountName) = ("loader".parse().unwrap(), "other".parse().unwrap());
        assert_eq!(held_until(&leased(soon), &holder, now), Some(soon), "no longer than the lease");
        assert_eq!(held_until(&leased(later), &holder, now), Some(now + TRUST), "then the ledger is asked again");
        assert_eq!(held_until(&leased(later), &other, now), None);
        assert_eq!(held_until(&leased(now), &holder, now), None, "it just ended");
        for state in [DeliveryState::Ready, DeliveryState::Loaded, DeliveryState::Dead] {
            assert_eq!(held_until(&Delivery { state, ..leased(later) }, &holder, now), None, "{state:?}");
        }
    }
}
