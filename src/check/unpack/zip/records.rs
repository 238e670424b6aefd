//! The records of a zip archive (APPNOTE.TXT 6.3.10, 4.3.7 to 4.3.16 and 4.5.3), read from whole byte strings.
//!
//! Refuses what could be read in two ways, what needs a key, and what leads elsewhere. Names are never told to anybody.

use crate::check::unpack::{AGAIN, Damaged};

/// Bytes of a member's name.
pub(super) const NAME: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signature {
    Local,
    Central,
    End64,
    Locator,
    End,
}

impl Signature {
    pub(super) fn of(record: &[u8]) -> Result<Self, Damaged> {
        match record.get(..4) {
            Some(b"PK\x03\x04") => Ok(Self::Local),
            Some(b"PK\x01\x02") => Ok(Self::Central),
            Some(b"PK\x06\x06") => Ok(Self::End64),
            Some(b"PK\x06\x07") => Ok(Self::Locator),
            Some(b"PK\x05\x06") => Ok(Self::End),
            Some(b"PK\x07\x08" | b"PK00") => {
                Err(Damaged::structure("it is one part of an archive that is split over several files"))
            }
            _ => Err(Damaged::structure("there are bytes in it that belong to no part of a ZIP archive")),
        }
    }

    /// Bytes of the record, as far as those that are there tell.
    pub(super) fn length(self, record: &[u8]) -> Result<usize, Damaged> {
        let (fixed, variable): (usize, &[usize]) = match self {
            Self::Local => (30, &[26, 28]),
            Self::Central => (46, &[28, 30, 32]),
            Self::End64 => (56, &[]),
            Self::Locator => (20, &[]),
            Self::End => (22, &[]),
        };
        if record.len() < fixed {
            return Ok(fixed);
        }
        // The name's length is the first of the variable ones.
        if variable.first().is_some_and(|at| usize::from(u16_at(record, *at)) > NAME) {
            return Err(Damaged::structure("the name of a file in it is too long"));
        }
        Ok(fixed + variable.iter().map(|at| usize::from(u16_at(record, *at))).sum::<usize>())
    }
}

/// A local file header.
#[derive(Debug, Default)]
pub(super) struct Local {
    pub name: Vec<u8>,
    pub deflated: bool,
    /// CRC and sizes follow in a data descriptor.
    pub streamed: bool,
    /// It has a ZIP64 field.
    pub wide: bool,
    pub crc: u32,
    pub packed: u64,
    pub size: u64,
}

impl Local {
    pub(super) fn read(record: &[u8]) -> Result<Self, Damaged> {
        let flags = u16_at(record, 6);
        let deflated = method(flags, u16_at(record, 8))?;
        let streamed = flags & 8 != 0;
        if streamed && !deflated {
            return Err(Damaged::new(
                "method",
                format!(
                    "the file in the ZIP archive is neither compressed nor is its size stated; {AGAIN} with compression"
                ),
            ));
        }
        let end = 30 + usize::from(u16_at(record, 26));
        let name = record.get(30..end).unwrap_or_default().to_vec();
        stays_inside(&name)?;
        let extra = zip64(record.get(end..).unwrap_or_default())?;
        let mut wide = Wide(extra);
        let size = wide.take(u32_at(record, 22))?;
        let packed = wide.take(u32_at(record, 18))?;
        Ok(Self { name, deflated, streamed, wide: extra.is_some(), crc: u32_at(record, 14), packed, size })
    }
}

/// An entry of the table of contents.
#[derive(Debug)]
pub(super) struct Central {
    name: Vec<u8>,
    deflated: bool,
    crc: u32,
    packed: u64,
    size: u64,
    pub offset: u64,
}

impl Central {
    pub(super) fn read(record: &[u8]) -> Result<Self, Damaged> {
        let deflated = method(u16_at(record, 8), u16_at(record, 10))?;
        let end = 46 + usize::from(u16_at(record, 28));
        let name = record.get(46..end).unwrap_or_default().to_vec();
        let mut wide = Wide(zip64(record.get(end..end + usize::from(u16_at(record, 30))).unwrap_or_default())?);
        let size = wide.take(u32_at(record, 24))?;
        let packed = wide.take(u32_at(record, 20))?;
        let offset = wide.take(u32_at(record, 42))?;
        if !matches!(u16_at(record, 34), 0 | 0xffff) {
            return Err(Damaged::structure("it is one part of an archive that is split over several files"));
        }
        // The system that wrote it, and, for Unix and macOS, its file type: not told, a pipe that was packed, directory, regular.
        let unix = matches!(u16_at(record, 4) >> 8, 3 | 19);
        if unix && !matches!(u32_at(record, 38) >> 28, 0 | 1 | 4 | 8) {
            return Err(Damaged::structure("a file in it is a link or a device"));
        }
        Ok(Self { name, deflated, crc: u32_at(record, 16), packed, size, offset })
    }

    pub(super) fn agrees(&self, local: &Local) -> bool {
        self.name == local.name
            && self.deflated == local.deflated
            && (self.crc, self.packed, self.size) == (local.crc, local.packed, local.size)
    }
}

/// The ZIP64 end of the table of contents.
pub(super) struct End64 {
    entries: u64,
    size: u64,
    offset: u64,
}

impl End64 {
    pub(super) fn read(record: &[u8]) -> Result<Self, Damaged> {
        let alone = u32_at(record, 16) == 0 && u32_at(record, 20) == 0 && u64_at(record, 24) == u64_at(record, 32);
        // Its length without the first twelve bytes; more would be an extension.
        if u64_at(record, 4) != 44 || !alone {
            return Err(Damaged::structure("its end is of a kind that is not supported"));
        }
        Ok(Self { entries: u64_at(record, 32), size: u64_at(record, 40), offset: u64_at(record, 48) })
    }

    pub(super) fn states(&self, entries: u64, size: u64, offset: u64) -> bool {
        (self.entries, self.size, self.offset) == (entries, size, offset)
    }
}

/// The locator of the ZIP64 end.
pub(super) struct Locator {
    pub offset: u64,
}

impl Locator {
    pub(super) fn read(record: &[u8]) -> Result<Self, Damaged> {
        if u32_at(record, 4) != 0 || u32_at(record, 16) > 1 {
            return Err(Damaged::structure("it is one part of an archive that is split over several files"));
        }
        Ok(Self { offset: u64_at(record, 8) })
    }
}

/// The end of the table of contents.
pub(super) struct End {
    entries: u16,
    size: u32,
    offset: u32,
}

impl End {
    pub(super) fn read(record: &[u8]) -> Result<Self, Damaged> {
        if u16_at(record, 20) != 0 {
            return Err(Damaged::structure("it has a comment, in which anything could be hidden: pack it without one"));
        }
        let alone = |disk: u16| matches!(disk, 0 | 0xffff);
        if !alone(u16_at(record, 4)) || !alone(u16_at(record, 6)) || u16_at(record, 8) != u16_at(record, 10) {
            return Err(Damaged::structure("it is one part of an archive that is split over several files"));
        }
        Ok(Self { entries: u16_at(record, 10), size: u32_at(record, 12), offset: u32_at(record, 16) })
    }

    /// `wide`: there is a ZIP64 end, so that a number here may be all ones instead.
    pub(super) fn states(&self, wide: bool, entries: u64, size: u64, offset: u64) -> bool {
        let fits = |stated: u64, ones: u64, actual: u64| stated == actual || (wide && stated == ones);
        fits(self.entries.into(), u16::MAX.into(), entries)
            && fits(self.size.into(), u32::MAX.into(), size)
            && fits(self.offset.into(), u32::MAX.into(), offset)
    }
}

/// Bytes of a data descriptor that begins with `record`. Its signature may be left out; that the CRC of such a one is the
/// signature by chance is a matter of one in four billion, and ends in a refusal.
pub(super) fn descriptor_length(record: &[u8], wide: bool) -> usize {
    let signature = if record.starts_with(b"PK\x07\x08") { 4 } else { 0 };
    signature + if wide { 20 } else { 12 }
}

/// CRC-32, packed size and size of a data descriptor.
pub(super) fn descriptor(record: &[u8], wide: bool) -> Result<(u32, u64, u64), Damaged> {
    if record.len() != descriptor_length(record, wide) {
        return Err(Damaged::structure("its parts are not in their order"));
    }
    let fields = record.strip_prefix(b"PK\x07\x08").unwrap_or(record);
    Ok(match wide {
        true => (u32_at(fields, 0), u64_at(fields, 4), u64_at(fields, 12)),
        false => (u32_at(fields, 0), u32_at(fields, 4).into(), u32_at(fields, 8).into()),
    })
}

/// Whether it is deflated, rather than stored.
fn method(flags: u16, method: u16) -> Result<bool, Damaged> {
    // Bit 0: encrypted; 6: strongly; 13: the headers are masked. Method 99: AES.
    if flags & (1 | 1 << 6 | 1 << 13) != 0 || method == 99 {
        return Err(Damaged::new(
            "encrypted",
            "the ZIP archive is protected with a password, which nobody here knows: pack it without one; the connection is encrypted, and the gateway encrypts the file again before it stores it",
        ));
    }
    match method {
        0 => Ok(false),
        8 => Ok(true),
        _ => Err(Damaged::new(
            "method",
            "the ZIP archive is compressed in an unusual way: pack it with the usual method, called Deflate",
        )),
    }
}

/// A name that leads out of the directory where it is unpacked harms whoever unpacks it.
fn stays_inside(name: &[u8]) -> Result<(), Damaged> {
    let outside = name.is_empty()
        || name.contains(&0)
        || matches!(name, [b'/' | b'\\', ..] | [_, b':', ..])
        || name.split(|byte| matches!(byte, b'/' | b'\\')).any(|part| part == b"..");
    match outside {
        false => Ok(()),
        true => Err(Damaged::structure("the name of a file in it leads out of the archive, or is none")),
    }
}

/// The ZIP64 field among the extra fields.
fn zip64(extra: &[u8]) -> Result<Option<&[u8]>, Damaged> {
    let mut found = None;
    let mut rest = extra;
    while !rest.is_empty() {
        let field = match rest.len() {
            0..4 => None,
            _ => rest.get(4..4 + usize::from(u16_at(rest, 2))),
        };
        let Some(field) = field else { return Err(Damaged::structure("extra fields in it are cut off")) };
        if u16_at(rest, 0) == 1 && found.replace(field).is_some() {
            return Err(Damaged::structure("a size is stated twice"));
        }
        rest = &rest[4 + field.len()..];
    }
    Ok(found)
}

/// A ZIP64 field: numbers for those that are all ones in the record itself, in a fixed order.
struct Wide<'a>(Option<&'a [u8]>);

impl Wide<'_> {
    fn take(&mut self, short: u32) -> Result<u64, Damaged> {
        if short != u32::MAX {
            return Ok(short.into());
        }
        match self.0.and_then(|field| field.split_at_checked(8)) {
            Some((number, rest)) => {
                self.0 = Some(rest);
                Ok(u64_at(number, 0))
            }
            None => Err(Damaged::structure("a size in it is not stated")),
        }
    }
}

/// Little-endian numbers; the callers ask within the record's fixed length. What is not there is zero.
fn u16_at(record: &[u8], at: usize) -> u16 {
    record.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(record: &[u8], at: usize) -> u32 {
    record.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(record: &[u8], at: usize) -> u64 {
    record.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
