//! Patterns of short fixed shapes: for each length, which characters may stand in which place.
//!
//! `[A-Z]{1,2}[0-9] [0-9]` is two shapes, `[A-Z][0-9] [0-9]` and `[A-Z][A-Z][0-9] [0-9]`. A place is up to two ranges of
//! ASCII, and all places of a cell are compared at once, eight bytes in one number. Made of a pattern's steps.

use std::ops::RangeInclusive;

use super::ends::{Ends, WINDOW, is_zero};
use crate::check::schema::steps::{Step, Steps};

/// Shapes of one length.
const MOST: usize = 4;
/// Shapes that are looked at while a pattern is taken apart.
const MOST_IN_ALL: usize = 256;

const HIGH: u64 = 0x8080_8080_8080_8080;

/// The shapes of a pattern.
#[derive(Debug, Clone)]
pub(super) struct Shapes {
    /// Of each length.
    count: usize,
    /// By length, `count` for each.
    shapes: Vec<Shape>,
}

/// One shape; places behind its end are zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape([Places; 2]);

/// Eight places: the ends of the two ranges in each.
#[derive(Debug, Clone, Copy, Default)]
struct Places {
    low: [u64; 2],
    high: [u64; 2],
}

impl Shapes {
    /// None when the pattern is not so simple. What is longer than 16 bytes is left to the pattern itself.
    pub fn of(steps: &Steps, lengths: RangeInclusive<usize>) -> Option<Self> {
        let mut by_length: Vec<Vec<Shape>> = vec![Vec::new(); WINDOW + 1];
        let mut all = Vec::new();
        for path in steps.paths() {
            unfold(path, &mut Vec::new(), &mut all)?;
        }
        for sets in all.iter().filter(|sets| lengths.contains(&sets.len())) {
            by_length[sets.len()].push(Shape::of(sets)?);
        }
        let count = by_length.iter().map(Vec::len).max().filter(|count| (1..=MOST).contains(count))?;
        by_length.iter_mut().for_each(|shapes| shapes.resize(count, Shape::NEVER));
        Some(Self { count, shapes: by_length.concat() })
    }

    /// 1 for a cell that is of one of the shapes.
    #[inline]
    pub fn fits(&self, ends: Ends) -> u64 {
        let from = ends.length.min(WINDOW) * self.count;
        let shapes = self.shapes.get(from..from + self.count).unwrap_or_default();
        let fits = shapes.iter().fold(0, |found, shape| found | shape.fits(ends.head));
        fits & u64::from(ends.length <= WINDOW)
    }
}

/// The sets of characters of each text's length that a path stands for, up to 16.
fn unfold(path: &[Step], before: &mut Vec<u128>, all: &mut Vec<Vec<u128>>) -> Option<()> {
    let Some((step, rest)) = path.split_first() else {
        all.push(before.clone());
        return (all.len() <= MOST_IN_ALL).then_some(());
    };
    let length = before.len();
    for times in 0..=step.most as usize {
        if times > 0 {
            before.push(step.ascii());
        }
        if before.len() > WINDOW {
            break;
        }
        if times >= step.least as usize {
            unfold(rest, before, all)?;
        }
    }
    before.truncate(length);
    Some(())
}

impl Shape {
    /// No text is of it: each first range begins behind its end.
    pub const NEVER: Self = Self([Places { low: [1, 1], high: [0, 0] }; 2]);

    /// None when a place takes more than two ranges of characters. Sets have a bit for each character of ASCII.
    pub fn of(sets: &[u128]) -> Option<Self> {
        let mut shape = Self([Places::default(); 2]);
        for (place, set) in sets.iter().enumerate() {
            let ranges = two_ranges(*set)?;
            let Places { low, high } = shape.0.get_mut(place / 8)?;
            for (which, range) in ranges.iter().enumerate() {
                low[which] |= u64::from(*range.start()) << (place % 8 * 8);
                high[which] |= u64::from(*range.end()) << (place % 8 * 8);
            }
        }
        Some(shape)
    }

    /// 1 for the bytes of a cell that is of it, whose length must be its own.
    #[inline]
    pub fn fits(&self, head: [u64; 2]) -> u64 {
        let [first, second] = &self.0;
        is_zero(first.misfits(head[0]) | second.misfits(head[1]))
    }
}

impl Places {
    /// The high bit of each byte that does not fit. With their high bits set no byte borrows from the next, and the high
    /// bit tells which of two was larger.
    #[inline]
    fn misfits(&self, bytes: u64) -> u64 {
        let within = |low: u64, high: u64| ((bytes | HIGH) - low) & ((high | HIGH) - (bytes & !HIGH));
        let [first, second] = [0, 1].map(|which: usize| within(self.low[which], self.high[which]));
        !((first | second) & !bytes) & HIGH
    }
}

/// The set as two ranges, or one range twice. Empty sets are none.
fn two_ranges(set: u128) -> Option<[RangeInclusive<u8>; 2]> {
    let mut ranges: Vec<RangeInclusive<u8>> = Vec::new();
    for byte in (0..128u8).filter(|byte| set >> byte & 1 == 1) {
        match ranges.last_mut() {
            Some(range) if *range.end() + 1 == byte => *range = *range.start()..=byte,
            _ => ranges.push(byte..=byte),
        }
    }
    match ranges.as_slice() {
        [one] => Some([one.clone(), one.clone()]),
        [one, two] => Some([one.clone(), two.clone()]),
        _ => None,
    }
}
