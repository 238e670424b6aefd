//! Puts writes in order, and finds where they break off. What clients pipeline may arrive a little out of order, and is
//! waited for; a jump, a rewind or an overlap is told to the worker, which begins a new segment there.
//!
//! Holds at most the window's bytes and [`PIECES`] pieces, whatever a peer sends. Writes that overlap count in the order of
//! their arrival, as in a plain file. Called by `upload`.

use std::collections::BTreeMap;

/// Pieces held at once: a client that sends 4 KiB at a time may fill a window of 1 MiB.
const PIECES: usize = 256;

pub(super) struct Order {
    /// Where the next byte of the run under way belongs.
    next: u64,
    held: BTreeMap<u64, Vec<u8>>,
    /// Bytes held.
    bytes: usize,
    window: usize,
    /// Behind the last byte that was handed on.
    passed: u64,
}

/// What to do with a write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is next: use it now, then ask [`Order::ready`].
    Now,
    Held,
    /// It is not: use all that [`Order::spill`] gives, then go to its offset with [`Order::go`] and use it.
    Elsewhere,
    /// It cannot be taken; the words say why.
    Refused(String),
}

impl Order {
    /// `at`: the size of the draft that is gone on with, 0 for a new upload.
    pub(super) fn new(at: u64, window: usize) -> Self {
        Self { next: at, held: BTreeMap::new(), bytes: 0, window, passed: at }
    }

    /// Behind the last byte that was handed on: what belongs before it writes over something, and is not held.
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }

    pub(super) fn take(&mut self, offset: u64, bytes: &[u8]) -> Taken {
        // What SFTP's clients can name and file systems can hold.
        let Some(end) = offset.checked_add(bytes.len() as u64).filter(|end| i64::try_from(*end).is_ok()) else {
            return Taken::Refused("no file is that long: send the file from its beginning".into());
        };
        if bytes.is_empty() {
            return Taken::Held;
        }
        let overlaps = self.held.range(..end).next_back().is_some_and(|(at, held)| at + held.len() as u64 > offset);
        let full = self.bytes + bytes.len() > self.window || self.held.len() >= PIECES;
        match () {
            () if overlaps => Taken::Elsewhere,
            () if offset == self.next => {
                self.pass(end);
                Taken::Now
            }
            () if offset < self.passed => Taken::Elsewhere,
            () if full => Taken::Elsewhere,
            () => {
                self.bytes += bytes.len();
                self.held.insert(offset, bytes.to_vec());
                Taken::Held
            }
        }
    }

    /// Bytes up to before `next` are handed on.
    fn pass(&mut self, next: u64) {
        self.next = next;
        self.passed = self.passed.max(next);
    }

    /// A held piece whose turn has come.
    pub(super) fn ready(&mut self) -> Option<Vec<u8>> {
        let piece = self.held.remove(&self.next)?;
        self.pass(self.next + piece.len() as u64);
        self.bytes -= piece.len();
        Some(piece)
    }

    /// The first held piece, and where it belongs: it is waited for no longer.
    pub(super) fn spill(&mut self) -> Option<(u64, Vec<u8>)> {
        let (at, piece) = self.held.pop_first()?;
        self.bytes -= piece.len();
        Some((at, piece))
    }

    /// How many runs [`Order::spill`] would give that do not go on where the one before ended.
    pub(super) fn jumps(&self) -> usize {
        let mut next = self.next;
        let jumps = self.held.iter().filter(|(at, piece)| {
            let jump = **at != next;
            next = **at + piece.len() as u64;
            jump
        });
        jumps.count()
    }

    /// The next `len` bytes belong at `offset`; whether that is a jump.
    pub(super) fn go(&mut self, offset: u64, len: usize) -> bool {
        let jump = offset != self.next;
        self.pass(offset + len as u64);
        jump
    }

    /// What lies behind `size` is gone.
    pub(super) fn truncate(&mut self, size: u64) {
        drop(self.held.split_off(&size));
        if let Some(mut last) = self.held.last_entry() {
            let room = usize::try_from(size - last.key()).unwrap_or(usize::MAX);
            last.get_mut().truncate(room);
        }
        self.bytes = self.held.values().map(Vec::len).sum();
        (self.next, self.passed) = (self.next.min(size), self.passed.min(size));
    }

    /// What never arrived of a clean sequence that is to have `size` bytes, as words of a refusal: what is before the first
    /// that is held, or before its end.
    pub(super) fn missing(&self, size: u64) -> Option<String> {
        let to = self.held.keys().next().copied().unwrap_or(size);
        (to > self.next).then(|| missing(self.next, to))
    }
}

/// Bytes that never came, in words.
pub(super) fn missing(from: u64, to: u64) -> String {
    format!("bytes {from} to {} of the file never arrived: send the file again from the beginning", to - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file that the runs make, and how many jumps there were.
    fn run(window: usize, writes: &[(u64, &[u8])]) -> (Vec<u8>, usize, Order) {
        let mut order = Order::new(0, window);
        let (mut file, mut jumps, mut at) = (vec![], 0, 0);
        let mut put = |order: &mut Order, jump: Option<u64>, bytes: &[u8]| {
            if let Some(to) = jump {
                (jumps, at) = (jumps + 1, to as usize);
            }
            file.resize(file.len().max(at + bytes.len()), 0);
            file[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
            let _ = order;
        };
        for (offset, bytes) in writes {
            match order.take(*offset, bytes) {
                Taken::Now => {
                    put(&mut order, None, bytes);
                    while let Some(piece) = order.ready() {
                        put(&mut order, None, &piece);
                    }
                }
                Taken::Held => {}
                Taken::Elsewhere => {
                    while let Some((at, piece)) = order.spill() {
                        let jump = order.go(at, piece.len()).then_some(at);
                        put(&mut order, jump, &piece);
                    }
                    let jump = order.go(*offset, bytes.len()).then_some(*offset);
                    put(&mut order, jump, bytes);
                }
                Taken::Refused(why) => panic!("{why}"),
            }
        }
        (file, jumps, order)
    }

    #[test]
    fn pieces_in_any_order_come_out_in_order() {
        let (file, jumps, order) = run(100, &[(4, b"ef"), (2, b"cd"), (0, b"ab"), (8, b"i"), (6, b"gh"), (9, b"")]);
        assert_eq!((file.as_slice(), jumps, order.missing(9)), (b"abcdefghi".as_slice(), 0, None));
        assert_eq!((order.next, order.passed(), order.bytes), (9, 9, 0));
    }

    #[test]
    fn rewinds_and_overlaps_count_in_the_order_of_arrival() {
        assert_eq!(run(100, &[(0, b"abcd"), (1, b"B")]).0, b"aBcd");
        assert_eq!(run(100, &[(0, b"abcd"), (0, b"ABCDE")]).0, b"ABCDE");
        let (file, jumps, _) = run(100, &[(4, b"ef"), (5, b"F"), (0, b"abcd"), (4, b"E")]);
        assert_eq!((file.as_slice(), jumps), (b"abcdEF".as_slice(), 3));
    }

    #[test]
    fn a_patched_header_goes_on_at_the_end_when_the_window_is_full() {
        let (file, jumps, order) = run(2, &[(0, b"abcd"), (0, b"AB"), (4, b"ef"), (6, b"gh")]);
        assert_eq!((file.as_slice(), jumps, order.next), (b"ABcdefgh".as_slice(), 2, 8));
    }

    #[test]
    fn what_writes_over_something_is_never_held() {
        let mut order = Order::new(0, 100);
        assert_eq!((order.take(0, b"abcdef"), order.take(7, b"h")), (Taken::Now, Taken::Held));
        assert_eq!(order.take(0, b"A"), Taken::Elsewhere);
        while let Some((at, piece)) = order.spill() {
            order.go(at, piece.len());
        }
        order.go(0, 1);
        assert_eq!((order.take(3, b"D"), order.take(9, b"j")), (Taken::Elsewhere, Taken::Held));
    }

    #[test]
    fn no_more_than_the_window_and_its_number_of_pieces_is_held() {
        let mut order = Order::new(0, 10);
        assert_eq!(order.take(5, &[0; 10]), Taken::Held);
        assert_eq!((order.take(20, b"x"), order.bytes), (Taken::Elsewhere, 10));
        let mut order = Order::new(0, 1 << 20);
        for at in 0..PIECES as u64 {
            assert_eq!(order.take(2 * at + 1, b"x"), Taken::Held);
        }
        assert_eq!(order.take(2 * PIECES as u64 + 1, b"x"), Taken::Elsewhere);
        assert_eq!(order.jumps(), PIECES);
    }

    #[test]
    fn what_is_truncated_is_held_no_longer() {
        let mut order = Order::new(0, 100);
        assert_eq!(order.take(0, b"ab"), Taken::Now);
        assert_eq!((order.take(4, b"efgh"), order.take(10, b"k")), (Taken::Held, Taken::Held));
        order.truncate(6);
        assert_eq!((order.bytes, order.passed(), order.next), (2, 2, 2));
        order.truncate(1);
        assert_eq!((order.bytes, order.passed(), order.next, order.missing(1)), (0, 1, 1, None));
    }

    #[test]
    fn what_is_missing_at_the_end_is_said_in_bytes() {
        let mut order = Order::new(0, 100);
        order.take(0, b"ab");
        order.take(4, b"e");
        assert!(order.missing(5).unwrap().contains("bytes 2 to 3 of the file never arrived"));
        order.truncate(3);
        assert!(order.missing(3).unwrap().contains("bytes 2 to 2 of the file never arrived"));
        assert_eq!(order.missing(2), None);
        assert!(matches!(order.take(u64::MAX, b"xy"), Taken::Refused(_)));
    }
}
