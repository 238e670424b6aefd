//! The quick way to judge: a column of cells at a time, by what its field was compiled to.
//!
//! A row's cells differ in everything, and a processor that guesses what comes next guesses wrong; a column's are alike. A
//! field that is simple enough (words, short patterns, dates, integers, free text) judges a cell by arithmetic on its
//! first and last 16 bytes, without a branch that depends on it. It only ever says that a cell is right: of any other it
//! says nothing, and [`Field::judge`] has the word. Called by `table`; compiled when the schema has been read.

mod ends;
mod known;
mod numbers;
mod shapes;

use std::ops::RangeInclusive;

use super::constraints::Constraints;
use super::kind::{Kind, When};
use super::steps::Steps;
use super::{Field, Value, Violations};
use crate::check::Policy;
use crate::check::row::Span;
use ends::{Ends, is_zero};
use known::Known;
use numbers::{Dates, Integers};
use shapes::Shapes;

/// Cells of one column, at most [`Cells::MOST`].
#[derive(Debug, Clone, Copy)]
pub struct Cells<'t> {
    /// Texts that end less than [`Cells::PADDING`] bytes before this one does are read more slowly.
    pub text: &'t str,
    pub spans: &'t [Span],
}

impl<'t> Cells<'t> {
    /// A bit of a `u64` for each.
    pub const MOST: usize = 64;
    /// Bytes.
    pub const PADDING: usize = ends::WINDOW;

    fn all(self) -> u64 {
        match self.spans.len() {
            0 => 0,
            count => u64::MAX >> (Self::MOST - count.min(Self::MOST)),
        }
    }

    /// Empty when there is none.
    pub fn cell(self, place: usize) -> &'t str {
        let span = self.spans.get(place).copied().unwrap_or_default();
        self.text.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// Judges each cell, by a 1 for right and its value; gives a bit for each that is right, and the values where they are
    /// asked for.
    #[inline]
    fn each<V: FnOnce() -> Value>(self, mut values: Option<&mut [Value]>, one: impl Fn(Ends) -> (u64, V)) -> u64 {
        let bytes = self.text.as_bytes();
        let mut right = 0;
        for (place, span) in self.spans.iter().enumerate().take(Self::MOST) {
            // `one` stands in one place alone, so that it becomes a part of the loop.
            let (fits, value) = one(Ends::of(bytes, *span));
            right |= fits << place;
            if let Some(into) = values.as_deref_mut().and_then(|values| values.get_mut(place)) {
                *into = value();
            }
        }
        right
    }
}

/// What a field was compiled to.
#[derive(Debug, Clone, Default)]
pub(super) struct Quick {
    way: Way,
    /// Missing values, four at a time; words that no cell is fill the last.
    missing: Vec<[Ends; 4]>,
    /// 1 when a missing cell is right.
    optional: u64,
}

#[derive(Debug, Clone, Default)]
enum Way {
    /// There is none.
    #[default]
    Slow,
    /// Free text of so many bytes, from and to.
    Text(usize, usize),
    Known(Box<Known>),
    ShortShape(Box<Shapes<1, 1, 1>>),
    Shape(Box<Shapes<1, 1, 2>>),
    ShortShapes(Box<Shapes<2, 2, 1>>),
    Shapes(Box<Shapes<4, 2, 2>>),
    Dates(Dates),
    Integers(Integers),
}

/// Missing values that are compared with each cell.
const MOST_MISSING: usize = 8;

impl Quick {
    /// `field` is whole but for this.
    pub fn of(field: &Field) -> Self {
        // Of a longer word the head says too little.
        let missing: Option<Vec<Ends>> =
            field.missing.iter().map(|word| (word.len() <= Cells::PADDING).then(|| Ends::of_word(word))).collect();
        let missing = missing.filter(|words| words.len() <= MOST_MISSING);
        let known = Known::of(field).map(|known| Way::Known(Box::new(known)));
        match (known, missing) {
            // The missing values are among its words.
            (Some(way), _) => Self { way, missing: Vec::new(), optional: 0 },
            (None, Some(missing)) => {
                let optional = u64::from(!field.required);
                let mut quick = Self { way: way(field).unwrap_or_default(), missing: Vec::new(), optional };
                if field.required {
                    // What is wrong anyway need not be told from what is missing.
                    let taken = |word: &&str| quick.judge(Cells { text: word, spans: &[whole(word)] }, None) == 1;
                    let taken: Vec<Ends> = field.missing.iter().filter(taken).map(Ends::of_word).collect();
                    quick.missing = in_fours(&taken);
                } else {
                    quick.missing = in_fours(&missing);
                }
                quick
            }
            (None, None) => Self::default(),
        }
    }

    /// A bit for each cell that is surely right.
    fn judge(&self, cells: Cells<'_>, values: Option<&mut [Value]>) -> u64 {
        match &self.way {
            Way::Slow => 0,
            // Nothing that it could be is wrong, and nobody asks what it is.
            Way::Text(0, usize::MAX) if self.optional == 1 && values.is_none() => cells.all(),
            Way::Text(least, most) => self.texts(*least, *most, cells, values),
            Way::Known(known) => knowns(known, cells, values),
            Way::ShortShape(shapes) => self.shapes(shapes, cells, values),
            Way::Shape(shapes) => self.shapes(shapes, cells, values),
            Way::ShortShapes(shapes) => self.shapes(shapes, cells, values),
            Way::Shapes(shapes) => self.shapes(shapes, cells, values),
            Way::Dates(dates) => self.dates(dates, cells, values),
            Way::Integers(integers) => self.integers(integers, cells, values),
        }
    }

    // A function for each, so that its loop has all registers to itself.

    #[inline(never)]
    fn texts(&self, least: usize, most: usize, cells: Cells<'_>, values: Option<&mut [Value]>) -> u64 {
        let fits = |ends: Ends| u64::from(ends.length >= least) & u64::from(ends.length <= most);
        if self.optional == 1 && values.is_none() {
            // A missing value of another length is left to the slower way.
            return cells.each(values, |ends| (fits(ends), || Value::Text));
        }
        cells.each(values, |ends| self.unless_missing(ends, fits(ends), || Value::Text))
    }

    #[inline(never)]
    fn shapes<const N: usize, const R: usize, const W: usize>(
        &self,
        shapes: &Shapes<N, R, W>,
        cells: Cells<'_>,
        values: Option<&mut [Value]>,
    ) -> u64 {
        cells.each(values, |ends| self.unless_missing(ends, shapes.fits(ends), || Value::Text))
    }

    #[inline(never)]
    fn dates(&self, dates: &Dates, cells: Cells<'_>, values: Option<&mut [Value]>) -> u64 {
        cells.each(values, |ends| {
            let (fits, value) = dates.judge(ends);
            self.unless_missing(ends, fits, value)
        })
    }

    #[inline(never)]
    fn integers(&self, integers: &Integers, cells: Cells<'_>, values: Option<&mut [Value]>) -> u64 {
        cells.each(values, |ends| {
            let (fits, value) = integers.judge(ends);
            self.unless_missing(ends, fits, value)
        })
    }

    /// 1 for a missing value.
    #[inline]
    fn missing(&self, ends: Ends) -> u64 {
        let one = |word: &Ends| is_zero(word.head_difference(&ends));
        self.missing.iter().fold(0, |found, [a, b, c, d]| found | one(a) | one(b) | one(c) | one(d))
    }

    #[inline]
    fn unless_missing(&self, ends: Ends, fits: u64, value: impl FnOnce() -> Value) -> (u64, impl FnOnce() -> Value) {
        let missing = self.missing(ends);
        ((missing & self.optional) | (!missing & fits), move || if missing == 1 { Value::Missing } else { value() })
    }
}

#[inline(never)]
fn knowns(known: &Known, cells: Cells<'_>, values: Option<&mut [Value]>) -> u64 {
    cells.each(values, |ends| known.judge(ends))
}

fn way(field: &Field) -> Option<Way> {
    let Constraints { min_length, max_length, bounds, members, pattern } = &field.constraints;
    if members.is_some() {
        return None;
    }
    let (least, most) = (min_length.unwrap_or(0), max_length.unwrap_or(usize::MAX));
    if field.kind.is_plain_text() && bounds.is_none() {
        return match pattern {
            // A character takes one to four bytes.
            None => Some(Way::Text(least.saturating_mul(4), most)),
            Some(pattern) => shapes(pattern.steps()?, &(least..=most)),
        };
    }
    if pattern.is_some() || min_length.is_some() || max_length.is_some() {
        return None;
    }
    let range = bounds.as_ref().map_or(i64::MIN..=i64::MAX, |bounds| bounds.ranks());
    match &field.kind {
        Kind::Integer(_) => Some(Way::Integers(Integers { range })),
        Kind::Date(When::Default) => Some(Way::Dates(Dates::iso(range))),
        Kind::Date(When::Pattern(pattern)) => Some(Way::Dates(Dates::of(pattern.places()?, range)?)),
        _ => None,
    }
}

fn whole(word: &str) -> Span {
    Span { start: 0, end: word.len() as u32 }
}

fn in_fours(words: &[Ends]) -> Vec<[Ends; 4]> {
    let four = |words: &[Ends]| [0, 1, 2, 3].map(|at: usize| words.get(at).copied().unwrap_or(Ends::NONE));
    words.chunks(4).map(four).collect()
}

fn shapes(steps: &Steps, lengths: &RangeInclusive<usize>) -> Option<Way> {
    let short = || Shapes::of(steps, lengths).map(|shapes| Way::ShortShape(Box::new(shapes)));
    let long = || Shapes::of(steps, lengths).map(|shapes| Way::Shape(Box::new(shapes)));
    let shorts = || Shapes::of(steps, lengths).map(|shapes| Way::ShortShapes(Box::new(shapes)));
    let longs = || Shapes::of(steps, lengths).map(|shapes| Way::Shapes(Box::new(shapes)));
    short().or_else(long).or_else(shorts).or_else(longs)
}

impl Field {
    /// A bit for each cell `among` those of these bits that is right: [`Field::judge`] finds no violation, and no habit. Their
    /// values, if they are asked for, are what it says; that of any other cell means nothing.
    pub fn judge_column(&self, cells: Cells<'_>, among: u64, policy: &Policy, mut values: Option<&mut [Value]>) -> u64 {
        let mut right = self.quick.judge(cells, values.as_deref_mut());
        let mut rest = cells.all() & among & !right;
        while rest != 0 {
            let place = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            let mut violations = Violations::default();
            let value = self.judge(cells.cell(place), policy, &mut violations);
            right |= u64::from(violations.is_empty()) << place;
            if let Some(into) = values.as_deref_mut().and_then(|values| values.get_mut(place)) {
                *into = value;
            }
        }
        right
    }
}

#[cfg(test)]
mod tests;
