//! A cell as two numbers: its first and its last bytes.

use crate::check::row::Span;

/// Bytes of each.
pub(super) const WINDOW: usize = 16;

/// Together they are the whole cell, when it has no more than [`Ends::WHOLE`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    /// Bytes.
    pub length: usize,
    /// The first bytes, the first of them lowest; zeros behind the cell's end.
    pub head: u128,
    /// The last ones, likewise; the head again for a cell that fits into it.
    pub tail: u128,
}

/// By length: a one for each bit of so many bytes.
const MASKS: [u128; WINDOW + 1] = {
    let mut masks = [u128::MAX; WINDOW + 1];
    let mut length = 0;
    while length < WINDOW {
        masks[length] = (1 << (length * 8)) - 1;
        length += 1;
    }
    masks
};

impl Ends {
    pub const WHOLE: usize = 2 * WINDOW;

    #[inline]
    pub fn of(text: &[u8], span: Span) -> Self {
        let (start, end) = (span.start as usize, span.end as usize);
        let length = end.saturating_sub(start);
        let head = window(text, start, length);
        let tail = window(text, start.max(end.saturating_sub(WINDOW)), length);
        Self { length, head, tail }
    }

    /// The head of a word that fits into it; none when it does not, or could be taken for a shorter one.
    pub fn short(word: &str) -> Option<u128> {
        (word.len() <= WINDOW && !word.contains('\0')).then(|| window(word.as_bytes(), 0, word.len()))
    }
}

/// Up to 16 bytes from a place on, of the `length` that a cell has.
#[inline]
fn window(text: &[u8], at: usize, length: usize) -> u128 {
    // No index past the last: the minimum is one of the table.
    let mask = MASKS[length.min(WINDOW)];
    match text.get(at..).and_then(|text| text.first_chunk()) {
        Some(bytes) => u128::from_le_bytes(*bytes) & mask,
        None => near_the_end(text, at) & mask,
    }
}

#[cold]
fn near_the_end(text: &[u8], at: usize) -> u128 {
    let text = text.get(at..).unwrap_or_default();
    let mut bytes = [0; WINDOW];
    bytes.iter_mut().zip(text).for_each(|(into, byte)| *into = *byte);
    u128::from_le_bytes(bytes)
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
                let (head, tail) = (ends.head.to_le_bytes(), ends.tail.to_le_bytes());
                let short = cell.len().min(WINDOW);
                assert_eq!(&head[..short], &cell.as_bytes()[..short]);
                assert_eq!(&tail[..short], &cell.as_bytes()[cell.len() - short..]);
                assert!(head[short..].iter().chain(&tail[short..]).all(|byte| *byte == 0), "{cell}");
            }
        }
    }
}
