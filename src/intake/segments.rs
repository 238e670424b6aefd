//! What a draft is made of: runs of sealed bytes at offsets, of which the later ones count where they overlap.
//!
//! Must never show a byte that was truncated away, nor take a gap for zeros. Blocking where it reads. Called by `pieces`,
//! `drafts` and `ticket`.

use std::os::unix::fs::FileExt;

use super::pipeline::Broken;
use crate::seal::{CHUNK, RunKey, TAG};
use crate::vault::Run;

/// What a file takes on a disk, however little is in it.
const FILE: u64 = 4096;

/// One run of sealed bytes: an age file in the spool, and the key to its payload.
#[derive(Debug)]
pub(super) struct Segment {
    pub run: Run,
    /// Bytes before its first chunk.
    pub header: u64,
    pub key: RunKey,
    /// Where in the draft its first byte belongs.
    pub start: u64,
    /// Plaintext bytes that are sealed in it.
    pub len: u64,
    /// How many of those count: the rest was truncated away.
    pub shown: u64,
    /// Its last chunk is sealed as the last. One that a lost connection cut off has only whole chunks before the last.
    pub ended: bool,
}

impl Segment {
    /// Behind its last byte that counts.
    pub(super) fn end(&self) -> u64 {
        self.start.saturating_add(self.shown)
    }

    /// Reads and opens the chunk that holds the plaintext byte `at` of this segment into `chunk`; returns where in the
    /// segment it begins.
    fn chunk(&self, file: &std::fs::File, at: u64, chunk: &mut Vec<u8>) -> Result<u64, Broken> {
        let index = at / CHUNK as u64;
        let from = index * CHUNK as u64;
        let length = usize::try_from(self.len - from).unwrap_or(CHUNK).min(CHUNK);
        chunk.resize(length + TAG, 0);
        file.read_exact_at(chunk, self.header + RunKey::at(index))?;
        let last = self.ended && from + length as u64 == self.len;
        self.key.open(index, last, chunk)?;
        Ok(from)
    }

    /// Whether its last chunk opens as it should; what came before it was written before it.
    pub(super) fn is_sound(&self) -> bool {
        if self.len == 0 {
            return true;
        }
        let opened = self.run.open().map_err(Broken::from);
        opened.and_then(|file| self.chunk(&file, self.len - 1, &mut Vec::new())).is_ok()
    }
}

/// A part of a draft that one segment shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    from: u64,
    to: u64,
    segment: usize,
}

/// All segments of a draft, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Segments(Vec<Segment>);

impl Segments {
    pub(super) fn all(&self) -> &[Segment] {
        &self.0
    }

    pub(super) fn push(&mut self, segment: Segment) {
        self.0.push(segment);
    }

    /// The number for the next file.
    pub(super) fn next_number(&self) -> u32 {
        self.0.iter().map(|segment| segment.run.number() + 1).max().unwrap_or(0)
    }

    /// Behind the last byte.
    pub(super) fn size(&self) -> u64 {
        self.0.iter().map(Segment::end).max().unwrap_or(0)
    }

    /// Bytes that lie sealed in the spool, those that no longer count with them.
    pub(super) fn held(&self) -> u64 {
        self.0.iter().map(|segment| segment.len.max(FILE)).sum()
    }

    /// Takes away what lies behind `size`, and what later segments cover wholly. Returns the segments that are no longer
    /// needed: their files go when they are dropped, which must come after the ticket that does not name them.
    #[must_use]
    pub(super) fn truncate(&mut self, size: u64) -> Vec<Segment> {
        for segment in &mut self.0 {
            segment.shown = segment.shown.min(size.saturating_sub(segment.start));
        }
        self.prune()
    }

    /// Takes out the segments of which nothing shows.
    #[must_use]
    pub(super) fn prune(&mut self) -> Vec<Segment> {
        let shown: std::collections::BTreeSet<usize> = self.extents().iter().map(|extent| extent.segment).collect();
        let mut index = 0;
        self.0
            .extract_if(.., |_| {
                index += 1;
                !shown.contains(&(index - 1))
            })
            .collect()
    }

    /// Which segment shows where, in order, without overlap.
    fn extents(&self) -> Vec<Extent> {
        let mut extents: Vec<Extent> = Vec::new();
        for (segment, of) in self.0.iter().enumerate().filter(|(_, segment)| segment.shown > 0) {
            let (from, to) = (of.start, of.end());
            let mut rest = Vec::with_capacity(extents.len() + 2);
            for old in extents {
                if old.from < from {
                    rest.push(Extent { to: old.to.min(from), ..old });
                }
                if old.to > to {
                    rest.push(Extent { from: old.from.max(to), ..old });
                }
            }
            rest.push(Extent { from, to, segment });
            rest.sort_unstable_by_key(|extent| extent.from);
            extents = rest;
        }
        extents
    }

    /// The first bytes below `size` that no segment shows: from, and up to before.
    pub(super) fn gap(&self, size: u64) -> Option<(u64, u64)> {
        let mut covered = 0;
        for extent in self.extents() {
            if extent.from > covered {
                return Some((covered, extent.from.min(size))).filter(|_| covered < size);
            }
            covered = extent.to;
        }
        (covered < size).then_some((covered, size))
    }

    /// The stretches without a gap, in order: from, and up to before.
    pub(super) fn stretches(&self) -> Vec<(u64, u64)> {
        let mut stretches: Vec<(u64, u64)> = Vec::new();
        for Extent { from, to, .. } in self.extents() {
            match stretches.last_mut() {
                Some((_, end)) if *end == from => *end = to,
                _ => stretches.push((from, to)),
            }
        }
        stretches
    }

    /// How long the part at the beginning is that has no gap.
    pub(super) fn whole(&self) -> u64 {
        self.gap(u64::MAX).map_or(u64::MAX, |(from, _)| from)
    }

    /// Opens the first `size` bytes in order, a chunk or less at a time. `take` may end it early by saying false.
    ///
    /// # Errors
    /// A gap, or a file that cannot be read or does not open.
    pub(super) fn read(&self, size: u64, take: impl FnMut(&[u8]) -> bool) -> Result<(), Broken> {
        if let Some((from, to)) = self.gap(size) {
            return Err(Broken::store(format!("a draft has a gap from {from} to {to}")));
        }
        self.read_between(0, size, take)
    }

    /// The same of what is shown in a part of it.
    ///
    /// # Errors
    /// A file that cannot be read or does not open.
    pub(super) fn read_between(
        &self,
        after: u64,
        before: u64,
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), Broken> {
        let mut chunk = zeroize::Zeroizing::new(Vec::with_capacity(CHUNK + TAG));
        for Extent { from, to, segment } in self.extents() {
            let (mut from, to) = (from.max(after), to.min(before));
            if from >= to {
                continue;
            }
            let segment = &self.0[segment];
            let file = segment.run.open()?;
            while from < to {
                let begins = segment.chunk(&file, from - segment.start, &mut chunk)? + segment.start;
                let until = to.min(begins + chunk.len() as u64);
                // Both lie within the chunk, which is small.
                let part = (from - begins) as usize..(until - begins) as usize;
                if !take(&chunk[part]) {
                    return Ok(());
                }
                from = until;
            }
        }
        Ok(())
    }

    /// The files outlive this: for the next start.
    pub(super) fn leave(&mut self) {
        self.0.iter_mut().for_each(|segment| segment.run.leave());
    }
}

#[cfg(test)]
mod tests {
    use super::super::pipeline::tests::{Bench, plaintext};
    use super::*;
    use crate::seal::Sealer;
    use crate::types::{Timestamp, UploadId};

    fn segment(bench: &Bench, number: u32, start: u64, plain: &[u8], ended: bool) -> Segment {
        let (header, mut sealer) = Sealer::begin(std::slice::from_ref(&bench.recipient)).unwrap();
        let mut spool = bench.vault.create(UploadId::new(Timestamp::UNIX_EPOCH), number).unwrap();
        spool.write(&header).unwrap();
        let mut chunks = plain.chunks(CHUNK).peekable();
        while let Some(chunk) = chunks.next() {
            let mut chunk = chunk.to_vec();
            sealer.seal(&mut chunk, ended && chunks.peek().is_none()).unwrap();
            spool.write(&chunk).unwrap();
        }
        let (header, key, len) = (header.len() as u64, sealer.key(), plain.len() as u64);
        Segment { run: spool.into_run().unwrap(), header, key, start, len, shown: len, ended }
    }

    fn content(segments: &Segments, size: u64) -> Vec<u8> {
        let mut content = Vec::new();
        segments
            .read(size, |bytes| {
                content.extend_from_slice(bytes);
                true
            })
            .unwrap();
        content
    }

    #[test]
    fn later_segments_count_where_they_overlap_and_what_was_cut_off_is_gone() {
        let bench = Bench::new();
        let mut segments = Segments::default();
        let mut model = plaintext(200_000);
        segments.push(segment(&bench, 0, 0, &model, true));
        let (patch, tail) = (vec![b'P'; 90_000], vec![b'T'; 3 * CHUNK]);
        segments.push(segment(&bench, 1, 50_001, &patch, true));
        segments.push(segment(&bench, 2, 199_000, &tail, false));
        model[50_001..140_001].copy_from_slice(&patch);
        model.truncate(199_000);
        model.extend_from_slice(&tail);
        assert_eq!((segments.size(), segments.whole(), segments.gap(300_000)), (395_608, 395_608, None));
        assert!(content(&segments, 395_608) == model);
        assert!(content(&segments, 140_500) == model[..140_500]);
        assert!(segments.all().iter().all(Segment::is_sound));

        assert_eq!(segments.truncate(100_000).len(), 1, "the tail");
        segments.push(segment(&bench, 3, 110_000, b"beyond", true));
        assert_eq!((segments.gap(110_006), segments.whole()), (Some((100_000, 110_000)), 100_000));
        assert_eq!(segments.stretches(), [(0, 100_000), (110_000, 110_006)]);
        assert_eq!(segments.held(), 290_000 + FILE, "however little is in a file, it takes its place");
        assert!(content(&segments, 100_000) == model[..100_000]);
        assert!(segments.read(110_006, |_| true).is_err());
        segments.push(segment(&bench, 4, 0, &vec![b'W'; 120_000], true));
        assert_eq!((segments.prune().len(), segments.next_number()), (3, 5));
        assert_eq!(bench.spooled(), 1);
        assert!(content(&segments, 120_000) == vec![b'W'; 120_000]);
        assert_eq!(segments.truncate(0).len(), 1);
        assert_eq!((segments.size(), segments.whole(), segments.gap(0), segments.gap(1)), (0, 0, None, Some((0, 1))));
    }

    #[test]
    fn a_changed_file_is_found_out() {
        let bench = Bench::new();
        let mut segments = Segments::default();
        segments.push(segment(&bench, 0, 0, &plaintext(100_000), true));
        let path = bench.dir.path().join(format!(
            "spool/{}",
            std::fs::read_dir(bench.dir.path().join("spool"))
                .unwrap()
                .next()
                .unwrap()
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
        ));
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(!segments.all()[0].is_sound());
        assert!(segments.read(100_000, |_| true).is_err());
        bytes.truncate(bytes.len() - 20_000);
        std::fs::write(&path, &bytes).unwrap();
        assert!(!segments.all()[0].is_sound() && segments.read(100_000, |_| true).is_err());
    }
}
