//! What a client's writes tell of it: where it appends, and whether it may have been interrupted.
//!
//! OpenSSH's `sftp` that is interrupted sends an ordinary CLOSE for the part that it sent, and so do programs that close a
//! file on the way out of an error. Such a part ends where a full-size write ends, or where a buffer ends that the client
//! sends in several writes (curl that reaches a time limit); a whole file ends there only when its size is a multiple of
//! that. What a client writes by rows or as it reads them from a pipe has no such size. Called by `upload`.

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

/// A buffer is no smaller: what is shorter is a row, and any row may be the last.
const BLOCK_MIN: u64 = 4096;
/// Blocks of one size after which it is taken for the client's.
const BLOCKS: u64 = 3;

/// A client's buffer, as it sends it in several writes: all of full size but the last.
#[derive(Debug, Clone, Copy, Default)]
struct Blocks {
    /// Bytes of the block under way.
    open: u64,
    /// Bytes of each, so far; 0 when they differ, or did not come one behind the other.
    size: u64,
    count: u64,
    /// Where the last write ended.
    end: u64,
}

impl Blocks {
    fn write(&mut self, offset: u64, length: u64, full: bool) {
        let first = self.end == 0 && self.count == 0;
        if !first && offset != self.end {
            self.size = 0;
        }
        self.open += length;
        self.end = offset.saturating_add(length);
        if full {
            return;
        }
        let block = std::mem::take(&mut self.open);
        if self.count == 0 {
            self.size = block;
        } else if block != self.size {
            self.size = 0;
        }
        self.count += 1;
    }

    /// Whether the file ends, at `end`, where such a block does. `widest`: a block of one write is none.
    fn end_at(&self, end: u64, widest: u64) -> bool {
        self.open == 0 && self.end == end && self.count >= BLOCKS && self.size > widest && self.size >= BLOCK_MIN
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
    blocks: Blocks,
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
            self.blocks = Blocks::default();
        }
        self.blocks.write(offset, length, length == self.widest);
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

    /// The file ends where a full-size write ends, or a block of them, and there were more of those.
    pub(super) fn look_interrupted(&self) -> bool {
        self.count > 1 && (self.tail.1 == self.widest || self.blocks.end_at(self.tail.0, self.widest))
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
    fn an_end_at_a_buffer_s_end_looks_interrupted_where_the_client_sends_several_writes_for_each() {
        // curl: 64 KiB at a time.
        let buffer = [30_000, 30_000, 5_536];
        let sent = |buffers: usize, rest: &[usize]| writes(&[buffer.repeat(buffers), rest.to_vec()].concat());
        assert!(sent(3, &[]).look_interrupted() && sent(60, &[]).look_interrupted());
        assert!(!sent(2, &[]).look_interrupted(), "too few to tell");
        for rest in [&[5_535][..], &[30_000, 20_880], &[30_000, 5_536], &[5_536], &[1]] {
            assert!(!sent(60, rest).look_interrupted(), "{rest:?}");
        }
        let mut mended = sent(60, &[]);
        mended.part(0, 10);
        mended.end();
        assert!(!mended.look_interrupted(), "it was written to after its last buffer: it came to its end");
    }

    #[test]
    fn rows_do_not_look_interrupted() {
        // A row in two writes; rows that are mostly of one length; a header that is longer than all rows.
        for rows in
            [[40, 2].repeat(500), [[24].repeat(50), vec![25]].concat().repeat(9), [vec![90], [24].repeat(500)].concat()]
        {
            assert!(!writes(&[rows, vec![24]].concat()).look_interrupted());
        }
        assert!(!writes(&[9_000, 1_000, 9_000, 1_000, 9_000, 900, 9_000, 1_000].repeat(5)).look_interrupted());
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
