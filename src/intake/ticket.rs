//! Tickets: what a draft needs to be gone on with after the daemon was killed, its file keys sealed under the spool key.
//!
//! A ticket is a line of JSON, then a nonce and the sealed keys. The line is in the clear, for `upload list --drafts` and for
//! telling of drafts whose key is gone, and it is the associated data: no key opens with other facts than its own. Must
//! never put a file key anywhere else. Blocking. Called by `lane`'s worker, `drafts` and `recovery`.

use std::sync::Arc;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::facts::Facts;
use super::pipeline::{Broken, Finished, Stored};
use super::registry::Body;
use super::segments::{Segment, Segments};
use crate::seal::{CHUNK, RUN_KEY, RunKey, TAG};
use crate::types::*;
use crate::vault::Vault;

/// Seals the file keys of drafts. It lives in memory, and in a file of the runtime directory when that is a tmpfs; never
/// on a disk. Each ticket takes a random nonce of 96 bits: good for 2^32 tickets, which is years of uploads, and a reboot
/// makes a new one.
#[derive(Clone)]
pub struct SpoolKey(Arc<Zeroizing<[u8; SpoolKey::LEN]>>);

impl SpoolKey {
    pub const LEN: usize = 32;

    /// A key that was kept.
    pub fn new(bytes: Zeroizing<[u8; Self::LEN]>) -> Self {
        Self(Arc::new(bytes))
    }

    /// A fresh one.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn generate() -> Result<Self, Unsealed> {
        let mut bytes = Zeroizing::new([0; Self::LEN]);
        SystemRandom::new().fill(&mut bytes[..]).map_err(|_| Unsealed("the system gives no randomness"))?;
        Ok(Self::new(bytes))
    }

    /// For the file that keeps it.
    pub fn bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    fn cipher(&self) -> Result<LessSafeKey, Unsealed> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &self.0[..]).map_err(|_| Unsealed("the spool key is no key"))?;
        Ok(LessSafeKey::new(key))
    }
}

/// Why a ticket cannot be written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsealed(pub &'static str);

/// How far a draft has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A session writes it.
    Writing,
    /// Its connection was lost: it can be resumed.
    Kept,
    /// It was closed, and waits for what completes it.
    Closed,
    /// Its keys are gone, and the ledger is asked to record its end.
    Ending,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            State::Writing => "writing",
            State::Kept => "kept",
            State::Closed => "closed",
            State::Ending => "ending",
        }
    }
}

/// The line in the clear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ticket {
    pub upload: UploadId,
    pub org: OrgId,
    pub account: AccountName,
    pub fingerprint: Fingerprint,
    pub actor: Actor,
    pub dataset: DatasetName,
    /// As a path: `/` or `/<dataset>/`.
    pub place: String,
    pub name: FileName,
    pub began: Timestamp,
    pub modified: Option<Timestamp>,
    pub state: State,
    /// Since when it is in that state.
    pub since: Timestamp,
    /// As its client is shown it, and as it must be to be complete: see [`super::facts::Progress`].
    pub size: u64,
    pub due: u64,
    /// Where the run under way begins. What was there before may be written over, by bytes that were not sealed yet: after
    /// a kill nothing counts from here on but what the run has sealed.
    pub from: Option<u64>,
    /// Bytes of the longest WRITE so far.
    pub widest: u64,
    pub segments: Vec<Extent>,
}

/// A segment without its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Extent {
    pub number: u32,
    pub start: u64,
    pub header: u64,
    /// None while it is written: then its file tells.
    pub len: Option<u64>,
    pub shown: u64,
    pub ended: bool,
}

/// Where tickets are kept, and what seals them. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tickets {
    pub vault: Vault,
    pub key: SpoolKey,
    pub clock: Clock,
}

/// Writes the tickets of one draft.
pub(super) struct Keeper {
    pub tickets: Tickets,
    pub facts: Arc<Facts>,
}

impl Keeper {
    /// While a session writes it. `from`: where the run under way begins, or would; none when all came.
    ///
    /// # Errors
    /// The ticket before stays, and is not true any more.
    pub(super) fn writing(&self, segments: &Segments, from: Option<u64>, open: Option<&Open>) -> Result<(), Broken> {
        let open = open.map(|(number, header, key, start)| {
            let (number, start, header) = (*number, *start, *header);
            (Extent { number, start, header, len: None, shown: u64::MAX, ended: false }, key.clone())
        });
        Ok(self.tickets.write(&self.facts, State::Writing, from, parts(segments).chain(open))?)
    }

    /// The upload came to nothing.
    pub(super) fn forget(&self) {
        if self.facts.old {
            // Its end is told first, and the ticket goes then.
            return;
        }
        if let Err(error) = self.tickets.remove(self.facts.upload) {
            tracing::warn!(upload.id = %self.facts.upload, %error, "a ticket could not be removed; the next start will");
        }
    }
}

/// A segment that is being written, as [`super::sealing::Sealing::file`] tells it, and where it begins.
pub(super) type Open = (u32, u64, RunKey, u64);

impl Tickets {
    /// Writes the ticket of a draft that waits.
    pub(super) fn keep(&self, facts: &Facts, body: &Body, closed: bool) {
        let state = if closed { State::Closed } else { State::Kept };
        let written = match body {
            Body::Pieces(segments) => self.write(facts, state, None, parts(segments)),
            Body::Whole(Finished { stored: Stored::Draft(sealed), .. }) => {
                let (header, key, len) = sealed.facts();
                let (number, len, shown) = (sealed.number(), Some(len), len);
                let extent = Extent { number, start: 0, header, len, shown, ended: true };
                self.write(facts, state, None, [(extent, key.clone())].into_iter())
            }
            // It has no files, and goes with the process.
            Body::Whole(_) => Ok(()),
        };
        if let Err(error) = written {
            tracing::error!(upload.id = %facts.upload, %error, "a draft's ticket is out of date, and could not be removed: remove it before a restart");
        }
    }

    /// One that cannot be written costs the draft at the next kill, no more than that: it is logged, and the one before
    /// goes, which would bring back what is true no more.
    ///
    /// # Errors
    /// The one before stays.
    fn write(
        &self,
        facts: &Facts,
        state: State,
        from: Option<u64>,
        parts: impl Iterator<Item = (Extent, RunKey)>,
    ) -> std::io::Result<()> {
        let Err(error) = self.put(facts, state, from, parts) else { return Ok(()) };
        tracing::warn!(upload.id = %facts.upload, error, "a draft's ticket could not be written: it would not survive a restart");
        self.end(facts)
    }

    fn put(
        &self,
        facts: &Facts,
        state: State,
        from: Option<u64>,
        parts: impl Iterator<Item = (Extent, RunKey)>,
    ) -> Result<(), String> {
        let (place, name) = facts.label();
        let (segments, parts): (Vec<Extent>, Vec<RunKey>) = parts.unzip();
        let mut keys = Zeroizing::new(Vec::with_capacity(parts.len() * RUN_KEY + TAG));
        parts.iter().for_each(|key| keys.extend_from_slice(key.bytes()));
        let ticket = Ticket {
            upload: facts.upload,
            org: facts.org.clone(),
            account: facts.account.clone(),
            fingerprint: facts.fingerprint.clone(),
            actor: facts.actor.clone(),
            dataset: facts.dataset.clone(),
            place: place.path(),
            name,
            began: facts.began,
            modified: facts.modified(),
            state,
            since: match state {
                State::Kept | State::Closed => facts.since().unwrap_or_else(|| self.clock.now()),
                State::Writing | State::Ending => self.clock.now(),
            },
            size: facts.size(),
            due: facts.due(),
            from,
            widest: facts.widest(),
            segments,
        };
        let sealed = seal(&self.key, &ticket, &mut keys).map_err(|error| error.to_string())?;
        self.vault.write_ticket(facts.upload, &sealed).map_err(|error| error.to_string())
    }

    /// Forgets an upload's keys, as far as the disk knows them, before the ledger records its end. Of one that began before
    /// this daemon a ticket without keys stays until that is done: nothing else would tell the next start of it.
    ///
    /// # Errors
    /// The ticket stays, with its keys.
    pub(super) fn end(&self, facts: &Facts) -> std::io::Result<()> {
        if facts.old && self.put(facts, State::Ending, None, std::iter::empty()).is_ok() {
            return Ok(());
        }
        self.remove(facts.upload)
    }

    /// Forgets a draft.
    ///
    /// # Errors
    /// The ticket stays.
    pub(super) fn remove(&self, upload: UploadId) -> std::io::Result<()> {
        self.vault.remove_ticket(upload)
    }
}

fn parts(segments: &Segments) -> impl Iterator<Item = (Extent, RunKey)> + '_ {
    segments.all().iter().map(|segment| {
        let Segment { run, header, key, start, len, shown, ended } = segment;
        let (number, len) = (run.number(), Some(*len));
        (Extent { number, start: *start, header: *header, len, shown: *shown, ended: *ended }, key.clone())
    })
}

fn seal(key: &SpoolKey, ticket: &Ticket, keys: &mut Vec<u8>) -> Result<Vec<u8>, Unsealed> {
    let mut sealed = serde_json::to_vec(ticket).map_err(|_| Unsealed("its facts have no JSON form"))?;
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).map_err(|_| Unsealed("the system gives no randomness"))?;
    key.cipher()?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&sealed), keys)
        .map_err(|_| Unsealed("ChaCha20-Poly1305 failed"))?;
    sealed.push(b'\n');
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(keys);
    Ok(sealed)
}

/// The facts of a ticket, which nobody has vouched for.
pub(super) fn facts(ticket: &[u8]) -> Option<Ticket> {
    serde_json::from_slice(ticket.split(|byte| *byte == b'\n').next()?).ok()
}

/// Opens a ticket: its facts, and the keys in the order of its segments.
///
/// # Errors
/// It is no ticket, or none that this key has sealed.
pub(super) fn open(key: &SpoolKey, ticket: &[u8]) -> Result<(Ticket, Vec<RunKey>), Unsealed> {
    const FOREIGN: Unsealed = Unsealed("the key to its ticket is gone: the machine was started anew");
    let line = ticket.iter().position(|byte| *byte == b'\n').ok_or(Unsealed("its ticket is damaged"))?;
    let (line, rest) = (&ticket[..line], &ticket[line + 1..]);
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(Unsealed("its ticket is damaged"))?;
    let mut keys = Zeroizing::new(sealed.to_vec());
    let cipher = key.cipher()?;
    let opened = cipher.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(line), &mut keys);
    let opened = opened.map_err(|_| FOREIGN)?;
    let ticket: Ticket = serde_json::from_slice(line).map_err(|_| Unsealed("its ticket is of another version"))?;
    let (whole, rest) = opened.as_chunks::<RUN_KEY>();
    if whole.len() != ticket.segments.len() || !rest.is_empty() {
        return Err(Unsealed("its ticket is damaged"));
    }
    Ok((ticket, whole.iter().map(|key| RunKey::new(Zeroizing::new(*key))).collect()))
}

/// A draft as its ticket tells of it, for operators: whoever can read the state directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    pub upload: UploadId,
    pub organisation: OrgId,
    pub account: AccountName,
    pub dataset: DatasetName,
    /// `/` or `/<dataset>/`.
    pub place: String,
    pub name: FileName,
    /// Bytes that are here without a gap.
    pub size: u64,
    pub segments: usize,
    pub state: State,
    /// Since when it is in that state.
    pub since: Timestamp,
    pub began: Timestamp,
}

/// What is in the spool, by upload: drafts, and uploads under way that have sealed something. Blocking; may be asked by
/// another process than the daemon.
///
/// # Errors
/// The spool cannot be read.
pub fn waiting(vault: &Vault) -> std::io::Result<Vec<Waiting>> {
    let tickets = vault.tickets()?;
    let waiting = tickets
        .iter()
        .filter_map(|(_, ticket)| facts(ticket.as_deref().ok()?))
        .filter(|ticket| ticket.state != State::Ending)
        .map(|ticket| Waiting {
            size: ticket.size(vault),
            upload: ticket.upload,
            organisation: ticket.org,
            account: ticket.account,
            dataset: ticket.dataset,
            place: ticket.place,
            name: ticket.name,
            segments: ticket.segments.len(),
            state: ticket.state,
            since: ticket.since,
            began: ticket.began,
        });
    Ok(waiting.collect())
}

/// Plaintext bytes in a file of `size` bytes that nobody ended: its whole chunks.
fn whole_chunks(size: u64, header: u64) -> u64 {
    size.saturating_sub(header) / (CHUNK + TAG) as u64 * CHUNK as u64
}

impl Ticket {
    /// The draft's segments, as far as their files go. What was written last may be cut off by a chunk.
    ///
    /// # Errors
    /// A file is not there, or is not what the ticket says.
    pub(super) fn segments(&self, keys: Vec<RunKey>, vault: &Vault) -> Result<Segments, Unsealed> {
        let mut segments = Segments::default();
        for (extent, key) in self.segments.iter().zip(keys) {
            let run = vault.run(self.upload, extent.number);
            let size = run.size().map_err(|_| Unsealed("a part of it is not there any more"))?;
            let Extent { start, header, len, shown, ended, .. } = *extent;
            let whole = len.unwrap_or_else(|| whole_chunks(size, header));
            let mut segment = Segment { run, header, key, start, len: whole, shown: shown.min(whole), ended };
            if len.is_none() {
                settle(&mut segment);
            } else if !segment.is_sound() {
                return Err(Unsealed("a part of it is damaged"));
            }
            segments.push(segment);
        }
        Ok(segments)
    }

    /// Bytes of it that are in the spool without a gap, as far as sizes tell; for listings.
    pub(super) fn size(&self, vault: &Vault) -> u64 {
        let mut segments = Vec::new();
        for extent in &self.segments {
            let len = extent.len.unwrap_or_else(|| {
                let mut run = vault.run(self.upload, extent.number);
                // Only looked at: it is the daemon's.
                run.leave();
                whole_chunks(run.size().unwrap_or(0), extent.header)
            });
            segments.push((extent.start, extent.start.saturating_add(extent.shown.min(len))));
        }
        segments.sort_unstable();
        segments.iter().fold(0, |whole, (from, to)| if *from <= whole { whole.max(*to) } else { whole })
    }

    pub(super) fn place(&self) -> Option<Place> {
        match self.place.as_str() {
            "/" => Some(Place::Inbox),
            path => path.strip_prefix('/')?.strip_suffix('/')?.parse().ok().map(Place::Dataset),
        }
    }
}

/// How far a segment goes that was being written when its writer was killed. Its last whole chunk may be its last one,
/// ended just then; or one that was written only in part.
fn settle(segment: &mut Segment) {
    while segment.len > 0 && !segment.is_sound() {
        segment.ended = true;
        if segment.is_sound() {
            break;
        }
        segment.ended = false;
        segment.len -= CHUNK as u64;
    }
    segment.shown = segment.len;
}
