//! Integers of up to eight digits, and dates of digits at fixed places.

use std::ops::RangeInclusive;

use super::ends::{Ends, WINDOW, is_zero};
use super::shapes::Shape;
use crate::check::schema::Value;
use crate::check::schema::calendar;
use crate::check::schema::temporal::Places;

/// Integers without a sign.
#[derive(Debug, Clone)]
pub(super) struct Integers {
    pub range: RangeInclusive<i64>,
}

const DIGITS: usize = 8;

impl Integers {
    /// 1 for an integer of the range, and what it is.
    #[inline]
    pub fn judge(&self, ends: Ends) -> (u64, impl FnOnce() -> Value) {
        const ZEROS: u64 = 0x3030_3030_3030_3030;
        // What is longer, or empty, gives any number, and does not fit.
        let length = (ends.length.wrapping_sub(1) & (DIGITS - 1)) as u32 + 1;
        // The first digit weighs most and comes lowest: zeros go below.
        let digits = ends.head[0] << (64 - length * 8) | (ZEROS >> 1 >> (length * 8 - 1));
        let value = i64::from(eight(digits));
        let fits = u64::from(ends.length.wrapping_sub(1) < DIGITS)
            & u64::from(value >= *self.range.start())
            & u64::from(value <= *self.range.end());
        (is_zero(not_digits(digits)) & fits, move || Value::Integer(value))
    }
}

/// Zero when each byte is an ASCII digit.
#[inline]
fn not_digits(bytes: u64) -> u64 {
    // 0x30 to 0x39: a 3 above, which six more below do not change.
    let six = bytes.wrapping_add(0x0606_0606_0606_0606);
    ((bytes & 0xF0F0_F0F0_F0F0_F0F0) | ((six & 0xF0F0_F0F0_F0F0_F0F0) >> 4)) ^ 0x3333_3333_3333_3333
}

/// The number that eight digits are: pairs, then fours, then all.
#[inline]
fn eight(digits: u64) -> u32 {
    let ones = digits & 0x0F0F_0F0F_0F0F_0F0F;
    let pairs = (ones.wrapping_mul(10).wrapping_add(ones >> 8)) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs.wrapping_mul(100).wrapping_add(pairs >> 16)) & 0x0000_FFFF_0000_FFFF;
    // Below 10^8.
    (fours.wrapping_mul(10_000).wrapping_add(fours >> 32)) as u32
}

/// Dates of one form.
#[derive(Debug, Clone)]
pub(super) struct Dates {
    shape: Shape<1, 2>,
    places: Places,
    /// Days since 1970-01-01.
    range: RangeInclusive<i64>,
}

impl Dates {
    /// `YYYY-MM-DD`.
    pub fn iso(range: RangeInclusive<i64>) -> Self {
        let places = Places { length: 10, day: 8, month: 5, year: 0, literals: [(4, b'-'), (7, b'-')] };
        Self { shape: shape(&places).unwrap_or(Shape::NEVER), places, range }
    }

    pub fn of(places: Places, range: RangeInclusive<i64>) -> Option<Self> {
        Some(Self { shape: shape(&places)?, places, range })
    }

    /// 1 for a date of the range, and what it is.
    #[inline]
    pub fn judge(&self, ends: Ends) -> (u64, impl FnOnce() -> Value) {
        let Places { length, day, month, year, .. } = self.places;
        let fits = self.shape.fits(ends.head) & is_zero((ends.length ^ length) as u64);
        let mut bytes = [0; WINDOW];
        for (into, half) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(ends.head) {
            *into = half.to_le_bytes();
        }
        // No place reaches past the window, so that the remainders change none.
        let digit = |at: usize| u32::from(bytes[at % WINDOW] & 0x0F);
        let two = |at: usize| digit(at) * 10 + digit(at + 1);
        let (there, days) = calendar::days_quick(two(year) * 100 + two(year + 2), two(month), two(day));
        let in_range =
            u64::from(i64::from(days) >= *self.range.start()) & u64::from(i64::from(days) <= *self.range.end());
        (fits & u64::from(there) & in_range, move || Value::Date(days))
    }
}

/// Digits and literals, each in its place.
fn shape(places: &Places) -> Option<Shape<1, 2>> {
    const DIGIT: u128 = ((1 << 10) - 1) << b'0';
    if places.length > WINDOW {
        return None;
    }
    let mut sets = vec![DIGIT; places.length];
    for (at, byte) in places.literals.iter().filter(|(at, _)| *at != usize::MAX) {
        *sets.get_mut(*at)? = 1u128.checked_shl(u32::from(*byte))?;
    }
    Shape::of(&sets)
}
