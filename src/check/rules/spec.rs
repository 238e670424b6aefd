//! What a dataset's TOML says of its rules: plain data, one variant a kind, columns by the names of the schema's fields.
//!
//! Says nothing of whether it makes sense: that is for [`super::RuleSet::compile`]. Filled by `config`.

use crate::check::Severity;

/// All that is said beyond the schema: `[[rules]]`, `[rows]`, `[forbidden_columns]`, `[totals]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Specs {
    pub rules: Vec<Spec>,
    pub rows: RowsSpec,
    pub forbidden: ForbiddenSpec,
    /// `[totals] columns`
    pub totals: Vec<String>,
}

/// One entry of `[[rules]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    pub kind: Kind,
    /// What becomes of an upload with a row that breaks it; [`Severity::Accept`] switches it off. Says nothing for
    /// [`Kind::Consent`] and [`Kind::Objection`], which restrict rows.
    pub verdict: Severity,
    /// Words for the report, instead of the rule's own: they read on from the place ("is not one of our codes").
    pub label: Option<String>,
}

/// The kinds of `[[rules]]`; [`Kind::name`] is what the TOML says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// At least one of them is filled in.
    AnyPresent {
        columns: Vec<String>,
    },
    /// Ten digits with a Modulus 11 check digit.
    NhsNumber {
        columns: Vec<String>,
    },
    /// An NHS number where the value has ten digits; any other is a local identifier, which the schema judges.
    NhsNumberOrLocal {
        columns: Vec<String>,
    },
    UkPostcode {
        columns: Vec<String>,
    },
    /// The shape of an organisation code.
    OdsCode {
        columns: Vec<String>,
    },
    /// Dates, datetimes, years and yearmonths against today (UTC).
    NotInFuture {
        columns: Vec<String>,
    },
    /// Each that is filled in is not before the one before.
    InOrder {
        columns: Vec<String>,
    },
    /// Inside the period that a part of the file's name gives.
    WithinPeriod {
        columns: Vec<String>,
        part: String,
    },
    /// The cell is what a part of the file's name is.
    SameAsName {
        column: String,
        part: String,
    },
    /// `column` is the product of `factors`, but for `tolerance`: a decimal such as `0.01`; empty for none.
    Product {
        column: String,
        factors: Vec<String>,
        tolerance: String,
    },
    /// Rows whose cell is none of `given` are restricted.
    Consent {
        column: String,
        given: Vec<String>,
    },
    /// Rows in which all of `when` (column, cell) hold are restricted. When some but not all do: as `partial` says,
    /// flag or accept.
    Objection {
        when: Vec<(String, String)>,
        partial: Severity,
    },
}

/// `[rows]`: data rows, the header not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowsSpec {
    pub least: Option<u64>,
    pub most: Option<u64>,
    pub change: Option<ChangeSpec>,
}

/// `[rows] change`: against the organisation's last accepted upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeSpec {
    /// Whole per cent: fewer rows than that of the last upload's are a fault.
    pub less: Option<u32>,
    /// Whole per cent: more rows than that of the last upload's are a fault.
    pub more: Option<u32>,
    pub verdict: Severity,
}

/// `[forbidden_columns]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForbiddenSpec {
    pub sets: Vec<ForbiddenSet>,
    pub labels: Vec<String>,
}

/// A set of labels that say who a person is; the lists are in `rules/forbidden.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ForbiddenSet {
    Names,
    Addresses,
    Contacts,
    Identifiers,
}

/// A rule that cannot be obeyed as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFault {
    pub place: Place,
    /// What it is, such as `"NHS Nmber" is no field of the schema`.
    pub message: String,
    /// What to do: `did you mean "NHS Number"?`; may be empty.
    pub help: String,
}

/// What a [`RuleFault`] points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The entry of `[[rules]]`, from 0.
    Rule(usize),
    Rows,
    Forbidden,
    Totals,
}

impl Kind {
    /// The name in the TOML, and the `rule` in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AnyPresent { .. } => "any-present",
            Self::NhsNumber { .. } => "nhs-number",
            Self::NhsNumberOrLocal { .. } => "nhs-number-or-local",
            Self::UkPostcode { .. } => "uk-postcode",
            Self::OdsCode { .. } => "ods-code",
            Self::NotInFuture { .. } => "not-in-future",
            Self::InOrder { .. } => "in-order",
            Self::WithinPeriod { .. } => "within-period",
            Self::SameAsName { .. } => "same-as-name",
            Self::Product { .. } => "product",
            Self::Consent { .. } => "consent",
            Self::Objection { .. } => "objection",
        }
    }

    /// All names, in the order of the documentation.
    pub const NAMES: [&'static str; 12] = [
        "any-present",
        "nhs-number",
        "nhs-number-or-local",
        "uk-postcode",
        "ods-code",
        "not-in-future",
        "in-order",
        "within-period",
        "same-as-name",
        "product",
        "consent",
        "objection",
    ];
}

impl ForbiddenSet {
    pub const ALL: [Self; 4] = [Self::Names, Self::Addresses, Self::Contacts, Self::Identifiers];

    /// The name in the TOML.
    pub fn name(self) -> &'static str {
        match self {
            Self::Names => "names",
            Self::Addresses => "addresses",
            Self::Contacts => "contacts",
            Self::Identifiers => "identifiers",
        }
    }
}
