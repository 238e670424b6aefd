//! Fields whose right cells can be listed: members of an enum, words for true and false, missing values besides.
//!
//! A hash table in which each word has a slot of its own, found when the schema is read: one look at one slot tells. The
//! slot is compared in full, so that no cell is taken for a word that it is not. The words are a schema's, never an
//! upload's, and what they mean is what [`Field::judge`] makes of them.

use super::ends::{Ends, is_zero};
use crate::check::Policy;
use crate::check::schema::kind::Kind;
use crate::check::schema::{Field, Value, Violations};

/// Words with a slot of their own; more are left to the slower way.
const MOST_WORDS: usize = 64;
const MOST_BITS: u32 = 10;
/// Multipliers that are tried for each size of the table.
const TRIES: u64 = 64;

/// The words.
#[derive(Debug, Clone)]
pub(super) struct Known {
    multiplier: u64,
    bits: u32,
    slots: Vec<Ends>,
    /// By slot.
    values: Vec<Value>,
}

impl Known {
    /// None when there is no list, it is too long, or it has words that are more than short ASCII.
    pub fn of(field: &Field) -> Option<Self> {
        let words: Vec<&str> = match (&field.kind, &field.constraints.members) {
            (Kind::String(_) | Kind::Any, Some(members)) => members.words()?.iter().collect(),
            (Kind::Boolean(words), None) => words.yes.iter().chain(words.no.iter()).collect(),
            _ => return None,
        };
        let simple = |word: &&str| word.len() <= Ends::WHOLE && word.bytes().all(|byte| (b' '..0x7F).contains(&byte));
        let mut right: Vec<(Ends, Value)> = Vec::new();
        for word in words.into_iter().chain(field.missing.iter()).filter(simple) {
            let mut violations = Violations::default();
            let value = field.judge(word, &Policy::default(), &mut violations);
            let ends = Ends::of_word(word);
            if violations.is_empty() && !right.iter().any(|(other, _)| *other == ends) {
                right.push((ends, value));
            }
        }
        if right.is_empty() || right.len() > MOST_WORDS {
            return None;
        }
        let least = (right.len() * 2).next_power_of_two().trailing_zeros();
        (least..=MOST_BITS).find_map(|bits| (0..TRIES).find_map(|attempt| Self::with(bits, attempt, &right)))
    }

    /// None when two words fall into one slot.
    fn with(bits: u32, attempt: u64, words: &[(Ends, Value)]) -> Option<Self> {
        // Odd, and spread over all bits (the golden ratio's).
        let multiplier = attempt.wrapping_mul(2).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let (slots, values) = (vec![Ends::NONE; 1 << bits], vec![Value::Wrong; 1 << bits]);
        let mut known = Self { multiplier, bits, slots, values };
        for (ends, value) in words {
            let slot = known.slot(*ends);
            if known.slots[slot] != Ends::NONE {
                return None;
            }
            (known.slots[slot], known.values[slot]) = (*ends, *value);
        }
        Some(known)
    }

    #[inline]
    fn slot(&self, ends: Ends) -> usize {
        let [a, b] = ends.head;
        let [c, d] = ends.tail;
        let mixed = a ^ b.rotate_left(23) ^ (c ^ d.rotate_left(23)).rotate_left(41) ^ ends.length as u64;
        (mixed.wrapping_mul(self.multiplier) >> (u64::BITS - self.bits)) as usize
    }

    /// 1 for a cell that is one of the words, and its value.
    #[inline]
    pub fn judge(&self, ends: Ends) -> (u64, impl FnOnce() -> Value) {
        let slot = self.slot(ends);
        let found = self.slots.get(slot).unwrap_or(&Ends::NONE);
        (is_zero(found.difference(&ends)), move || self.values.get(slot).copied().unwrap_or(Value::Wrong))
    }
}
