//! The check of a table: text, records, header, cells, keys, rules, in one pass over pushed bytes.
//!
//! Holds one record at most (`Limits::row`), the header, and the keys. What is found goes to the collector at once; no
//! message is made of anything but rules, fields' names and, when the header makes sure that they are labels, labels.
//! Called by `check`.

mod body;
mod habits;
mod header;
mod line_ends;
mod pass;
mod records;
#[cfg(test)]
mod tests;
mod text;

use std::sync::Arc;

use super::report::{At, ErrorType};
use super::rules::{Context, RuleSet, RulesOutcome};
use super::schema::Schema;
use super::{Collector, Fault, Policy};
use pass::Pass;
use records::Records;
use text::{Stop, Text};

/// How the text is encoded; declared by the dataset, never guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// With or without a byte order mark.
    #[default]
    Utf8,
    Windows1252,
    /// By its byte order mark, which must be there.
    Utf16,
    Utf16Le,
    Utf16Be,
}

/// How cells and records are told apart (RFC 4180).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    pub delimiter: u8,
    /// None: quotes are ordinary characters.
    pub quote: Option<u8>,
    /// Whether the first record holds the labels; without it the columns are the schema's, in its order.
    pub header: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { delimiter: b',', quote: Some(b'"'), header: true }
    }
}

/// `[limits]` of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one record, as UTF-8. 1 MiB + 64 KiB.
    pub row: usize,
    /// Labels. 4096.
    pub columns: usize,
    /// Bytes of all keys of one upload. 512 MiB.
    pub keys: usize,
    /// Errors that are listed one by one. 1000.
    pub errors: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { row: (1 << 20) + (64 << 10), columns: 4096, keys: 512 << 20, errors: 1000 }
    }
}

/// All demands on the content of a table.
#[derive(Debug, Clone, Default)]
pub struct TableRules {
    pub encoding: Encoding,
    pub dialect: Dialect,
    /// None: structure only.
    pub schema: Option<Schema>,
    pub policy: Policy,
    pub limits: Limits,
    pub rules: RuleSet,
}

/// One table under way.
pub struct Table {
    text: Text,
    records: Records,
    pass: Pass,
    /// A final fault came: nothing more is looked at.
    over: bool,
}

impl Table {
    pub fn begin(rules: Arc<TableRules>, context: &Context) -> Self {
        // One cell more than a header may have tells that it has too many.
        let most_cells = rules.limits.columns.saturating_add(1);
        Self {
            text: Text::new(rules.encoding),
            records: Records::new(rules.dialect, rules.limits.row, most_cells),
            pass: Pass::new(rules, context),
            over: false,
        }
    }

    /// Takes the next bytes of the (unpacked) file, cut anywhere; what is found goes to `out`.
    ///
    /// # Errors
    /// A final fault, which is in `out` as an error too: the header is wrong, a forbidden column, a bound. The caller
    /// pushes no more then.
    pub fn push(&mut self, bytes: &[u8], out: &mut Collector) -> Result<(), Fault> {
        let Self { text, records, pass, .. } = self;
        let pushed = text
            .push(bytes, &mut |text| records.push(text, &mut |record| pass.record(record, out)))
            .and_then(|()| Ok(pass.flush(out)?));
        self.settle(pushed, out)
    }

    /// The end of the file. Also after a fault: then it only says how far it came. Fills in `rows` and `columns`.
    pub fn finish(mut self, out: &mut Collector) -> RulesOutcome {
        if !self.over {
            let Self { text, records, pass, .. } = &mut self;
            let last = std::mem::replace(text, Text::new(Encoding::Utf8));
            let ended = last
                .finish(&mut |text| records.push(text, &mut |record| pass.record(record, out)))
                .and_then(|()| Ok(records.finish(&mut |record| pass.record(record, out))?))
                .and_then(|()| Ok(pass.flush(out)?));
            // A final fault of the last record is in `out`.
            let _ = self.settle(ended, out);
        }
        self.pass.finish(self.over, out)
    }

    /// The file breaks off by a fault that is not the table's: nothing is asked of its end, but what was found counts.
    pub(super) fn break_off(self, out: &mut Collector) {
        self.pass.break_off(out);
    }

    fn settle(&mut self, result: Result<(), Stop>, out: &mut Collector) -> Result<(), Fault> {
        let fault = match result {
            Ok(()) => return Ok(()),
            Err(Stop::Fault(fault)) => fault,
            Err(Stop::Unmarked(_)) => {
                let at = At { row: Some(1), ..At::default() };
                out.error(ErrorType::EncodingError, "byte-order-mark", at, || {
                    "the file does not begin with a byte order mark, which UTF-16 needs: export it as UTF-16 with one"
                        .into()
                });
                Fault(out.reasons(1).join("; "))
            }
        };
        self.over = true;
        Err(fault)
    }
}
