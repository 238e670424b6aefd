//! What each planted fault must be reported as.
//!
//! The names of faults are those of cases.json and of generate.py; the types and rules those of a report.

use nightsafe::check::{ErrorType, Problem, Report};

use super::{Case, Planted};

/// A fault, and what a report may call it: type and rule, an empty rule being any.
#[rustfmt::skip]
const NAMES: &[(&str, &[(ErrorType, &str)])] = &[
    ("missing-column", &[(ErrorType::MissingLabel, "")]),
    ("extra-column", &[(ErrorType::ExtraLabel, "")]),
    ("wrong-order", &[(ErrorType::IncorrectLabel, "label-order")]),
    // Where the label stands twice, or the field that it took the place of.
    ("duplicate-header", &[(ErrorType::DuplicateLabel, ""), (ErrorType::MissingLabel, ""), (ErrorType::IncorrectLabel, "")]),
    ("blank-header", &[(ErrorType::BlankLabel, ""), (ErrorType::BlankHeader, "")]),
    ("incorrect-label", &[(ErrorType::IncorrectLabel, ""), (ErrorType::SourceError, "nul")]),
    ("unmatched-header", &[(ErrorType::IncorrectLabel, ""), (ErrorType::MissingLabel, ""), (ErrorType::BlankHeader, "")]),
    ("no-header", &[(ErrorType::BlankHeader, "")]),
    ("blank-row", &[(ErrorType::BlankRow, "")]),
    ("missing-cell", &[(ErrorType::MissingCell, "")]),
    ("short-row", &[(ErrorType::MissingCell, "")]),
    ("extra-cell", &[(ErrorType::ExtraCell, "")]),
    ("long-row", &[(ErrorType::ExtraCell, "")]),
    ("bad-date", &[(ErrorType::TypeError, "date")]),
    ("nonexistent-date", &[(ErrorType::TypeError, "date")]),
    ("type-error", &[(ErrorType::TypeError, "")]),
    ("bad-type", &[(ErrorType::TypeError, "")]),
    ("out-of-range", &[
        (ErrorType::ConstraintError, "minimum"), (ErrorType::ConstraintError, "maximum"),
        (ErrorType::ConstraintError, "exclusiveMinimum"), (ErrorType::ConstraintError, "exclusiveMaximum"),
    ]),
    ("enum", &[(ErrorType::ConstraintError, "enum")]),
    ("bad-enum", &[(ErrorType::ConstraintError, "enum")]),
    ("pattern", &[(ErrorType::ConstraintError, "pattern")]),
    ("length", &[(ErrorType::ConstraintError, "minLength"), (ErrorType::ConstraintError, "maxLength")]),
    ("missing-required", &[(ErrorType::ConstraintError, "required"), (ErrorType::PrimaryKey, "")]),
    ("duplicate-key", &[(ErrorType::PrimaryKey, "")]),
    ("unique", &[(ErrorType::UniqueError, "unique")]),
    ("unique-keys", &[(ErrorType::UniqueError, "uniqueKeys")]),
    ("encoding", &[(ErrorType::EncodingError, "")]),
    ("bad-encoding", &[(ErrorType::EncodingError, "")]),
    ("unclosed-quote", &[(ErrorType::SourceError, "unclosed-quote")]),
    ("wrong-file-type", &[(ErrorType::FormatError, ""), (ErrorType::SourceError, "file-type")]),
    ("damaged-gzip", &[(ErrorType::CompressionError, "")]),
];

/// Faults of several fields at once, or of bytes, which a report may give without a field.
const FIELDLESS: &[&str] = &["duplicate-key", "unique-keys", "encoding", "duplicate-header", "incorrect-label"];

/// Errors that are there for another reason than a row's planted fault: case, row, reason.
const OTHER_CAUSES: &[(&str, Option<u64>, &str)] = &[];

/// `type-error/date row 4 "Date of Birth"`
pub fn brief(problem: &Problem) -> String {
    let kind = serde_json::to_value(problem.kind).unwrap();
    let row = problem.row.map(|row| format!(" row {row}")).unwrap_or_default();
    let field = problem.field.as_ref().map(|field| format!(" {field:?}")).unwrap_or_default();
    format!("{}/{}{row}{field}", kind.as_str().unwrap(), problem.rule)
}

/// Whether a report calls the fault so.
pub fn is_of(fault: &str, problem: &Problem) -> bool {
    let (_, names) =
        NAMES.iter().find(|(name, _)| *name == fault).unwrap_or_else(|| panic!("{fault} has no name here"));
    names.iter().any(|(kind, rule)| *kind == problem.kind && (rule.is_empty() || *rule == problem.rule))
}

fn is_at(fault: &Planted, problem: &Problem) -> bool {
    // A fault of the whole file is no row's, or the first's.
    let whole = problem.row.is_none() && matches!(fault.row, None | Some(1));
    let row = whole || fault.row.is_none() || problem.row == fault.row;
    let field = match &fault.field {
        None => true,
        Some(field) if problem.field.as_ref() == Some(field) => true,
        Some(_) if FIELDLESS.contains(&fault.kind.as_str()) => {
            problem.field.is_none() || fault.kind == "duplicate-header" && problem.kind == ErrorType::DuplicateLabel
        }
        Some(_) => false,
    };
    row && field
}

/// What the report of an invalid case lacks, and what it has without a cause.
pub fn objections(case: &Case, report: &Report) -> Vec<String> {
    let told = || report.first.iter().take(12).map(brief).collect::<Vec<_>>().join("; ");
    if report.acceptable() {
        return vec!["is invalid, but was accepted".to_owned()];
    }
    let mut objections = Vec::new();
    for fault in &case.faults {
        let found = report
            .first
            .iter()
            .any(|problem| is_at(fault, problem) && (fault.kind == "bad-row" || is_of(&fault.kind, problem)));
        if !found {
            objections.push(format!("{fault:?} is not found: {}", told()));
        }
    }
    for problem in &report.first {
        let caused = case.faults.iter().any(|fault| {
            fault.row.is_none() || problem.row == fault.row || problem.row.is_none() && fault.row == Some(1)
        });
        let other = OTHER_CAUSES.iter().any(|(id, row, _)| *id == case.id && *row == problem.row);
        if !caused && !other {
            objections.push(format!("without a cause: {}", brief(problem)));
        }
    }
    objections
}
