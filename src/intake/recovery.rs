//! Start-up: drafts are taken up again from their tickets; what else a killed daemon left half is removed, and told. Runs
//! before anything listens.
//!
//! Uses the vault's and the ledger's own verbs, as every upload does. Called by `daemon`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use super::admit::admit_draft;
use super::facts::{Facts, Progress};
use super::registry::{Body, Draft};
use super::segments::{Segment, Segments};
use super::ticket::{self, Extent, SpoolKey, State, Ticket, Tickets};
use crate::audit::{Event, Kind};
use crate::config::Config;
use crate::ledger::{Filter, Ledger};
use crate::types::*;
use crate::vault::Vault;

/// What recovery found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Uploads that were still being written, and cannot be gone on with: their spool files are removed.
    pub spooled: Vec<UploadId>,
    /// Objects that were kept, but never recorded: removed.
    pub unrecorded: Vec<UploadId>,
    /// Uploads that had begun and not ended: told as aborted.
    pub aborted: Vec<UploadId>,
    /// Accepted or quarantined uploads whose object is not in the vault: an operator must look.
    pub missing: Vec<UploadId>,
    /// Drafts that cannot be gone on with.
    pub discarded: Vec<UploadId>,
    /// Those that can: for [`super::Intake::adopt`].
    pub(super) drafts: Vec<Draft>,
}

/// Makes vault and ledger agree: each object has its row, and the spool holds drafts alone. Each step may be repeated,
/// should this be killed too.
///
/// # Errors
/// The vault or the ledger cannot be read or written; nothing may listen then.
pub async fn recover(
    vault: &Vault,
    ledger: &Ledger,
    clock: &Clock,
    key: &SpoolKey,
    config: &Config,
) -> anyhow::Result<Recovered> {
    let mut recovered = Recovered::default();
    // Those in memory when the daemon was killed left no file, and are known from the audit log alone.
    let begun = ledger.unfinished().await?;
    let mut begun: BTreeMap<UploadId, Event> =
        begun.into_iter().filter_map(|event| Some((event.upload?, event))).collect();
    drafts(vault, ledger, clock, key, config, &mut recovered).await?;
    let known: BTreeSet<UploadId> = recovered.drafts.iter().map(|draft| draft.facts.upload).collect();
    begun.retain(|upload, _| {
        !known.contains(upload) && !recovered.discarded.contains(upload) && !recovered.aborted.contains(upload)
    });

    let expected = ledger.expected_objects().await?;
    let needed: BTreeSet<(UploadId, u32)> = recovered.drafts.iter().flat_map(Draft::files).collect();
    let (cleared, objects) = {
        let vault = vault.clone();
        let work = move || -> std::io::Result<_> { Ok((clear(&vault, &needed)?, vault.objects()?)) };
        tokio::task::spawn_blocking(work).await??
    };
    // A draft that is gone on with, or was told of already, has no more to tell of.
    recovered.spooled = cleared.into_iter().filter(|upload| begun.contains_key(upload)).collect();
    let objects: BTreeSet<UploadId> = objects.into_iter().collect();
    recovered.unrecorded = objects.difference(&expected).copied().collect();
    recovered.missing = expected.difference(&objects).copied().collect();

    for upload in &recovered.spooled {
        ledger.record(told(Kind::RecoveryRemoved, *upload, &begun, clock).with("what", "spool")).await?;
    }
    for upload in &recovered.unrecorded {
        let (vault, upload) = (vault.clone(), *upload);
        tokio::task::spawn_blocking(move || vault.remove(upload)).await??;
        ledger.record(told(Kind::RecoveryRemoved, upload, &begun, clock).with("what", "object")).await?;
    }
    for (upload, begun_event) in &begun {
        let event = told(Kind::UploadAborted, *upload, &begun, clock).with("reason", STOPPED);
        ledger.record(as_begun(event, begun_event)).await?;
    }
    for upload in &recovered.missing {
        tracing::error!(upload.id = %upload, "an upload that was kept has no object in the vault: restore it from a backup");
        ledger.record(told(Kind::RecoveryMissing, *upload, &begun, clock)).await?;
    }
    recovered.aborted.extend(begun.into_keys());
    tracing::info!(
        drafts = recovered.drafts.len(),
        discarded = recovered.discarded.len(),
        spooled = recovered.spooled.len(),
        unrecorded = recovered.unrecorded.len(),
        aborted = recovered.aborted.len(),
        missing = recovered.missing.len(),
        "recovered"
    );
    Ok(recovered)
}

const STOPPED: &str = "the gateway stopped";

/// Takes up the drafts that have a ticket. One that cannot be gone on with is removed, and told.
async fn drafts(
    vault: &Vault,
    ledger: &Ledger,
    clock: &Clock,
    key: &SpoolKey,
    config: &Config,
    recovered: &mut Recovered,
) -> anyhow::Result<()> {
    let tickets = Tickets { vault: vault.clone(), key: key.clone(), clock: clock.clone() };
    let found = {
        let vault = vault.clone();
        tokio::task::spawn_blocking(move || vault.clear_half_tickets().and_then(|()| vault.tickets())).await??
    };
    for (upload, bytes) in found {
        let facts = bytes.as_deref().ok().and_then(ticket::facts).filter(|ticket| ticket.upload == upload);
        // It has its end, and the daemon was killed before its ticket was gone.
        let ended = ledger.has_ended(upload).await?;
        let begun = match (&facts, ended) {
            (_, true) => None,
            (Some(ticket), false) => Some(begun(ledger, ticket).await?),
            (None, false) => beginning(ledger, upload).await?,
        };
        let draft = match (ended, bytes) {
            (true, _) => None,
            (false, Ok(bytes)) => Some(take_up(upload, tickets.clone(), bytes, config).await?),
            (false, Err(error)) => {
                tracing::error!(upload.id = %upload, %error, "a draft's ticket cannot be read");
                Some(Err("its ticket cannot be read".into()))
            }
        };
        let event = |kind| {
            let event = Event::new(clock.now(), kind, Actor::gateway()).upload(upload);
            match (&facts, &begun) {
                (Some(ticket), _) => {
                    let event = event.org(&ticket.org).dataset(&ticket.dataset);
                    event.with("place", ticket.place.as_str()).with("name", ticket.name.as_str())
                }
                (None, Some(begun)) => {
                    as_begun(Event { org: begun.org.clone(), dataset: begun.dataset.clone(), ..event }, begun)
                }
                (None, None) => event,
            }
        };
        let gone = match draft {
            None => None,
            // Its keys were gone before the ledger was asked, which never answered.
            Some(_) if facts.as_ref().is_some_and(|ticket| ticket.state == State::Ending) => {
                recovered.aborted.push(upload);
                Some(event(Kind::UploadAborted).with("reason", STOPPED))
            }
            Some(Ok((draft, State::Writing))) if draft.facts.size() == 0 => {
                recovered.aborted.push(upload);
                Some(event(Kind::UploadAborted).with("reason", STOPPED))
            }
            Some(Ok((draft, state))) => {
                if state == State::Writing {
                    let event = event(Kind::DraftKept).with("reason", STOPPED).with("size", draft.facts.size());
                    ledger.record(event).await?;
                }
                recovered.drafts.push(draft);
                continue;
            }
            Some(Err(why)) => {
                tracing::warn!(upload.id = %upload, reason = why, "a draft cannot be gone on with: it is removed");
                recovered.discarded.push(upload);
                Some(event(Kind::DraftDiscarded).with("reason", why))
            }
        };
        // The event first: should this be killed now, the next start sees that it is told.
        if let Some(event) = gone {
            ledger.record(event).await?;
        }
        let tickets = tickets.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || tickets.remove(upload)).await? {
            // What it is about is told: the next start only tries to remove it again.
            tracing::error!(upload.id = %upload, %error, "a ticket could not be removed");
        }
    }
    Ok(())
}

/// The event of an upload's beginning, if the log has it.
async fn beginning(ledger: &Ledger, upload: UploadId) -> anyhow::Result<Option<Event>> {
    let (upload, kind) = (Some(upload), Some(Kind::UploadBegun));
    let filter = Filter { upload, kind, limit: Some(1), ..Filter::default() };
    Ok(ledger.events(&filter).await?.pop().map(|logged| logged.event))
}

/// The daemon may have been killed before the log had the upload's beginning: it is told first, as it was.
async fn begun(ledger: &Ledger, ticket: &Ticket) -> anyhow::Result<Event> {
    if let Some(event) = beginning(ledger, ticket.upload).await? {
        return Ok(event);
    }
    let event = Event::new(ticket.began, Kind::UploadBegun, ticket.actor.clone());
    let event = event.org(&ticket.org).dataset(&ticket.dataset).upload(ticket.upload);
    let event = event.with("place", ticket.place.as_str()).with("name", ticket.name.as_str()).with("size", 0);
    ledger.record(event.clone()).await?;
    Ok(event)
}

/// What its beginning says of an upload's name.
fn as_begun(mut event: Event, begun: &Event) -> Event {
    for fact in ["name", "place"] {
        if let Some(value) = begun.detail.get(fact) {
            event = event.with(fact, value.clone());
        }
    }
    event
}

/// A draft from its ticket, and the state that it was in; or why not.
async fn take_up(
    upload: UploadId,
    tickets: Tickets,
    bytes: Vec<u8>,
    config: &Config,
) -> anyhow::Result<Result<(Draft, State), String>> {
    let opened = tokio::task::spawn_blocking(move || {
        let (ticket, keys) = ticket::open(&tickets.key, &bytes)?;
        if ticket.upload != upload {
            return Err(ticket::Unsealed("its ticket is another upload's"));
        }
        let mut segments = ticket.segments(keys, &tickets.vault)?;
        let due = ticket.due.max(segments.size());
        drop(settle(&ticket, &mut segments));
        Ok::<_, ticket::Unsealed>((tickets, ticket, segments, due))
    });
    let (tickets, ticket, segments, due) = match opened.await? {
        Ok(opened) => opened,
        Err(why) => return Ok(Err(why.to_string())),
    };
    let Some(place) = ticket.place() else { return Ok(Err("its place is not known".into())) };
    let admitted = match admit_draft(config, &ticket.org, &place, &ticket.name) {
        Ok(admitted) if admitted.dataset.name == ticket.dataset => admitted,
        Ok(admitted) => return Ok(Err(format!("its name is {}'s by now", admitted.dataset.name))),
        Err(refusal) => return Ok(Err(refusal.reason)),
    };
    let facts = Arc::new(Facts {
        turn: Facts::next_turn(),
        upload: ticket.upload,
        org: ticket.org,
        account: ticket.account,
        fingerprint: ticket.fingerprint,
        actor: ticket.actor,
        dataset: ticket.dataset,
        demands: admitted.demands(),
        began: ticket.began,
        label: Mutex::new((place, ticket.name)),
        progress: Progress::default(),
        old: true,
        over: CancellationToken::new(),
    });
    let closed = ticket.state == State::Closed;
    // One that was closed may end in a gap.
    facts.set_size(if closed { ticket.size } else { segments.size() });
    facts.set_due(due);
    facts.set_held(segments.held());
    facts.set_widest(ticket.widest);
    if let Some(modified) = ticket.modified {
        facts.set_modified(modified);
    }
    // One that was being written waits from now on.
    let since = if ticket.state == State::Writing { tickets.clock.now() } else { ticket.since };
    facts.set_since(since);
    let draft = Draft { facts, body: Body::Pieces(segments), closed, since };
    let write = move || {
        tickets.keep(&draft.facts, &draft.body, closed);
        draft
    };
    Ok(Ok((tokio::task::spawn_blocking(write).await?, ticket.state)))
}

/// Of one that was being written only what has no gap counts; and less than what was received, so that its client has
/// something left to send. Where the file's end was being sealed when the daemon was killed, the open chunk is lost anyway.
fn settle(ticket: &Ticket, segments: &mut Segments) -> Vec<Segment> {
    if ticket.state == State::Closed {
        return Vec::new();
    }
    let whole = segments.whole();
    let open = |(segment, of): (&Segment, &Extent)| of.len.is_none() && !segment.ended && segment.end() == whole;
    let lost = segments.all().iter().zip(&ticket.segments).any(open);
    let size = if lost || ticket.state == State::Kept { whole } else { whole.saturating_sub(1) };
    segments.truncate(size.min(certain(ticket, segments)))
}

/// Up to where what is here was certainly not written over by what was lost: as far as the run under way was sealed.
fn certain(ticket: &Ticket, segments: &Segments) -> u64 {
    let run = segments.all().iter().zip(&ticket.segments).find(|(_, of)| of.len.is_none());
    match (ticket.from, run) {
        (None, _) => u64::MAX,
        (Some(from), None) => from,
        // Its last chunk is here.
        (Some(_), Some((segment, _))) if segment.ended => u64::MAX,
        (Some(_), Some((segment, _))) => segment.end(),
    }
}

/// Removes the files of the spool that no draft needs; returns whose they were.
fn clear(vault: &Vault, needed: &BTreeSet<(UploadId, u32)>) -> std::io::Result<BTreeSet<UploadId>> {
    let mut cleared = BTreeSet::new();
    for (upload, numbers) in vault.spooled()? {
        for number in numbers {
            if !needed.contains(&(upload, number)) {
                vault.clear(upload, number)?;
                cleared.insert(upload);
            }
        }
    }
    Ok(cleared)
}

/// An event by the gateway about an upload, with its organisation and dataset where its beginning is known.
fn told(kind: Kind, upload: UploadId, begun: &BTreeMap<UploadId, Event>, clock: &Clock) -> Event {
    let mut event = Event::new(clock.now(), kind, Actor::gateway()).upload(upload);
    if let Some(known) = begun.get(&upload) {
        event.org = known.org.clone();
        event.dataset = known.dataset.clone();
    }
    event
}
