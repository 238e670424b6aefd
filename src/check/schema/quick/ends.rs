//! A cell as two numbers: its first and its last bytes.

use crate::check::row::Span;

/// Bytes of each.
pub(super) const WINDOW: usize = 16;

/// Together they are the whole cell, when it has no more than [`Ends::WHOLE`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    /// Bytes.
    pub length: usize,
    /// The first bytes, eight in each, the first of them lowest; zeros behind the cell's end.
    pub head: [u64; 2],
    /// The last ones, likewise; the head again for a cell that fits into it.
    pub tail: [u64; 2],
}

/// By length: a one for each bit of so many bytes.
const MASKS: [[u64; 2]; WINDOW + 1] = {
    let mut masks = [[u64::MAX; 2]; WINDOW + 1];
    let mut length = 0;
    while length < WINDOW {
        let mask = (1u128 << (length * 8)) - 1;
        masks[length] = [mask as u64, (mask >> 64) as u64];
        length += 1;
    }
    masks
};

impl Ends {
    pub const WHOLE: usize = 2 * WINDOW;
    /// Those of no cell.
    pub const NONE: Self = Self { length: usize::MAX, head: [0; 2], tail: [0; 2] };

    #[inline]
    pub fn of(text: &[u8], span: Span) -> Self {
        let (start, end) = (span.start as usize, span.end as usize);
        let length = end.saturating_sub(start);
        let head = window(text, start, length);
        let tail = window(text, start.max(end.saturating_sub(WINDOW)), length);
        Self { length, head, tail }
    }

    pub fn of_word(word: &str) -> Self {
        Self::of(word.as_bytes(), Span { start: 0, end: word.len() as u32 })
    }

    /// Zero when the cells have equal lengths and heads.
    #[inline]
    pub fn head_difference(&self, other: &Self) -> u64 {
        let [a, b] = self.head;
        let [c, d] = other.head;
        (a ^ c) | (b ^ d) | (self.length ^ other.length) as u64
    }

    /// Zero when they are the same, up to [`Ends::WHOLE`] bytes.
    #[inline]
    pub fn difference(&self, other: &Self) -> u64 {
        let [a, b] = self.tail;
        let [c, d] = other.tail;
        self.head_difference(other) | (a ^ c) | (b ^ d)
    }
}

/// 1 for zero and 0 for all else, without a branch.
#[inline]
pub(super) fn is_zero(number: u64) -> u64 {
    (!number & number.wrapping_sub(1)) >> 63
}

/// Up to 16 bytes from a place on, of the `length` that a cell has.
#[inline]
fn window(text: &[u8], at: usize, length: usize) -> [u64; 2] {
    // No index past the last: the minimum is one of the table.
    let mask = MASKS[length.min(WINDOW)];
    let bytes: [u8; WINDOW] = match text.get(at..).and_then(|text| text.first_chunk()) {
        Some(bytes) => *bytes,
        None => near_the_end(text, at),
    };
    let (halves, _) = bytes.as_chunks::<8>();
    [0, 1].map(|half: usize| halves.get(half).map_or(0, |bytes| u64::from_le_bytes(*bytes)) & mask[half])
}

#[cold]
fn near_the_end(text: &[u8], at: usize) -> [u8; WINDOW] {
    let text = text.get(at..).unwrap_or_default();
    let mut bytes = [0; WINDOW];
    bytes.iter_mut().zip(text).for_each(|(into, byte)| *into = *byte);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_its_ends_wherever_it_stands_in_the_text() {
        let text: String = ('!'..='~').collect();
        for start in 0..text.len() {
            for end in start..=text.len() {
                let cell = &text[start..end];
                let ends = Ends::of(text.as_bytes(), Span { start: start as u32, end: end as u32 });
                assert_eq!(ends, Ends::of(cell.as_bytes(), Span { start: 0, end: cell.len() as u32 }), "{cell}");
                let bytes = |halves: [u64; 2]| halves.map(u64::to_le_bytes).concat();
                let (head, tail) = (bytes(ends.head), bytes(ends.tail));
                let short = cell.len().min(WINDOW);
                assert_eq!(&head[..short], &cell.as_bytes()[..short]);
                assert_eq!(&tail[..short], &cell.as_bytes()[cell.len() - short..]);
                assert!(head[short..].iter().chain(&tail[short..]).all(|byte| *byte == 0), "{cell}");
            }
        }
    }
}
