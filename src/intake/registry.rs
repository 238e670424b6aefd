//! Uploads that have not ended, of every organisation: under way, kept as drafts, being completed.
//!
//! Its lock is held for moments, never across an await. Called by the rest of `intake`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::DraftView;
use super::facts::Facts;
use super::lane::Handle;
use super::pipeline::{Finished, Stored};
use super::segments::Segments;
use crate::types::*;

/// An upload that waits: to be gone on with, or for what completes it.
#[derive(Debug)]
pub(super) struct Draft {
    pub facts: Arc<Facts>,
    pub body: Body,
    /// It was closed: only the name, a marker or a companion is missing. Else its connection was lost.
    pub closed: bool,
    /// Since when it waits.
    pub since: Timestamp,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one for each draft, and those are few")]
pub(super) enum Body {
    /// It came in one clean sequence: acceptable as far as its content goes; an extract sealed, synced, not kept.
    Whole(Finished),
    /// To be judged when it is completed.
    Pieces(Segments),
}

impl Draft {
    /// Its files in the spool, by upload and number.
    pub(super) fn files(&self) -> Vec<(UploadId, u32)> {
        let upload = self.facts.upload;
        match &self.body {
            Body::Whole(Finished { stored: Stored::Draft(sealed), .. }) => vec![(upload, sealed.number())],
            Body::Whole(_) => Vec::new(),
            Body::Pieces(segments) => segments.all().iter().map(|segment| (upload, segment.run.number())).collect(),
        }
    }

    /// Its files outlive this process. False when there are none: then it goes with it.
    pub(super) fn leave(&mut self) -> bool {
        match &mut self.body {
            Body::Whole(Finished { stored: Stored::Draft(sealed), .. }) => sealed.spool.leave(),
            Body::Whole(_) => return false,
            Body::Pieces(segments) => segments.leave(),
        }
        true
    }
}

#[allow(clippy::large_enum_variant, reason = "one for each upload, and those are few")]
enum Slot {
    UnderWay(Arc<Facts>, Handle),
    Kept(Draft),
    /// A draft that is being completed or gone on with.
    Completing(Arc<Facts>),
}

impl Slot {
    fn facts(&self) -> &Arc<Facts> {
        match self {
            Slot::UnderWay(facts, _) | Slot::Completing(facts) => facts,
            Slot::Kept(draft) => &draft.facts,
        }
    }
}

/// What [`Registry::find`] found under a name.
pub(super) enum Found {
    UnderWay(Arc<Facts>, Handle),
    Kept {
        facts: Arc<Facts>,
        closed: bool,
        /// The content was judged already, under its name.
        judged: bool,
    },
    Completing,
}

#[derive(Default)]
pub(super) struct Registry(Mutex<BTreeMap<UploadId, Slot>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether it is a draft that waits under that name: another upload that takes the name replaces it.
fn is_namesake(slot: &Slot, org: &OrgId, label: &(Place, FileName)) -> bool {
    matches!(slot, Slot::Kept(draft) if draft.facts.org == *org && draft.facts.label() == *label)
}

/// Takes out the other drafts of that name. Under the lock of whoever gave the name: of two at once, one stays.
fn namesakes(slots: &mut BTreeMap<UploadId, Slot>, facts: &Facts) -> Vec<Draft> {
    let label = facts.label();
    let same = |slot: &Slot| slot.facts().upload != facts.upload && is_namesake(slot, &facts.org, &label);
    let uploads: Vec<UploadId> = slots.iter().filter(|(_, slot)| same(slot)).map(|(upload, _)| *upload).collect();
    let taken = uploads.iter().filter_map(|upload| slots.remove(upload));
    taken.filter_map(|slot| if let Slot::Kept(draft) = slot { Some(draft) } else { None }).collect()
}

impl Registry {
    /// Enters a new upload, unless the organisation has `most` already, besides drafts that it replaces.
    pub(super) fn enter(&self, facts: &Arc<Facts>, handle: Handle, most: usize) -> bool {
        let (mut slots, label) = (lock(&self.0), facts.label());
        let counts = |slot: &&Slot| slot.facts().org == facts.org && !is_namesake(slot, &facts.org, &label);
        if slots.values().filter(counts).count() >= most {
            return false;
        }
        slots.insert(facts.upload, Slot::UnderWay(facts.clone(), handle));
        true
    }

    pub(super) fn leave(&self, upload: UploadId) {
        // Dropped after the lock: a draft's files are removed.
        let left = lock(&self.0).remove(&upload);
        if let Some(slot) = &left {
            slot.facts().over.cancel();
        }
    }

    /// A session went on with a draft, which it has taken with [`Registry::complete`].
    pub(super) fn resume(&self, facts: &Arc<Facts>, handle: Handle) {
        lock(&self.0).insert(facts.upload, Slot::UnderWay(facts.clone(), handle));
    }

    /// An upload under way became a draft. Returns the drafts whose name it took, which are out: one name is one
    /// file, and an older one must not come to light again when the newer is renamed or removed.
    pub(super) fn keep(&self, draft: Draft) -> Vec<Draft> {
        let mut slots = lock(&self.0);
        let facts = draft.facts.clone();
        let before = slots.insert(facts.upload, Slot::Kept(draft));
        let gone = namesakes(&mut slots, &facts);
        drop(slots);
        if let Some(slot) = before {
            slot.facts().over.cancel();
        }
        gone
    }

    /// Takes out the drafts that have the name of `facts`, for a newer upload of that name.
    pub(super) fn take_namesakes(&self, facts: &Facts) -> Vec<Draft> {
        namesakes(&mut lock(&self.0), facts)
    }

    /// Whether a newer upload of that name is under way or kept.
    pub(super) fn is_outdated(&self, facts: &Facts) -> bool {
        let label = facts.label();
        let newer = |slot: &Slot| {
            let other = slot.facts();
            other.turn > facts.turn && other.org == facts.org && other.label() == label
        };
        lock(&self.0).values().any(newer)
    }

    /// A draft goes by another name. Returns the drafts whose name it took, as [`Registry::keep`] does; none when it is
    /// no draft any more.
    pub(super) fn relabel(&self, facts: &Facts, place: Place, name: FileName) -> Option<Vec<Draft>> {
        let mut slots = lock(&self.0);
        if !matches!(slots.get(&facts.upload), Some(Slot::Kept(_))) {
            return None;
        }
        facts.relabel(place, name);
        Some(namesakes(&mut slots, facts))
    }

    /// Shows a draft to `see`, under the lock.
    pub(super) fn with_draft<T>(&self, upload: UploadId, see: impl FnOnce(&mut Draft) -> T) -> Option<T> {
        match lock(&self.0).get_mut(&upload) {
            Some(Slot::Kept(draft)) => Some(see(draft)),
            _ => None,
        }
    }

    /// Takes a draft out to complete it or to go on with it; it stays entered until it leaves or is kept again.
    pub(super) fn complete(&self, upload: UploadId) -> Option<Draft> {
        let mut slots = lock(&self.0);
        match slots.remove(&upload)? {
            Slot::Kept(draft) => {
                slots.insert(upload, Slot::Completing(draft.facts.clone()));
                Some(draft)
            }
            other => {
                slots.insert(upload, other);
                None
            }
        }
    }

    /// Takes the closed draft of that name out to complete it, as [`Registry::complete`] does.
    pub(super) fn complete_named(&self, org: &OrgId, place: &Place, name: &FileName) -> Option<Draft> {
        match self.find(org, place, name)? {
            Found::Kept { facts, closed: true, .. } => self.complete(facts.upload),
            _ => None,
        }
    }

    /// Takes out a draft for good.
    pub(super) fn take_draft(&self, upload: UploadId) -> Option<Draft> {
        let mut slots = lock(&self.0);
        match slots.remove(&upload)? {
            Slot::Kept(draft) => Some(draft),
            other => {
                slots.insert(upload, other);
                None
            }
        }
    }

    /// The newest of that name.
    pub(super) fn find(&self, org: &OrgId, place: &Place, name: &FileName) -> Option<Found> {
        let slots = lock(&self.0);
        let labelled = |slot: &&Slot| {
            let facts = slot.facts();
            facts.org == *org && facts.is_labelled(place, name)
        };
        match slots.values().filter(labelled).max_by_key(|slot| slot.facts().turn)? {
            Slot::UnderWay(facts, handle) => Some(Found::UnderWay(facts.clone(), handle.clone())),
            Slot::Kept(draft) => Some(Found::Kept {
                facts: draft.facts.clone(),
                closed: draft.closed,
                judged: matches!(draft.body, Body::Whole(_)),
            }),
            Slot::Completing(_) => Some(Found::Completing),
        }
    }

    /// Drafts of an organisation in a place, the newest of each name, by name.
    pub(super) fn views(&self, org: &OrgId, place: &Place) -> Vec<DraftView> {
        let mut views: BTreeMap<FileName, DraftView> = BTreeMap::new();
        let slots = lock(&self.0);
        let mut slots: Vec<&Slot> = slots.values().filter(|slot| slot.facts().org == *org).collect();
        slots.sort_unstable_by_key(|slot| slot.facts().turn);
        for slot in slots {
            let facts = slot.facts();
            let (at, name) = facts.label();
            if at != *place {
                continue;
            }
            let (size, since, closed) = match slot {
                Slot::Kept(draft) => (facts.size(), Some(draft.since), draft.closed),
                Slot::Completing(_) => (facts.size(), None, true),
                // Of one that a session still writes, what could be gone on with should it be lost.
                Slot::UnderWay(..) => (facts.left_of(facts.sealed()), None, false),
            };
            let modified = facts.modified().or(since).unwrap_or(facts.began);
            let digests = match slot {
                Slot::Kept(Draft { body: Body::Whole(finished), .. }) => Some(finished.digests()),
                _ => None,
            };
            let (upload, size) = (facts.upload, facts.tell(size));
            let view = DraftView { upload, name: name.clone(), size, modified, closed, digests };
            // The newest stays.
            views.insert(name, view);
        }
        views.into_values().collect()
    }

    pub(super) fn set_modified(&self, org: &OrgId, upload: UploadId, modified: Timestamp) {
        if let Some(slot) = lock(&self.0).get(&upload).filter(|slot| slot.facts().org == *org) {
            slot.facts().set_modified(modified);
        }
    }

    /// Bytes that the organisation's uploads hold; besides drafts of a name that they make room for.
    pub(super) fn bytes(&self, org: &OrgId, besides: Option<&(Place, FileName)>) -> u64 {
        let slots = lock(&self.0);
        let counts =
            |slot: &&Slot| slot.facts().org == *org && !besides.is_some_and(|label| is_namesake(slot, org, label));
        slots.values().filter(counts).map(|slot| slot.facts().held()).sum()
    }

    /// Runs of restricted rows that closed drafts hold.
    pub(super) fn restricted(&self) -> usize {
        let runs = |slot: &Slot| match slot {
            Slot::Kept(Draft { body: Body::Whole(finished), .. }) => finished.outcome.restricted.ranges.len(),
            _ => 0,
        };
        lock(&self.0).values().map(runs).sum()
    }

    /// Uploads that are not ended; drafts not counted.
    pub(super) fn under_way(&self) -> usize {
        lock(&self.0).values().filter(|slot| !matches!(slot, Slot::Kept(_))).count()
    }

    /// Drafts that wait since `before` or longer.
    pub(super) fn kept_before(&self, before: Timestamp) -> Vec<UploadId> {
        let old = |slot: &Slot| matches!(slot, Slot::Kept(draft) if draft.since <= before);
        lock(&self.0).iter().filter(|(_, slot)| old(slot)).map(|(upload, _)| *upload).collect()
    }

    /// How many drafts were closed after `since`.
    pub(super) fn closed_after(&self, since: Timestamp) -> usize {
        let late = |slot: &&Slot| matches!(slot, Slot::Kept(draft) if draft.closed && draft.since > since);
        lock(&self.0).values().filter(late).count()
    }

    /// Uploads under way, with the way to stop them.
    pub(super) fn running(&self) -> Vec<(Arc<Facts>, Handle)> {
        let running = |slot: &Slot| match slot {
            Slot::UnderWay(facts, handle) => Some((facts.clone(), handle.clone())),
            Slot::Kept(_) | Slot::Completing(_) => None,
        };
        lock(&self.0).values().filter_map(running).collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::super::facts::{Demands, Progress};
    use super::super::lane::Lane;
    use super::super::pipeline::tests::Bench;
    use super::*;
    use crate::check::Format;
    use crate::config::{Companion, Completion, Severity};

    fn facts(org: &str, name: &str, upload: UploadId) -> Arc<Facts> {
        let (org, dataset) = (org.parse().unwrap(), "ims".parse().unwrap());
        Arc::new(Facts {
            turn: Facts::next_turn(),
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
                complete: Completion::Close,
                interrupted: Severity::Flag,
                vouches: None,
                parts: BTreeMap::new(),
            },
            began: Timestamp::UNIX_EPOCH,
            label: Mutex::new((Place::Inbox, name.parse().unwrap())),
            progress: Progress::default(),
            old: false,
            over: CancellationToken::new(),
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
        first.set_held(5);
        second.set_held(7);
        second.set_sealed(6);
        second.grow(7);
        other.set_held(100);
        let harbour = "harbour".parse().unwrap();
        assert_eq!((registry.bytes(&harbour, None), registry.under_way()), (12, 3));
        let views = registry.views(&harbour, &Place::Inbox);
        assert_eq!((views.len(), views[0].upload, views[0].size, views[0].closed), (1, second.upload, 6, false));
        assert_eq!(second.told(), 6);
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
        let since = Timestamp::from_second(10).unwrap();
        let finished = Finished {
            size: 0,
            sha256: Sha256([0; 32]),
            md5: None,
            sha1: None,
            outcome: crate::check::Outcome::default(),
            scan: None,
            stored: Stored::Text(vec![]),
            envelope: None,
            unkept: None,
        };
        registry.keep(Draft { facts: facts.clone(), body: Body::Whole(finished), closed: true, since });
        assert!(facts.over.is_cancelled());
        assert_eq!((registry.under_way(), registry.kept_before(since).len()), (0, 1));
        assert!(matches!(registry.find(&org, &Place::Inbox, &name), Some(Found::Kept { closed: true, .. })));
        let draft = registry.complete(facts.upload).unwrap();
        assert!(registry.complete(facts.upload).is_none() && registry.take_draft(facts.upload).is_none());
        assert!(matches!(registry.find(&org, &Place::Inbox, &name), Some(Found::Completing)));
        registry.keep(draft);
        assert!(registry.take_draft(facts.upload).is_some());
        assert_eq!(bench.spooled(), 0);
    }
}
