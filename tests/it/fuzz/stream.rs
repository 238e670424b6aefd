//! What was sent, read once more by the simplest reading of the draft: what of it may have been accepted.
//!
//! Allows what it cannot exclude (a request that the gateway refused for another reason), and never less than the gateway may
//! accept. Shares no code with the gateway.

use std::collections::{BTreeMap, BTreeSet};

use super::requests::EXTENDED;
use crate::harness::{digest, kind};

/// The longest packet that the gateway takes (`wire::MAX_PACKET`): one that says it is longer ends the session.
const PACKET_MAX: usize = 257 * 1024;

/// What one organisation's streams may have come to.
#[derive(Default)]
pub struct Known {
    /// Digests of what handles were given whole before a CLOSE, and how often.
    pub whole: BTreeMap<String, u64>,
    /// The components of each path that was sent.
    pub names: BTreeSet<Vec<u8>>,
}

/// One session's bytes so far, by the simplest reading of the draft.
#[derive(Default)]
pub struct Stream {
    held: Vec<u8>,
    writes: BTreeMap<Vec<u8>, Vec<(u64, Vec<u8>)>>,
}

/// Where a stream stands.
#[derive(Debug, PartialEq, Eq)]
pub enum Stand {
    Between,
    Inside,
    /// A length that no packet has.
    Nonsense,
}

impl Stream {
    pub fn read(&mut self, bytes: &[u8], known: &mut Known) -> Stand {
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        let mut rest = &held[..];
        while let Some((head, after)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*head) as usize;
            if length == 0 || length > PACKET_MAX {
                return Stand::Nonsense;
            }
            let Some((body, next)) = after.split_at_checked(length) else { break };
            self.packet(body, known);
            rest = next;
        }
        self.held = rest.to_vec();
        if rest.is_empty() { Stand::Between } else { Stand::Inside }
    }

    /// A packet that does not mean an upload, or not exactly, means nothing here.
    fn packet(&mut self, body: &[u8], known: &mut Known) -> Option<()> {
        let (&kind, mut fields) = body.split_first()?;
        number(&mut fields)?;
        match kind {
            kind::OPEN => known.path(text_field(&mut fields)?),
            kind::RENAME => {
                text_field(&mut fields)?;
                known.path(text_field(&mut fields)?);
            }
            EXTENDED if text_field(&mut fields)? == b"posix-rename@openssh.com" => {
                text_field(&mut fields)?;
                known.path(text_field(&mut fields)?);
            }
            kind::WRITE => {
                let handle = text_field(&mut fields)?;
                let offset = (u64::from(number(&mut fields)?) << 32) | u64::from(number(&mut fields)?);
                let data = text_field(&mut fields)?;
                // Bytes behind the data are passed over: some clients send their whole buffer.
                if !data.is_empty() {
                    self.writes.entry(handle.to_vec()).or_default().push((offset, data.to_vec()));
                }
            }
            kind::CLOSE => {
                let handle = text_field(&mut fields)?;
                let writes = self.writes.remove(handle).unwrap_or_default();
                // WRITEs to a handle that was only guessed were refused; a later OPEN may have given out that very handle.
                for first in 0..writes.len().max(1) {
                    if let Some(whole) = assembled(&writes[first..]) {
                        *known.whole.entry(digest(&whole)).or_default() += 1;
                    }
                }
            }
            _ => {}
        }
        Some(())
    }
}

impl Known {
    fn path(&mut self, path: &[u8]) {
        self.names.extend(path.split(|byte| *byte == b'/').map(<[u8]>::to_vec));
    }
}

/// The file that these writes make, one after the other, later ones over earlier ones; none when they leave a gap.
fn assembled(writes: &[(u64, Vec<u8>)]) -> Option<Vec<u8>> {
    let end = writes.iter().map(|(offset, data)| offset.saturating_add(data.len() as u64)).max().unwrap_or(0);
    let sent: u64 = writes.iter().map(|(_, data)| data.len() as u64).sum();
    if end > sent {
        return None;
    }
    let mut whole = vec![None; usize::try_from(end).ok()?];
    for (offset, data) in writes {
        let start = usize::try_from(*offset).ok()?;
        for (place, byte) in whole[start..].iter_mut().zip(data) {
            *place = Some(*byte);
        }
    }
    whole.into_iter().collect()
}

pub fn number(fields: &mut &[u8]) -> Option<u32> {
    let (bytes, rest) = fields.split_first_chunk::<4>()?;
    *fields = rest;
    Some(u32::from_be_bytes(*bytes))
}

pub fn text_field<'a>(fields: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number(fields)? as usize;
    let (text, rest) = fields.split_at_checked(length)?;
    *fields = rest;
    Some(text)
}
