//! One set of hashed keys: open addressing, 16 bytes a slot, in shards that grow one by one.
//!
//! A shard is filled to four fifths at most and grows by half, so that a key takes 20 to 30 bytes; while one shard grows,
//! the other 127 do not, so that both its old and its new slots are small beside the rest. At most 32 bytes a key are
//! held at any time, but for the first thousand (a shard begins with 8 slots). Called by `keys`.

/// 96 bits of a keyed hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hash {
    pub low: u64,
    pub high: u32,
}

/// The bound on the bytes that all sets of an upload take.
#[derive(Debug)]
pub(super) struct Room {
    most: usize,
    held: usize,
    #[cfg(test)]
    pub peak: usize,
}

/// No more room.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// The keys of one set.
pub(super) struct Held {
    /// 2^[`SHARD_BITS`], chosen by the hash's first bits.
    shards: Vec<Shard>,
}

#[derive(Default)]
struct Shard {
    lines: Vec<Line>,
    used: usize,
}

/// What one look at memory brings: filled from the front, and full before a key goes to the next line.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Line([Slot; SLOTS]);

/// Empty when `row` is 0.
#[derive(Clone, Copy, Default)]
struct Slot {
    low: u64,
    high: u32,
    row: u32,
}

const SHARD_BITS: u32 = 7;
/// A cache line's.
const SLOTS: usize = 64 / size_of::<Slot>();
const LINES_AT_FIRST: usize = 2;

impl Room {
    pub fn new(most: usize) -> Self {
        Self {
            most,
            held: 0,
            #[cfg(test)]
            peak: 0,
        }
    }

    /// Bytes.
    pub fn most(&self) -> usize {
        self.most
    }

    fn take(&mut self, bytes: usize) -> Result<(), Full> {
        let held = self.held.checked_add(bytes).filter(|held| *held <= self.most).ok_or(Full)?;
        self.held = held;
        #[cfg(test)]
        {
            self.peak = self.peak.max(held);
        }
        Ok(())
    }

    fn give_back(&mut self, bytes: usize) {
        self.held = self.held.saturating_sub(bytes);
    }
}

impl Default for Held {
    fn default() -> Self {
        Self { shards: (0..1 << SHARD_BITS).map(|_| Shard::default()).collect() }
    }
}

impl Held {
    /// Looks at the memory where the key belongs, so that it is at hand when the key is entered: a set is larger than caches
    /// are, and looks that do not wait for each other take a tenth of the time. What it gives means nothing.
    pub fn touch(&self, hash: Hash) -> u32 {
        let shard = &self.shards[shard_of(hash)];
        shard.lines.get(shard.home(hash)).map_or(0, |line| line.0[0].row)
    }

    /// Adds a key that stands in `row` (not 0), or says in which row it stood first.
    pub fn enter(&mut self, hash: Hash, row: u32, room: &mut Room) -> Result<Option<u32>, Full> {
        let shard = &mut self.shards[shard_of(hash)];
        // (used + 1) / slots > 4 / 5
        if (shard.used + 1) * 5 > shard.lines.len() * SLOTS * 4 {
            shard.grow(room)?;
        }
        let first = shard.enter(Slot { low: hash.low, high: hash.high, row });
        shard.used += usize::from(first.is_none());
        Ok(first)
    }

    pub fn contains(&self, hash: Hash) -> bool {
        let shard = &self.shards[shard_of(hash)];
        let from = shard.home(hash);
        // `from` is 0 in a shard without lines.
        let (before, after) = shard.lines.split_at(from);
        for line in after.iter().chain(before) {
            match line.seek(hash) {
                Seek::At(_) => return true,
                Seek::Room(_) => return false,
                Seek::Full => {}
            }
        }
        false
    }
}

fn shard_of(hash: Hash) -> usize {
    (hash.low >> (u64::BITS - SHARD_BITS)) as usize
}

enum Seek {
    /// The key is there, and stood first in this row.
    At(u32),
    /// The key is not there; this slot is the first empty one.
    Room(usize),
    Full,
}

impl Line {
    fn seek(&self, hash: Hash) -> Seek {
        // Without a branch for each slot: which one it will be cannot be foretold.
        let (mut found, mut filled) = (0, 0);
        for slot in &self.0 {
            let same = (slot.low == hash.low) & (slot.high == hash.high);
            found |= if same { slot.row } else { 0 };
            filled += usize::from(slot.row != 0);
        }
        match (found, filled) {
            (0, SLOTS) => Seek::Full,
            (0, place) => Seek::Room(place),
            (row, _) => Seek::At(row),
        }
    }
}

impl Shard {
    /// The line where the key belongs; scales 32 bits of the hash to the number of lines, which is no power of two.
    fn home(&self, hash: Hash) -> usize {
        ((u64::from(hash.low as u32) * self.lines.len() as u64) >> 32) as usize
    }

    /// The row where the key stood first, or none, and then it is entered. There must be an empty slot.
    fn enter(&mut self, slot: Slot) -> Option<u32> {
        let hash = Hash { low: slot.low, high: slot.high };
        let mut at = self.home(hash);
        loop {
            let line = &mut self.lines[at];
            match line.seek(hash) {
                Seek::At(row) => return Some(row),
                Seek::Room(place) => {
                    line.0[place] = slot;
                    return None;
                }
                Seek::Full => at = if at + 1 == self.lines.len() { 0 } else { at + 1 },
            }
        }
    }

    /// Enters a key that is not there. There must be an empty slot.
    fn enter_other(&mut self, slot: Slot) {
        let mut at = self.home(Hash { low: slot.low, high: slot.high });
        loop {
            if let Some(place) = self.lines[at].0.iter_mut().find(|place| place.row == 0) {
                *place = slot;
                return;
            }
            at = if at + 1 == self.lines.len() { 0 } else { at + 1 };
        }
    }

    fn grow(&mut self, room: &mut Room) -> Result<(), Full> {
        const LINE: usize = size_of::<Line>();
        let more = (self.lines.len() + self.lines.len() / 2).max(LINES_AT_FIRST);
        room.take(more * LINE)?;
        let mut lines: Vec<Line> = Vec::new();
        if lines.try_reserve_exact(more).is_err() {
            room.give_back(more * LINE);
            return Err(Full);
        }
        lines.resize(more, Line::default());
        let old = std::mem::replace(&mut self.lines, lines);
        for slot in old.iter().flat_map(|line| &line.0).filter(|slot| slot.row != 0) {
            self.enter_other(*slot);
        }
        room.give_back(old.len() * LINE);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A good mixer (splitmix64), so that a failing test fails again.
    fn hash(of: u64) -> Hash {
        let mix = |mut x: u64| {
            x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
            x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            x ^ (x >> 31)
        };
        Hash { low: mix(of), high: mix(!of) as u32 }
    }

    #[test]
    fn a_key_is_found_again_with_the_row_where_it_first_stood() {
        let (mut held, mut room) = (Held::default(), Room::new(1 << 30));
        for key in 1..=50_000u32 {
            assert_eq!(held.enter(hash(key.into()), key, &mut room), Ok(None));
        }
        for key in 1..=50_000u32 {
            assert_eq!(held.enter(hash(key.into()), 99_999, &mut room), Ok(Some(key)));
        }
        assert!(held.contains(hash(7)) && !held.contains(hash(50_001)) && !Held::default().contains(hash(7)));
    }

    #[test]
    fn keys_that_share_all_bits_but_one_are_two() {
        let (mut held, mut room) = (Held::default(), Room::new(1 << 20));
        let key = Hash { low: 5, high: 5 };
        assert_eq!(held.enter(key, 1, &mut room), Ok(None));
        assert_eq!(held.enter(Hash { high: 4, ..key }, 2, &mut room), Ok(None));
        assert_eq!(held.enter(Hash { low: 5 | 1 << 40, ..key }, 3, &mut room), Ok(None));
        assert_eq!(held.enter(key, 4, &mut room), Ok(Some(1)));
    }

    #[test]
    fn no_more_than_32_bytes_a_key_are_held_also_while_growing() {
        let (mut held, mut room) = (Held::default(), Room::new(usize::MAX));
        for key in 1..=400_000u32 {
            held.enter(hash(key.into()), key, &mut room).unwrap();
            assert!(room.peak <= (key as usize * 32).max(32 << 10), "{} bytes for {key} keys", room.peak);
        }
        let bytes: usize = held.shards.iter().map(|shard| shard.lines.capacity() * size_of::<Line>()).sum();
        assert_eq!(bytes, room.held);
        assert_eq!((size_of::<Slot>(), size_of::<Line>()), (16, 64));
    }

    #[test]
    fn past_its_bound_nothing_is_taken_and_nothing_is_lost() {
        let (mut held, mut room) = (Held::default(), Room::new(64 << 10));
        let full = (1..).find(|key| held.enter(hash(u64::from(*key)), *key, &mut room).is_err()).unwrap();
        assert!(((64 << 10) / 32..=(64 << 10) / 16).contains(&full), "{full}");
        assert!(room.peak <= 64 << 10);
        assert_eq!(held.enter(hash(1), 9, &mut room).unwrap_or(Some(1)), Some(1));
        assert!((1..full).all(|key| held.contains(hash(u64::from(key)))));
    }
}
