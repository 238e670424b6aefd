//! How the rows of a dataset are told apart, and how strictly they are judged: encoding, `[dialect]`, `[limits]`, `[policy]`.
//!
//! Reads; called by [`super::read`].

use toml::de::DeValue;

use super::super::section::{Section, Wrong};
use super::super::value::{boolean, choice, size, text, whole};
use super::{LARGEST, SEVERITIES, UnpackLimits};
use crate::check::schema::FieldsMatch;
use crate::check::{Dialect, Encoding, Limits, Policy, TableRules};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The bounds on packed files, and whether the file says anything of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unpacking {
    pub limits: UnpackLimits,
    pub said: bool,
}

/// All of a table but its schema and rules. `unpack` is what holds of packed files unless the file says otherwise.
pub(super) fn read(file: &mut Section<'_>, unpack: UnpackLimits) -> (TableRules, Unpacking) {
    let encodings = [
        ("utf-8", Encoding::Utf8),
        ("windows-1252", Encoding::Windows1252),
        ("utf-16", Encoding::Utf16),
        ("utf-16le", Encoding::Utf16Le),
        ("utf-16be", Encoding::Utf16Be),
    ];
    let (limits, unpack) = limits(file.table("limits"), unpack);
    let table = TableRules {
        encoding: file.or("encoding", Encoding::Utf8, choice(&encodings)),
        dialect: dialect(file.table("dialect")),
        policy: policy(file.table("policy")),
        limits,
        ..TableRules::default()
    };
    (table, unpack)
}

fn dialect(mut section: Section<'_>) -> Dialect {
    let usual = Dialect::default();
    let delimiter = section.optional("delimiter", |value| separator(value, "\",\", \";\", \"|\" or \"\\t\" for a tab"));
    let quote = section.optional("quote", |value| match text(value)? {
        "" => Ok(None),
        _ => separator(value, "\"\\\"\" or \"'\", or \"\" when there are no quotes").map(Some),
    });
    let dialect = Dialect {
        delimiter: delimiter.as_ref().map_or(usual.delimiter, |at| at.value),
        quote: quote.as_ref().map_or(usual.quote, |at| at.value),
        header: section.or("header", usual.header, boolean),
    };
    if dialect.quote == Some(dialect.delimiter) {
        let span = quote.map(|at| at.span).or(delimiter.map(|at| at.span));
        section.error(span, "delimiter and quote are the same character", "give them different characters");
    }
    section.finish();
    dialect
}

/// One ASCII character that could not be a part of a plain value.
fn separator(value: &DeValue<'_>, examples: &str) -> Result<u8, Wrong> {
    let written = text(value)?;
    let help = format!("write one ASCII character: {examples}");
    match *written.as_bytes() {
        [byte] if byte == b'\t' || (byte.is_ascii_graphic() && !byte.is_ascii_alphanumeric()) => Ok(byte),
        [b' '] => Ok(b' '),
        [byte] if byte.is_ascii_alphanumeric() => {
            Err(Wrong::new(format!("{written:?} is a letter or digit, which values are made of"), help))
        }
        _ => Err(Wrong::new("is not one ASCII character", help)),
    }
}

fn limits(mut section: Section<'_>, unpack: UnpackLimits) -> (Limits, Unpacking) {
    let usual = Limits::default();
    let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    let limits = Limits {
        // Each upload under way may hold one record: the upper bound is for the machine's sake.
        row: bytes(section.or("row", usual.row as u64, size(KIB..=64 * MIB))),
        columns: section.or("columns", usual.columns, whole(1..=65_536)),
        keys: bytes(section.or("keys", usual.keys as u64, size(MIB..=1 << 40))),
        // Each is held in memory, and written to the report.
        errors: section.or("errors", usual.errors, whole(1..=100_000)),
    };
    let said = section.stands("unpacked").is_some() || section.stands("ratio").is_some();
    let unpack = UnpackLimits {
        size: section.or("unpacked", unpack.size, size(1..=LARGEST)),
        ratio: section.or("ratio", unpack.ratio, whole(1..=100_000u64)),
    };
    section.finish();
    (limits, Unpacking { limits: unpack, said })
}

fn policy(mut section: Section<'_>) -> Policy {
    let usual = Policy::default();
    let mut read = |key, usual| section.or(key, usual, choice(&SEVERITIES));
    let policy = Policy {
        formulas: read("formulas", usual.formulas),
        hidden_characters: read("hidden_characters", usual.hidden_characters),
        mojibake: read("mojibake", usual.mojibake),
        control_characters: read("control_characters", usual.control_characters),
        mixed_line_ends: read("mixed_line_ends", usual.mixed_line_ends),
        cr_line_ends: read("cr_line_ends", usual.cr_line_ends),
        no_final_line_end: read("no_final_line_end", usual.no_final_line_end),
        trailing_blank_rows: read("trailing_blank_rows", usual.trailing_blank_rows),
        label_spaces: read("label_spaces", usual.label_spaces),
        value_spaces: read("value_spaces", usual.value_spaces),
        unpadded_dates: read("unpadded_dates", usual.unpadded_dates),
    };
    section.finish();
    policy
}

/// Without a header the columns are the schema's, in its order: something must say which they are.
pub(super) fn look(file: &Section<'_>, table: &TableRules) {
    if table.dialect.header {
        return;
    }
    let at = file.stands("dialect");
    if let Some(span) = file.stands("forbidden_columns") {
        let message = "forbidden_columns: without a header the file has no labels to look at";
        file.error(Some(span), message, "take it away, or write header = true under [dialect]");
    }
    let wants_labels =
        |schema: &crate::check::schema::Schema| !matches!(schema.fields_match, FieldsMatch::Exact | FieldsMatch::Equal);
    if table.schema.as_ref().is_some_and(wants_labels) {
        let message = "header = false, but the schema's fieldsMatch lets columns be missing or added: only labels could tell which";
        file.error(at.clone(), message, "write fieldsMatch \"exact\" in the schema, or header = true");
    }
    if file.stands("schema").is_none() {
        let message = "header = false without a schema: nothing would say what the columns are";
        file.error(at, message, "add schema = \"NAME.schema.json\", or write header = true");
    }
}
