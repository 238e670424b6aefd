//! Patterns of short fixed shapes: for each length, which characters may stand in which place.
//!
//! `[A-Z]{1,2}[0-9] [0-9]` is two shapes, `[A-Z][0-9] [0-9]` and `[A-Z][A-Z][0-9] [0-9]`. A place is up to two ranges of
//! ASCII, and all places of a cell are compared at once, eight bytes in one number. Made of a pattern's steps.

use std::ops::RangeInclusive;

use super::ends::{Ends, WINDOW, is_zero};
use crate::check::schema::steps::{Step, Steps};

/// Shapes that are looked at while a pattern is taken apart.
const MOST_IN_ALL: usize = 256;

const HIGH: u64 = 0x8080_8080_8080_8080;

/// The shapes of a pattern, by length: `N` of each, of up to `R` ranges in each of 8 x `W` places. As many are looked at
/// whatever the cell.
#[derive(Debug, Clone)]
pub(super) struct Shapes<const N: usize, const R: usize, const W: usize>([[Shape<R, W>; N]; WINDOW + 1]);

/// One shape; places behind its end are zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape<const R: usize, const W: usize>([Places<R>; W]);

/// Eight places: the ends of the ranges in each.
#[derive(Debug, Clone, Copy)]
struct Places<const R: usize> {
    low: [u64; R],
    high: [u64; R],
}

impl<const N: usize, const R: usize, const W: usize> Shapes<N, R, W> {
    /// None when the pattern is not so simple. What is longer than 16 bytes is left to the pattern itself.
    pub fn of(steps: &Steps, lengths: &RangeInclusive<usize>) -> Option<Self> {
        let mut shapes = [[Shape::NEVER; N]; WINDOW + 1];
        let mut counts = [0; WINDOW + 1];
        let mut all = Vec::new();
        for path in steps.paths() {
            unfold(path, &mut Vec::new(), &mut all)?;
        }
        for sets in all.iter().filter(|sets| lengths.contains(&sets.len())) {
            let (shapes, count) = (shapes.get_mut(sets.len())?, counts.get_mut(sets.len())?);
            *shapes.get_mut(*count)? = Shape::of(sets)?;
            *count += 1;
        }
        counts.iter().any(|count| *count > 0).then_some(Self(shapes))
    }

    /// 1 for a cell that is of one of the shapes.
    #[inline]
    pub fn fits(&self, ends: Ends) -> u64 {
        let [.., longest] = &self.0;
        let fits = self.0.get(ends.length).unwrap_or(longest).each_ref().map(|shape| shape.fits(ends.head));
        fits.iter().fold(0, |found, fits| found | fits) & u64::from(ends.length <= WINDOW)
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

impl<const R: usize, const W: usize> Shape<R, W> {
    /// No text is of it: each range begins behind its end.
    pub const NEVER: Self = Self([Places { low: [1; R], high: [0; R] }; W]);

    /// None when it is too long, or a place takes more ranges of characters. Sets have a bit for each character of ASCII.
    pub fn of(sets: &[u128]) -> Option<Self> {
        let mut shape = Self([Places { low: [0; R], high: [0; R] }; W]);
        for (place, set) in sets.iter().enumerate() {
            let ranges = ranges(*set);
            let Places { low, high } = shape.0.get_mut(place / 8)?;
            if ranges.len() > R {
                return None;
            }
            // The first again, where there are fewer.
            let ranges = ranges.iter().chain(std::iter::repeat(ranges.first()?));
            for (range, (low, high)) in ranges.zip(low.iter_mut().zip(high)) {
                *low |= u64::from(*range.start()) << (place % 8 * 8);
                *high |= u64::from(*range.end()) << (place % 8 * 8);
            }
        }
        Some(shape)
    }

    /// 1 for the bytes of a cell that is of it, whose length must be its own.
    #[inline]
    pub fn fits(&self, head: [u64; 2]) -> u64 {
        is_zero(self.0.iter().zip(head).fold(0, |found, (places, bytes)| found | places.misfits(bytes)))
    }
}

impl<const R: usize> Places<R> {
    /// The high bit of each byte that does not fit. With their high bits set no byte borrows from the next, and the high
    /// bit tells which of two was larger.
    #[inline]
    fn misfits(&self, bytes: u64) -> u64 {
        let mut within = 0;
        for (low, high) in self.low.iter().zip(&self.high) {
            within |= ((bytes | HIGH) - low) & ((high | HIGH) - (bytes & !HIGH));
        }
        !(within & !bytes) & HIGH
    }
}

/// The set as ranges.
fn ranges(set: u128) -> Vec<RangeInclusive<u8>> {
    let mut ranges: Vec<RangeInclusive<u8>> = Vec::new();
    for byte in (0..128u8).filter(|byte| set >> byte & 1 == 1) {
        match ranges.last_mut() {
            Some(range) if *range.end() + 1 == byte => *range = *range.start()..=byte,
            _ => ranges.push(byte..=byte),
        }
    }
    ranges
}
