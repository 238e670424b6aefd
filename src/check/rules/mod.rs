//! Rules beyond the schema, for the policies that health and care data teams publish: `[[rules]]`, `[rows]`,
//! `[forbidden_columns]` and `[totals]` of a dataset.
//!
//! Compiled by `config` against the schema; no input or output, and no cell's content in any word. Called by `table`.
//!
//! | file | what |
//! |---|---|
//! | `spec` | what the TOML says, as data |
//! | `compile`, `compiled` | what it comes to, or what is wrong with it |
//! | `row` | one row against it |
//! | `codes`, `days`, `period`, `decimal` | what values are compared by |
//! | `forbidden` | columns that must not be there |
//! | `words` | all of it for people |

mod codes;
mod compile;
mod compiled;
mod days;
mod decimal;
mod forbidden;
mod period;
mod row;
mod spec;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::Regex;

use self::compile::{Column, Type};
use self::compiled::{Compiled, Restriction, Test};
use self::decimal::Decimal;
use self::period::Period;
use self::row::Bound;
use super::report::{At, Collector, ErrorType, Restricted};
use super::row::Row;
use super::schema::{Field, Schema, Value, Violations};
use super::{Fault, Policy, Severity};
pub use spec::{ChangeSpec, ForbiddenSet, ForbiddenSpec, Kind, Place, RowsSpec, RuleFault, Spec, Specs};

/// The rules of one dataset, compiled. Two that were compiled from the same have the same `Debug` text.
#[derive(Debug, Clone, Default)]
pub struct RuleSet(Arc<Compiled>);

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
    /// Sums of the columns that `[totals]` names, as decimal text without needless zeros, by field name. A column whose
    /// sum does not fit into 38 digits is an error, and not here.
    pub sums: BTreeMap<String, String>,
}

/// One upload's pass through the rules.
pub struct RowChecks {
    rules: Arc<Compiled>,
    /// By rule.
    bounds: Vec<Bound>,
    /// Days since 1970-01-01.
    today: i64,
    last_rows: Option<u64>,
    /// Parts of the file's name that rules need and that are not there or mean nothing; said with the first row.
    unsaid: Vec<String>,
    restricted: Restricted,
    /// By total; none once it does not fit.
    sums: Vec<Option<Decimal>>,
}

impl RuleSet {
    /// Compiles what the TOML says against the schema and the name pattern. Without a schema only `rows` and `forbidden`
    /// may say something.
    ///
    /// # Errors
    /// Everything that cannot be obeyed, each with its place.
    pub fn compile(specs: &Specs, schema: Option<&Schema>, name: Option<&Regex>) -> Result<Self, Vec<RuleFault>> {
        let columns: Option<Vec<Column<'_>>> = schema.map(|schema| schema.fields.iter().map(column).collect());
        let compiled = compile::compile(specs, columns.as_deref(), &compile::parts_of(name))?;
        Ok(Self(Arc::new(compiled)))
    }

    /// Labels of the file that must not be there, in the order of the file, also when undeclared: (column from 1, what
    /// it is: "a person's name", "contact details", ...). Case, spaces and punctuation do not matter.
    pub fn forbidden(&self, labels: &[&str]) -> Vec<(usize, String)> {
        let what = |(index, label): (usize, &&str)| Some((index + 1, self.0.forbidden.what(label)?.to_owned()));
        labels.iter().enumerate().filter_map(what).collect()
    }

    /// Begins a pass. No rules make a pass that costs nothing.
    pub fn begin(&self, context: &Context) -> RowChecks {
        let mut unsaid = Vec::new();
        let bounds = self.0.rules.iter().map(|rule| bound(&rule.test, &context.parts, &mut unsaid)).collect();
        let epoch = jiff::civil::Date::constant(1970, 1, 1);
        RowChecks {
            rules: Arc::clone(&self.0),
            bounds,
            // Without units asked for, the span between two dates is in days, and cannot fail.
            today: context.today.since(epoch).map_or(0, |span| span.get_days().into()),
            last_rows: context.last_rows,
            unsaid,
            restricted: Restricted::default(),
            sums: vec![Some(Decimal::default()); self.0.totals.len()],
        }
    }

    /// Plain words for /help.txt, one sentence each.
    pub fn describe(&self) -> Vec<String> {
        words::describe(&self.0)
    }

    /// Why the rules cannot be judged with these parts of a file's name: one that they need is not there, or is no
    /// period. For whoever judges names, before a byte comes.
    pub(super) fn parts_faults(&self, parts: &BTreeMap<String, String>) -> Vec<String> {
        let mut unsaid = Vec::new();
        for rule in &self.0.rules {
            bound(&rule.test, parts, &mut unsaid);
        }
        unsaid
    }
}

fn column(field: &Field) -> Column<'_> {
    let kind = match field.type_name() {
        "string" | "any" => Type::Text,
        "integer" => Type::Integer,
        "number" => Type::Number,
        "date" | "datetime" | "year" | "yearmonth" => Type::Date,
        "time" => Type::Time,
        _ => Type::Other,
    };
    let judge = |text: &str| {
        let mut violations = Violations::default();
        let value = field.judge(text, &Policy::default(), &mut violations);
        (value, violations == Violations::default())
    };
    Column { name: &field.name, kind, judge: Box::new(judge) }
}

fn bound(test: &Test, parts: &BTreeMap<String, String>, unsaid: &mut Vec<String>) -> Bound {
    let (Test::WithinPeriod { part, .. } | Test::SameAsName { part, .. }) = test else { return Bound::Nothing };
    let mut unknown = |why: String| {
        if !unsaid.contains(&why) {
            unsaid.push(why);
        }
        Bound::Unknown
    };
    match (test, parts.get(part)) {
        (_, None) => unknown(format!("the file's name gives no {part}: name the file as the dataset asks for")),
        (Test::WithinPeriod { .. }, Some(text)) => match Period::parse(text) {
            Some(period) => Bound::Period(period, text.clone()),
            None => unknown(format!("{text:?} in the file's name is no {part}: write it like {}", period::FORMS)),
        },
        (_, Some(text)) => Bound::Text(text.clone()),
    }
}

impl RowChecks {
    /// Indices of the schema's fields whose cells and values [`RowChecks::row`] looks at.
    pub fn fields(&self) -> impl Iterator<Item = usize> {
        let rules = self.rules.rules.iter().flat_map(|rule| rule.test.columns());
        let restrictions = self.rules.restrictions.iter().flat_map(Restriction::columns);
        rules.chain(restrictions).chain(self.rules.totals.iter().copied())
    }

    /// Judges one row.
    ///
    /// # Errors
    /// A final fault, which is in `out` too: too many restricted ranges.
    pub fn row(&mut self, row: &Row<'_>, out: &mut Collector) -> Result<(), Fault> {
        self.say(out);
        for (rule, bound) in self.rules.rules.iter().zip(&self.bounds) {
            row::judge(&self.rules, rule, bound, self.today, row, out);
        }
        self.add_up(row, out);
        let mut restricted = false;
        for restriction in &self.rules.restrictions {
            restricted |= row::restricted(&self.rules, restriction, row, out);
        }
        if restricted && !self.restricted.add(row.number) {
            let fault = Fault(format!(
                "the rows that may not be used are scattered over more than {} places, up to row {}: split the file, or \
                 sort it by consent",
                Restricted::MOST,
                row.number
            ));
            out.error(ErrorType::SourceError, "restricted", At::default(), || fault.0.clone());
            return Err(fault);
        }
        Ok(())
    }

    /// The end of the rows; `rows`: data rows in all.
    pub fn finish(mut self, rows: u64, out: &mut Collector) -> RulesOutcome {
        self.say(out);
        self.count(rows, out);
        let totals = self.rules.totals.iter().zip(&self.sums);
        let sums = totals
            .filter_map(|(column, sum)| Some((self.rules.fields.get(*column)?.clone(), sum.as_ref()?.to_string())));
        RulesOutcome { sums: sums.collect(), restricted: self.restricted }
    }

    fn say(&mut self, out: &mut Collector) {
        // Asked for each row.
        if self.unsaid.is_empty() {
            return;
        }
        for why in std::mem::take(&mut self.unsaid) {
            out.error(ErrorType::SourceError, "name-part", At::default(), || why);
        }
    }

    fn add_up(&mut self, row: &Row<'_>, out: &mut Collector) {
        for (column, sum) in self.rules.totals.iter().zip(&mut self.sums) {
            let value = row.value(*column);
            let (Some(before), false) = (*sum, matches!(value, Value::Missing | Value::Wrong)) else { continue };
            *sum = Decimal::of(value).and_then(|value| before.plus(value));
            if sum.is_none() {
                let field = self.rules.fields.get(*column).map(String::as_str);
                let at = At { row: Some(row.number), field, column: row.column(*column) };
                out.error(ErrorType::HashCount, "control-total", at, || {
                    "cannot be added to the column's total: it would have more than 38 digits".into()
                });
            }
        }
    }

    fn count(&self, rows: u64, out: &mut Collector) {
        let wanted = &self.rules.rows;
        let mut wrong = |severity, rule: &'static str, words: String| {
            out.found(severity, ErrorType::RowCount, rule, At::default(), || words);
        };
        if let Some(least) = wanted.least.filter(|least| rows < *least) {
            let words = format!("the file has {rows} rows, fewer than the {least} that it must have: check the export");
            wrong(Severity::Reject, "row-count", words);
        }
        if let Some(most) = wanted.most.filter(|most| rows > *most) {
            let words = format!("the file has {rows} rows, more than the {most} that it may have: split it");
            wrong(Severity::Reject, "row-count", words);
        }
        // Nothing can be said as a share of nothing.
        let (Some(change), Some(last @ 1..)) = (wanted.change, self.last_rows) else { return };
        let share = |percent: u32| u128::from(last) * u128::from(percent);
        let hundred = u128::from(rows) * 100;
        let than = match (change.less, change.more) {
            (Some(less), _) if hundred < share(less) => format!("fewer than {less}%"),
            (_, Some(more)) if hundred > share(more) => format!("more than {more}%"),
            _ => return,
        };
        let words = format!("the file has {rows} rows, {than} of the {last} of your last one: check the export");
        wrong(change.verdict, "row-count-change", words);
    }
}

#[cfg(test)]
mod tests;
