//! A dataset's TOML and schema as text, from what a sample's columns have in common.
//!
//! Only lists of codes that many rows share are values of the sample; they stand in the schema and nowhere else. Called by
//! [`super::new`].

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::columns::{Column, Columns, TYPES};
use super::demands;
use crate::check::rules::{ForbiddenSet, ForbiddenSpec, Specs};
use crate::check::{Encoding, RuleSet};
use crate::cli::edit::document::{list, quoted};
use crate::types::DatasetName;

const POSTCODE: &str = "[A-Z]{1,2}[0-9][A-Z0-9]? [0-9][A-Z]{2}";
const NHS_NUMBER: &str = "[0-9]{10}";
/// Codes longer than that are bounded by nothing.
const CODE_LENGTH: usize = 64;

/// What the sample is, besides its columns.
pub struct Sample<'a> {
    /// The file's own name.
    pub file: &'a str,
    pub encoding: Encoding,
    pub delimiter: u8,
    /// Keys of `[policy]` that reject by default what this sample has.
    pub habits: BTreeSet<&'static str>,
}

/// What is to be written, and what is to be said of it.
pub struct Draft {
    pub toml: String,
    pub schema: String,
    /// A row for each field: its name, its type, what was seen. Without values.
    pub fields: Vec<[String; 3]>,
    /// Guesses that a person must look at.
    pub notes: Vec<String>,
}

/// A field as it was decided.
struct Field<'a> {
    column: &'a Column,
    kind: &'static str,
    format: Option<&'static str>,
    constraints: serde_json::Map<String, Value>,
    seen: Vec<String>,
    /// It seems to say who a person is.
    personal: bool,
}

pub fn draft(name: &DatasetName, sample: &Sample<'_>, columns: &Columns) -> Draft {
    let labels: Vec<&str> = columns.all.iter().map(|column| column.label.as_str()).collect();
    let personal = personal(&labels);
    let mut notes = Vec::new();
    let fields: Vec<Field<'_>> = columns
        .all
        .iter()
        .enumerate()
        .map(|(index, column)| decide(column, personal.contains(&index), columns.rows, &mut notes))
        .collect();
    // The leftmost is the usual place of a key; a measurement is none, though no two may be the same.
    let keys = ["string", "integer"];
    let key = fields.iter().find(|field| field.column.unique() && keys.contains(&field.kind) && !field.personal);
    match key {
        Some(key) => {
            notes.push(format!("primary key: no two rows have the same {:?}, and none lacks it", key.column.label))
        }
        None if columns.gave_up => {
            notes.push("no primary key: there were too many different values to look for one".into())
        }
        None => notes.push("no primary key: no column has a value of its own in every row".into()),
    }
    let people: Vec<&str> =
        fields.iter().filter(|field| field.personal).map(|field| field.column.label.as_str()).collect();
    if !people.is_empty() {
        notes.push(format!(
            "{}: these labels look like personal details: if nobody needs them, take them out of the schema and forbid them",
            people.join(", ")
        ));
    }
    let lists = fields.iter().filter(|field| field.constraints.contains_key("enum")).count();
    if lists > 0 {
        notes.push(format!(
            "enum: the values of {lists} field{} came from the sample: look at each, and add what the sample lacks",
            if lists == 1 { "" } else { "s" }
        ));
    }
    let rows =
        fields.iter().map(|field| [field.column.label.clone(), in_words(field), field.seen.join(", ")]).collect();
    let key = key.map(|field| field.column.label.as_str());
    let (schema, toml) = (schema(&fields, key), toml(name, sample, &fields, &notes));
    Draft { toml, schema, fields: rows, notes }
}

/// Indices of labels that stand for names, addresses, contacts or official identifiers.
fn personal(labels: &[&str]) -> BTreeSet<usize> {
    let forbidden = ForbiddenSpec { sets: ForbiddenSet::ALL.to_vec(), labels: Vec::new() };
    let rules = RuleSet::compile(&Specs { forbidden, ..Specs::default() }, None, None).unwrap_or_default();
    rules.forbidden(labels).into_iter().map(|(column, _)| column - 1).collect()
}

/// Words of labels whose values may say who somebody is, or are written freely.
fn delicate(label: &str) -> bool {
    const WORDS: [&str; 22] = [
        "name",
        "initials",
        "birth",
        "dob",
        "postcode",
        "address",
        "phone",
        "mobile",
        "email",
        "id",
        "identifier",
        "nhs",
        "number",
        "ref",
        "reference",
        "note",
        "notes",
        "comment",
        "comments",
        "text",
        "description",
        "remarks",
    ];
    let split = |c: char| !c.is_ascii_alphanumeric();
    label.to_lowercase().split(split).any(|word| WORDS.contains(&word))
}

fn decide<'a>(column: &'a Column, personal: bool, rows: u64, notes: &mut Vec<String>) -> Field<'a> {
    let (kind, format) = typed(column, notes);
    let mut field = Field { column, kind, format, constraints: serde_json::Map::new(), seen: Vec::new(), personal };
    if column.filled == 0 {
        field.seen.push(if rows == 0 { "no rows" } else { "always empty" }.into());
        return field;
    }
    if column.empty == 0 {
        field.constraints.insert("required".into(), true.into());
        field.seen.push("never empty".into());
    } else {
        field.seen.push(format!("empty in {} of {rows}", column.empty));
    }
    if kind != "string" {
        return field;
    }
    let digits = |value: &&str| value.bytes().filter(u8::is_ascii_digit).count() > 4 || value.contains('@');
    let listed = column.listed().filter(|values| !personal && !delicate(&column.label) && !values.iter().any(digits));
    if column.nhs_number {
        field.constraints.insert("pattern".into(), NHS_NUMBER.into());
        field.seen.push("NHS numbers".into());
    } else if column.postcode {
        field.constraints.insert("pattern".into(), POSTCODE.into());
        field.seen.push("UK postcodes".into());
    } else if let Some(values) = listed {
        field.seen.push(format!("{} different values", values.len()));
        field.constraints.insert("enum".into(), json!(values));
    } else if column.code && column.lengths.1 <= CODE_LENGTH && !personal {
        field.constraints.insert("minLength".into(), column.lengths.0.into());
        field.constraints.insert("maxLength".into(), column.lengths.1.into());
        field.seen.push("codes".into());
    }
    field
}

/// The type that fits all cells, the most telling first.
fn typed(column: &Column, notes: &mut Vec<String>) -> (&'static str, Option<&'static str>) {
    let label = column.label.to_lowercase();
    let day = ["date", "dob", "day"].iter().any(|word| label.contains(word));
    let fits = |index: &&usize| match TYPES[**index] {
        // Eight digits are mostly a number.
        ("date", Some("%Y%m%d")) => day,
        // A number that begins with 0 is a code, and so is an NHS number.
        ("integer" | "number", _) => !column.zeros && !column.nhs_number,
        _ => true,
    };
    if column.filled == 0 {
        return ("string", None);
    }
    let fitting: Vec<_> = column.fitting.iter().filter(fits).map(|index| TYPES[*index]).collect();
    let Some((kind, format)) = fitting.first().copied() else { return ("string", None) };
    let other = fitting.iter().skip(1).find(|(other, _)| *other == kind && kind != "number");
    if let (Some(format), Some((_, Some(other)))) = (format, other) {
        notes.push(format!("{:?}: {format} was taken, but {other} fits all cells, too: say which it is", column.label));
    }
    (kind, format)
}

fn in_words(field: &Field<'_>) -> String {
    match field.format {
        Some(format) => format!("{} {format}", field.kind),
        None => field.kind.to_owned(),
    }
}

/// One field a line: an operator edits this.
fn schema(fields: &[Field<'_>], key: Option<&str>) -> String {
    let fields: Vec<String> = fields.iter().map(|field| {
        let mut text = format!("{{\"name\": {}, \"type\": {}", json!(field.column.label), json!(field.kind));
        if let Some(format) = field.format {
            let _ = write!(text, ", \"format\": {}", json!(format));
        }
        if field.kind == "boolean" {
            text.push_str(", \"trueValues\": [\"true\", \"True\", \"TRUE\"], \"falseValues\": [\"false\", \"False\", \"FALSE\"]");
        }
        if !field.constraints.is_empty() {
            let constraints = field.constraints.iter().map(|(name, value)| format!("{}: {value}", json!(name)));
            let _ = write!(text, ", \"constraints\": {{{}}}", constraints.collect::<Vec<_>>().join(", "));
        }
        format!("    {text}}}")
    }).collect();
    let key = key.map(|key| format!(",\n  \"primaryKey\": [{}]", json!(key))).unwrap_or_default();
    format!("{{\n  \"fields\": [\n{}\n  ],\n  \"missingValues\": [\"\"]{key}\n}}\n", fields.join(",\n"))
}

fn toml(name: &DatasetName, sample: &Sample<'_>, fields: &[Field<'_>], notes: &[String]) -> String {
    let mut text = String::from(
        "# A draft by `nightsafe dataset new`: read it, and the schema beside it, before anybody sends by it.\n",
    );
    for note in notes {
        let _ = writeln!(text, "# - {}", crate::cli::output::tame(note));
    }
    let (pattern, hint) = name_pattern(sample.file);
    let _ = write!(
        text,
        "\n# For people; they read the two in /help.txt.\ntitle = {}\n#description = \"One row for each ...\"\nformat = \"csv\"\nschema = {}\n\
         # From the sample's own name: which names are taken, and the same in words.\nname = {}\nname_hint = {}\n#max_size = \"20GiB\"\n\
         # Guessed from the sample; extracts must be so.\nencoding = {}\n\n[dialect]\ndelimiter = {}\n",
        quoted(name.as_str()),
        quoted(&format!("{name}.schema.json")),
        quoted(&pattern),
        quoted(&hint),
        quoted(demands::encoding(sample.encoding)),
        quoted(&char::from(sample.delimiter).to_string()),
    );
    let mut habits = sample.habits.clone();
    if fields.iter().any(|field| field.column.unpadded && ["date", "datetime"].contains(&field.kind)) {
        habits.insert("unpadded_dates");
    }
    if fields.iter().any(|field| field.column.spaced) {
        habits.insert("label_spaces");
    }
    if !habits.is_empty() {
        text.push_str("\n# The sample has these; \"reject\" is the default, if the export can be mended.\n[policy]\n");
        for habit in habits {
            let _ = writeln!(text, "{habit} = \"flag\"");
        }
    }
    text.push_str("\n# Rules that the columns suggest; take the # away from those that hold.\n");
    suggest(&mut text, "nhs-number", fields, |field| field.column.nhs_number && field.column.filled > 0);
    suggest(&mut text, "uk-postcode", fields, |field| field.column.postcode && field.column.filled > 0);
    suggest(&mut text, "not-in-future", fields, |field| ["date", "datetime", "yearmonth"].contains(&field.kind));
    if pattern.contains("(?P<period>") {
        suggest(&mut text, "within-period\"\n#part = \"period", fields, |field| {
            ["date", "datetime"].contains(&field.kind) && !delicate(&field.column.label)
        });
    }
    text.push_str("\n#[rows]\n#least = 1\n#change = { less = \"50%\", more = \"200%\" }\n");
    if !fields.iter().any(|field| field.personal) {
        text.push_str("\n# Labels that must never come, also by mistake:\n[forbidden_columns]\nsets = [\"names\", \"addresses\", \"contacts\"]\n");
    }
    text
}

fn suggest(text: &mut String, kind: &str, fields: &[Field<'_>], fits: impl Fn(&Field<'_>) -> bool) {
    let columns: Vec<String> =
        fields.iter().filter(|field| fits(field)).map(|field| field.column.label.clone()).collect();
    if !columns.is_empty() {
        let _ = write!(text, "\n#[[rules]]\n#kind = \"{kind}\"\n#columns = {}\n", list(columns));
    }
}

/// The name with its digits open and its period named, as a pattern and in words: `LIV9814_2024-06.csv` is
/// `LIV[0-9]{4}_(?P<period>[0-9]{4}-[0-9]{2})\.csv`.
fn name_pattern(name: &str) -> (String, String) {
    let (mut pattern, mut hint) = (String::new(), String::new());
    let mut named = false;
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        if let Some((length, part, words)) =
            period(rest, name.len() - rest.len() > 0 && pattern.ends_with(']')).filter(|_| !named)
        {
            named = true;
            let _ = write!(pattern, "(?P<period>{part})");
            hint.push_str(words);
            rest = &rest[length..];
            continue;
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            let _ = write!(pattern, "[0-9]{{{digits}}}");
            hint.push_str(&"9".repeat(digits));
            rest = &rest[digits..];
            continue;
        }
        pattern.push_str(&regex::escape(&first.to_string()));
        hint.push(first);
        rest = &rest[first.len_utf8()..];
    }
    (pattern, hint)
}

/// A period at the start of the text that is not a part of a longer number: its length, pattern and words.
fn period(text: &str, behind_digits: bool) -> Option<(usize, &'static str, &'static str)> {
    const FORMS: [(&str, &str, &str); 5] = [
        ("dddd-dd-dd", "[0-9]{4}-[0-9]{2}-[0-9]{2}", "YYYY-MM-DD"),
        ("dddddddd", "[0-9]{8}", "YYYYMMDD"),
        ("dddd-dd", "[0-9]{4}-[0-9]{2}", "YYYY-MM"),
        ("dddd-Qd", "[0-9]{4}-Q[1-4]", "YYYY-QN"),
        ("dddddd", "[0-9]{6}", "YYYYMM"),
    ];
    if behind_digits || !(text.starts_with("19") || text.starts_with("20")) {
        return None;
    }
    FORMS.into_iter().find_map(|(form, pattern, words)| {
        let head = text.get(..form.len())?;
        let fits = form
            .bytes()
            .zip(head.bytes())
            .all(|(want, is)| if want == b'd' { is.is_ascii_digit() } else { want == is });
        let ends = !text[form.len()..].starts_with(|c: char| c.is_ascii_digit());
        // Six digits are a month only when they can be: 202413 is a number.
        let month = form.len() != 6 || ("01"..="12").contains(&head.get(4..)?);
        (fits && ends && month).then_some((form.len(), pattern, words))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_a_pattern_with_its_period() {
        for (name, pattern) in [
            ("LIV9814_2024-06.csv", r"LIV[0-9]{4}_(?P<period>[0-9]{4}-[0-9]{2})\.csv"),
            ("x.csv", r"x\.csv"),
            ("a_20240131_7.csv", r"a_(?P<period>[0-9]{8})_[0-9]{1}\.csv"),
            ("a_2024-Q2.txt", r"a_(?P<period>[0-9]{4}-Q[1-4])\.txt"),
            ("c202413.csv", r"c[0-9]{6}\.csv"),
            ("2024-06_2023-05.csv", r"(?P<period>[0-9]{4}-[0-9]{2})_[0-9]{4}\-[0-9]{2}\.csv"),
        ] {
            let (made, hint) = name_pattern(name);
            assert_eq!(made, pattern, "{name} ({hint})");
            assert!(regex::Regex::new(&format!("^(?:{made})$")).unwrap().is_match(name), "{name}");
        }
    }

    #[test]
    fn labels_that_may_say_who_somebody_is_are_told() {
        for label in ["Client Initials", "patient_id", "Notes", "Home Postcode"] {
            assert!(delicate(label), "{label}");
        }
        for label in ["Sex", "Intervention Type", "Identity"] {
            assert!(!delicate(label), "{label}");
        }
        assert_eq!(personal(&["Sex", "Surname", "E-mail"]), BTreeSet::from([1, 2]));
    }
}
