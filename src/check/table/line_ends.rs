//! How a file's records end: one way in all, or a sign that it was put together, converted twice or cut.
//!
//! Remembers a handful of facts. Called by `pass`.

use super::records::LineEnd;
use crate::check::{At, Collector, ErrorType, Policy};

/// The line ends of one file so far.
#[derive(Debug, Default)]
pub(super) struct LineEnds {
    first: Option<LineEnd>,
    /// The first record that ends in another way than the first does.
    other: Option<u64>,
    /// The record that the end of the file ended.
    open: Option<u64>,
}

impl LineEnds {
    /// Whether there is nothing to note of it.
    #[inline]
    pub(super) fn is_usual(&self, end: LineEnd) -> bool {
        self.first == Some(end)
    }

    #[inline]
    pub(super) fn note(&mut self, end: LineEnd, row: u64, out: &mut Collector) {
        if self.is_usual(end) {
            return;
        }
        self.note_change(end, row, out);
    }

    fn note_change(&mut self, end: LineEnd, row: u64, out: &mut Collector) {
        let end = match end {
            LineEnd::Swallowed => return,
            LineEnd::None => {
                self.open = Some(row);
                return;
            }
            LineEnd::CrCrLf => {
                let at = At { row: Some(row), ..At::default() };
                out.error(ErrorType::SourceError, "line-end", at, || {
                    "the row ends in CR CR LF: line ends were converted twice; send the file in binary mode".into()
                });
                LineEnd::CrLf
            }
            end => end,
        };
        if *self.first.get_or_insert(end) != end {
            self.other.get_or_insert(row);
        }
    }

    /// `cut`: the last record was reported as cut already.
    pub(super) fn finish(self, policy: &Policy, cut: bool, out: &mut Collector) {
        let at = |row| At { row: Some(row), ..At::default() };
        if let Some(row) = self.other {
            out.found(policy.mixed_line_ends, ErrorType::SourceError, "mixed-line-ends", at(row), || {
                "the row does not end as the first one does: files of different systems may have been joined".into()
            });
        } else if self.first == Some(LineEnd::Cr) {
            out.found(policy.cr_line_ends, ErrorType::SourceError, "cr-line-ends", at(1), || {
                "all rows end in CR alone, as on an old Macintosh: export the file with CRLF or LF".into()
            });
        }
        if let Some(row) = self.open
            && !cut
        {
            out.found(policy.no_final_line_end, ErrorType::SourceError, "no-final-line-end", at(row), || {
                "the last row has no line end: the file may have been cut".into()
            });
        }
    }
}
