//! `[[rules]]`, `[rows]`, `[forbidden_columns]` and `[totals]`, as the check's own [`Specs`].
//!
//! Reads and bounds single values; whether a rule can be obeyed is for [`RuleSet::compile`], whose faults get their places
//! here. Called by [`super::read`].

use std::ops::Range;

use toml::de::DeValue;

use super::super::section::{At, Section, Wrong};
use super::super::value::{choice, line, text, whole};
use crate::check::rules::{ChangeSpec, ForbiddenSet, ForbiddenSpec, Kind, Place, RowsSpec, Spec, Specs};
use crate::check::{RuleSet, Severity, TableRules};

const VERDICTS: [(&str, Severity); 2] = [("reject", Severity::Reject), ("flag", Severity::Flag)];

/// What the file says, with the places to point at.
pub(super) struct Read {
    specs: Specs,
    /// For each of `specs.rules`.
    rules: Vec<Option<Range<usize>>>,
    rows: Option<Range<usize>>,
    forbidden: Option<Range<usize>>,
    totals: Option<Range<usize>>,
}

impl Read {
    /// Where `[totals]` stands.
    pub fn totals(&self) -> Option<Range<usize>> {
        self.totals.clone()
    }
}

pub(super) fn read(file: &mut Section<'_>) -> Read {
    let stands = |key: &str| file.stands(key);
    let (rows, forbidden, totals) = (stands("rows"), stands("forbidden_columns"), stands("totals"));
    let mut read = Read { specs: Specs::default(), rules: Vec::new(), rows, forbidden, totals };
    for mut section in file.tables("rules") {
        let span = section.place();
        if let Some(spec) = rule(&mut section) {
            read.specs.rules.push(spec);
            read.rules.push(span);
        }
        section.finish();
    }
    read.specs.rows = self::rows(file.table("rows"));
    read.specs.forbidden = self::forbidden(file.table("forbidden_columns"));
    read.specs.totals = self::totals(file.table("totals"));
    read
}

/// The rules against the schema; none when something is wrong with them, which was said then.
pub(super) fn compile(
    file: &Section<'_>,
    read: &Read,
    table: &TableRules,
    pattern: Option<&At<regex::Regex>>,
) -> RuleSet {
    // Where the pattern itself was refused, that parts of it are missing is no second fault.
    if pattern.is_none() && file.stands("name").is_some() {
        return RuleSet::default();
    }
    let faults = match RuleSet::compile(&read.specs, table.schema.as_ref(), pattern.map(|at| &at.value)) {
        Ok(rules) => return rules,
        Err(faults) => faults,
    };
    for fault in faults {
        let (span, under) = match fault.place {
            Place::Rule(index) => {
                let kind = read.specs.rules.get(index).map_or("", |spec| spec.kind.name());
                (read.rules.get(index).cloned().flatten(), format!("{kind}: "))
            }
            Place::Rows => (read.rows.clone(), "rows: ".into()),
            Place::Forbidden => (read.forbidden.clone(), "forbidden_columns: ".into()),
            Place::Totals => (read.totals.clone(), "totals: ".into()),
        };
        file.error(span, format!("{under}{}", fault.message), fault.help);
    }
    RuleSet::default()
}

fn rule(section: &mut Section<'_>) -> Option<Spec> {
    let kinds = Kind::NAMES.map(|name| (name, name));
    let example = "kind = \"any-present\", or another that docs/DATASETS.md lists";
    let Some(kind) = section.required("kind", example, choice(&kinds)) else {
        // Which keys belong to it cannot be said.
        section.know_all();
        return None;
    };
    let restricts = matches!(kind.value, "consent" | "objection");
    if let (true, Some(span)) = (restricts, section.stands("verdict")) {
        let message = format!("verdict: {} restricts rows, it neither rejects nor flags them", kind.value);
        section.error(Some(span), message, "take verdict away");
    }
    let verdict = section.or("verdict", Severity::Reject, choice(&VERDICTS));
    let label = section.optional("label", line).map(|at| at.value);
    let kind = match kind.value {
        "any-present" => Kind::AnyPresent { columns: columns(section)? },
        "nhs-number" => Kind::NhsNumber { columns: columns(section)? },
        "nhs-number-or-local" => Kind::NhsNumberOrLocal { columns: columns(section)? },
        "uk-postcode" => Kind::UkPostcode { columns: columns(section)? },
        "ods-code" => Kind::OdsCode { columns: columns(section)? },
        "not-in-future" => Kind::NotInFuture { columns: columns(section)? },
        "in-order" => Kind::InOrder { columns: columns(section)? },
        "within-period" => {
            let (columns, part) = (columns(section), part(section, "period"));
            Kind::WithinPeriod { columns: columns?, part: part? }
        }
        "same-as-name" => {
            let (column, part) = (column(section), part(section, "agency"));
            Kind::SameAsName { column: column?, part: part? }
        }
        "product" => {
            let column = column(section);
            let factors = list(section, "factors", "factors = [\"quantity\", \"unit_price\"]");
            let tolerance = section.or("tolerance", String::new(), tolerance);
            Kind::Product { column: column?, factors: factors?, tolerance }
        }
        "consent" => {
            let (column, given) = (column(section), list(section, "given", "given = [\"Y\"]"));
            Kind::Consent { column: column?, given: given? }
        }
        _ => objection(section)?,
    };
    Some(Spec { kind, verdict, label })
}

fn objection(section: &mut Section<'_>) -> Option<Kind> {
    let example = "when = { \"Client Initials\" = \"XX\", \"Date of Birth\" = \"05/05/1955\" }";
    let when = section.entries("when", |value| Ok(text(value)?.to_owned()));
    let partial = [("flag", Severity::Flag), ("accept", Severity::Accept)];
    let partial = section.or("partial", Severity::Flag, choice(&partial));
    let Some(when) = when else {
        section.absent("when", example);
        return None;
    };
    if when.value.is_empty() {
        section.error(Some(when.span), "when is empty: it would hold of every row", format!("write {example}"));
        return None;
    }
    let when = when.value.into_iter().map(|(column, cell)| (column.value, cell)).collect();
    Some(Kind::Objection { when, partial })
}

fn columns(section: &mut Section<'_>) -> Option<Vec<String>> {
    list(section, "columns", "columns = [\"...\"], fields of the schema")
}

fn column(section: &mut Section<'_>) -> Option<String> {
    section.required("column", "column = \"...\", a field of the schema", label).map(|at| at.value)
}

fn part(section: &mut Section<'_>, usual: &str) -> Option<String> {
    let example = format!("part = \"{usual}\", a named part of the file's name: (?P<{usual}>...) in name");
    section.required("part", &example, label).map(|at| at.value)
}

/// A list of texts that must be there, with at least one, each once.
fn list(section: &mut Section<'_>, key: &'static str, example: &str) -> Option<Vec<String>> {
    let Some(items) = section.list(key, label) else {
        section.absent(key, example);
        return None;
    };
    if section.items(key) == 0 {
        section.error(Some(items.span), format!("{key} is empty"), format!("write {example}"));
        return None;
    }
    let mut texts: Vec<String> = Vec::new();
    for At { value, span } in items.value {
        if texts.contains(&value) {
            section.error(Some(span), format!("{key}: {value:?} is there twice"), "name each once");
            continue;
        }
        texts.push(value);
    }
    // Some of it was refused, and that was said.
    (!texts.is_empty()).then_some(texts)
}

/// A label as the file has it: blanks count.
fn label(value: &DeValue<'_>) -> Result<String, Wrong> {
    match text(value)? {
        "" => Err(Wrong::new("is empty", "write what stands in the file")),
        text => Ok(text.to_owned()),
    }
}

/// A decimal that is not negative, as text: a fraction of TOML would be a binary one.
fn tolerance(value: &DeValue<'_>) -> Result<String, Wrong> {
    let help = "write a decimal in quotes: tolerance = \"0.01\"";
    if let DeValue::Float(_) | DeValue::Integer(_) = value {
        return Err(Wrong::new("is a number without quotes, which is not exact", help));
    }
    let text = text(value)?;
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit());
    if digits(whole) && digits(part) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(format!("{text:?} is not a decimal"), help))
}

fn rows(mut section: Section<'_>) -> RowsSpec {
    let mut count = |key| section.optional(key, whole(0..=i64::MAX.unsigned_abs())).map(|at| at.value);
    let (least, most) = (count("least"), count("most"));
    let said = section.stands("change").is_some();
    let mut change = section.table("change");
    let (less, more) = (change.optional("less", percent), change.optional("more", percent));
    let verdict = change.or("verdict", Severity::Flag, choice(&VERDICTS));
    // A value that was refused reads as absent; that nothing is left of it then is no second fault.
    let whole = ["less", "more"].iter().all(|key| change.stands(key).is_none()) || less.is_some() || more.is_some();
    let there = change.is_there();
    change.finish();
    section.finish();
    let value = |at: Option<At<u32>>| at.map(|at| at.value);
    let change = (said && there && whole).then(|| ChangeSpec { less: value(less), more: value(more), verdict });
    RowsSpec { least, most, change }
}

/// `"50%"`, whole.
fn percent(value: &DeValue<'_>) -> Result<u32, Wrong> {
    let help = "write whole per cent of the last upload's rows, such as \"50%\" or \"200%\"";
    if let DeValue::Integer(number) = value {
        return Err(Wrong::new("has no per cent sign", format!("write \"{number}%\" if that is what is meant")));
    }
    let written = text(value)?;
    let Some(number) = written.strip_suffix('%') else {
        return Err(Wrong::new(format!("{written:?} has no per cent sign"), help));
    };
    let digits = !number.is_empty() && number.len() <= 6 && number.bytes().all(|b| b.is_ascii_digit());
    match number.parse() {
        Ok(number) if digits => Ok(number),
        _ => Err(Wrong::new(format!("{written:?} is not whole per cent"), help)),
    }
}

fn forbidden(mut section: Section<'_>) -> ForbiddenSpec {
    let sets = ForbiddenSet::ALL.map(|set| (set.name(), set));
    let values = |list: Option<At<Vec<At<ForbiddenSet>>>>| -> Vec<ForbiddenSet> {
        list.into_iter().flat_map(|list| list.value).map(|at| at.value).collect()
    };
    let (has_sets, has_labels) = (section.stands("sets").is_some(), section.stands("labels").is_some());
    let spec = ForbiddenSpec {
        sets: values(section.list("sets", choice(&sets))),
        labels: section.list("labels", label).into_iter().flat_map(|l| l.value).map(|at| at.value).collect(),
    };
    if section.is_there() && !has_sets && !has_labels {
        section.error(
            None,
            "forbidden_columns forbids nothing",
            "add sets = [\"names\", \"addresses\", \"contacts\"], or labels",
        );
    }
    section.finish();
    spec
}

fn totals(mut section: Section<'_>) -> Vec<String> {
    let columns = if section.is_there() { columns(&mut section) } else { None };
    section.finish();
    columns.unwrap_or_default()
}
