//! Answers as packets (draft-ietf-secsh-filexfer-02, section 7), and the count of what a client has not made room for.
//!
//! Does no input or output. Called by `session` and `dispatch` for answers given at once, by `later` and `reads` for the rest.

use russh_sftp::protocol::StatusCode;

use super::attrs::Stat;
use super::handles::HandleId;
use super::status::{code, message};
use super::{Broken, Out};
use crate::audit::Receipt;
use crate::types::Refusal;

const VERSION: u8 = 2;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;
const EXTENDED_REPLY: u8 = 201;

/// Bytes before the data of a DATA packet.
pub(super) const DATA_HEAD: usize = 4 + 1 + 4 + 4;
/// Small answers are joined to one channel message up to this size.
const JOIN: usize = 32 * 1024;

/// What a request that was not refused is answered with.
#[derive(Debug)]
pub(super) enum Answer {
    Done,
    /// Done, and an upload was accepted by it: the client gets lines, too.
    Accepted(Box<Receipt>),
    /// No more data or names.
    End,
    Handle(HandleId),
    Stat(Stat),
    Names(Names),
    Extended(Vec<u8>),
    /// Somebody else answers: a spawned operation, or the queue of READs.
    Later,
}

/// The names of a NAME packet, encoded as they are added.
#[derive(Debug, Default)]
pub(super) struct Names {
    count: u32,
    body: Vec<u8>,
}

impl Names {
    pub fn add(&mut self, name: &str, long: &str, stat: &Stat) {
        self.count += 1;
        string(&mut self.body, name.as_bytes());
        string(&mut self.body, long.as_bytes());
        stat.write(&mut self.body);
    }

    /// One path, as REALPATH answers: the draft wants attributes there too, of no meaning.
    pub fn path(path: &str) -> Self {
        let mut names = Self { count: 1, body: Vec::new() };
        string(&mut names.body, path.as_bytes());
        string(&mut names.body, path.as_bytes());
        names.body.extend_from_slice(&[0; 4]);
        names
    }
}

/// Appends the packet that answers request `id`; nothing for [`Answer::Later`].
pub(super) fn answer(bytes: &mut Vec<u8>, id: u32, answer: &Answer) {
    match answer {
        Answer::Done | Answer::Accepted(_) => status(bytes, id, StatusCode::Ok, "OK"),
        Answer::End => status(bytes, id, StatusCode::Eof, "that was all"),
        Answer::Handle(handle) => packet(bytes, HANDLE, id, |bytes| string(bytes, &handle.to_wire())),
        Answer::Stat(stat) => packet(bytes, ATTRS, id, |bytes| stat.write(bytes)),
        Answer::Names(names) => packet(bytes, NAME, id, |bytes| {
            bytes.extend_from_slice(&names.count.to_be_bytes());
            bytes.extend_from_slice(&names.body);
        }),
        Answer::Extended(body) => packet(bytes, EXTENDED_REPLY, id, |bytes| bytes.extend_from_slice(body)),
        Answer::Later => {}
    }
}

/// Appends the status that refuses request `id`.
pub(super) fn refusal(bytes: &mut Vec<u8>, id: u32, refusal: &Refusal) {
    status(bytes, id, code(refusal.kind), message(refusal));
}

/// The VERSION packet: our version 3, and the extensions with theirs.
pub(super) fn version(extensions: impl Iterator<Item = (&'static str, &'static str)>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(320);
    packet(&mut bytes, VERSION, russh_sftp::protocol::VERSION, |bytes| {
        for (name, version) in extensions {
            string(bytes, name.as_bytes());
            string(bytes, version.as_bytes());
        }
    });
    bytes
}

/// Writes the head of a DATA packet of `length` bytes over the first [`DATA_HEAD`] bytes of `packet`.
pub(super) fn data_head(packet: &mut [u8; DATA_HEAD], id: u32, length: u32) {
    packet[..4].copy_from_slice(&(length + DATA_HEAD as u32 - 4).to_be_bytes());
    packet[4] = DATA;
    packet[5..9].copy_from_slice(&id.to_be_bytes());
    packet[9..].copy_from_slice(&length.to_be_bytes());
}

fn status(bytes: &mut Vec<u8>, id: u32, code: StatusCode, message: &str) {
    packet(bytes, STATUS, id, |bytes| {
        bytes.extend_from_slice(&(code as u32).to_be_bytes());
        string(bytes, message.as_bytes());
        string(bytes, b"en");
    });
}

fn packet(bytes: &mut Vec<u8>, kind: u8, id: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0, 0, 0, 0, kind]);
    bytes.extend_from_slice(&id.to_be_bytes());
    body(bytes);
    // No answer comes near 4 GiB: each is bounded by a page of names, a message or the length of a READ.
    let length = u32::try_from(bytes.len() - start - 4).unwrap_or(u32::MAX);
    bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

pub(super) fn string(bytes: &mut Vec<u8>, string: &[u8]) {
    bytes.extend_from_slice(&u32::try_from(string.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(string);
}

/// The answers of one call into the session, with the client's room for them.
pub(super) struct Replies<'o> {
    out: &'o mut Vec<Out>,
    /// Bytes that the client can take now.
    room: usize,
    /// Bytes of answers past its room, from this and earlier calls.
    debt: usize,
    limit: usize,
}

impl<'o> Replies<'o> {
    pub fn new(out: &'o mut Vec<Out>, room: usize, debt: usize, limit: usize) -> Self {
        Self { out, room, debt, limit }
    }
    pub fn room(&self) -> usize {
        self.room
    }
    pub fn debt(&self) -> usize {
        self.debt
    }

    pub fn answer(&mut self, id: u32, reply: &Answer) -> Result<(), Broken> {
        self.packet(|bytes| answer(bytes, id, reply))
    }
    pub fn refusal(&mut self, id: u32, reason: &Refusal) -> Result<(), Broken> {
        self.packet(|bytes| refusal(bytes, id, reason))
    }
    pub fn lines(&mut self, lines: Vec<String>) -> Result<(), Broken> {
        for line in lines {
            let size = line.len() + 1;
            self.out.push(Out::Line(line));
            self.spend(size)?;
        }
        Ok(())
    }
    /// A whole DATA packet (or its refusal). READs wait for room before they are served, so this is never debt.
    pub fn read(&mut self, packet: Vec<u8>) {
        self.room = self.room.saturating_sub(packet.len());
        self.out.push(Out::Data(packet));
    }

    /// # Errors
    /// The client reads too little of what it asks for.
    pub fn packet(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Broken> {
        if let Some(Out::Data(bytes)) = self.out.last_mut()
            && bytes.len() < JOIN
        {
            let before = bytes.len();
            write(bytes);
            let size = bytes.len() - before;
            return self.spend(size);
        }
        let mut bytes = Vec::with_capacity(64);
        write(&mut bytes);
        if bytes.is_empty() {
            return Ok(());
        }
        let size = bytes.len();
        self.out.push(Out::Data(bytes));
        self.spend(size)
    }

    fn spend(&mut self, size: usize) -> Result<(), Broken> {
        let fits = size.min(self.room);
        self.room -= fits;
        self.debt += size - fits;
        self.solvent()
    }

    /// # Errors
    /// The client reads too little of what it asks for.
    pub fn solvent(&self) -> Result<(), Broken> {
        if self.debt > self.limit {
            return Err(Broken(format!(
                "the client left more than {} bytes of answers unread: it must read them while it sends requests",
                self.limit
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_answers_are_joined_and_counted() {
        let mut out = Vec::new();
        let mut replies = Replies::new(&mut out, 30, 0, 40);
        replies.answer(1, &Answer::Done).unwrap();
        replies.answer(2, &Answer::Later).unwrap();
        replies.answer(3, &Answer::Done).unwrap();
        let one = 4 + 1 + 4 + 4 + (4 + 2) + (4 + 2);
        assert_eq!((replies.room(), replies.debt()), (0, 2 * one - 30));
        assert!(replies.answer(4, &Answer::Done).is_err(), "past the limit");
        let [Out::Data(bytes)] = &out[..] else { panic!("one message: {out:?}") };
        assert_eq!(bytes[..9], [0, 0, 0, 21, STATUS, 0, 0, 0, 1]);
        assert_eq!(bytes.len(), 3 * one);
    }

    #[test]
    fn a_refusal_carries_its_reason_and_language() {
        let mut bytes = Vec::new();
        refusal(&mut bytes, 5, &Refusal::denied("no"));
        assert_eq!(bytes, b"\0\0\0\x15\x65\0\0\0\x05\0\0\0\x03\0\0\0\x02no\0\0\0\x02en");
    }

    #[test]
    fn a_data_packet_has_its_lengths() {
        let mut head = [0; DATA_HEAD];
        data_head(&mut head, 9, 1000);
        assert_eq!(head, [0, 0, 3, 241, DATA, 0, 0, 0, 9, 0, 0, 3, 232]);
    }
}
