//! The fast way for simple patterns: alternatives of ASCII classes, each repeated, that need no looking back.
//!
//! Where the sequence is such that a greedy walk decides it, one pass over the cell does, without a regex engine. Made by
//! `pattern`, which falls back to the engine for everything else, cells beyond ASCII among it.

use super::pattern::{Atom, Branches, Piece};

/// Alternatives that a pattern may unfold into.
const MOST_PATHS: usize = 16;
/// Steps of one alternative.
const MOST_STEPS: usize = 64;

/// A pattern, reduced to ASCII.
#[derive(Debug, Clone)]
pub(super) struct Steps {
    paths: Vec<Vec<Step>>,
}

/// A class and how often it comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// A bit for each byte; none past ASCII.
    set: [u64; 4],
    pub least: u32,
    pub most: u32,
}

impl Step {
    #[inline]
    fn has(&self, byte: u8) -> bool {
        // Four words hold all bytes.
        self.set.get(usize::from(byte >> 6)).is_some_and(|word| word >> (byte & 63) & 1 == 1)
    }

    /// A bit for each character of ASCII.
    pub fn ascii(&self) -> u128 {
        let [low, high, ..] = self.set;
        u128::from(low) | u128::from(high) << 64
    }

    fn meets(&self, other: &Self) -> bool {
        self.set.iter().zip(&other.set).any(|(a, b)| a & b != 0)
    }
}

impl Steps {
    /// None when the pattern is not simple enough.
    pub fn of(branches: &Branches) -> Option<Self> {
        let paths = unfold(branches)?;
        paths.iter().all(|path| is_greedy(path)).then_some(Self { paths })
    }

    pub fn paths(&self) -> impl Iterator<Item = &[Step]> {
        self.paths.iter().map(Vec::as_slice)
    }

    /// Whether the whole cell matches; for a cell beyond ASCII, true is right and false says nothing.
    #[inline]
    pub fn matches(&self, cell: &[u8]) -> bool {
        self.paths.iter().any(|path| walk(path, cell))
    }
}

#[inline]
fn walk(path: &[Step], cell: &[u8]) -> bool {
    let mut rest = cell;
    for step in path {
        let most = (step.most as usize).min(rest.len());
        let mut taken = 0;
        while taken < most && rest.get(taken).is_some_and(|byte| step.has(*byte)) {
            taken += 1;
        }
        match rest.get(taken..) {
            Some(after) if taken >= step.least as usize => rest = after,
            _ => return false,
        }
    }
    rest.is_empty()
}

/// Whether taking as much as possible at each step never takes what a later step needs.
fn is_greedy(path: &[Step]) -> bool {
    path.iter().enumerate().all(|(at, step)| {
        if step.least == step.most {
            return true;
        }
        let mut later = path.iter().skip(at + 1);
        loop {
            match later.next() {
                None => return true,
                Some(next) if step.meets(next) => return false,
                Some(next) if next.least > 0 => return true,
                Some(_) => {}
            }
        }
    })
}

/// All sequences of steps that the branches stand for.
fn unfold(branches: &Branches) -> Option<Vec<Vec<Step>>> {
    let mut all = Vec::new();
    for branch in branches {
        let mut paths: Vec<Vec<Step>> = vec![Vec::new()];
        for piece in branch {
            let choices = choices(piece)?;
            if paths.len() * choices.len() > MOST_PATHS {
                return None;
            }
            paths = paths.iter().flat_map(|path| choices.iter().map(|more| [path.as_slice(), more].concat())).collect();
            if paths.iter().any(|path| path.len() > MOST_STEPS) {
                return None;
            }
        }
        all.append(&mut paths);
    }
    (all.len() <= MOST_PATHS).then_some(all)
}

/// The sequences that one piece stands for.
fn choices(piece: &Piece) -> Option<Vec<Vec<Step>>> {
    let inner = match &piece.atom {
        Atom::Class { ascii, .. } => {
            let set = [*ascii as u64, (*ascii >> 64) as u64, 0, 0];
            return Some(vec![vec![Step { set, least: piece.least, most: piece.most.unwrap_or(u32::MAX) }]]);
        }
        Atom::Group(branches) => unfold(branches)?,
    };
    match (piece.least, piece.most) {
        (1, Some(1)) => Some(inner),
        (0, Some(1)) => Some(inner.into_iter().chain([Vec::new()]).collect()),
        (least, Some(most)) if least == most && most <= 8 && inner.len() == 1 => {
            Some(vec![inner.into_iter().next()?.repeat(most as usize)])
        }
        _ => None,
    }
}
