//! Rules beyond the schema, for the policies that health and care data teams publish. `[[rules]]` and `[rows]` of a dataset.
//!
//! Compiled by `config` against the schema; no input or output. Called by `table`.

mod spec;

use std::collections::BTreeMap;

use regex::Regex;

use super::Fault;
use super::Severity;
use super::report::{Collector, Restricted};
use super::row::Row;
use super::schema::Schema;
pub use spec::{ChangeSpec, ForbiddenSet, ForbiddenSpec, Kind, Place, RowsSpec, RuleFault, Spec, Specs};

/// The rules of one dataset, compiled. The rules helper owns the insides.
#[derive(Debug, Clone, Default)]
pub struct RuleSet {}

/// What an upload's rows are judged against, besides the schema: known when it begins.
#[derive(Debug, Clone)]
pub struct Context {
    /// Named parts of the file's name: `agency`, `period`, ...
    pub parts: BTreeMap<String, String>,
    /// Today, UTC.
    pub today: jiff::civil::Date,
    /// Data rows of the organisation's last accepted upload of this dataset; none when there is none, or nobody knows
    /// (precheck).
    pub last_rows: Option<u64>,
}

/// What the rules found besides errors.
#[derive(Debug, Clone, Default)]
pub struct RulesOutcome {
    pub restricted: Restricted,
    /// Sums of the columns that `[totals]` names, as decimal text, by field name.
    pub sums: BTreeMap<String, String>,
}

/// One upload's pass through the rules.
pub struct RowChecks {}

impl RuleSet {
    /// Compiles what the TOML says against the schema and the name pattern. Without a schema only `rows` and `forbidden`
    /// may say something.
    ///
    /// # Errors
    /// Everything that cannot be obeyed, each with its place.
    pub fn compile(specs: &Specs, schema: Option<&Schema>, name: Option<&Regex>) -> Result<Self, Vec<RuleFault>> {
        let _ = (specs, schema, name);
        unimplemented!()
    }

    /// Labels of the file that must not be there, in the order of the file, also when undeclared: (column from 1, what
    /// it is: "a name", "contact details", ...). Case, spaces and punctuation do not matter.
    pub fn forbidden(&self, labels: &[&str]) -> Vec<(usize, String)> {
        let _ = labels;
        unimplemented!()
    }

    pub fn begin(&self, context: &Context) -> RowChecks {
        let _ = context;
        unimplemented!()
    }

    /// Plain words for /help.txt, one sentence each.
    pub fn describe(&self) -> Vec<String> {
        unimplemented!()
    }
}

impl RowChecks {
    /// # Errors
    /// A final fault, such as too many restricted ranges.
    pub fn row(&mut self, row: &Row<'_>, out: &mut Collector) -> Result<(), Fault> {
        let _ = (row, out);
        unimplemented!()
    }

    /// `rows`: data rows in all.
    pub fn finish(self, rows: u64, out: &mut Collector) -> RulesOutcome {
        let _ = (rows, out, Severity::Flag);
        unimplemented!()
    }
}
