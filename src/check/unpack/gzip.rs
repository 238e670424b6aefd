//! gzip (RFC 1952), one member: header with its own checksum, content, CRC-32 and length, and nothing after.
//!
//! The RFC lets several members follow one another, and a reader must then join what they hold. Some read only the first:
//! what was checked would not be what is loaded. Such a file is refused, with words that say so; gzip, pigz, 7-Zip, Python,
//! R, Java and .NET all write one. Called by `unpack`.

use flate2::Crc;

use super::inflate::Content;
use super::{AGAIN, Damaged, Meter, Out};

/// Flags (RFC 1952, 2.3.1).
const FHCRC: u8 = 2;
const FEXTRA: u8 = 4;
const FNAME: u8 = 8;
const FCOMMENT: u8 = 16;
const RESERVED: u8 = 0xe0;

/// Bytes of the stored file name, and of the comment; file systems allow less.
const TEXT: u32 = 4096;

pub(super) struct Gzip {
    at: At,
    flags: u8,
    /// Over the header.
    header: Crc,
    /// A field of fixed length that is under way.
    field: Vec<u8>,
    content: Content,
}

/// What comes next; fields that the flags do not announce are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Fixed,
    ExtraLength,
    /// Bytes left.
    Extra(u32),
    /// Bytes seen.
    Name(u32),
    Comment(u32),
    HeaderCrc,
    Content,
    Trailer,
    /// The first bytes after the end, kept to tell what they are.
    End,
}

impl Default for Gzip {
    fn default() -> Self {
        Self { at: At::Fixed, flags: 0, header: Crc::new(), field: Vec::new(), content: Content::default() }
    }
}

impl Gzip {
    pub(super) fn push(&mut self, bytes: &[u8], meter: &mut Meter, out: Out<'_>) -> Result<(), Damaged> {
        let mut rest = bytes;
        while !rest.is_empty() && !meter.stopped {
            if self.at == At::Content {
                let taken = self.content.inflate(rest, meter, &mut *out)?;
                rest = &rest[taken.bytes..];
                if taken.ended {
                    self.at = At::Trailer;
                }
                continue;
            }
            let used = self.frame(rest)?;
            meter.taken += used as u64;
            rest = &rest[used..];
        }
        Ok(())
    }

    pub(super) fn finish(&self) -> Result<(), Damaged> {
        match (self.at, self.field.is_empty()) {
            (At::End, true) => Ok(()),
            (At::End, false) => Err(Damaged::trailing()),
            _ => Err(Damaged::truncated()),
        }
    }

    /// Header and trailer: how many bytes were used.
    fn frame(&mut self, bytes: &[u8]) -> Result<usize, Damaged> {
        match self.at {
            At::Fixed => self.fixed(bytes, 10, Self::begin),
            At::ExtraLength => self.fixed(bytes, 2, |gzip, field| {
                gzip.at = At::Extra(u32::from(u16::from_le_bytes([field[0], field[1]])));
                gzip.skip_to_next();
                Ok(())
            }),
            At::Extra(left) => {
                let used = bytes.len().min(left as usize);
                self.header.update(&bytes[..used]);
                // `used` is at most `left`.
                self.at = At::Extra(left - used as u32);
                self.skip_to_next();
                Ok(used)
            }
            At::Name(seen) => self.text(bytes, seen, At::Name, At::Comment(0)),
            At::Comment(seen) => self.text(bytes, seen, At::Comment, At::HeaderCrc),
            At::HeaderCrc => {
                // CRC16 is the lower half of the CRC-32 of all that is before it.
                let sum = self.header.sum().to_le_bytes();
                self.fixed(bytes, 2, |gzip, field| {
                    gzip.at = At::Content;
                    if field == [sum[0], sum[1]] { Ok(()) } else { Err(Damaged::checksum()) }
                })
            }
            At::Trailer => self.fixed(bytes, 8, Self::compare),
            At::End => {
                self.field.extend(bytes.iter().take(2 - self.field.len().min(2)));
                match self.field[..] {
                    [0x1f] => Ok(bytes.len()),
                    [0x1f, 0x8b, ..] => Err(Damaged::new(
                        "members",
                        format!(
                            "the packed file consists of several gzip members, and some programs would read only the first; {AGAIN} as one"
                        ),
                    )),
                    _ => Err(Damaged::trailing()),
                }
            }
            // `push` handles it.
            At::Content => Ok(0),
        }
    }

    /// Gathers a field of fixed length, then does `then` with it.
    fn fixed(
        &mut self,
        bytes: &[u8],
        length: usize,
        then: impl FnOnce(&mut Self, &[u8]) -> Result<(), Damaged>,
    ) -> Result<usize, Damaged> {
        let used = bytes.len().min(length - self.field.len());
        self.field.extend_from_slice(&bytes[..used]);
        if self.at != At::HeaderCrc {
            self.header.update(&bytes[..used]);
        }
        if self.field.len() == length {
            let field = std::mem::take(&mut self.field);
            then(self, &field)?;
        }
        Ok(used)
    }

    /// A text that ends in NUL; not kept.
    fn text(&mut self, bytes: &[u8], seen: u32, this: fn(u32) -> At, next: At) -> Result<usize, Damaged> {
        let most = (TEXT - seen) as usize;
        let end = bytes.iter().take(most).position(|b| *b == 0);
        let used = end.map_or(bytes.len().min(most), |at| at + 1);
        self.header.update(&bytes[..used]);
        if end.is_some() {
            self.at = next;
            self.skip_to_next();
            return Ok(used);
        }
        // At most TEXT.
        let seen = seen + used as u32;
        if seen >= TEXT {
            return Err(Damaged::structure("a name or comment in its header is too long"));
        }
        self.at = this(seen);
        Ok(used)
    }

    fn begin(&mut self, field: &[u8]) -> Result<(), Damaged> {
        if !field.starts_with(b"\x1f\x8b") {
            return Err(Damaged::structure("it does not begin like a gzip file"));
        }
        if field[2] != 8 {
            return Err(Damaged::new(
                "method",
                format!("the gzip file is not compressed with deflate; {AGAIN} with gzip"),
            ));
        }
        if field[3] & RESERVED != 0 {
            return Err(Damaged::structure("flags are set in its header that have no meaning"));
        }
        self.flags = field[3];
        self.at = At::ExtraLength;
        self.skip_to_next();
        Ok(())
    }

    /// Steps over what is done, and over what the flags do not announce.
    fn skip_to_next(&mut self) {
        if self.at == At::ExtraLength && self.flags & FEXTRA == 0 || self.at == At::Extra(0) {
            self.at = At::Name(0);
        }
        if self.at == At::Name(0) && self.flags & FNAME == 0 {
            self.at = At::Comment(0);
        }
        if self.at == At::Comment(0) && self.flags & FCOMMENT == 0 {
            self.at = At::HeaderCrc;
        }
        if self.at == At::HeaderCrc && self.flags & FHCRC == 0 {
            self.at = At::Content;
        }
    }

    fn compare(&mut self, trailer: &[u8]) -> Result<(), Damaged> {
        self.at = At::End;
        // ISIZE is the length modulo 2^32.
        let stated = [self.content.crc().to_le_bytes(), (self.content.size() as u32).to_le_bytes()].concat();
        if trailer == stated { Ok(()) } else { Err(Damaged::checksum()) }
    }
}
