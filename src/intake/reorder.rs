//! Puts writes in order. A gateway that seals in one pass takes a file from its start to its end; what clients pipeline
//! may arrive a little out of order.
//!
//! Holds at most the window's bytes and [`PIECES`] pieces, whatever a peer sends. Called by `upload`.

use std::collections::BTreeMap;

/// Pieces held at once: a client that sends 4 KiB at a time may fill a window of 1 MiB.
const PIECES: usize = 256;

pub(super) struct Reorder {
    /// Where the next byte in order belongs: all before it were given out.
    next: u64,
    held: BTreeMap<u64, Vec<u8>>,
    /// Bytes held.
    bytes: usize,
    window: usize,
}

/// What to do with a write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is next: use it now, then ask [`Reorder::ready`].
    Now,
    Held,
    /// It cannot be taken; the words say what to do.
    Refused(String),
}

const IN_ORDER: &str = "this gateway takes a file in order, from its start: start the upload again from the beginning";

impl Reorder {
    pub(super) fn new(window: usize) -> Self {
        Self { next: 0, held: BTreeMap::new(), bytes: 0, window }
    }

    /// The end of what arrived without a gap.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn take(&mut self, offset: u64, bytes: &[u8]) -> Taken {
        let Some(end) = offset.checked_add(bytes.len() as u64) else {
            return Taken::Refused(format!("no file is that long: {IN_ORDER}"));
        };
        if bytes.is_empty() {
            return Taken::Held;
        }
        let overlaps = || self.held.range(..end).next_back().is_some_and(|(at, held)| at + held.len() as u64 > offset);
        if offset < self.next || overlaps() {
            return Taken::Refused(format!(
                "bytes from {offset} on arrived already, and what was received cannot be changed; {IN_ORDER} (in FileZilla and \
                 WinSCP choose to overwrite, and turn off resuming)"
            ));
        }
        if offset == self.next {
            self.next = end;
            return Taken::Now;
        }
        if self.bytes + bytes.len() > self.window || self.held.len() >= PIECES {
            return Taken::Refused(format!(
                "bytes from {offset} on came, but those from {} on have not; {IN_ORDER} (in FileZilla and WinSCP choose to \
                 overwrite, and turn off resuming)",
                self.next
            ));
        }
        self.bytes += bytes.len();
        self.held.insert(offset, bytes.to_vec());
        Taken::Held
    }

    /// A held piece whose turn has come.
    pub(super) fn ready(&mut self) -> Option<Vec<u8>> {
        let piece = self.held.remove(&self.next)?;
        self.next += piece.len() as u64;
        self.bytes -= piece.len();
        Some(piece)
    }

    /// At the end: what never arrived, in words; none when nothing is missing.
    pub(super) fn missing(&self) -> Option<String> {
        let first = self.held.keys().next()?;
        Some(format!(
            "bytes {} to {} of the file never arrived: send the file again from the beginning",
            self.next,
            first - 1
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out, piece after piece, and the first refusal.
    fn run(window: usize, writes: &[(u64, &[u8])]) -> (Vec<u8>, Option<String>, Option<String>) {
        let mut reorder = Reorder::new(window);
        let (mut out, mut refused) = (vec![], None);
        for (offset, bytes) in writes {
            match reorder.take(*offset, bytes) {
                Taken::Now => {
                    out.extend_from_slice(bytes);
                    while let Some(piece) = reorder.ready() {
                        out.extend(piece);
                    }
                }
                Taken::Held => {}
                Taken::Refused(why) => refused = refused.or(Some(why)),
            }
        }
        assert_eq!(reorder.next(), out.len() as u64);
        (out, refused, reorder.missing())
    }

    #[test]
    fn pieces_in_any_order_come_out_in_order() {
        let (out, refused, missing) = run(100, &[(4, b"ef"), (2, b"cd"), (0, b"ab"), (8, b"i"), (6, b"gh"), (9, b"")]);
        assert_eq!((out.as_slice(), refused, missing), (b"abcdefghi".as_slice(), None, None));
    }

    #[test]
    fn what_arrived_already_is_refused_with_what_to_do() {
        for writes in [
            [(0, b"abcd".as_slice()), (0, b"abcd")],
            [(0, b"abcd"), (3, b"de")],
            [(4, b"ef"), (5, b"fg")],
            [(4, b"ef"), (2, b"cde")],
            [(4, b"ef"), (0, b"abcde")],
        ] {
            let (_, refused, _) = run(100, &writes);
            assert!(refused.unwrap().contains("start the upload again from the beginning"), "{writes:?}");
        }
    }

    #[test]
    fn more_than_the_window_or_too_many_pieces_are_refused() {
        assert!(run(4, &[(1, b"abcd")]).1.is_none());
        assert!(run(4, &[(1, b"abc"), (4, b"de")]).1.is_some());
        assert!(run(0, &[(1, b"a")]).1.is_some());
        assert!(run(100, &[(u64::MAX, b"ab")]).1.is_some());
        let single: Vec<(u64, &[u8])> = (0..=PIECES as u64).map(|i| (1 + 2 * i, b"x".as_slice())).collect();
        assert!(run(1 << 20, &single).1.is_some());
        assert!(run(1 << 20, &single[..PIECES]).1.is_none());
    }

    #[test]
    fn a_gap_at_the_end_is_told() {
        let (_, refused, missing) = run(100, &[(0, b"ab"), (7, b"h"), (5, b"f")]);
        assert_eq!(refused, None);
        assert!(missing.unwrap().starts_with("bytes 2 to 4 of the file never arrived"));
    }
}
