//! What a provider sees: its organisation's inbox, dataset directories, receipts, the contract and the help.
//!
//! Must never reach beyond the organisation of the session: every question to the ledger and to intake carries it. Called
//! by `tree` and by the operations that change something.

use std::collections::BTreeSet;

use super::attrs::{Entry, Stat};
use super::handles::File;
use super::shared::{Shared, ledger_failed};
use super::tree::{Listing, More, PAGE, is_a_directory, missing, not_a_directory};
use super::{contract, help};
use crate::audit::{Event, Form, Kind, Receipt};
use crate::config::{Config, Org};
use crate::intake::DraftView;
use crate::ledger::Listed;
use crate::types::{DatasetName, FileName, Place, Refusal, Timestamp, UploadId};

const RECEIPTS: &[u8] = b"receipts";
const CONTRACT: &[u8] = b"contract";
const HELP: &[u8] = b"help.txt";

/// A name in a place: what an upload is put at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Spot {
    pub place: Place,
    pub name: FileName,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Root,
    Dataset(DatasetName),
    Receipts,
    Contract,
    Help,
    Receipt(ReceiptFile),
    /// A name under /contract that may be one of its files.
    ContractFile(String),
    /// An upload, a draft, or a name that may become one.
    Upload(Spot),
}

impl Node {
    pub fn is_directory(&self) -> bool {
        matches!(self, Node::Root | Node::Dataset(_) | Node::Receipts | Node::Contract)
    }
}

/// A name under /receipts that may be one of a receipt's two files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReceiptFile {
    name: String,
    upload: UploadId,
    form: Form,
}

/// What is at a spot.
pub(super) enum Found {
    Draft(DraftView),
    Accepted(Listed),
}

/// The organisation of the session, as configured now.
pub(super) fn org<'c>(config: &'c Config, shared: &Shared) -> Result<&'c Org, Refusal> {
    let gone =
        || Refusal::denied("your organisation is no longer configured here: ask the people who run this gateway");
    config.orgs.get(shared.principal.org()).ok_or_else(gone)
}

pub(super) fn locate(org: &Org, components: &[&[u8]]) -> Result<Node, Refusal> {
    let dataset = |name: &[u8]| {
        let name: DatasetName = std::str::from_utf8(name).ok()?.parse().ok()?;
        org.datasets.contains(&name).then_some(name)
    };
    let upload = |place, name| {
        let name = FileName::from_wire(name).map_err(|invalid| Refusal::rejected(invalid.0))?;
        Ok(Node::Upload(Spot { place, name }))
    };
    match *components {
        [] => Ok(Node::Root),
        [RECEIPTS] => Ok(Node::Receipts),
        [CONTRACT] => Ok(Node::Contract),
        [HELP] => Ok(Node::Help),
        [RECEIPTS, name] => receipt_file(name).map(Node::Receipt).ok_or_else(missing),
        [CONTRACT, name] => {
            std::str::from_utf8(name).map(|name| Node::ContractFile(name.to_owned())).map_err(|_| missing())
        }
        [name] => match dataset(name) {
            Some(dataset) => Ok(Node::Dataset(dataset)),
            None => upload(Place::Inbox, name),
        },
        [directory, name] => match dataset(directory) {
            Some(dataset) => upload(Place::Dataset(dataset), name),
            None => Err(missing()),
        },
        _ => Err(missing()),
    }
}

fn receipt_file(name: &[u8]) -> Option<ReceiptFile> {
    let name = std::str::from_utf8(name).ok()?;
    let (upload, _, form) = Receipt::parse_file_name(name)?;
    Some(ReceiptFile { name: name.to_owned(), upload, form })
}

pub(super) async fn stat(shared: &Shared, node: &Node) -> Result<Stat, Refusal> {
    match node {
        Node::Root | Node::Dataset(_) => Ok(Stat::inbox(shared.begun)),
        Node::Receipts | Node::Contract => Ok(Stat::shelf(shared.begun)),
        Node::Help => Ok(help(shared)?.stat),
        Node::ContractFile(name) => Ok(contract_file(shared, name)?.stat),
        Node::Receipt(file) => {
            let receipt = receipt(shared, file).await?;
            Ok(Stat::file(receipt.file(file.form).len() as u64, receipt.time))
        }
        Node::Upload(spot) => match find(shared, spot).await? {
            Some(Found::Draft(draft)) => Ok(Stat::file(draft.size, draft.modified)),
            Some(Found::Accepted(listed)) => Ok(Stat::file(listed.size, listed.modified)),
            None => Err(shared.rejections.missing(spot)),
        },
    }
}

pub(super) async fn read(shared: &Shared, node: &Node) -> Result<File, Refusal> {
    match node {
        Node::Root | Node::Dataset(_) | Node::Receipts | Node::Contract => Err(is_a_directory()),
        Node::Help => help(shared),
        Node::ContractFile(name) => contract_file(shared, name),
        Node::Receipt(file) => {
            let receipt = receipt(shared, file).await?;
            let event = Event::new(shared.now(), Kind::ReceiptRead, shared.principal.actor().clone())
                .dataset(&receipt.dataset)
                .upload(receipt.upload)
                .with("name", receipt.name.as_str());
            shared.services.recorder.record(event).await;
            Ok(File::text(receipt.file(file.form), receipt.time))
        }
        Node::Upload(spot) => match find(shared, spot).await? {
            Some(_) => Err(Refusal::denied(
                "uploads cannot be read back: they are sealed, and this gateway has no key to open them; \
                 the receipt in /receipts/ has the size and SHA-256 of what was stored",
            )),
            None => Err(missing()),
        },
    }
}

pub(super) fn list(shared: &Shared, node: &Node) -> Result<Listing, Refusal> {
    let config = shared.config();
    let org = org(&config, shared)?;
    let (inbox, shelf) = (Stat::inbox(shared.begun), Stat::shelf(shared.begun));
    let since = listed_since(org, shared.now());
    match node {
        Node::Root => {
            let mut entries: Vec<Entry> =
                org.datasets.iter().map(|name| Entry { name: name.to_string(), stat: inbox }).collect();
            entries.push(Entry { name: "contract".into(), stat: shelf });
            entries.push(Entry { name: "receipts".into(), stat: shelf });
            entries.push(Entry { name: "help.txt".into(), stat: help(shared)?.stat });
            Ok(uploads(shared, inbox, entries, Place::Inbox, since))
        }
        Node::Dataset(name) => Ok(uploads(shared, inbox, Vec::new(), Place::Dataset(name.clone()), since)),
        Node::Receipts => Ok(Listing::new(shelf, inbox, [], More::Receipts(Receipts { since, after: None }))),
        Node::Contract => {
            let files = contract::list(&config, org, &shared.services.contract, shared.now());
            Ok(Listing::new(shelf, inbox, files, More::Nothing))
        }
        Node::Help | Node::Receipt(_) | Node::ContractFile(_) | Node::Upload(_) => Err(not_a_directory()),
    }
}

/// What stands at a spot now: a draft, else the newest accepted upload.
pub(super) async fn find(shared: &Shared, spot: &Spot) -> Result<Option<Found>, Refusal> {
    let org_id = shared.principal.org();
    if let Some(draft) = shared.services.intake.draft(org_id, &spot.place, &spot.name) {
        return Ok(Some(Found::Draft(draft)));
    }
    let since = listed_since(org(&shared.config(), shared)?, shared.now());
    let listed = shared.services.ledger.find(org_id, &spot.place, &spot.name, since).await.map_err(ledger_failed)?;
    Ok(listed.map(Found::Accepted))
}

/// From when on uploads and receipts are shown.
pub(super) fn listed_since(org: &Org, now: Timestamp) -> Timestamp {
    now.checked_sub(org.retention.listed).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn help(shared: &Shared) -> Result<File, Refusal> {
    let config = shared.config();
    Ok(File::text(help::text(&config, org(&config, shared)?), shared.begun))
}

fn contract_file(shared: &Shared, name: &str) -> Result<File, Refusal> {
    let config = shared.config();
    contract::file(&config, org(&config, shared)?, name, &shared.services.contract, shared.now())
}

async fn receipt(shared: &Shared, file: &ReceiptFile) -> Result<Receipt, Refusal> {
    let since = listed_since(org(&shared.config(), shared)?, shared.now());
    let ledger = &shared.services.ledger;
    let receipt = ledger.receipt(shared.principal.org(), file.upload, since).await.map_err(ledger_failed)?;
    receipt.filter(|receipt| receipt.file_name(file.form) == file.name).ok_or_else(missing)
}

/// The listing of an inbox: `entries`, then drafts, then accepted uploads.
fn uploads(shared: &Shared, stat: Stat, mut entries: Vec<Entry>, place: Place, since: Timestamp) -> Listing {
    let mut shown: BTreeSet<FileName> = entries.iter().filter_map(|entry| entry.name.parse().ok()).collect();
    for draft in shared.services.intake.drafts(shared.principal.org(), &place) {
        if shown.insert(draft.name.clone()) {
            entries.push(Entry { name: draft.name.to_string(), stat: Stat::file(draft.size, draft.modified) });
        }
    }
    let parent = Stat::inbox(shared.begun);
    Listing::new(stat, parent, entries, More::Uploads(Uploads { place, since, shown, after: None }))
}

/// Accepted uploads of a place, page by page.
pub(super) struct Uploads {
    place: Place,
    since: Timestamp,
    /// Names that were listed already: directories, and drafts (bounded by `intake.uploads_per_org`).
    shown: BTreeSet<FileName>,
    after: Option<FileName>,
}

impl Uploads {
    pub async fn next(&mut self, shared: &Shared) -> Result<Option<Vec<Entry>>, Refusal> {
        let (ledger, org) = (&shared.services.ledger, shared.principal.org());
        let page = ledger.list(org, &self.place, self.since, self.after.as_ref(), PAGE).await.map_err(ledger_failed)?;
        let Some(last) = page.last() else { return Ok(None) };
        self.after = Some(last.name.clone());
        let entries = page
            .into_iter()
            .filter(|listed| !self.shown.contains(&listed.name))
            .map(|listed| Entry { name: listed.name.to_string(), stat: Stat::file(listed.size, listed.modified) });
        Ok(Some(entries.collect()))
    }
}

/// Receipts and reports, page by page.
pub(super) struct Receipts {
    since: Timestamp,
    after: Option<UploadId>,
}

impl Receipts {
    pub async fn next(&mut self, shared: &Shared) -> Result<Option<Vec<Entry>>, Refusal> {
        let (ledger, org) = (&shared.services.ledger, shared.principal.org());
        // Each is two files.
        let page = ledger.receipts(org, self.since, self.after, PAGE / 2).await.map_err(ledger_failed)?;
        let Some(last) = page.last() else { return Ok(None) };
        self.after = Some(last.upload);
        let entries = page.iter().flat_map(|receipt| {
            receipt.file_names().map(|(form, name)| {
                let size = receipt.file(form).len() as u64;
                Entry { name, stat: Stat::file(size, receipt.time) }
            })
        });
        Ok(Some(entries.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sftp::help::tests::org;
    use crate::types::RefusalKind;

    fn at(path: &str) -> Result<Node, RefusalKind> {
        let components = crate::sftp::names::components(path.as_bytes()).unwrap();
        locate(&org(), &components).map_err(|refusal| refusal.kind)
    }

    fn upload(place: Place, name: &str) -> Node {
        Node::Upload(Spot { place, name: name.parse().unwrap() })
    }

    #[test]
    fn paths_lead_to_what_the_organisation_has() {
        let ims: DatasetName = "ims-interventions".parse().unwrap();
        assert_eq!(at("/"), Ok(Node::Root));
        assert_eq!(at("/ims-interventions/"), Ok(Node::Dataset(ims.clone())));
        assert_eq!(at("receipts"), Ok(Node::Receipts));
        assert_eq!(at("/contract/"), Ok(Node::Contract));
        assert_eq!(at("/contract/x.toml"), Ok(Node::ContractFile("x.toml".into())));
        assert_eq!(at("/help.txt"), Ok(Node::Help));
        assert_eq!(at("/a.csv"), Ok(upload(Place::Inbox, "a.csv")));
        assert_eq!(at("/ims-interventions/a.csv"), Ok(upload(Place::Dataset(ims), "a.csv")));
        let receipt = "a.csv.0190a6a2-7b2c-7def-8abc-0123456789ab.receipt.json";
        assert!(matches!(at(&format!("/receipts/{receipt}")), Ok(Node::Receipt(_))));
    }

    #[test]
    fn what_the_organisation_does_not_have_is_missing_whatever_others_have() {
        for path in [
            "/other-dataset/a.csv",
            "/queue/x/y",
            "/receipts/a.csv",
            "/a/b",
            "/ims-interventions/a/b",
            "/help.txt/a",
            "/contract/a/b",
        ] {
            assert_eq!(at(path), Err(RefusalKind::NotFound), "{path}");
        }
        // Another organisation's dataset and a loader's queue are names like any other.
        assert_eq!(at("/other-dataset"), Ok(upload(Place::Inbox, "other-dataset")));
        assert_eq!(at("/queue"), Ok(upload(Place::Inbox, "queue")));
    }

    #[test]
    fn names_that_break_a_rule_are_refused_with_it() {
        let long = "n".repeat(256);
        for name in ["a\n.csv", "\u{202e}vsc.exe", long.as_str()] {
            assert_eq!(at(name), Err(RefusalKind::Rejected), "{name:?}");
            assert_eq!(at(&format!("/ims-interventions/{name}")), Err(RefusalKind::Rejected), "{name:?}");
        }
        assert_eq!(locate(&org(), &[b"\xff"]).unwrap_err().kind, RefusalKind::Rejected);
    }
}
