//! The formats against their published vectors, a naive reading of the RFC, and other implementations.

mod evidence;
mod files;
mod interop;
mod merkle;
mod notes;

use std::cell::Cell;

use super::tree::{Hash, Nodes, Wrong, leaf_hash, node_hash};

/// A tree in memory that answers like the ledger, and counts what it is asked.
pub struct Grove {
    pub leaves: Vec<Hash>,
    /// Roots of complete subtrees of 256, 65,536, ... leaves, by level / 8.
    levels: Vec<Vec<Hash>>,
    pub reads: Cell<usize>,
    pub hashes: Cell<usize>,
}

impl Grove {
    pub fn new(leaves: Vec<Hash>) -> Self {
        let mut levels = vec![leaves.clone()];
        while levels.last().unwrap().len() >= 256 {
            let below = levels.last().unwrap();
            levels.push(below.chunks_exact(256).map(naive_root).collect());
        }
        Self { leaves, levels, reads: Cell::new(0), hashes: Cell::new(0) }
    }

    /// Leaves 0, 1, 2, ... as text.
    pub fn of(size: usize) -> Self {
        Self::new((0..size).map(|n| leaf_hash(format!("leaf {n}").as_bytes())).collect())
    }
}

impl Nodes for Grove {
    type Error = Wrong;
    fn hashes(&self, level: u32, first: u64, count: usize) -> Result<Vec<Hash>, Wrong> {
        let whole_tile = level.is_multiple_of(8) && first.is_multiple_of(256) && (1..=256).contains(&count);
        assert!(whole_tile, "{level} {first} {count}");
        self.reads.set(self.reads.get() + 1);
        self.hashes.set(self.hashes.get() + count);
        let first = first as usize;
        Ok(self.levels[level as usize / 8][first..first + count].to_vec())
    }
}

/// MTH, word for word from RFC 6962, section 2.1.
pub fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => super::tree::empty_root(),
        [leaf] => *leaf,
        _ => {
            let k = largest_power_below(leaves.len());
            node_hash(&naive_root(&leaves[..k]), &naive_root(&leaves[k..]))
        }
    }
}

pub fn largest_power_below(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

/// Numbers that only look random, the same in each run.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, limit: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
