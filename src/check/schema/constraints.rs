//! Constraints of one cell: lengths, bounds, enum, pattern; and what a cell violated.
//!
//! The usual case, a cell within its bounds, takes a comparison or two; only a cell that is not is looked at again to tell
//! which constraints it violates. Called by the judge; made by the readers.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::RangeInclusive;

use super::duration::Duration;
use super::kind::Kind;
use super::pattern::Pattern;
use super::words::Words;
use super::{Value, Violations, number};

/// All constraints of a field but `required` and `unique`.
#[derive(Debug, Clone, Default)]
pub(super) struct Constraints {
    /// In code points, or members of a collection.
    pub min_length: Option<usize>,
    pub max_length: Option<usize>,
    pub bounds: Option<Box<Bounds>>,
    pub members: Option<Box<Members>>,
    pub pattern: Option<Pattern>,
}

impl Constraints {
    /// What the value violates; `cell` is its text.
    #[inline]
    pub fn check(&self, kind: &Kind, value: &Value, cell: &str) -> Violations {
        let mut found = Violations::default();
        if self.min_length.is_some() || self.max_length.is_some() {
            found.add(self.check_length(kind, cell));
        }
        if let Some(bounds) = &self.bounds {
            match rank(*value) {
                Some(rank) if rank >= bounds.low && rank <= bounds.high => {}
                _ => found.add(bounds.check(kind, *value, cell)),
            }
        }
        if let Some(members) = &self.members
            && !members.has(kind, *value, cell)
        {
            found.add(Violations::ENUM);
        }
        if let Some(pattern) = &self.pattern
            && !pattern.matches(cell)
        {
            found.add(Violations::PATTERN);
        }
        found
    }

    fn check_length(&self, kind: &Kind, cell: &str) -> Violations {
        let (least, most) = (self.min_length.unwrap_or(0), self.max_length.unwrap_or(usize::MAX));
        if let Kind::String(_) = kind {
            // A code point takes one to four bytes: most cells need no counting.
            if cell.len() <= most && cell.len() >= least.saturating_mul(4) {
                return Violations::default();
            }
            if cell.len() > most.saturating_mul(4) {
                return Violations::MAX_LENGTH;
            }
        }
        match kind.length(cell) {
            length if length < least => Violations::MIN_LENGTH,
            length if length > most => Violations::MAX_LENGTH,
            _ => Violations::default(),
        }
    }
}

/// The four bounds, of which a field has any.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    /// Ranks from `low` to `high` violate nothing; others are looked at one bound after another.
    low: i64,
    high: i64,
    pub minimum: Option<Bound>,
    pub maximum: Option<Bound>,
    pub exclusive_minimum: Option<Bound>,
    pub exclusive_maximum: Option<Bound>,
}

#[derive(Debug, Clone)]
pub(super) struct Bound {
    /// Never [`Value::Wide`].
    pub value: Value,
    /// As the schema writes it.
    pub text: String,
}

impl Bounds {
    pub fn new(
        minimum: Option<Bound>,
        maximum: Option<Bound>,
        exclusive_minimum: Option<Bound>,
        exclusive_maximum: Option<Bound>,
    ) -> Self {
        // A bound without a rank leaves nothing to the quick way.
        let rank_of = |bound: &Option<Bound>, none: i64, never: i64, shift: i64| match bound {
            None => none,
            Some(bound) => rank(bound.value).and_then(|rank| rank.checked_add(shift)).unwrap_or(never),
        };
        let low = rank_of(&minimum, i64::MIN, i64::MAX, 0).max(rank_of(&exclusive_minimum, i64::MIN, i64::MAX, 1));
        let high = rank_of(&maximum, i64::MAX, i64::MIN, 0).min(rank_of(&exclusive_maximum, i64::MAX, i64::MIN, -1));
        Self { low, high, minimum, maximum, exclusive_minimum, exclusive_maximum }
    }

    /// Ranks that violate nothing.
    pub fn ranks(&self) -> RangeInclusive<i64> {
        self.low..=self.high
    }

    #[cold]
    fn check(&self, kind: &Kind, value: Value, cell: &str) -> Violations {
        use Ordering::{Equal, Greater, Less};
        let mut found = Violations::default();
        let mut bound = |bound: &Option<Bound>, fits: &[Ordering], violation| {
            if let Some(bound) = bound
                && !compare(kind, (value, cell), (bound.value, &bound.text)).is_some_and(|order| fits.contains(&order))
            {
                found.add(violation);
            }
        };
        bound(&self.minimum, &[Equal, Greater], Violations::MINIMUM);
        bound(&self.maximum, &[Equal, Less], Violations::MAXIMUM);
        bound(&self.exclusive_minimum, &[Greater], Violations::EXCLUSIVE_MINIMUM);
        bound(&self.exclusive_maximum, &[Less], Violations::EXCLUSIVE_MAXIMUM);
        found
    }
}

/// A number that orders values of one type as the type does, where there is one: then equal ranks are equal values.
#[inline]
pub(super) fn rank(value: Value) -> Option<i64> {
    match value {
        Value::Integer(value) | Value::Time(value) | Value::DateTime { micros: value, .. } => Some(value),
        Value::Date(value) | Value::Year(value) | Value::YearMonth(value) => Some(value.into()),
        Value::Boolean(value) => Some(value.into()),
        // Millionths.
        Value::Number { mantissa, scale } => {
            const FACTORS: [i64; 7] = [1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];
            i64::try_from(mantissa).ok()?.checked_mul(*FACTORS.get(usize::from(scale))?)
        }
        Value::Missing | Value::Wrong | Value::Text | Value::Wide => None,
    }
}

/// Compares a cell with a bound of the same type. A datetime without a zone compares as if in UTC. None where there is no
/// order: NaN, a month and 30 days.
pub(super) fn compare(kind: &Kind, (value, cell): (Value, &str), (bound, text): (Value, &str)) -> Option<Ordering> {
    if matches!(kind, Kind::Duration) {
        return Duration::parse(cell)?.partial_cmp(&Duration::parse(text)?);
    }
    if let (Some(value), Some(bound)) = (decimal(value), decimal(bound)) {
        return Some(number::compare(value.0, value.1, bound.0, bound.1));
    }
    if let (Kind::Number(form) | Kind::Integer(form), Value::Wide) = (kind, value) {
        let (mantissa, scale) = decimal(bound)?;
        return form.compare_wide(cell, mantissa, scale);
    }
    Some(rank(value)?.cmp(&rank(bound)?))
}

fn decimal(value: Value) -> Option<(i128, u8)> {
    match value {
        Value::Integer(value) => Some((value.into(), 0)),
        Value::Number { mantissa, scale } => Some((mantissa, scale)),
        _ => None,
    }
}

/// The members of an `enum`, or of `categories`.
#[derive(Debug, Clone)]
pub(super) struct Members {
    set: Set,
    /// As the schema writes them, for words; the first [`Members::SHOWN`] of them.
    pub shown: Vec<String>,
    pub count: usize,
}

#[derive(Debug, Clone)]
enum Set {
    Words(Words),
    /// Sorted.
    Ranks(Vec<i64>),
    /// By [`Kind::canonical`].
    Canonical(HashSet<Vec<u8>>),
}

impl Members {
    /// Members that messages can list.
    pub const SHOWN: usize = 12;

    /// `members`: text and value of each, read already.
    pub fn new(kind: &Kind, members: &[(String, Value)]) -> Self {
        let ranks: Option<Vec<i64>> = members.iter().map(|(_, value)| rank(*value)).collect();
        let set = match (kind, ranks) {
            (Kind::String(_) | Kind::Any, _) => Set::Words(Words::new(members.iter().map(|(text, _)| text.as_str()))),
            (_, Some(mut ranks)) => {
                ranks.sort_unstable();
                Set::Ranks(ranks)
            }
            (kind, None) => Set::Canonical(members.iter().map(|(text, value)| member(kind, *value, text)).collect()),
        };
        let shown = members.iter().take(Self::SHOWN).map(|(text, _)| text.clone()).collect();
        Self { set, shown, count: members.len() }
    }

    /// None when they are more than texts.
    pub fn words(&self) -> Option<&Words> {
        match &self.set {
            Set::Words(words) => Some(words),
            Set::Ranks(_) | Set::Canonical(_) => None,
        }
    }

    #[inline]
    pub fn has(&self, kind: &Kind, value: Value, cell: &str) -> bool {
        match &self.set {
            Set::Words(words) => words.has(cell),
            Set::Ranks(ranks) => rank(value).is_some_and(|rank| ranks.binary_search(&rank).is_ok()),
            Set::Canonical(set) => set.contains(&member(kind, value, cell)),
        }
    }
}

fn member(kind: &Kind, value: Value, cell: &str) -> Vec<u8> {
    if matches!(value, Value::Text) {
        return kind.canonical(cell);
    }
    let mut bytes = Vec::new();
    value.canonical(cell, &mut bytes);
    bytes
}

impl Violations {
    pub(super) const REQUIRED: Self = Self(1);
    pub(super) const TYPE: Self = Self(1 << 1);
    pub(super) const MIN_LENGTH: Self = Self(1 << 2);
    pub(super) const MAX_LENGTH: Self = Self(1 << 3);
    pub(super) const MINIMUM: Self = Self(1 << 4);
    pub(super) const MAXIMUM: Self = Self(1 << 5);
    pub(super) const EXCLUSIVE_MINIMUM: Self = Self(1 << 6);
    pub(super) const EXCLUSIVE_MAXIMUM: Self = Self(1 << 7);
    pub(super) const ENUM: Self = Self(1 << 8);
    pub(super) const PATTERN: Self = Self(1 << 9);
    /// White space around a value, which the policy flags.
    pub(super) const SPACES: Self = Self(1 << 16);
    /// A day or month of one digit, which the policy flags.
    pub(super) const UNPADDED: Self = Self(1 << 17);

    pub(super) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}
