//! By what a file is judged: a dataset of the configuration, a dataset's file as a gateway serves it, or a schema alone.
//!
//! Must never judge by half of what was asked for: what cannot be read is an error with its place. Called by `precheck`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::outcome::{Stop, say};
use crate::check::schema::{Schema, SchemaFault};
use crate::check::{Compression, Format, Rules, Severity, TableRules};
use crate::config::{self, Companion, Dataset, Diagnostic, Warning};
use crate::daemon::InvalidConfig;
use crate::types::DatasetName;

/// What a schema alone takes at most: 20 GiB, as a dataset that says nothing of it.
const MAX_SIZE: u64 = 20 << 30;
/// Bytes of a schema's file that are read: no schema is larger than that.
const SCHEMA_MAX: u64 = 16 << 20;

/// The demands on a file, and what of them cannot be judged here.
#[derive(Debug)]
pub struct Demands {
    /// None for a schema alone.
    pub dataset: Option<String>,
    pub rules: Rules,
    pub companion: Companion,
    /// What only the gateway can know.
    pub not_judged: Vec<&'static str>,
}

impl Demands {
    /// `named` is a dataset of the configuration at `config`, or a path that ends in `.toml`.
    ///
    /// # Errors
    /// There is no such dataset, or all that is wrong with it.
    pub fn of_dataset(named: &str, config: &Path) -> anyhow::Result<Self> {
        let file = if named.ends_with(".toml") { PathBuf::from(named) } else { in_configuration(named, config)? };
        let (dataset, warnings) = config::dataset_file(&file).map_err(InvalidConfig)?;
        warnings.iter().for_each(|warning| say(&format!("{warning}\n")));
        let not_judged = not_judged(&dataset);
        Ok(Self {
            dataset: Some(dataset.name.to_string()),
            rules: dataset.rules,
            companion: dataset.companion,
            not_judged,
        })
    }

    /// # Errors
    /// The schema cannot be read, or everything in it that cannot be used.
    pub fn of_schema(path: &Path) -> anyhow::Result<Self> {
        let text = read_schema(path).map_err(|diagnostic| InvalidConfig(vec![diagnostic]))?;
        let (schema, warnings) = Schema::read(&text).map_err(|faults| {
            let told = |of: bool| faults.iter().filter(move |fault| fault.warning == of);
            told(true).for_each(|fault| say(&format!("{}\n", Warning(at(path, &text, fault)))));
            InvalidConfig(told(false).map(|fault| at(path, &text, fault)).collect())
        })?;
        warnings.iter().for_each(|warning| say(&format!("{}\n", Warning(at(path, &text, warning)))));
        if let Some(key) = schema.foreign_keys.first() {
            return Err(Stop::Usage(format!(
                "the schema refers to the code list {:?}, which a schema alone does not have: judge by the dataset's file \
                 with --dataset, its code lists beside it",
                key.resource
            ))
            .into());
        }
        let mut rules = Rules::of(Format::Csv, MAX_SIZE);
        rules.compression = vec![Compression::Gzip, Compression::Zip];
        rules.table = Some(Arc::new(TableRules { schema: Some(schema), ..TableRules::default() }));
        let not_judged = vec!["dataset", "scan", "repeated"];
        Ok(Self { dataset: None, rules, companion: Companion::default(), not_judged })
    }
}

fn in_configuration(named: &str, config: &Path) -> Result<PathBuf, Stop> {
    let name: DatasetName = named.parse().map_err(|error| Stop::Usage(format!("{error}")))?;
    let folder = config.parent().unwrap_or(Path::new("")).join("datasets");
    let file = folder.join(format!("{name}.toml"));
    if file.is_file() {
        return Ok(file);
    }
    let mut there: Vec<String> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".toml")?.to_owned()))
        .collect();
    there.sort();
    let help = match there.len() {
        0 => "name the dataset's file (--dataset x.toml), or the configuration (--config FILE)".to_owned(),
        _ => format!("there are {}", there.join(", ")),
    };
    Err(Stop::Usage(format!("there is no dataset {name} in {}: {help}", folder.display())))
}

/// Names of what a verdict here leaves out, each as it is called in a report or in the dataset's file.
fn not_judged(dataset: &Dataset) -> Vec<&'static str> {
    let mut names = vec!["scan"];
    if dataset.repeated != Severity::Accept {
        names.push("repeated");
    }
    if dataset.rules.table.is_some() {
        names.push("row-count-change");
    }
    // What the parts of a name may be is said by the organisation's own file.
    if dataset.rules.name.as_ref().is_some_and(|name| name.capture_names().flatten().next().is_some()) {
        names.push("codes");
    }
    names
}

fn read_schema(path: &Path) -> Result<String, Diagnostic> {
    use std::io::Read as _;
    let fault = |message: String, help: &str| Diagnostic::of_file(path, message, help);
    let unreadable =
        |error: std::io::Error| fault(format!("the schema cannot be read: {error}"), "name a Table Schema (JSON)");
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(SCHEMA_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > SCHEMA_MAX {
        return Err(fault(
            "the file is too large to be a schema".into(),
            "name a Table Schema (JSON), not the extract",
        ));
    }
    String::from_utf8(bytes).map_err(|_| fault("the schema is not UTF-8".into(), "save it as JSON in UTF-8"))
}

/// A fault of the schema at its place in the file.
fn at(path: &Path, text: &str, fault: &SchemaFault) -> Diagnostic {
    let start = floor(text, fault.span.start);
    let end = floor(text, fault.span.end.max(start));
    let before = &text[..start];
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let source = text[line_start..].lines().next().unwrap_or_default();
    Diagnostic {
        file: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: text[line_start..start].chars().count() + 1,
        message: fault.message.clone(),
        help: fault.help.clone(),
        source: source.to_owned(),
        width: text[start..end].lines().next().map_or(1, |shown| shown.chars().count().max(1)),
    }
}

/// The nearest place at or before `at` that does not cut a character.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_a_schema_is_shown_at_its_line_whatever_its_span() {
        let text = "{\n  \"fields\": [\"é\"]\n}";
        let fault = |span| SchemaFault { span, message: "m".into(), help: String::new(), warning: false };
        let start = text.find("\"é\"").unwrap();
        let told = at(Path::new("x.schema.json"), text, &fault(start..start + 4));
        assert_eq!((told.line, told.column, told.width), (2, 14, 3));
        assert_eq!(told.source, "  \"fields\": [\"é\"]");
        // In the middle of a character, beyond the end, the wrong way round: still a place.
        for span in [start + 2..start + 3, 900..1000, std::ops::Range { start: 9, end: 2 }] {
            at(Path::new("x"), text, &fault(span));
        }
    }

    #[test]
    fn a_dataset_that_is_not_there_is_answered_with_those_that_are() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("datasets")).unwrap();
        std::fs::write(dir.path().join("datasets/visits.toml"), "").unwrap();
        let config = dir.path().join("nightsafe.toml");
        assert!(in_configuration("visits", &config).unwrap().ends_with("datasets/visits.toml"));
        let told = in_configuration("visit", &config).unwrap_err().to_string();
        assert!(told.contains("there are visits"), "{told}");
        assert!(in_configuration("../visits", &config).is_err());
    }

    #[test]
    fn a_schemas_warnings_are_no_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.schema.json");
        std::fs::write(&path, r#"{"fields": [{"name": "a", "type": "nothing"}], "dialect": {}}"#).unwrap();
        let error = Demands::of_schema(&path).map(drop).unwrap_err();
        let InvalidConfig(faults) = error.downcast_ref().unwrap();
        assert!(faults.len() == 1 && faults[0].message.contains("no type"), "{faults:?}");
    }
}
