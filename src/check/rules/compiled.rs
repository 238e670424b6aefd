//! The rules of a dataset as rows are judged by them: fields by their index, everything said that can be said beforehand.
//!
//! Plain data in a fixed order: its `Debug` text is what configurations are compared by. Made by `compile`.

use super::decimal::Decimal;
use super::forbidden::Forbidden;
use super::spec::{ForbiddenSpec, RowsSpec};
use crate::check::Severity;
use crate::check::schema::Value;

#[derive(Debug, Clone, Default)]
pub(super) struct Compiled {
    /// Names of the schema's fields; what the indices below point at.
    pub fields: Vec<String>,
    pub rules: Vec<Rule>,
    pub restrictions: Vec<Restriction>,
    pub rows: RowsSpec,
    pub forbidden: Forbidden,
    /// For its words.
    pub forbidden_spec: ForbiddenSpec,
    /// Fields that are added up.
    pub totals: Vec<usize>,
}

/// A rule whose breach is an error or a flag.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// The kind's name.
    pub name: &'static str,
    pub verdict: Severity,
    pub label: Option<String>,
    pub test: Test,
}

#[derive(Debug, Clone)]
pub(super) enum Test {
    AnyPresent { columns: Vec<usize>, joined: String },
    Shape { shape: Shape, columns: Vec<usize> },
    NotInFuture { columns: Vec<usize> },
    InOrder { columns: Vec<usize> },
    WithinPeriod { columns: Vec<usize>, part: String },
    SameAsName { column: usize, part: String },
    Product { column: usize, factors: Vec<usize>, tolerance: Decimal },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    NhsNumber,
    NhsNumberOrLocal,
    UkPostcode,
    OdsCode,
}

/// A rule that says which rows may not be used.
#[derive(Debug, Clone)]
pub(super) enum Restriction {
    Consent { column: usize, given: Vec<String> },
    Objection { when: Vec<Condition>, joined: String, partial: Severity, label: Option<String> },
}

/// A cell that is what was agreed on.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    pub column: usize,
    /// Without spaces around.
    pub text: String,
    /// What the text means to the field.
    pub value: Value,
}

impl Test {
    /// All fields that it looks at.
    pub fn columns(&self) -> Vec<usize> {
        match self {
            Self::AnyPresent { columns, joined: _ }
            | Self::Shape { shape: _, columns }
            | Self::NotInFuture { columns }
            | Self::InOrder { columns }
            | Self::WithinPeriod { columns, part: _ } => columns.clone(),
            Self::SameAsName { column, part: _ } => vec![*column],
            Self::Product { column, factors, tolerance: _ } => factors.iter().chain([column]).copied().collect(),
        }
    }
}

impl Restriction {
    /// All fields that it looks at.
    pub fn columns(&self) -> Vec<usize> {
        match self {
            Self::Consent { column, given: _ } => vec![*column],
            Self::Objection { when, .. } => when.iter().map(|condition| condition.column).collect(),
        }
    }
}

impl Shape {
    /// What a cell must be.
    pub fn words(self) -> &'static str {
        match self {
            Self::NhsNumber => "an NHS number: ten digits without spaces, the last the check digit",
            Self::NhsNumberOrLocal => {
                "an NHS number where it has ten digits, the last the check digit, or a local identifier"
            }
            Self::UkPostcode => "a UK postcode: capital letters and digits with one space, like \"CH41 1JS\"",
            Self::OdsCode => "an ODS code: 3 to 6 capital letters and digits, like \"N82001\"",
        }
    }
}
