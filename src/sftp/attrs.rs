//! File attributes (draft-ietf-secsh-filexfer-02, section 5): what a client asks to be set, what it is shown, and the
//! line of `ls -l` that goes with it (section 7).
//!
//! Does no input or output. Called by `wire` (reading), `reply` (writing) and whoever describes a file.

use super::wire::{Malformed, Reader};
use crate::types::Timestamp;

const SIZE: u32 = 0x1;
const UIDGID: u32 = 0x2;
const PERMISSIONS: u32 = 0x4;
const ACMODTIME: u32 = 0x8;
const EXTENDED: u32 = 0x8000_0000;

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;

/// What a client wants set; owners and modes are read and dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub size: Option<u64>,
    /// Seconds since the Unix epoch.
    pub modified: Option<u32>,
}

impl Wanted {
    pub fn read(fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        let flags = fields.u32()?;
        if flags & !(SIZE | UIDGID | PERMISSIONS | ACMODTIME | EXTENDED) != 0 {
            return Err(Malformed("attributes of a kind that version 3 does not have"));
        }
        let mut wanted = Self::default();
        if flags & SIZE != 0 {
            wanted.size = Some(fields.u64()?);
        }
        if flags & UIDGID != 0 {
            fields.u64()?;
        }
        if flags & PERMISSIONS != 0 {
            fields.u32()?;
        }
        if flags & ACMODTIME != 0 {
            fields.u32()?;
            wanted.modified = Some(fields.u32()?);
        }
        if flags & EXTENDED != 0 {
            for _ in 0..fields.u32()? {
                fields.string()?;
                fields.string()?;
            }
        }
        Ok(wanted)
    }

    pub fn modified_at(&self) -> Option<Timestamp> {
        Timestamp::from_second(i64::from(self.modified?)).ok()
    }
}

/// What a client is shown of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    mode: u32,
    pub size: u64,
    pub modified: Timestamp,
}

impl Stat {
    pub fn file(size: u64, modified: Timestamp) -> Self {
        Self { mode: REGULAR | 0o400, size, modified }
    }
    /// A directory that files are put into.
    pub fn inbox(modified: Timestamp) -> Self {
        Self { mode: DIRECTORY | 0o770, size: 0, modified }
    }
    /// A directory that can only be read.
    pub fn shelf(modified: Timestamp) -> Self {
        Self { mode: DIRECTORY | 0o550, size: 0, modified }
    }

    pub fn is_directory(&self) -> bool {
        self.mode & DIRECTORY != 0
    }

    fn seconds(&self) -> u32 {
        // Version 3 has 32 bits, until the year 2106.
        u32::try_from(self.modified.as_second().max(0)).unwrap_or(u32::MAX)
    }

    pub fn write(&self, packet: &mut Vec<u8>) {
        packet.extend_from_slice(&(SIZE | UIDGID | PERMISSIONS | ACMODTIME).to_be_bytes());
        packet.extend_from_slice(&self.size.to_be_bytes());
        packet.extend_from_slice(&[0; 8]);
        packet.extend_from_slice(&self.mode.to_be_bytes());
        packet.extend_from_slice(&self.seconds().to_be_bytes());
        packet.extend_from_slice(&self.seconds().to_be_bytes());
    }

    /// The line of `ls -l`. Times near `now` show the hour, others the year, as in POSIX `ls`; in UTC.
    pub fn long(&self, name: &str, owner: &str, now: Timestamp) -> String {
        let modified = i64::from(self.seconds());
        let half_a_year = 182 * 24 * 3600;
        let age = now.as_second() - modified;
        let format = if (-3600..half_a_year).contains(&age) { "%b %e %H:%M" } else { "%b %e  %Y" };
        let time = Timestamp::from_second(modified).unwrap_or(Timestamp::UNIX_EPOCH).strftime(format).to_string();
        let links = if self.is_directory() { 2 } else { 1 };
        format!("{} {links:>4} {owner:<8} {owner:<8} {:>12} {time} {name}", self.letters(), self.size)
    }

    fn letters(&self) -> String {
        let mut letters = String::with_capacity(10);
        letters.push(if self.is_directory() { 'd' } else { '-' });
        for (bit, letter) in (0..9).rev().zip("rwxrwxrwx".chars()) {
            letters.push(if self.mode & (1 << bit) != 0 { letter } else { '-' });
        }
        letters
    }
}

/// One name of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    pub stat: Stat,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Wanted, Malformed> {
        let mut fields = Reader::new(bytes);
        let wanted = Wanted::read(&mut fields)?;
        fields.end()?;
        Ok(wanted)
    }

    #[test]
    fn attributes_of_every_kind_are_read_in_order() {
        let mut bytes = 0x8000_000fu32.to_be_bytes().to_vec();
        bytes.extend(77u64.to_be_bytes());
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 2]);
        bytes.extend(0o644u32.to_be_bytes());
        bytes.extend(1_000u32.to_be_bytes());
        bytes.extend(2_000u32.to_be_bytes());
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 1, b'a', 0, 0, 0, 0]);
        assert_eq!(read(&bytes).unwrap(), Wanted { size: Some(77), modified: Some(2_000) });
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert_eq!(read(&[0; 4]).unwrap(), Wanted::default());
    }

    #[test]
    fn unknown_flags_and_endless_extensions_are_malformed() {
        assert!(read(&0x10u32.to_be_bytes()).is_err());
        let mut endless = 0x8000_0000u32.to_be_bytes().to_vec();
        endless.extend(u32::MAX.to_be_bytes());
        assert!(read(&endless).is_err());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let stat = Stat::file(1 << 33, Timestamp::from_second(1_700_000_000).unwrap());
        let mut bytes = Vec::new();
        stat.write(&mut bytes);
        assert_eq!(read(&bytes).unwrap(), Wanted { size: Some(1 << 33), modified: Some(1_700_000_000) });
    }

    #[test]
    fn times_outside_of_32_bits_are_clamped() {
        for (at, shown) in [(-5, 0), (0, 0), (1 << 33, u32::MAX)] {
            assert_eq!(Stat::file(0, Timestamp::from_second(at).unwrap()).seconds(), shown);
        }
    }

    #[test]
    fn the_long_line_looks_like_ls() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-03-05T12:00:00Z");
        assert_eq!(
            Stat::file(65_537, at("2026-03-04T07:08:09Z")).long("a b.csv", "harbour", now),
            "-r--------    1 harbour  harbour         65537 Mar  4 07:08 a b.csv"
        );
        assert_eq!(
            Stat::inbox(at("2024-12-31T23:59:59Z")).long("ims", "harbour", now),
            "drwxrwx---    2 harbour  harbour             0 Dec 31  2024 ims"
        );
    }
}
