//! What was sent, read once more by the simplest reading of the draft: what of it may have been accepted.
//!
//! Allows what it cannot exclude (a request that the gateway refused for another reason), and never less than the gateway may
//! accept. Shares no code with the gateway.

use std::collections::{BTreeMap, BTreeSet};

use super::requests::EXTENDED;
use crate::harness::{digest, kind};

const FSETSTAT: u8 = 10;
/// The flag of a size among attributes.
const SIZE: u32 = 1;
/// No file here is longer; what lies behind is a gap, unless it is cut off again.
const FILE_MAX: u64 = 64 << 20;

/// The longest packet that the gateway takes (`wire::MAX_PACKET`): one that says it is longer ends the session.
const PACKET_MAX: usize = 257 * 1024;

/// What one organisation's streams may have come to.
#[derive(Default)]
pub struct Known {
    /// Digests of what handles were given whole, as a plain file, before a CLOSE, and how often.
    pub whole: BTreeMap<String, u64>,
    /// The components of each path that was sent.
    pub names: BTreeSet<Vec<u8>>,
    /// Every WRITE: where, and what.
    sent: Vec<(u64, Vec<u8>)>,
}

/// What was asked of a handle's file.
#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Size(u64),
}

/// One session's bytes so far, by the simplest reading of the draft.
#[derive(Default)]
pub struct Stream {
    held: Vec<u8>,
    changes: BTreeMap<Vec<u8>, Vec<Change>>,
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
                    self.changes.entry(handle.to_vec()).or_default().push(Change::Write(offset, data.to_vec()));
                    known.sent.push((offset, data.to_vec()));
                }
            }
            FSETSTAT => {
                let handle = text_field(&mut fields)?;
                if number(&mut fields)? & SIZE != 0 {
                    let size = (u64::from(number(&mut fields)?) << 32) | u64::from(number(&mut fields)?);
                    self.changes.entry(handle.to_vec()).or_default().push(Change::Size(size));
                }
            }
            kind::CLOSE => {
                let handle = text_field(&mut fields)?;
                let writes = self.changes.remove(handle).unwrap_or_default();
                // What was asked of a handle that was only guessed was refused; a later OPEN may have given out that very handle.
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

    /// Whether each byte of a file was sent for its place: all that can be said of a draft that was gone on with, by handles
    /// and sessions that this reader does not connect.
    pub fn explains(&self, file: &[u8]) -> bool {
        let mut explained = vec![false; file.len()];
        for (offset, data) in self.sent.iter().filter(|(offset, _)| *offset < file.len() as u64) {
            for (at, byte) in (*offset as usize..file.len()).zip(data) {
                explained[at] |= file[at] == *byte;
            }
        }
        explained.into_iter().all(|explained| explained)
    }
}

/// The plain file that these changes make, in the order of their coming; none when they leave a gap.
fn assembled(changes: &[Change]) -> Option<Vec<u8>> {
    // A gap is what was never written, whatever the file's size.
    let mut file: Vec<Option<u8>> = Vec::new();
    for change in changes {
        match change {
            Change::Write(offset, data) => {
                let end = offset.checked_add(data.len() as u64).filter(|end| *end <= FILE_MAX)?;
                file.resize(file.len().max(end as usize), None);
                for (place, byte) in file[*offset as usize..].iter_mut().zip(data) {
                    *place = Some(*byte);
                }
            }
            Change::Size(size) => file.resize(usize::try_from((*size).min(FILE_MAX)).unwrap(), None),
        }
    }
    file.into_iter().collect()
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
