//! Table Schema (https://specs.frictionlessdata.io/table-schema/ v1, https://datapackage.org/standard/table-schema/ v2):
//! what is read from the JSON, and what each field makes of a cell.
//!
//! Everything that a schema says is understood or refused when it is read: nothing is ignored but the descriptive
//! properties that the specification names. Does no input or output. Called by `config` (to read) and `table` (to judge).

use super::report::ErrorType;

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

/// One field; its insides are the schema helper's.
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

/// What a cell violated, as one bit each; `Field::explain` has the words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Violations(pub u32);

impl Schema {
    /// Reads a schema. Faults come all at once, each with its place; warnings come with a schema.
    ///
    /// # Errors
    /// Everything that is not a Table Schema, or that this program does not support.
    pub fn read(json: &str) -> Result<(Schema, Vec<SchemaFault>), Vec<SchemaFault>> {
        let _ = json;
        unimplemented!()
    }
}

impl Field {
    /// What the cell means, and in `violations` what is wrong with it (nothing, a type error alone, or constraints).
    /// Bounded time: linear in the cell's length.
    pub fn judge(&self, cell: &str, policy: &super::Policy, violations: &mut Violations) -> Value {
        let _ = (cell, policy, violations);
        unimplemented!()
    }

    /// Each violation's type, rule (constraint's name, or the type's) and words, which never hold the cell.
    pub fn explain(&self, violations: Violations) -> Vec<(ErrorType, &'static str, String)> {
        let _ = violations;
        unimplemented!()
    }

    /// The type as the schema says it: `string`, `date`, ...
    pub fn type_name(&self) -> &'static str {
        unimplemented!()
    }

    /// The field in plain words for /help.txt: `date, dd/mm/yyyy, required, 01/01/1900 to 31/12/2015`.
    pub fn describe(&self) -> String {
        unimplemented!()
    }
}

impl Value {
    /// Appends bytes that are equal exactly for values that are equal as the type compares them (0100 and 100 are one
    /// integer), and that cannot run together with the next value's: for keys.
    pub fn canonical(self, cell: &str, into: &mut Vec<u8>) {
        let _ = (cell, into);
        unimplemented!()
    }
}
