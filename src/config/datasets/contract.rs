//! What providers may read of a dataset: its TOML, its schema and its code lists, as files of one flat folder that
//! [`super::super::dataset_file`] reads again.
//!
//! Must never show a comment: operators remark there what is not for others. Called by [`super::super::load`].

use std::collections::BTreeMap;
use std::sync::Arc;

use toml_edit::{DocumentMut, Item, Table, Value};

use super::super::source::Source;
use super::ContractFile;
use super::schema::resources;
use crate::types::{DatasetName, FileName};

/// A code list as it was read.
#[derive(Debug, Clone)]
pub(in crate::config) struct List {
    /// The file's name without `.csv`.
    pub resource: String,
    pub text: Arc<str>,
}

/// What a dataset was read from.
pub(in crate::config) struct Contract {
    name: DatasetName,
    /// None when it has faults.
    pub toml: Option<String>,
    pub schema: Option<(Source, Vec<List>)>,
}

/// Names of the folder that are given out, with what stands under them.
type Taken = BTreeMap<String, Arc<str>>;

impl Contract {
    pub fn of(name: &DatasetName) -> Self {
        Self { name: name.clone(), toml: None, schema: None }
    }

    fn toml_name(&self) -> String {
        format!("{}.toml", self.name)
    }

    /// The dataset's files, under names that nothing else has in `taken`; the TOML first.
    fn files(&self, taken: &mut Taken) -> Result<Vec<ContractFile>, String> {
        let Some(toml) = &self.toml else { return Ok(Vec::new()) };
        let mut files = Vec::new();
        let mut schema_name = None;
        if let Some((source, lists)) = &self.schema {
            let mut text = source.text.clone();
            for list in lists {
                let wanted = format!("{}.csv", list.resource);
                let name = self.give(&wanted, &list.text, taken);
                if let Some(resource) = name.strip_suffix(".csv").filter(|_| name != wanted) {
                    text = rename(&text, &list.resource, resource)?;
                }
                files.push(ContractFile { name, content: list.text.clone() });
            }
            let own =
                source.path.file_name().and_then(|name| name.to_str()).filter(|name| name.parse::<FileName>().is_ok());
            let wanted = own.map_or_else(|| format!("{}.schema.json", self.name), str::to_owned);
            let content: Arc<str> = text.into();
            let name = self.give(&wanted, &content, taken);
            files.insert(0, ContractFile { name: name.clone(), content });
            schema_name = Some(name);
        }
        let content = bare(toml, schema_name.as_deref()).into();
        files.insert(0, ContractFile { name: self.toml_name(), content });
        Ok(files)
    }

    /// `wanted`, or with the dataset's name before it when another file has that name.
    fn give(&self, wanted: &str, content: &Arc<str>, taken: &mut Taken) -> String {
        let mut name = wanted.to_owned();
        while taken.get(&name).is_some_and(|there| there != content) {
            name = format!("{}.{name}", self.name);
        }
        taken.insert(name.clone(), content.clone());
        name
    }
}

/// Gives every dataset its files, no two of different content under one name; in the order of `contracts`.
///
/// # Errors
/// By dataset: why its files cannot stand in one folder with the others.
pub(in crate::config) fn unite(contracts: &[&Contract]) -> Vec<Result<Vec<ContractFile>, String>> {
    // A dataset's TOML has the first right to its name: nothing may stand there instead, so its content here is its own.
    let mine = |contract: &&Contract| (contract.toml_name(), Arc::from(format!("\0{}", contract.name)));
    let mut taken: Taken = contracts.iter().map(mine).collect();
    contracts.iter().map(|contract| contract.files(&mut taken)).collect()
}

/// The schema with another name for a code list.
fn rename(schema: &str, from: &str, to: &str) -> Result<String, String> {
    let mut renamed = String::with_capacity(schema.len());
    let mut done = 0;
    for span in resources(schema, from) {
        renamed.push_str(&schema[done..span.start]);
        renamed.push_str(&serde_json::Value::from(to).to_string());
        done = span.end;
    }
    if done == 0 {
        return Err(format!(
            "two datasets have different code lists {from}.csv, and the schema writes the name in an unusual way"
        ));
    }
    renamed.push_str(&schema[done..]);
    Ok(renamed)
}

/// The TOML without comments, and with the schema where it lies in the flat folder.
fn bare(toml: &str, schema: Option<&str>) -> String {
    // It was read as TOML before: this cannot fail; nothing is shown if it should.
    let Ok(mut document) = toml.parse::<DocumentMut>() else { return String::new() };
    if let Some(schema) = schema {
        document["schema"] = toml_edit::value(schema);
    }
    document.set_trailing("");
    strip(document.as_table_mut());
    let text = document.to_string();
    text.trim_start_matches('\n').to_owned()
}

fn strip(table: &mut Table) {
    table.decor_mut().clear();
    for (mut key, item) in table.iter_mut() {
        key.leaf_decor_mut().clear();
        key.dotted_decor_mut().clear();
        match item {
            Item::None => {}
            Item::Value(value) => strip_value(value),
            Item::Table(table) => {
                strip(table);
                table.decor_mut().set_prefix("\n");
            }
            Item::ArrayOfTables(tables) => tables.iter_mut().for_each(|table| {
                strip(table);
                table.decor_mut().set_prefix("\n");
            }),
        }
    }
}

fn strip_value(value: &mut Value) {
    value.decor_mut().clear();
    match value {
        Value::Array(array) => {
            array.iter_mut().for_each(strip_value);
            array.set_trailing("");
            array.set_trailing_comma(false);
            array.fmt();
        }
        Value::InlineTable(table) => {
            for (mut key, value) in table.iter_mut() {
                key.leaf_decor_mut().clear();
                key.dotted_decor_mut().clear();
                strip_value(value);
            }
            table.fmt();
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract(name: &str, toml: &str, schema: &str, lists: &[(&str, &str)]) -> Contract {
        let list = |(resource, text): &(&str, &str)| List { resource: (*resource).into(), text: (*text).into() };
        let source = Source { path: "elsewhere/x.schema.json".into(), text: schema.into() };
        let schema = Some((source, lists.iter().map(list).collect()));
        Contract { name: name.parse().unwrap(), toml: Some(toml.into()), schema }
    }

    fn names(files: &[ContractFile]) -> Vec<&str> {
        files.iter().map(|file| file.name.as_str()).collect()
    }

    #[test]
    fn no_comment_is_shown_and_the_rest_says_the_same() {
        let toml = "# for us: ring Ann\ntitle = \"x\" # secret\nschema = \"../a/x.json\" # secret\n\n# secret\n[rows] # secret\n# secret\nleast = 1 # secret\n\
                    [forbidden_columns]\nlabels = [ # secret\n  \"a # b\", # secret\n]\n[[rules]] # secret\nkind = \"objection\"\n\
                    when = { \"a b\" = \"#\" } # secret\n#[[rules]]\n# secret";
        let shown = bare(toml, Some("x.json"));
        assert!(!shown.contains("secret") && !shown.contains("Ann"), "{shown}");
        let mut before: toml::Table = toml.parse().unwrap();
        before.insert("schema".into(), "x.json".into());
        assert_eq!(before, shown.parse::<toml::Table>().unwrap(), "{shown}");
        assert!(shown.starts_with("title = \"x\"\nschema = \"x.json\"\n\n[rows]\nleast = 1\n"), "{shown}");
        assert_eq!(shown, bare(&shown, Some("x.json")), "comments and layout make no difference");
    }

    #[test]
    fn files_of_one_name_and_content_are_one_and_others_get_their_datasets_name() {
        let schema =
            r#"{"fields": [], "foreignKeys": [{"fields": "a", "reference": {"resource" : "p", "fields": "p"}}]}"#;
        let toml = "title = \"x\"\nschema = \"elsewhere/x.schema.json\"\n";
        let (a, b) = (contract("a", toml, schema, &[("p", "p\n1\n")]), contract("b", toml, schema, &[("p", "p\n1\n")]));
        let united = unite(&[&a, &b]);
        assert_eq!(names(united[1].as_ref().unwrap()), ["b.toml", "x.schema.json", "p.csv"]);
        let c = contract("c", toml, schema, &[("p", "p\n2\n")]);
        let united = unite(&[&a, &c]);
        let files = united[1].as_ref().unwrap();
        assert_eq!(names(files), ["c.toml", "c.x.schema.json", "c.p.csv"]);
        assert!(files[0].content.contains("schema = \"c.x.schema.json\""), "{}", files[0].content);
        assert!(files[1].content.contains("\"resource\" : \"c.p\""), "{}", files[1].content);
    }

    #[test]
    fn nothing_takes_the_name_of_a_datasets_own_file() {
        let mut a = contract("a", "title = \"x\"\n", "{}", &[]);
        if let Some((source, _)) = &mut a.schema {
            source.path = "b.toml".into();
        }
        let b = contract("b", "title = \"x\"\n", "{}", &[]);
        let united = unite(&[&a, &b]);
        assert_eq!(names(united[0].as_ref().unwrap()), ["a.toml", "a.b.toml"]);
        assert_eq!(names(united[1].as_ref().unwrap()), ["b.toml", "x.schema.json"]);
    }
}
