//! What a client's writes tell of it: where it appends, and whether it may have been interrupted.
//!
//! OpenSSH's `sftp` that is interrupted sends an ordinary CLOSE for the part that it sent, and so do programs that close a
//! file on the way out of an error. Such a part ends where a full-size write ends; a whole file ends there only when its
//! size is a multiple of the client's write size. Called by `upload`.

use crate::types::Refusal;

/// What an OPEN with APPEND means by its offsets (draft-ietf-secsh-filexfer-02, 6.3: "force all writes to append"). Some
/// clients count from the file's beginning, others from where they began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Append {
    /// Nothing was written yet.
    New,
    /// What to add to an offset.
    From(u64),
}

impl Append {
    /// Where a write at `offset` goes, when the file ends at `end`.
    ///
    /// # Errors
    /// Its offset does not fit: a plain file would take the bytes all the same, and be wrong.
    pub(super) fn place(&mut self, offset: u64, end: u64) -> Result<u64, Refusal> {
        if *self == Append::New {
            *self = Append::From(if offset == 0 { end } else { 0 });
        }
        let Append::From(base) = *self else { return Ok(offset) };
        let place = base.saturating_add(offset);
        if place == end {
            return Ok(place);
        }
        Err(Refusal::unsupported(format!(
            "the file has {end} bytes here, and the client goes on at {place}: look at the size again, and resume from there"
        )))
    }
}

/// The writes of one session, by length.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// The WRITE under way: where it began, and its bytes so far.
    now: Option<(u64, u64)>,
    widest: u64,
    /// How many were that long.
    count: u64,
    some: bool,
    /// Where the write ended that ends last in the file, and its length.
    tail: (u64, u64),
}

impl Writes {
    /// `widest`: of the sessions before.
    pub(super) fn after(widest: u64) -> Self {
        Self { widest, count: u64::from(widest > 0), ..Self::default() }
    }

    pub(super) fn part(&mut self, offset: u64, bytes: usize) {
        self.some = true;
        let (_, length) = self.now.get_or_insert((offset, 0));
        *length += bytes as u64;
    }

    pub(super) fn end(&mut self) {
        let Some((offset, length)) = self.now.take().filter(|(_, length)| *length > 0) else { return };
        if length > self.widest {
            (self.widest, self.count) = (length, 0);
        }
        self.count += u64::from(length == self.widest);
        let end = offset.saturating_add(length);
        if end >= self.tail.0 {
            self.tail = (end, length);
        }
    }

    pub(super) fn widest(&self) -> u64 {
        self.widest
    }

    /// The file was cut to `size`: an interrupted OpenSSH does so, to the end of its last write that was answered.
    pub(super) fn cut(&mut self, size: u64) {
        let (end, length) = self.tail;
        if size < end && length > 0 {
            let whole = (end - size).is_multiple_of(length) && length == self.widest;
            self.tail = (size, if whole { length } else { 0 });
        }
    }

    /// Something was written.
    pub(super) fn any(&self) -> bool {
        self.some
    }

    /// The file ends where a full-size write ends, and there were more of those.
    pub(super) fn look_interrupted(&self) -> bool {
        self.count > 1 && self.tail.1 == self.widest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(lengths: &[usize]) -> Writes {
        let (mut writes, mut at) = (Writes::default(), 0);
        for length in lengths {
            writes.part(at, length / 2);
            writes.part(at + (length / 2) as u64, length - length / 2);
            writes.end();
            at += *length as u64;
        }
        writes
    }

    #[test]
    fn an_end_at_a_full_size_write_looks_interrupted_unless_it_is_the_only_one() {
        for (lengths, looks) in [
            (&[][..], false),
            (&[100], false),
            (&[100, 100], true),
            (&[100, 100, 1], false),
            (&[50, 100, 100], true),
            (&[100, 100, 50, 100], true),
            (&[100, 50], false),
        ] {
            assert_eq!(writes(lengths).look_interrupted(), looks, "{lengths:?}");
        }
    }

    #[test]
    fn a_cut_to_a_write_s_end_does_too_and_any_other_does_not() {
        let mut cut = writes(&[100, 100, 100]);
        cut.cut(200);
        assert!(cut.look_interrupted());
        cut.cut(150);
        assert!(!cut.look_interrupted());
        let mut ended = writes(&[100, 100, 7]);
        ended.cut(200);
        assert!(!ended.look_interrupted(), "the short write was sent: the client came to its end");
    }

    #[test]
    fn appending_goes_on_at_the_end_however_it_counts() {
        for (first, place) in [(10, 10), (0, 10)] {
            let mut append = Append::New;
            assert_eq!(append.place(first, 10), Ok(place));
            assert_eq!(append.place(first + 5, 15), Ok(15));
            assert!(append.place(first + 5, 20).is_err());
        }
        assert!(Append::New.place(9, 10).is_err() && Append::New.place(11, 10).is_err());
    }
}
