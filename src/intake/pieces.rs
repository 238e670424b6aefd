//! The worker's other way: an upload that is not one clean sequence. Each run of bytes is sealed into a segment of its own;
//! what the file is worth is judged when it is completed.
//!
//! Must never write on in a segment that was ended, nor in one of an earlier session. Blocking: runs on the worker's
//! thread. Called by `lane`.

use super::pipeline::{Broken, Pipeline, Stop};
use super::sealing::{Origin, Sealing};
use super::segments::{Segment, Segments};
use super::ticket::Keeper;

pub(super) struct Pieces {
    origin: Origin,
    keeper: Option<Keeper>,
    segments: Segments,
    /// The segment under way, and where it begins. None until bytes come.
    run: Option<(Sealing, u64)>,
    /// The run under way has its place in the ticket.
    ticketed: bool,
    /// Bytes without a gap in the segments that are ended.
    whole: u64,
    /// Where the next bytes belong.
    at: u64,
    /// Bytes that came in this session.
    received: u64,
    broken: Option<Broken>,
}

impl Pieces {
    /// A draft of `size` bytes is gone on with: the next bytes belong behind them.
    pub(super) fn resume(mut origin: Origin, keeper: Option<Keeper>, segments: Segments, size: u64) -> Self {
        debug_assert!(size >= segments.size());
        origin.number = origin.number.max(segments.next_number());
        let whole = segments.whole();
        Self { origin, keeper, segments, run: None, ticketed: false, whole, at: size, received: 0, broken: None }
    }

    /// A clean sequence ends, and the pass over it.
    pub(super) fn of(pipeline: Pipeline) -> Result<Self, Stop> {
        let received = pipeline.size();
        let (origin, keeper, segment) = pipeline.into_segment(true)?;
        let mut segments = Segments::default();
        segment.into_iter().for_each(|segment| segments.push(segment));
        Ok(Self { received, ..Self::resume(origin, keeper, segments, received) })
    }

    pub(super) fn keeper(&self) -> Option<&Keeper> {
        self.keeper.as_ref()
    }

    /// Bytes that came in this session.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.received += bytes.len() as u64;
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let pushed = self.seal(bytes);
        self.unbroken(pushed)
    }

    fn seal(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (run, _) = match &mut self.run {
            Some(run) => run,
            none => none.insert((Sealing::begin(&mut self.origin)?, self.at)),
        };
        run.push(bytes)?;
        self.at += bytes.len() as u64;
        self.announce()
    }

    /// How far a draft of it would go, and that the run has a file now.
    fn announce(&mut self) -> Result<(), Broken> {
        let (Some(keeper), Some((run, start))) = (&self.keeper, &self.run) else { return Ok(()) };
        if *start <= self.whole {
            keeper.facts.set_sealed(self.whole.max(*start + run.sealed()));
        }
        match run.file() {
            Some(_) if !self.ticketed => self.tell(),
            _ => Ok(()),
        }
    }

    /// The next bytes belong somewhere else.
    pub(super) fn jump(&mut self, at: u64) -> Result<(), Broken> {
        let gone = self.end_run().and_then(|gone| self.begin(at, gone));
        self.unbroken(gone)
    }

    /// What lies behind `size` is gone; the next bytes belong there.
    pub(super) fn truncate(&mut self, size: u64) -> Result<(), Broken> {
        let gone = self.end_run().and_then(|mut gone| {
            gone.extend(self.segments.truncate(size));
            self.begin(size, gone)
        });
        self.unbroken(gone)
    }

    /// A segment begins at `at`, when bytes come; those that are `gone` go when the ticket does not name them any more.
    fn begin(&mut self, at: u64, gone: Vec<Segment>) -> Result<(), Broken> {
        self.at = at;
        self.tell()?;
        drop(gone);
        Ok(())
    }

    /// Ends the segment under way with all that came; what is no longer needed for that.
    fn end_run(&mut self) -> Result<Vec<Segment>, Broken> {
        self.ticketed = false;
        let Some((run, start)) = self.run.take() else { return Ok(Vec::new()) };
        self.segments.push(run.end(start)?);
        Ok(self.segments.prune())
    }

    /// Writes the ticket: the segments, and where the next one begins or has begun.
    fn tell(&mut self) -> Result<(), Broken> {
        self.whole = self.segments.whole();
        let Some(keeper) = &self.keeper else { return Ok(()) };
        let Some((run, start)) = &self.run else {
            keeper.facts.set_sealed(self.whole);
            return keeper.writing(&self.segments, Some(self.at), None);
        };
        let open = run.file().map(|(number, header, key)| (number, header, key, *start));
        self.ticketed = open.is_some();
        keeper.writing(&self.segments, Some(*start), open.as_ref())
    }

    /// What the ticket says besides has changed.
    pub(super) fn note(&mut self) -> Result<(), Broken> {
        let told = self.tell();
        self.unbroken(told)
    }

    /// Brings all whole chunks to the disk.
    pub(super) fn sync(&mut self) -> Result<(), Broken> {
        let synced = self.run.as_mut().map_or(Ok(()), |(run, _)| run.sync());
        let synced = synced.and_then(|()| self.announce());
        self.unbroken(synced)
    }

    fn unbroken(&mut self, outcome: Result<(), Broken>) -> Result<(), Broken> {
        if let Err(broken) = &outcome {
            // What is left of the run is not to be trusted.
            self.run = None;
            self.broken.get_or_insert_with(|| broken.clone());
        }
        outcome
    }

    /// The session closes it: all that came.
    pub(super) fn end(mut self) -> Result<Segments, Broken> {
        let gone = self.end_run()?;
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        if let (Some(keeper), 1..) = (&self.keeper, self.received) {
            keeper.writing(&self.segments, None, None)?;
        }
        drop(gone);
        Ok(self.segments)
    }

    /// The session is lost: as far as chunks are sealed; all of a run that writes over something, which must not come
    /// back.
    pub(super) fn cut(mut self) -> Result<Segments, Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        if let Some((run, start)) = self.run.take() {
            let segment = match start < self.segments.size() {
                true => Some(run.end(start)?),
                false => run.cut(start)?,
            };
            segment.into_iter().for_each(|segment| self.segments.push(segment));
        }
        Ok(self.segments)
    }
}
