//! Table Schema (https://specs.frictionlessdata.io/table-schema/ v1, https://datapackage.org/standard/table-schema/ v2):
//! what is read from the JSON, and what each field makes of a cell.
//!
//! Everything that a schema says is understood or refused when it is read: nothing is ignored but the descriptive
//! properties that the specification names. Does no input or output. Called by `config` (to read) and `table` (to judge).

mod calendar;
mod canonical;
mod classes;
mod compound;
mod constraints;
mod describe;
mod duration;
mod explain;
mod faults;
mod json;
mod kind;
mod moment;
mod number;
mod pattern;
mod quick;
mod read;
mod read_constraints;
mod read_field;
mod read_kind;
mod steps;
mod strptime;
mod temporal;
mod text;
mod words;

use super::Severity;
use constraints::Constraints;
use kind::Kind;
pub use quick::Cells;
use quick::Quick;
use words::Words;

/// A schema, ready to judge.
#[derive(Debug, Clone)]
pub struct Schema {
    pub fields: Vec<Field>,
    pub fields_match: FieldsMatch,
    /// Indices of fields; empty when there is none.
    pub primary_key: Vec<usize>,
    pub unique_keys: Vec<Vec<usize>>,
    pub foreign_keys: Vec<ForeignKey>,
    pub title: Option<String>,
    pub description: Option<String>,
}

/// `fieldsMatch` (v2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldsMatch {
    #[default]
    Exact,
    Equal,
    Subset,
    Superset,
    Partial,
}

/// A `foreignKeys` entry whose reference is a code list in the dataset's folder, loaded by `config`.
#[derive(Debug, Clone)]
pub struct ForeignKey {
    pub fields: Vec<usize>,
    /// The reference's resource: the code list's name.
    pub resource: String,
    /// The reference's fields: labels of the code list's columns, as many as `fields`.
    pub reference: Vec<String>,
    /// The code list's rows, each cell of `reference` in its order; filled in by `config`.
    pub codes: std::sync::Arc<super::keys::Codes>,
}

/// One field: what it is called, and all that it asks of a cell.
#[derive(Debug, Clone)]
pub struct Field {
    pub name: String,
    pub title: Option<String>,
    pub description: Option<String>,
    pub required: bool,
    /// Constraint `unique`: checked by `keys`.
    pub unique: bool,
    /// Free text: a string field that neither pattern nor enum binds, so that a formula could stand in it.
    pub free_text: bool,
    missing: Words,
    kind: Kind,
    constraints: Constraints,
    quick: Quick,
}

/// What a cell means. Small and without borrows, so that a row of them is one array; the text stays in the row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// One of the missing values, or the file does not have the field.
    Missing,
    /// Not of the field's type; reported already, and no rule looks at it.
    Wrong,
    /// Text as it stands in the row (also enum members, objects, lists and other types with no order of their own).
    Text,
    Integer(i64),
    /// mantissa x 10^-scale, normalised: no trailing zeros.
    Number {
        mantissa: i128,
        scale: u8,
    },
    /// A number too large for the above; only its text can be compared.
    Wide,
    Boolean(bool),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01T00:00:00; `zoned` when the text named its zone (then UTC).
    DateTime {
        micros: i64,
        zoned: bool,
    },
    /// Microseconds since midnight.
    Time(i64),
    Year(i32),
    /// Months since year 0.
    YearMonth(i32),
}

/// Something in the schema that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaFault {
    /// Bytes of the JSON text that it points at.
    pub span: std::ops::Range<usize>,
    pub message: String,
    pub help: String,
    /// Something odd that can be used all the same (a property of no meaning here, a needless `^`).
    pub warning: bool,
}

/// What a cell violated, as one bit each; `Field::explain` has the words. Some bits are flags: habits that the policy
/// remarks on without rejecting them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Violations(pub u32);

impl Violations {
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What makes the cell wrong.
    #[must_use]
    pub fn errors(self) -> Self {
        Self(self.0 & !(Self::SPACES.0 | Self::UNPADDED.0))
    }

    /// What is only remarked on; `Field::explain` gives the rules `value-spaces` and `unpadded-dates` for them.
    #[must_use]
    pub fn flags(self) -> Self {
        Self(self.0 & (Self::SPACES.0 | Self::UNPADDED.0))
    }
}

impl Field {
    /// The type as the schema says it: `string`, `date`, ...
    pub fn type_name(&self) -> &'static str {
        self.kind.name()
    }

    /// What the cell means; `violations` is set to what is wrong with it: nothing, a type error alone, or constraints,
    /// and flags besides. Bounded time: linear in the cell's length.
    #[inline]
    pub fn judge(&self, cell: &str, policy: &super::Policy, violations: &mut Violations) -> Value {
        let mut value = Value::Missing;
        self.judge_into(cell, policy, violations, &mut value);
        value
    }

    /// As [`Field::judge`], where the value is wanted: a copy of it, made right after a part of it was written, would
    /// cost more than reading most cells.
    #[inline]
    pub fn judge_into(&self, cell: &str, policy: &super::Policy, violations: &mut Violations, into: &mut Value) {
        *violations = Violations::default();
        if self.missing.has(cell) {
            if self.required {
                *violations = Violations::REQUIRED;
            }
            *into = Value::Missing;
            return;
        }
        if self.kind.is_plain_text() {
            *into = Value::Text;
            *violations = self.constraints.check(&self.kind, &Value::Text, cell);
            return;
        }
        match self.kind.read(cell, false) {
            Some(value) => {
                *violations = self.constraints.check(&self.kind, &value, cell);
                *into = value;
            }
            None => *into = self.judge_habits(cell, policy, violations),
        }
    }

    /// A cell that is not strictly of the type: perhaps it is but for a habit that the policy takes.
    #[cold]
    fn judge_habits(&self, cell: &str, policy: &super::Policy, violations: &mut Violations) -> Value {
        *violations = Violations::TYPE;
        let mut habits = Violations::default();
        let mut habit = |severity, violation| {
            if severity == Severity::Flag {
                habits.add(violation);
            }
        };
        let mut text = cell;
        if policy.value_spaces != Severity::Reject && self.kind.minds_spaces() {
            text = cell.trim();
        }
        if text.len() != cell.len() {
            habit(policy.value_spaces, Violations::SPACES);
            if self.missing.has(text) {
                *violations = if self.required { Violations::REQUIRED } else { Violations::default() };
                violations.add(habits);
                return Value::Missing;
            }
        }
        let mut value = self.kind.read(text, false);
        if value.is_none() && policy.unpadded_dates != Severity::Reject && self.kind.minds_padding() {
            value = self.kind.read(text, true);
            habit(policy.unpadded_dates, Violations::UNPADDED);
        }
        let Some(value) = value else { return Value::Wrong };
        *violations = self.constraints.check(&self.kind, &value, text);
        violations.add(habits);
        value
    }
}

#[cfg(test)]
mod tests;
