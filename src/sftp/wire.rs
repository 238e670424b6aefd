//! The wire: SFTP packets out of a byte stream that is cut anywhere (draft-ietf-secsh-filexfer-02, section 3), and the
//! strict reading of their fields.
//!
//! Must never interpret a byte of a packet whose length or strings lie, nor hold more than one packet. The data of a
//! WRITE is handed on as it arrives, without a copy here. Called by `session`; knows nothing of operations.
//!
//! One liberty is left to a WRITE: bytes after its data, which OpenSSH's server drops too. Go's pkg/sftp until early
//! 2023, and with it rclone 1.60 as Debian has it, sends its whole buffer though only the first bytes of it are meant.

use super::attrs::Wanted;
use super::handles::HandleId;

/// Most bytes of data in one READ or WRITE, as `limits@openssh.com` tells it (255 KiB, OpenSSH's own figure).
pub(super) const MAX_DATA: usize = 255 * 1024;
/// Longest packet as `limits@openssh.com` tells it.
pub(super) const MAX_TOLD: usize = 256 * 1024;
/// Longest packet that is taken, its length field not counted: some clients fill 256 KiB with data and add the head.
pub(super) const MAX_PACKET: usize = MAX_TOLD + 1024;
/// Longest handle (section 6.2 of the draft).
const MAX_HANDLE: usize = 256;
/// A WRITE's fields without handle and data: kind, id, two lengths, offset.
const WRITE_FIELDS: usize = 1 + 4 + 4 + 8 + 4;
/// What the buffer for a cut packet keeps allocated between packets.
const KEEP: usize = 4096;

pub(super) const WRITE: u8 = 6;

/// Why a packet cannot be understood. The channel ends: what follows cannot be trusted either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub &'static str);

/// What the stream holds next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A whole packet.
    Packet { kind: u8, body: &'a [u8] },
    /// The next bytes of a WRITE.
    Write(Part<'a>),
}

/// Bytes of one WRITE, and where they belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub id: u32,
    pub handle: HandleId,
    pub offset: u64,
    pub data: &'a [u8],
    /// The data ends here: the packet can be answered.
    pub last: bool,
}

/// A WRITE whose head was read, and whose data still comes.
struct Streaming {
    id: u32,
    handle: HandleId,
    offset: u64,
    left: usize,
    /// Bytes of the packet after its data.
    beyond: usize,
}

/// Cuts a byte stream into packets.
#[derive(Default)]
pub(super) struct Framer {
    /// The beginning of a packet that came cut.
    held: Vec<u8>,
    /// What is held was given out, and goes at the next call.
    given: bool,
    write: Option<Streaming>,
    /// Bytes after a WRITE's data that are still to be dropped.
    beyond: usize,
}

impl Framer {
    /// Takes from the front of `input` what makes the next piece; none when more bytes are needed.
    ///
    /// # Errors
    /// A packet of no length or too much, or a WRITE whose strings do not add up; nothing after it can be read.
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Result<Option<Piece<'s>>, Malformed> {
        if self.given {
            self.held.clear();
            self.held.shrink_to(KEEP);
            self.given = false;
        }
        if self.write.is_some() {
            return Ok(self.part(input).map(Piece::Write));
        }
        let (dropped, rest) = input.split_at(input.len().min(self.beyond));
        self.beyond -= dropped.len();
        *input = rest;
        if self.held.is_empty() {
            let need = need(input)?;
            if input.len() < need {
                self.held.extend_from_slice(input);
                *input = &[];
                return Ok(None);
            }
            let (start, rest) = input.split_at(need);
            *input = rest;
            if start[4] != WRITE {
                return Ok(Some(Piece::Packet { kind: start[4], body: &start[5..] }));
            }
            self.write = Some(Streaming::begin(start)?);
            return Ok(self.part(input).map(Piece::Write));
        }
        loop {
            let need = need(&self.held)?;
            if self.held.len() >= need {
                break;
            }
            let (more, rest) = input.split_at(input.len().min(need - self.held.len()));
            if more.is_empty() {
                return Ok(None);
            }
            self.held.extend_from_slice(more);
            *input = rest;
        }
        self.given = true;
        if self.held[4] != WRITE {
            return Ok(Some(Piece::Packet { kind: self.held[4], body: &self.held[5..] }));
        }
        self.write = Some(Streaming::begin(&self.held)?);
        Ok(self.part(input).map(Piece::Write))
    }

    /// Whether the stream stands between two packets.
    pub fn is_whole(&self) -> bool {
        self.write.is_none() && self.beyond == 0 && (self.given || self.held.is_empty())
    }

    /// The next bytes of the WRITE under way; none when the input is used up.
    fn part<'a>(&mut self, input: &mut &'a [u8]) -> Option<Part<'a>> {
        let write = self.write.as_mut()?;
        let (data, rest) = input.split_at(input.len().min(write.left));
        if data.is_empty() && write.left > 0 {
            return None;
        }
        *input = rest;
        write.left -= data.len();
        let part = Part { id: write.id, handle: write.handle, offset: write.offset, data, last: write.left == 0 };
        write.offset = write.offset.saturating_add(data.len() as u64);
        if part.last {
            self.beyond = write.beyond;
            self.write = None;
        }
        Some(part)
    }
}

/// How many bytes from the beginning of a packet must be there before it can be acted on: all of it, of a WRITE only its
/// head. With fewer bytes than returned, the answer may grow when more of them are known.
fn need(start: &[u8]) -> Result<usize, Malformed> {
    let Some(length) = be32(start, 0) else { return Ok(5) };
    let length = length as usize;
    if length == 0 {
        return Err(Malformed("a packet of length 0"));
    }
    if length > MAX_PACKET {
        return Err(Malformed("a packet longer than 256 KiB"));
    }
    match start.get(4) {
        None => return Ok(5),
        Some(&WRITE) => {}
        Some(_) => return Ok(4 + length),
    }
    if length < WRITE_FIELDS {
        return Err(Malformed("a WRITE without all of its fields"));
    }
    let Some(handle) = be32(start, 9) else { return Ok(13) };
    let handle = handle as usize;
    if handle > MAX_HANDLE || WRITE_FIELDS + handle > length {
        return Err(Malformed("a WRITE whose handle does not fit into it"));
    }
    let head = 4 + WRITE_FIELDS + handle;
    if let Some(data) = be32(start, head - 4)
        && WRITE_FIELDS + handle + data as usize > length
    {
        return Err(Malformed("a WRITE whose data is longer than its packet"));
    }
    Ok(head)
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

impl Streaming {
    /// Reads a head that `need` found whole.
    fn begin(head: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Reader::new(head);
        let after = fields.u32()? as usize - (head.len() - 4);
        fields.u8()?;
        let (id, handle, offset) = (fields.u32()?, fields.handle()?, fields.u64()?);
        let left = fields.u32()? as usize;
        Ok(Self { id, handle, offset, left, beyond: after - left })
    }
}

/// The fields of one packet, in order, each checked against what is left.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(body: &'a [u8]) -> Self {
        Self(body)
    }
    fn u8(&mut self) -> Result<u8, Malformed> {
        let (byte, rest) = self.0.split_first().ok_or(Malformed("a packet that ends inside a number"))?;
        self.0 = rest;
        Ok(*byte)
    }
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed("a packet that ends inside a number"))?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*bytes))
    }
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed("a packet that ends inside a number"))?;
        self.0 = rest;
        Ok(u64::from_be_bytes(*bytes))
    }
    pub fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u32()? as usize;
        if length > self.0.len() {
            return Err(Malformed("a string that is longer than its packet"));
        }
        let (string, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(string)
    }
    pub fn handle(&mut self) -> Result<HandleId, Malformed> {
        let handle = self.string()?;
        if handle.len() > MAX_HANDLE {
            return Err(Malformed("a handle longer than 256 bytes"));
        }
        Ok(HandleId::from_wire(handle))
    }
    pub fn attrs(&mut self) -> Result<Wanted, Malformed> {
        Wanted::read(self)
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// # Errors
    /// Bytes that no field accounts for.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(Malformed("a packet with bytes after its last field")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = (body.len() as u32 + 1).to_be_bytes().to_vec();
        bytes.push(kind);
        bytes.extend_from_slice(body);
        bytes
    }

    fn write(id: u32, handle: &[u8], offset: u64, data: &[u8]) -> Vec<u8> {
        let mut body = id.to_be_bytes().to_vec();
        body.extend_from_slice(&(handle.len() as u32).to_be_bytes());
        body.extend_from_slice(handle);
        body.extend_from_slice(&offset.to_be_bytes());
        body.extend_from_slice(&(data.len() as u32).to_be_bytes());
        body.extend_from_slice(data);
        packet(WRITE, &body)
    }

    /// Kind, and of a WRITE id and offset, and the body or data.
    type Seen = (u8, u32, u64, Vec<u8>);

    /// What a stream comes to when it arrives in pieces of `step` bytes: packets, and WRITEs joined again.
    fn read(stream: &[u8], step: usize) -> Result<Vec<Seen>, Malformed> {
        let (mut framer, mut seen, mut joined) = (Framer::default(), Vec::new(), None);
        for mut input in stream.chunks(step) {
            while let Some(piece) = framer.next(&mut input)? {
                match piece {
                    Piece::Packet { kind, body } => seen.push((kind, 0, 0, body.to_vec())),
                    Piece::Write(part) => {
                        let (_, _, start, data) =
                            joined.get_or_insert_with(|| (WRITE, part.id, part.offset, Vec::new()));
                        assert_eq!(*start + data.len() as u64, part.offset);
                        data.extend_from_slice(part.data);
                        if part.last {
                            seen.extend(joined.take());
                        }
                    }
                }
            }
            assert!(input.is_empty());
        }
        assert!(framer.is_whole(), "the stream ended between packets");
        Ok(seen)
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_packets() {
        let data: Vec<u8> = (0..1000u32).map(|i| i as u8).collect();
        let mut stream = packet(1, &[0, 0, 0, 3]);
        stream.extend(write(7, &[1; 8], 1 << 40, &data));
        stream.extend(packet(17, b"abcdef"));
        stream.extend(write(8, &[1; 8], 5, b""));
        stream.extend(write(9, b"", 6, b"x"));
        stream.extend(packet(200, &[]));
        let expected = vec![
            (1, 0, 0, vec![0, 0, 0, 3]),
            (WRITE, 7, 1 << 40, data),
            (17, 0, 0, b"abcdef".to_vec()),
            (WRITE, 8, 5, vec![]),
            (WRITE, 9, 6, b"x".to_vec()),
            (200, 0, 0, vec![]),
        ];
        for step in (1..60).chain([stream.len() / 2, stream.len()]) {
            assert_eq!(read(&stream, step).unwrap(), expected, "in pieces of {step}");
        }
    }

    #[test]
    fn a_write_that_lies_whole_in_the_input_is_not_copied() {
        let stream = write(1, &[0; 8], 0, &[5; 300]);
        let (mut framer, mut input) = (Framer::default(), &stream[..]);
        let Ok(Some(Piece::Write(part))) = framer.next(&mut input) else { panic!("not a WRITE") };
        assert_eq!(part.data.as_ptr(), stream[stream.len() - 300..].as_ptr());
        assert!(part.last);
    }

    #[test]
    fn lengths_of_nothing_and_of_too_much_are_malformed_before_their_body_comes() {
        for length in [0, MAX_PACKET as u32 + 1, u32::MAX] {
            assert!(Framer::default().next(&mut &length.to_be_bytes()[..]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_write_whose_strings_do_not_fill_it_is_malformed_before_any_data_is_given_out() {
        let good = write(1, &[0; 8], 0, b"0123456789");
        let with = |at: usize, value: u32| {
            let mut bad = good.clone();
            bad[at..at + 4].copy_from_slice(&value.to_be_bytes());
            bad
        };
        // The handle's length, then the data's: too long, enormous. (One byte more of handle: the data's length moves.)
        for bad in [with(9, 9), with(9, 300), with(9, u32::MAX), with(29, 11), with(29, u32::MAX)] {
            for step in [1, 7, bad.len()] {
                let (mut framer, mut failed) = (Framer::default(), false);
                for mut input in bad.chunks(step) {
                    match framer.next(&mut input) {
                        Ok(None) => assert!(input.is_empty()),
                        Ok(Some(piece)) => panic!("gave out {piece:?}"),
                        Err(_) => {
                            failed = true;
                            break;
                        }
                    }
                }
                assert!(failed, "{bad:?} in pieces of {step}");
            }
        }
        assert!(Framer::default().next(&mut &packet(WRITE, &[0; 10])[..]).is_err());
    }

    #[test]
    fn bytes_after_a_writes_data_are_dropped_wherever_it_is_cut() {
        let mut long = write(7, &[1; 8], 4096, b"0123456789");
        long.extend([0xee; 5000]);
        let length = (long.len() - 4) as u32;
        long[..4].copy_from_slice(&length.to_be_bytes());
        let stream = [&long[..], &long, &packet(17, b"abc")].concat();
        let meant = (WRITE, 7, 4096, b"0123456789".to_vec());
        for step in (1..60).chain([4999, 5000, 5001, stream.len()]) {
            let seen = read(&stream, step).unwrap();
            assert_eq!(seen, [meant.clone(), meant.clone(), (17, 0, 0, b"abc".to_vec())], "in pieces of {step}");
        }
        let mut framer = Framer::default();
        let mut input = &long[..long.len() - 1];
        while framer.next(&mut input).unwrap().is_some() {}
        assert!(!framer.is_whole(), "a byte is missing");
    }

    #[test]
    fn a_long_packet_that_came_cut_does_not_keep_its_memory() {
        let stream = packet(3, &vec![0; 200_000]);
        let mut framer = Framer::default();
        for mut input in stream.chunks(30_000) {
            while framer.next(&mut input).unwrap().is_some() {}
        }
        assert!(framer.next(&mut &[][..]).unwrap().is_none());
        assert!(framer.held.capacity() <= KEEP);
    }

    #[test]
    fn fields_that_lie_are_malformed() {
        assert!(Reader::new(&[0, 0, 0]).u32().is_err());
        assert!(Reader::new(&[0; 7]).u64().is_err());
        assert!(Reader::new(&[0, 0, 0, 2, 1]).string().is_err());
        assert!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 1]).string().is_err());
        assert!(Reader::new(&[1]).end().is_err());
        let mut long = 257u32.to_be_bytes().to_vec();
        long.extend([0; 257]);
        assert!(Reader::new(&long).handle().is_err());
    }
}
