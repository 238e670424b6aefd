//! What a lane's worker works on: one pass over a clean sequence, or its pieces.
//!
//! Blocking: runs on the worker's thread. Called by `lane`.

use super::pieces::Pieces;
use super::pipeline::{Broken, Finished, Pipeline, Stop, Want};
use super::segments::Segments;

/// What the worker works on.
pub(super) enum Work {
    /// One clean sequence from the start, judged as it comes.
    Pass(Box<Pipeline>),
    Pieces(Box<Pieces>),
}

/// What a session's bytes came to.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "made once for each upload, and matched at once")]
pub(super) enum Ended {
    Whole(Finished),
    /// Not judged yet.
    Pieces(Segments),
}

impl Work {
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        match self {
            Work::Pass(pipeline) => pipeline.push(bytes),
            Work::Pieces(pieces) => pieces.push(bytes).map_err(Stop::Broken),
        }
    }

    pub(super) fn sync(&mut self) -> Result<(), Broken> {
        match self {
            Work::Pass(pipeline) => pipeline.sync(),
            Work::Pieces(pieces) => pieces.sync(),
        }
    }

    pub(super) fn note(&mut self) -> Result<(), Broken> {
        match self {
            Work::Pass(pipeline) => pipeline.note(),
            Work::Pieces(pieces) => pieces.note(),
        }
    }

    /// Bytes that came in this session.
    pub(super) fn received(&self) -> u64 {
        match self {
            Work::Pass(pipeline) => pipeline.size(),
            Work::Pieces(pieces) => pieces.received(),
        }
    }

    pub(super) fn finish(self, want: Want) -> Result<Ended, Broken> {
        match self {
            Work::Pass(pipeline) => pipeline.finish(want).map(Ended::Whole),
            Work::Pieces(pieces) => pieces.end().map(Ended::Pieces),
        }
    }

    /// Its ticket goes: nobody else writes one any more.
    pub(super) fn forget(&self) {
        let keeper = match self {
            Work::Pass(pipeline) => pipeline.keeper(),
            Work::Pieces(pieces) => pieces.keeper(),
        };
        if let Some(keeper) = keeper {
            keeper.forget();
        }
    }

    pub(super) fn cut(self) -> Option<Segments> {
        match self {
            Work::Pass(pipeline) => {
                let (_, _, segment) = pipeline.into_segment(false).ok()?;
                let mut segments = Segments::default();
                segments.push(segment?);
                Some(segments)
            }
            Work::Pieces(pieces) => pieces.cut().ok(),
        }
    }
}
