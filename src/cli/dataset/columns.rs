//! What the cells of a sample's columns have in common: which types fit all of them, how long they are, whether they repeat.
//!
//! Types are tried with the schema's own judge, so that what fits here fits at the gateway. Holds values only while they
//! could be a short list of codes, and hashes only while they could be a key.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use crate::check::schema::{Field, Schema, Violations};
use crate::check::{Policy, Severity};

/// Distinct values of a column that may become a list.
const LISTED: usize = 20;
/// Rows that each of them must have: what fewer people share may say who one of them is.
const ROWS_EACH: u64 = 20;
/// Characters of a value that may be in a list.
const LISTED_LENGTH: usize = 60;
/// Hashes of all columns together, about 16 bytes each.
const HASHES: usize = 8_000_000;

/// A type that is tried, as a schema has it. In the order of preference.
pub const TYPES: [(&str, Option<&str>); 19] = [
    ("boolean", None),
    ("yearmonth", None),
    ("date", None),
    ("date", Some("%d/%m/%Y")),
    ("date", Some("%m/%d/%Y")),
    ("date", Some("%d-%m-%Y")),
    ("date", Some("%m-%d-%Y")),
    ("date", Some("%d.%m.%Y")),
    ("date", Some("%Y/%m/%d")),
    ("date", Some("%Y%m%d")),
    ("datetime", None),
    ("datetime", Some("%Y-%m-%dT%H:%M:%S")),
    ("datetime", Some("%Y-%m-%d %H:%M:%S")),
    ("datetime", Some("%Y-%m-%d %H:%M")),
    ("datetime", Some("%d/%m/%Y %H:%M:%S")),
    ("datetime", Some("%d/%m/%Y %H:%M")),
    ("time", None),
    ("integer", None),
    ("number", None),
];

/// The fields that try [`TYPES`].
pub struct Trial {
    fields: Vec<Field>,
    strict: Policy,
    lenient: Policy,
}

impl Trial {
    /// # Errors
    /// The schema reader does not know one of the types, which would be a fault of this program.
    pub fn new() -> anyhow::Result<Self> {
        let fields = TYPES.iter().enumerate().map(|(index, (kind, format))| {
            let mut field = serde_json::json!({"name": index.to_string(), "type": kind});
            if let Some(format) = format {
                field["format"] = (*format).into();
            }
            if *kind == "boolean" {
                // Without 1 and 0: those are numbers to most people.
                field["trueValues"] = serde_json::json!(["true", "True", "TRUE"]);
                field["falseValues"] = serde_json::json!(["false", "False", "FALSE"]);
            }
            field
        });
        let schema = serde_json::json!({"fields": fields.collect::<Vec<_>>()});
        let (schema, _) = Schema::read(&schema.to_string()).map_err(|faults| {
            let why = faults.first().map(|fault| fault.message.clone()).unwrap_or_default();
            anyhow::anyhow!("the types to try cannot be read: {why}")
        })?;
        let strict = Policy::default();
        let lenient = Policy { unpadded_dates: Severity::Accept, ..strict.clone() };
        Ok(Self { fields: schema.fields, strict, lenient })
    }

    fn fits(&self, index: usize, cell: &str, policy: &Policy) -> bool {
        let mut violations = Violations::default();
        let Some(field) = self.fields.get(index) else { return false };
        field.judge(cell, policy, &mut violations);
        violations == Violations::default()
    }
}

/// One column so far.
pub struct Column {
    /// As in the file, without blanks around it.
    pub label: String,
    /// The label has blanks around it.
    pub spaced: bool,
    pub filled: u64,
    pub empty: u64,
    /// Indices of [`TYPES`] that fit all cells.
    pub fitting: Vec<usize>,
    /// Some cell is a date with one digit where two are usual.
    pub unpadded: bool,
    /// Some cell has digits alone, and a zero before others.
    pub zeros: bool,
    /// Characters of the shortest and the longest cell.
    pub lengths: (usize, usize),
    /// Every cell is letters, digits, `-`, `_`, `/` and `.`, without blanks.
    pub code: bool,
    pub nhs_number: bool,
    pub postcode: bool,
    values: Option<BTreeMap<String, u64>>,
    hashes: Option<HashSet<u64>>,
}

impl Column {
    fn new(label: &str) -> Self {
        Self {
            label: label.trim().to_owned(),
            spaced: label.trim() != label,
            filled: 0,
            empty: 0,
            fitting: (0..TYPES.len()).collect(),
            unpadded: false,
            zeros: false,
            lengths: (usize::MAX, 0),
            code: true,
            nhs_number: true,
            postcode: true,
            values: Some(BTreeMap::new()),
            hashes: Some(HashSet::new()),
        }
    }

    fn cell(&mut self, cell: &str, trial: &Trial) {
        if cell.is_empty() {
            self.empty += 1;
            return;
        }
        self.filled += 1;
        let unpadded = &mut self.unpadded;
        self.fitting.retain(|index| {
            if trial.fits(*index, cell, &trial.strict) {
                return true;
            }
            let fits = trial.fits(*index, cell, &trial.lenient);
            *unpadded |= fits;
            fits
        });
        let digits = cell.bytes().all(|byte| byte.is_ascii_digit());
        self.zeros |= digits && cell.len() > 1 && cell.starts_with('0');
        let length = cell.chars().count();
        self.lengths = (self.lengths.0.min(length), self.lengths.1.max(length));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/.".contains(&byte);
        self.code = self.code && cell.bytes().all(plain);
        self.nhs_number = self.nhs_number && nhs_number(cell);
        self.postcode = self.postcode && postcode(cell);
        if let Some(values) = &mut self.values {
            if let Some(rows) = values.get_mut(cell) {
                *rows += 1;
            } else if values.len() < LISTED && length <= LISTED_LENGTH {
                values.insert(cell.to_owned(), 1);
            } else {
                self.values = None;
            }
        }
    }

    /// The values, when they are few and each is in many rows.
    pub fn listed(&self) -> Option<Vec<&str>> {
        let values = self.values.as_ref().filter(|values| values.len() > 1)?;
        let many = values.values().all(|rows| *rows >= ROWS_EACH);
        many.then(|| values.keys().map(String::as_str).collect())
    }

    /// No two rows have the same, and none is empty.
    pub fn unique(&self) -> bool {
        self.filled > 1 && self.hashes.is_some()
    }
}

/// All columns of a sample.
pub struct Columns {
    pub all: Vec<Column>,
    pub rows: u64,
    /// There were too many different values to look for keys to the end.
    pub gave_up: bool,
    trial: Trial,
    state: RandomState,
    hashes: usize,
}

impl Columns {
    /// # Errors
    /// As [`Trial::new`].
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            all: Vec::new(),
            rows: 0,
            gave_up: false,
            trial: Trial::new()?,
            state: RandomState::new(),
            hashes: 0,
        })
    }

    /// The first record is the header.
    pub fn record(&mut self, cells: &[&str]) {
        if self.all.is_empty() {
            self.all = cells.iter().map(|label| Column::new(label)).collect();
            return;
        }
        self.rows += 1;
        for (column, cell) in self.all.iter_mut().zip(cells) {
            column.cell(cell, &self.trial);
            let Some(hashes) = &mut column.hashes else { continue };
            if cell.is_empty() || !hashes.insert(self.state.hash_one(cell)) {
                self.hashes -= hashes.len();
                column.hashes = None;
                continue;
            }
            self.hashes += 1;
        }
        if self.hashes > HASHES {
            self.gave_up = true;
            self.hashes = 0;
            self.all.iter_mut().for_each(|column| column.hashes = None);
        }
    }
}

/// A number of seven digits or more, or a date: a label is neither, so that the row which holds one is no header.
pub(super) fn is_datum(label: &str) -> bool {
    let digits = label.bytes().filter(u8::is_ascii_digit).count();
    let between: Vec<u8> = label.trim().bytes().filter(|byte| !byte.is_ascii_digit()).collect();
    match between[..] {
        [] => digits >= 7,
        [one, two] => digits >= 4 && one == two && matches!(one, b'/' | b'-' | b'.' | b' '),
        _ => false,
    }
}

/// Ten digits of which the last is the check digit (NHS Data Model and Dictionary, NHS NUMBER).
fn nhs_number(text: &str) -> bool {
    let Ok(digits) = <[u8; 10]>::try_from(text.as_bytes()) else { return false };
    if !digits.iter().all(u8::is_ascii_digit) || digits.iter().all(|digit| *digit == digits[0]) {
        return false;
    }
    let sum: u32 = (2..=10).rev().zip(digits).map(|(weight, digit)| weight * u32::from(digit - b'0')).sum();
    (11 - sum % 11) % 11 == u32::from(digits[9] - b'0')
}

/// `AA9A 9AA` and its shorter forms.
fn postcode(text: &str) -> bool {
    let Some((outward, inward)) = text.split_once(' ') else { return false };
    let upper = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_uppercase);
    let inward =
        matches!(inward.as_bytes(), [digit, rest @ ..] if digit.is_ascii_digit() && rest.len() == 2 && upper(rest));
    let letters = outward.bytes().take_while(u8::is_ascii_uppercase).count();
    let rest = outward.as_bytes().get(letters..).unwrap_or_default();
    let ends = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
    inward
        && (1..=2).contains(&letters)
        && matches!(rest, [digit, rest @ ..] if digit.is_ascii_digit() && rest.len() <= 1 && rest.iter().all(ends))
}
