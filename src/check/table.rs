//! The check of a table: text, records, header, cells, keys, rules, in one pass over pushed bytes.
//!
//! Holds one record at most (`Limits::row`), the header, and the keys. Called by `check`.

use super::rules::{Context, RuleSet, RulesOutcome};
use super::schema::Schema;
use super::{Collector, Fault, Policy};

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
pub struct Table {}

impl Table {
    pub fn begin(rules: std::sync::Arc<TableRules>, context: &Context) -> Self {
        let _ = (rules, context);
        unimplemented!()
    }

    /// Takes the next bytes of the (unpacked) file, cut anywhere; what is found goes to `out`.
    ///
    /// # Errors
    /// A final fault, which is in `out` as an error too: the header is wrong, a forbidden column, a bound. The caller
    /// pushes no more then.
    pub fn push(&mut self, bytes: &[u8], out: &mut Collector) -> Result<(), Fault> {
        let _ = (bytes, out);
        unimplemented!()
    }

    /// The end of the file. Also after a fault: then it only says how far it came. Fills in `rows` and `columns`.
    pub fn finish(self, out: &mut Collector) -> RulesOutcome {
        let _ = out;
        unimplemented!()
    }
}
