//! One row against the rules: what is cheap for a good row, and words for a bad one.
//!
//! A value that is missing or wrong is not judged: it has been reported, or may be missing. Must never put a cell's
//! content into words. Called by the pass in `rules`.

use std::cmp::Ordering;

use super::codes;
use super::compiled::{Compiled, Condition, Restriction, Rule, Shape, Test};
use super::days::{self, Days};
use super::decimal::Decimal;
use super::period::Period;
use crate::check::report::{At, Collector, ErrorType};
use crate::check::row::Row;
use crate::check::schema::Value;

/// What one upload adds to a rule.
#[derive(Debug)]
pub(super) enum Bound {
    Nothing,
    /// The period, and the text that gives it.
    Period(Period, String),
    Text(String),
    /// The file's name does not give what the rule wants, which has been said.
    Unknown,
}

pub(super) fn judge(all: &Compiled, rule: &Rule, bound: &Bound, today: i64, row: &Row<'_>, out: &mut Collector) {
    let mut found = |column: usize, kind: ErrorType, words: &dyn Fn() -> String| {
        let at = At { row: Some(row.number), field: Some(name(all, column)), column: row.column(column) };
        say(rule, kind, at, words, out);
    };
    match (&rule.test, bound) {
        (Test::AnyPresent { columns, joined }, _) => {
            if !columns.iter().any(|column| present(row, *column)) {
                let column = columns.iter().find_map(|column| row.column(*column));
                let at = At { row: Some(row.number), field: Some(joined), column };
                say(rule, ErrorType::RowConstraint, at, &|| missing_words(columns.len()), out);
            }
        }
        (Test::Shape { shape, columns }, _) => {
            for column in columns.iter().filter(|column| judged(row.value(**column))) {
                if !fits(*shape, row.cell(*column)) {
                    found(*column, ErrorType::ForbiddenValue, &|| format!("is not {}", shape.words()));
                }
            }
        }
        (Test::NotInFuture { columns }, _) => {
            for column in columns.iter().filter(|column| days::after(row.value(**column), today)) {
                found(*column, ErrorType::ForbiddenValue, &|| "is in the future".into());
            }
        }
        (Test::InOrder { columns }, _) => {
            let mut last: Option<usize> = None;
            for column in columns.iter().filter(|column| judged(row.value(**column))) {
                if let Some(last) = last
                    && days::before(row.value(*column), row.value(last))
                {
                    found(*column, ErrorType::RowConstraint, &|| format!("is before {:?}", name(all, last)));
                }
                last = Some(*column);
            }
        }
        (Test::WithinPeriod { columns, .. }, Bound::Period(Period(period), text)) => {
            for column in columns {
                if Days::of(row.value(*column)).is_some_and(|days| !days.overlaps(*period)) {
                    found(*column, ErrorType::ForbiddenValue, &|| {
                        format!("is not within {text}, the period that the file's name gives")
                    });
                }
            }
        }
        (Test::SameAsName { column, .. }, Bound::Text(text)) => {
            if judged(row.value(*column)) && row.cell(*column) != text {
                found(*column, ErrorType::ForbiddenValue, &|| format!("is not {text:?}, as the file's name says"));
            }
        }
        (Test::WithinPeriod { .. } | Test::SameAsName { .. }, _) => {}
        (Test::Product { column, factors, tolerance }, _) => {
            let mut values = factors.iter().chain([column]).map(|column| row.value(*column));
            if !values.all(judged) {
                return;
            }
            match is_product(row, *column, factors, *tolerance) {
                Some(true) => {}
                Some(false) => found(*column, ErrorType::RowConstraint, &|| {
                    let names: Vec<String> = factors.iter().map(|factor| format!("{:?}", name(all, *factor))).collect();
                    format!("is not {}", names.join(" x "))
                }),
                None => found(*column, ErrorType::RowConstraint, &|| {
                    "cannot be compared with its product: the numbers have too many digits".into()
                }),
            }
        }
    }
}

/// Whether the row may not be used; a row that objects by half is said.
pub(super) fn restricted(all: &Compiled, restriction: &Restriction, row: &Row<'_>, out: &mut Collector) -> bool {
    match restriction {
        Restriction::Consent { column, given } => {
            // What is missing, or cannot be read, is not given.
            !judged(row.value(*column)) || !given.iter().any(|given| given == row.cell(*column))
        }
        Restriction::Objection { when, joined, partial, label } => {
            let holding = when.iter().filter(|condition| holds(condition, row)).count();
            if holding > 0 && holding < when.len() {
                let column = when.iter().find_map(|condition| row.column(condition.column));
                let at = At { row: Some(row.number), field: Some(joined), column };
                let names = || when.iter().map(|condition| format!("{:?}", name(all, condition.column)));
                out.found(*partial, ErrorType::RowConstraint, "half-objection", at, || match label {
                    Some(label) => label.clone(),
                    None => format!(
                        "only some of {} say that the subject objects: say so in all, or in none",
                        names().collect::<Vec<_>>().join(", ")
                    ),
                });
            }
            holding == when.len()
        }
    }
}

/// Equal by value, or as text; capitals and spaces around do not matter, since a row of someone who objects must rather
/// be restricted once too often.
fn holds(condition: &Condition, row: &Row<'_>) -> bool {
    let value = row.values.get(condition.column);
    let by_value = value == Some(&condition.value) && !matches!(value, Some(Value::Text | Value::Wrong | Value::Wide));
    let (cell, text) = (row.cell(condition.column), condition.text.as_str());
    // The text is trimmed: a cell of its length is it as it stands, or not at all.
    by_value
        || match cell.len().cmp(&text.len()) {
            Ordering::Less => false,
            Ordering::Equal => cell.eq_ignore_ascii_case(text),
            Ordering::Greater => cell.trim().eq_ignore_ascii_case(text),
        }
}

fn say(rule: &Rule, kind: ErrorType, at: At<'_>, words: &dyn Fn() -> String, out: &mut Collector) {
    out.found(rule.verdict, kind, rule.name, at, || rule.label.clone().unwrap_or_else(words));
}

fn missing_words(columns: usize) -> String {
    match columns {
        1 => "must be filled in".into(),
        2 => "one of the two must be filled in".into(),
        _ => "at least one of them must be filled in".into(),
    }
}

fn name(all: &Compiled, column: usize) -> &str {
    all.fields.get(column).map_or("", String::as_str)
}

fn judged(value: Value) -> bool {
    !matches!(value, Value::Missing | Value::Wrong)
}

/// Filled in with more than white space.
fn present(row: &Row<'_>, column: usize) -> bool {
    row.value(column) != Value::Missing && !row.cell(column).trim().is_empty()
}

fn fits(shape: Shape, cell: &str) -> bool {
    match shape {
        Shape::NhsNumber => codes::nhs_number(cell),
        Shape::NhsNumberOrLocal => codes::nhs_number_or_local(cell),
        Shape::UkPostcode => codes::uk_postcode(cell),
        Shape::OdsCode => codes::ods_code(cell),
    }
}

/// None when it takes too many digits to tell.
fn is_product(row: &Row<'_>, column: usize, factors: &[usize], tolerance: Decimal) -> Option<bool> {
    let mut product = Decimal::ONE;
    for factor in factors {
        product = product.times(Decimal::of(row.value(*factor))?)?;
    }
    Decimal::of(row.value(column))?.near(product, tolerance)
}
