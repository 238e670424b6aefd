//! The log as static files (c2sp.org/tlog-tiles): which tiles a tree has, what they are called, how entries are bundled.
//!
//! Does no input or output: `publish` writes the files, `ledger` has what stands in them.

use super::tree::{Hash, SIZE_MAX, TILE_WIDTH};
use crate::types::Invalid;

/// Most bytes in one entry, which a bundle counts in 16 bits.
pub const ENTRY_MAX: usize = u16::MAX as usize;

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Content {
    /// The log's entries, as bundles.
    Entries,
    /// Hashes: leaf hashes at level 0, those of full tiles of the level below above.
    Hashes {
        /// Counted in tiles: the tree's level divided by 8.
        level: u8,
    },
}

impl Content {
    fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Content::Entries).chain((0..8).map(|level| Content::Hashes { level }))
    }

    /// One hash or entry stands for 2 to the power of this leaves.
    fn shift(self) -> u32 {
        match self {
            Content::Entries => 0,
            Content::Hashes { level } => u32::from(level) * 8,
        }
    }
}

/// One file of the published log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    pub content: Content,
    /// Its number among those of its kind, from 0.
    pub n: u64,
    /// How many hashes or entries it has: 256, or fewer at the tree's right edge.
    pub width: u16,
}

impl Tile {
    pub fn is_full(self) -> bool {
        u64::from(self.width) == TILE_WIDTH
    }

    /// The number of its first hash or entry.
    pub fn first(self) -> u64 {
        self.n * TILE_WIDTH
    }

    /// Where it stands below the prefix: `tile/<L>/<N>`, with `.p/<W>` for a partial one.
    pub fn path(self) -> String {
        let mut path = match self.content {
            Content::Entries => "tile/entries".to_owned(),
            Content::Hashes { level } => format!("tile/{level}"),
        };
        // Groups of three digits, all but the last with an x before them.
        let mut groups = vec![format!("{:03}", self.n % 1000)];
        let mut rest = self.n / 1000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        for group in groups.iter().rev() {
            path.push('/');
            path.push_str(group);
        }
        if !self.is_full() {
            path.push_str(&format!(".p/{}", self.width));
        }
        path
    }

    /// How many leaves a tree has at least that has this tile.
    pub fn leaves(self) -> u64 {
        (self.first() + u64::from(self.width)) << self.content.shift()
    }

    /// Of each kind the tile in which a tree of `size` leaves ends: the one that it has, or, of width 0, would begin next.
    pub fn at_edge(size: u64) -> impl Iterator<Item = Tile> {
        Content::all().map(move |content| {
            let has = size.min(SIZE_MAX) >> content.shift();
            // At most 255, which fits.
            Tile { content, n: has / TILE_WIDTH, width: (has % TILE_WIDTH) as u16 }
        })
    }

    /// The tiles that a tree of `size` leaves has and one of `old` leaves has not: what is to be written when it grows.
    /// From 0: all that it has. The entries come first, then the hashes, from the lowest level up.
    pub fn between(old: u64, size: u64) -> impl Iterator<Item = Tile> {
        Content::all().flat_map(move |content| {
            let shift = content.shift();
            let (had, has) = (old.min(size) >> shift, size.min(SIZE_MAX) >> shift);
            let changed = if had == has { has.div_ceil(TILE_WIDTH) } else { had / TILE_WIDTH };
            (changed..has.div_ceil(TILE_WIDTH)).map(move |n| {
                // At most 256, which fits.
                let width = (has - n * TILE_WIDTH).min(TILE_WIDTH) as u16;
                Tile { content, n, width }
            })
        })
    }
}

/// A tile of hashes as bytes: 32 for each.
pub fn encode_hashes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The hashes of a tile of this width.
///
/// # Errors
/// The bytes are not as many as they should be.
pub fn decode_hashes(bytes: &[u8], width: u16) -> Result<Vec<Hash>, Invalid> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    match rest.is_empty() && hashes.len() == usize::from(width) {
        true => Ok(hashes.iter().copied().map(Hash).collect()),
        false => Err(Invalid(format!("a tile of {width} hashes has {} bytes, not {}", bytes.len(), width * 32))),
    }
}

/// Entries as a bundle: each behind its length in two bytes, big-endian.
///
/// # Errors
/// An entry is longer than 65,535 bytes.
pub fn encode_entries<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, Invalid> {
    let mut bundle = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len())
            .map_err(|_| Invalid(format!("an entry of {} bytes is longer than a bundle allows", entry.len())))?;
        bundle.extend_from_slice(&length.to_be_bytes());
        bundle.extend_from_slice(entry);
    }
    Ok(bundle)
}

/// The entries of a bundle of this width.
///
/// # Errors
/// The bundle ends too early or too late.
pub fn decode_entries(mut bundle: &[u8], width: u16) -> Result<Vec<&[u8]>, Invalid> {
    let mut entries = Vec::with_capacity(usize::from(width));
    while let Some((length, rest)) = bundle.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        let Some((entry, rest)) = rest.split_at_checked(length) else { break };
        entries.push(entry);
        bundle = rest;
    }
    match bundle.is_empty() && entries.len() == usize::from(width) {
        true => Ok(entries),
        false => {
            Err(Invalid(format!("a bundle of {width} entries has {} and {} bytes more", entries.len(), bundle.len())))
        }
    }
}
