//! The worker's other way: an upload that is not one clean sequence. Each run of bytes is sealed into a segment of its own;
//! what the file is worth is judged when it is completed.
//!
//! Must never write on in a segment that was ended, nor in one of an earlier session. Blocking: runs on the worker's
//! thread. Called by `lane`.

use super::pipeline::{Broken, Pipeline, Stop};
use super::sealing::{Origin, Sealing};
use super::segments::Segments;
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
    /// A draft is gone on with.
    pub(super) fn resume(mut origin: Origin, keeper: Option<Keeper>, segments: Segments) -> Self {
        origin.number = origin.number.max(segments.next_number());
        let (at, whole) = (segments.size(), segments.whole());
        Self { origin, keeper, segments, run: None, ticketed: false, whole, at, received: 0, broken: None }
    }

    /// A clean sequence ends, and the pass over it.
    pub(super) fn of(pipeline: Pipeline) -> Result<Self, Stop> {
        let received = pipeline.size();
        let (origin, keeper, segment) = pipeline.into_segment(true)?;
        let mut segments = Segments::default();
        segment.into_iter().for_each(|segment| segments.push(segment));
        let mut pieces = Self { received, ..Self::resume(origin, keeper, segments) };
        pieces.tell();
        Ok(pieces)
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
        self.announce();
        Ok(())
    }

    /// How far a draft of it would go, and that the run has a file now.
    fn announce(&mut self) {
        let (Some(keeper), Some((run, start))) = (&self.keeper, &self.run) else { return };
        if *start <= self.whole {
            keeper.facts.set_sealed(self.whole.max(*start + run.sealed()));
        }
        if !self.ticketed
            && let Some((number, header, key)) = run.file()
        {
            self.ticketed = true;
            keeper.writing(&self.segments, Some(&(number, header, key, *start)));
        }
    }

    /// The next bytes belong somewhere else.
    pub(super) fn jump(&mut self, at: u64) -> Result<(), Broken> {
        let ended = self.end_run();
        self.at = at;
        self.unbroken(ended)
    }

    /// What lies behind `size` is gone; the next bytes belong there.
    pub(super) fn truncate(&mut self, size: u64) -> Result<(), Broken> {
        let ended = self.end_run();
        let gone = self.segments.truncate(size);
        self.tell();
        drop(gone);
        self.at = size;
        self.unbroken(ended)
    }

    /// Ends the segment under way with all that came.
    fn end_run(&mut self) -> Result<(), Broken> {
        self.ticketed = false;
        let Some((run, start)) = self.run.take() else { return Ok(()) };
        self.segments.push(run.end(start)?);
        let gone = self.segments.prune();
        self.tell();
        drop(gone);
        Ok(())
    }

    fn tell(&mut self) {
        self.whole = self.segments.whole();
        if let Some(keeper) = &self.keeper {
            keeper.facts.set_sealed(self.whole);
            keeper.writing(&self.segments, None);
        }
    }

    /// Brings all whole chunks to the disk.
    pub(super) fn sync(&mut self) -> Result<(), Broken> {
        let synced = self.run.as_mut().map_or(Ok(()), |(run, _)| run.sync());
        self.announce();
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
        self.end_run()?;
        match self.broken {
            Some(broken) => Err(broken),
            None => Ok(self.segments),
        }
    }

    /// The session is lost: as far as chunks are sealed.
    pub(super) fn cut(mut self) -> Result<Segments, Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        if let Some((run, start)) = self.run.take()
            && let Some(segment) = run.cut(start)?
        {
            self.segments.push(segment);
        }
        Ok(self.segments)
    }
}
