//! Quotes that do not close: where the record is cut, and where reading begins again.

use super::Records;
use super::record::{Broken, LineEnd, Record};
use crate::check::Fault;

/// How often reading begins again behind a quote that did not close; past it the file is beyond telling.
pub(super) const REWINDS: usize = 16;

/// What comes after an unclosed quote.
pub(super) enum Resume {
    /// Go on in the pushed bytes, from here.
    At(usize),
    Replay(Vec<u8>),
}

impl Records {
    /// The record is past its limit. True when that is the doing of a quote that does not close, and reading can go on
    /// after the first line end that it swallowed.
    pub(super) fn overflow(&mut self) -> bool {
        if self.line.is_some() {
            return true;
        }
        self.too_long = true;
        self.carry = Vec::new();
        self.cells.clear();
        false
    }

    /// Hands on the record whose quote does not close, cut at the first line end inside, and says where to read on.
    pub(super) fn unclosed(
        &mut self,
        chunk: &[u8],
        begin: usize,
        sink: &mut dyn FnMut(Record<'_>) -> Result<(), Fault>,
    ) -> Result<Resume, Fault> {
        let (end, next) = self.line.unwrap_or((self.carried, self.carried));
        self.rewinds += 1;
        let broken = if self.rewinds > REWINDS { Broken::Hopeless } else { Broken::Unclosed };
        let (bytes, resume) = if next <= self.carried {
            (&self.carry[..end], Resume::Replay(self.carry[next..].to_vec()))
        } else {
            // A line end is never cut, so its start is in the chunk as well.
            self.carry.extend_from_slice(&chunk[begin..begin + end - self.carried]);
            (&self.carry[..], Resume::At(begin + next - self.carried))
        };
        sink(Record {
            count: self.count,
            end: LineEnd::Swallowed,
            ..Record::broken(bytes, &self.cells, self.quote_char(), broken)
        })?;
        self.reset();
        Ok(resume)
    }
}
