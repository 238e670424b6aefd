//! Uploads that have not ended, of every organisation: under way, closed under a working name, being completed.
//!
//! Its lock is held for moments, never across an await. Whoever ends an upload claims that with [`Facts::end`], so that
//! each ends once, whichever of close, abort, remove and drain comes first. Called by the rest of `intake`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::DraftView;
use super::lane::Handle;
use super::pipeline::Finished;
use crate::config::{Companion, CompanionKind, Severity};
use crate::types::*;

/// What is known of an upload from its beginning.
#[derive(Debug)]
pub(super) struct Facts {
    pub upload: UploadId,
    pub org: OrgId,
    pub account: AccountName,
    pub fingerprint: Fingerprint,
    pub actor: Actor,
    pub dataset: DatasetName,
    pub demands: Demands,
    pub began: Timestamp,
    /// Where and under which name it is listed; a draft may be renamed.
    pub label: Mutex<(Place, FileName)>,
    pub progress: Progress,
}

/// What is asked of an upload besides its content, as it was when the upload began.
#[derive(Debug, Clone)]
pub(super) struct Demands {
    /// What is rejected is kept, sealed.
    pub quarantine: bool,
    /// The same bytes were accepted before.
    pub repeated: Severity,
    pub companion: Companion,
    /// It is a companion file of this kind; none for an extract.
    pub vouches: Option<CompanionKind>,
    /// The named parts of the final name that its content is checked with.
    pub parts: BTreeMap<String, String>,
}

/// What changes about an upload.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Bytes received without a gap.
    size: AtomicU64,
    /// The time that the client wants kept.
    modified: Mutex<Option<Timestamp>>,
    ended: AtomicBool,
    /// Why somebody else ended it, for the one who holds it.
    why: OnceLock<String>,
}

impl Facts {
    pub(super) fn label(&self) -> (Place, FileName) {
        lock(&self.label).clone()
    }
    pub(super) fn relabel(&self, place: Place, name: FileName) {
        *lock(&self.label) = (place, name);
    }
    pub(super) fn size(&self) -> u64 {
        self.progress.size.load(Ordering::Relaxed)
    }
    pub(super) fn set_size(&self, size: u64) {
        self.progress.size.store(size, Ordering::Relaxed);
    }
    pub(super) fn modified(&self) -> Option<Timestamp> {
        *lock(&self.progress.modified)
    }
    pub(super) fn set_modified(&self, modified: Timestamp) {
        *lock(&self.progress.modified) = Some(modified);
    }

    /// Claims the right to end this upload; true for the first only.
    pub(super) fn end(&self) -> bool {
        !self.progress.ended.swap(true, Ordering::AcqRel)
    }
    pub(super) fn end_because(&self, why: &str) -> bool {
        let first = self.end();
        if first {
            let _ = self.progress.why.set(why.to_owned());
        }
        first
    }
    pub(super) fn ended(&self) -> bool {
        self.progress.ended.load(Ordering::Acquire)
    }
    pub(super) fn why(&self) -> &str {
        self.progress.why.get().map_or("it was ended", String::as_str)
    }
}

/// A closed draft: acceptable as far as its content goes; an extract sealed, synced, not kept.
#[derive(Debug)]
pub(super) struct Draft {
    pub facts: Arc<Facts>,
    pub finished: Finished,
    pub closed: Timestamp,
}

#[allow(clippy::large_enum_variant, reason = "one for each upload, and those are few")]
enum Slot {
    UnderWay(Arc<Facts>, Handle),
    Closed(Draft),
    /// A draft between its RENAME and the ledger's answer.
    Completing(Arc<Facts>),
}

impl Slot {
    fn facts(&self) -> &Arc<Facts> {
        match self {
            Slot::UnderWay(facts, _) | Slot::Completing(facts) => facts,
            Slot::Closed(draft) => &draft.facts,
        }
    }
}

/// What [`Registry::find`] found under a name.
pub(super) enum Found {
    UnderWay(Arc<Facts>, Handle),
    Closed(Arc<Facts>),
    Completing,
}

#[derive(Default)]
pub(super) struct Registry(Mutex<BTreeMap<UploadId, Slot>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes out the other closed drafts of that name. Under the lock of whoever gave the name: of two at once, one stays.
fn namesakes(slots: &mut BTreeMap<UploadId, Slot>, facts: &Facts) -> Vec<Draft> {
    let label = facts.label();
    let same = |slot: &Slot| {
        matches!(slot, Slot::Closed(draft) if draft.facts.upload != facts.upload
            && draft.facts.org == facts.org
            && *lock(&draft.facts.label) == label)
    };
    let uploads: Vec<UploadId> = slots.iter().filter(|(_, slot)| same(slot)).map(|(upload, _)| *upload).collect();
    let taken = uploads.iter().filter_map(|upload| slots.remove(upload));
    taken.filter_map(|slot| if let Slot::Closed(draft) = slot { Some(draft) } else { None }).collect()
}

impl Registry {
    /// Enters a new upload, unless the organisation has `most` already.
    pub(super) fn enter(&self, facts: &Arc<Facts>, handle: Handle, most: usize) -> bool {
        let mut slots = lock(&self.0);
        if slots.values().filter(|slot| slot.facts().org == facts.org).count() >= most {
            return false;
        }
        slots.insert(facts.upload, Slot::UnderWay(facts.clone(), handle));
        true
    }

    pub(super) fn leave(&self, upload: UploadId) {
        // Dropped after the lock: a draft's spool removes its file.
        let left = lock(&self.0).remove(&upload);
        drop(left);
    }

    /// An upload under way became a closed draft. Returns the drafts whose name it took, which are out: one name is one
    /// file, and an older one must not come to light again when the newer is renamed or removed.
    pub(super) fn close(&self, draft: Draft) -> Vec<Draft> {
        let mut slots = lock(&self.0);
        let facts = draft.facts.clone();
        slots.insert(facts.upload, Slot::Closed(draft));
        namesakes(&mut slots, &facts)
    }

    /// A closed draft goes by another working name. Returns the drafts whose name it took, as [`Registry::close`] does;
    /// none when it is no closed draft any more.
    pub(super) fn relabel(&self, facts: &Facts, place: Place, name: FileName) -> Option<Vec<Draft>> {
        let mut slots = lock(&self.0);
        if !matches!(slots.get(&facts.upload), Some(Slot::Closed(_))) {
            return None;
        }
        facts.relabel(place, name);
        Some(namesakes(&mut slots, facts))
    }

    /// Takes a closed draft out to complete it; it stays entered until it leaves or is closed again.
    pub(super) fn complete(&self, upload: UploadId) -> Option<Draft> {
        let mut slots = lock(&self.0);
        match slots.remove(&upload)? {
            Slot::Closed(draft) => {
                slots.insert(upload, Slot::Completing(draft.facts.clone()));
                Some(draft)
            }
            other => {
                slots.insert(upload, other);
                None
            }
        }
    }

    /// Takes out a closed draft for good.
    pub(super) fn take_draft(&self, upload: UploadId) -> Option<Draft> {
        let mut slots = lock(&self.0);
        match slots.remove(&upload)? {
            Slot::Closed(draft) => Some(draft),
            other => {
                slots.insert(upload, other);
                None
            }
        }
    }

    /// The newest of that name, closed or not.
    pub(super) fn find(&self, org: &OrgId, place: &Place, name: &FileName) -> Option<Found> {
        let slots = lock(&self.0);
        let labelled = |slot: &&Slot| {
            let facts = slot.facts();
            facts.org == *org && {
                let label = lock(&facts.label);
                label.0 == *place && label.1 == *name
            }
        };
        match slots.values().rev().find(labelled)? {
            Slot::UnderWay(facts, handle) => Some(Found::UnderWay(facts.clone(), handle.clone())),
            Slot::Closed(draft) => Some(Found::Closed(draft.facts.clone())),
            Slot::Completing(_) => Some(Found::Completing),
        }
    }

    /// Drafts of an organisation in a place, the newest of each name, by name.
    pub(super) fn views(&self, org: &OrgId, place: &Place) -> Vec<DraftView> {
        let mut views: BTreeMap<FileName, DraftView> = BTreeMap::new();
        for slot in lock(&self.0).values().filter(|slot| slot.facts().org == *org) {
            let facts = slot.facts();
            let (at, name) = facts.label();
            if at != *place {
                continue;
            }
            let (closed, digests) = match slot {
                Slot::Closed(draft) => (Some(draft.closed), Some(draft.finished.digests())),
                Slot::UnderWay(..) | Slot::Completing(_) => (None, None),
            };
            let view = DraftView {
                upload: facts.upload,
                name: name.clone(),
                size: facts.size(),
                modified: facts.modified().or(closed).unwrap_or(facts.began),
                closed: !matches!(slot, Slot::UnderWay(..)),
                digests,
            };
            // Ids sort by time: the last one stays.
            views.insert(name, view);
        }
        views.into_values().collect()
    }

    pub(super) fn set_modified(&self, org: &OrgId, upload: UploadId, modified: Timestamp) {
        if let Some(slot) = lock(&self.0).get(&upload).filter(|slot| slot.facts().org == *org) {
            slot.facts().set_modified(modified);
        }
    }

    /// Bytes that the organisation's uploads hold.
    pub(super) fn bytes(&self, org: &OrgId) -> u64 {
        let slots = lock(&self.0);
        slots.values().filter(|slot| slot.facts().org == *org).map(|slot| slot.facts().size()).sum()
    }

    /// Uploads that are not ended; closed drafts not counted.
    pub(super) fn under_way(&self) -> usize {
        lock(&self.0).values().filter(|slot| !matches!(slot, Slot::Closed(_))).count()
    }

    /// Closed drafts that were closed at or before `before`.
    pub(super) fn closed_before(&self, before: Timestamp) -> Vec<UploadId> {
        let old = |slot: &Slot| matches!(slot, Slot::Closed(draft) if draft.closed <= before);
        lock(&self.0).iter().filter(|(_, slot)| old(slot)).map(|(upload, _)| *upload).collect()
    }

    /// How many drafts were closed after `since`.
    pub(super) fn closed_after(&self, since: Timestamp) -> usize {
        let late = |slot: &&Slot| matches!(slot, Slot::Closed(draft) if draft.closed > since);
        lock(&self.0).values().filter(late).count()
    }

    /// Uploads under way, with the way to stop them.
    pub(super) fn running(&self) -> Vec<(Arc<Facts>, Handle)> {
        let running = |slot: &Slot| match slot {
            Slot::UnderWay(facts, handle) => Some((facts.clone(), handle.clone())),
            Slot::Closed(_) | Slot::Completing(_) => None,
        };
        lock(&self.0).values().filter_map(running).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::lane::Lane;
    use super::super::pipeline::Stored;
    use super::super::pipeline::tests::Bench;
    use super::*;
    use crate::check::Format;

    fn facts(org: &str, name: &str, upload: UploadId) -> Arc<Facts> {
        let (org, dataset) = (org.parse().unwrap(), "ims".parse().unwrap());
        Arc::new(Facts {
            upload,
            org,
            account: "nightly".parse().unwrap(),
            fingerprint: Fingerprint("SHA256:x".into()),
            actor: Actor::gateway(),
            dataset,
            demands: Demands {
                quarantine: false,
                repeated: Severity::Flag,
                companion: Companion::default(),
                vouches: None,
                parts: BTreeMap::new(),
            },
            began: Timestamp::UNIX_EPOCH,
            label: Mutex::new((Place::Inbox, name.parse().unwrap())),
            progress: Progress::default(),
        })
    }

    fn enter(bench: &Bench, registry: &Registry, org: &str, name: &str, at: i64) -> Option<Arc<Facts>> {
        let facts = facts(org, name, UploadId::new(Timestamp::from_second(at).unwrap()));
        let lane = Lane::new(bench.seed(Format::Csv, 1).1);
        registry.enter(&facts, lane.handle(), 2).then_some(facts)
    }

    #[test]
    fn an_organisation_has_its_number_of_uploads_and_sees_only_its_own() {
        let (bench, registry) = (Bench::new(), Registry::default());
        let first = enter(&bench, &registry, "harbour", "a.csv", 1).unwrap();
        let second = enter(&bench, &registry, "harbour", "a.csv", 2).unwrap();
        assert!(enter(&bench, &registry, "harbour", "b.csv", 3).is_none());
        let other = enter(&bench, &registry, "quay", "a.csv", 4).unwrap();
        first.set_size(5);
        second.set_size(7);
        other.set_size(100);
        let harbour = "harbour".parse().unwrap();
        assert_eq!((registry.bytes(&harbour), registry.under_way()), (12, 3));
        let views = registry.views(&harbour, &Place::Inbox);
        assert_eq!((views.len(), views[0].upload, views[0].size, views[0].closed), (1, second.upload, 7, false));
        assert_eq!(registry.views(&harbour, &Place::Dataset("ims".parse().unwrap())).len(), 0);
        registry.leave(second.upload);
        assert!(enter(&bench, &registry, "harbour", "b.csv", 5).is_some());
    }

    #[test]
    fn a_draft_is_completed_by_one_and_ends_once() {
        let (bench, registry) = (Bench::new(), Registry::default());
        let facts = enter(&bench, &registry, "harbour", "a.csv.part", 1).unwrap();
        let (org, name) = ("harbour".parse().unwrap(), "a.csv.part".parse().unwrap());
        assert!(registry.complete(facts.upload).is_none(), "it is still under way");
        assert!(facts.end() && !facts.end_because("late"));
        let spool = bench.vault.create(facts.upload).unwrap();
        let closed = Timestamp::from_second(10).unwrap();
        let finished = Finished {
            size: 0,
            sha256: Sha256([0; 32]),
            md5: None,
            sha1: None,
            outcome: crate::check::Outcome::default(),
            scan: None,
            stored: Stored::Draft(spool),
            unkept: None,
        };
        registry.close(Draft { facts: facts.clone(), finished, closed });
        assert_eq!((registry.under_way(), registry.closed_before(closed).len()), (0, 1));
        assert!(matches!(registry.find(&org, &Place::Inbox, &name), Some(Found::Closed(_))));
        let draft = registry.complete(facts.upload).unwrap();
        assert!(registry.complete(facts.upload).is_none() && registry.take_draft(facts.upload).is_none());
        assert!(matches!(registry.find(&org, &Place::Inbox, &name), Some(Found::Completing)));
        registry.close(draft);
        assert!(registry.take_draft(facts.upload).is_some());
        assert_eq!(bench.spooled(), 0);
    }
}
