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
    slots: Vec<Slot>,
    used: usize,
}

/// Empty when `row` is 0.
#[derive(Clone, Copy, Default)]
struct Slot {
    low: u64,
    high: u32,
    row: u32,
}

const SHARD_BITS: u32 = 7;
const SLOTS_AT_FIRST: usize = 8;

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
    /// Adds a key that stands in `row` (not 0), or says in which row it stood first.
    pub fn enter(&mut self, hash: Hash, row: u32, room: &mut Room) -> Result<Option<u32>, Full> {
        let shard = &mut self.shards[shard_of(hash)];
        // (used + 1) / slots > 4 / 5
        if (shard.used + 1) * 5 > shard.slots.len() * 4 {
            shard.grow(room)?;
        }
        let place = shard.place(hash);
        let slot = &mut shard.slots[place];
        if slot.row != 0 {
            return Ok(Some(slot.row));
        }
        *slot = Slot { low: hash.low, high: hash.high, row };
        shard.used += 1;
        Ok(None)
    }

    pub fn contains(&self, hash: Hash) -> bool {
        let shard = &self.shards[shard_of(hash)];
        !shard.slots.is_empty() && shard.slots[shard.place(hash)].row != 0
    }
}

fn shard_of(hash: Hash) -> usize {
    (hash.low >> (u64::BITS - SHARD_BITS)) as usize
}

impl Shard {
    /// The key's slot, or the empty one where it belongs. There must be an empty one.
    fn place(&self, hash: Hash) -> usize {
        let slots = &self.slots[..];
        // Scales 32 bits of the hash to the number of slots, which is no power of two.
        let mut place = ((u64::from(hash.low as u32) * slots.len() as u64) >> 32) as usize;
        loop {
            let slot = &slots[place];
            if slot.row == 0 || (slot.low == hash.low && slot.high == hash.high) {
                return place;
            }
            place += 1;
            if place == slots.len() {
                place = 0;
            }
        }
    }

    fn grow(&mut self, room: &mut Room) -> Result<(), Full> {
        const SLOT: usize = size_of::<Slot>();
        let more = (self.slots.len() + self.slots.len() / 2).max(SLOTS_AT_FIRST);
        room.take(more * SLOT)?;
        let mut slots: Vec<Slot> = Vec::new();
        if slots.try_reserve_exact(more).is_err() {
            room.give_back(more * SLOT);
            return Err(Full);
        }
        slots.resize(more, Slot::default());
        let old = std::mem::replace(&mut self.slots, slots);
        for slot in old.iter().filter(|slot| slot.row != 0) {
            let place = self.place(Hash { low: slot.low, high: slot.high });
            self.slots[place] = *slot;
        }
        room.give_back(old.len() * SLOT);
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
        let bytes: usize = held.shards.iter().map(|shard| shard.slots.capacity() * size_of::<Slot>()).sum();
        assert_eq!(bytes, room.held);
        assert_eq!(size_of::<Slot>(), 16);
    }

    #[test]
    fn past_its_bound_nothing_is_taken_and_nothing_is_lost() {
        let (mut held, mut room) = (Held::default(), Room::new(64 << 10));
        let full = (1..).find(|key| held.enter(hash(u64::from(*key)), *key, &mut room).is_err()).unwrap();
        assert!((64 << 10) / 32 <= full && full <= (64 << 10) / 16, "{full}");
        assert!(room.peak <= 64 << 10);
        assert_eq!(held.enter(hash(1), 9, &mut room).unwrap_or(Some(1)), Some(1));
        assert!((1..full).all(|key| held.contains(hash(u64::from(key)))));
    }
}
