//! What makes an extract acceptable: name, size, type. Push-style: bytes go in as they come, a verdict comes out.
//!
//! Does no input or output and holds a bounded amount of memory, whatever the bytes: it can be fuzzed, and runs the same
//! in the daemon and on a provider's machine. Called by `intake`; `config` compiles its [`Rules`].
//!
//! A [`Check`] is a row of demands, each fed what the one before lets pass: size, type, packing, type of what was packed,
//! table. The words of a [`Fault`] name what is wrong and what to do, never a cell's value.

mod keys;
mod kind;
mod name;
mod pass;
mod policy;
mod report;
mod row;
pub mod rules;
pub mod schema;
mod table;
mod unpack;

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::Regex;

use crate::types::FileName;
pub use keys::Codes;
pub use pass::Check;
pub use policy::{Policy, Severity};
pub use report::{At, Collector, ErrorType, Group, Problem, ROWS_SHOWN, Report, Restricted};
pub use rules::{Context, RuleSet};
pub use table::{Dialect, Encoding, Limits, TableRules};
pub use unpack::{Compression, Limits as UnpackLimits};

/// What content a dataset takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text in rows; a spreadsheet, archive, document or program is refused for what it is.
    Csv,
    /// Anything.
    Opaque,
}

/// A dataset's demands, compiled.
#[derive(Debug, Clone)]
pub struct Rules {
    pub format: Format,
    /// Whole-name pattern; none takes `*.csv` for csv, any name for opaque. Its named groups are the name's parts. A
    /// packed file is judged by its name without `.gz` or `.zip`.
    pub name: Option<Regex>,
    /// The pattern in words for people, such as "AGENCY_YYYY-MM.csv".
    pub name_hint: Option<String>,
    /// Bytes; 1 unless the dataset allows empty files.
    pub min_size: u64,
    /// Bytes as received.
    pub max_size: u64,
    /// Opened when the name ends in `.gz` or `.zip`; otherwise such a file is a wrong type. Empty for opaque datasets.
    pub compression: Vec<Compression>,
    pub unpack: UnpackLimits,
    /// None for opaque datasets.
    pub table: Option<Arc<TableRules>>,
}

impl Rules {
    /// Rules that only look at name, size and type; what a test or a dataset without more to say begins from.
    pub fn of(format: Format, max_size: u64) -> Self {
        Self {
            format,
            name: None,
            name_hint: None,
            min_size: 1,
            max_size,
            compression: Vec::new(),
            unpack: UnpackLimits { size: max_size, ratio: 200 },
            table: None,
        }
    }
}

/// A demand that is not met, in words for a person; final: more bytes cannot mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(pub String);

/// What the check came to.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub report: Report,
    pub restricted: Restricted,
    /// Sums of columns, for control totals: field name to decimal text.
    pub sums: BTreeMap<String, String>,
}

impl Rules {
    /// Begins the check of a file of this name. `today` (UTC) is for rules such as "not in the future"; `last_rows` are
    /// the data rows of the organisation's last accepted upload of this dataset, if they are known.
    pub fn begin(&self, name: &FileName, today: jiff::civil::Date, last_rows: Option<u64>) -> Check {
        let context = Context { parts: self.parts(name), today, last_rows };
        Check::begin(self, Compression::of_name(name.as_str(), &self.compression), &context)
    }
}

/// "2 GiB (2147483648 bytes)", or the bytes alone when no unit divides them.
fn bytes_in_words(bytes: u64) -> String {
    let units = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(size, _)| bytes >= *size && bytes.is_multiple_of(*size)) {
        Some((size, unit)) => format!("{} {unit} ({bytes} bytes)", bytes / size),
        None if bytes == 1 => "1 byte".into(),
        None => format!("{bytes} bytes"),
    }
}
