//! Edits of an organisation's TOML file: text in, text out, every byte kept that the edit is not about.
//!
//! Works on the spans that toml_edit finds, not on a printed document, so that comments, order, spacing and line ends
//! stay as a person left them. Must never hand out a text that says more or less than was asked for: each edit is read
//! back and compared. Does no input or output. Called by the commands `org` and `account`.

use std::ops::Range;

use toml_edit::{Document, DocumentMut, Item, Table, Value};

use crate::cli::outcome::Stop;
use crate::types::{AccountName, DatasetName, OrgId, Role};

/// An account to be written.
#[derive(Debug, Clone)]
pub struct NewAccount {
    pub name: AccountName,
    pub role: Role,
    /// For loaders; empty is `*`.
    pub take_orgs: Vec<OrgId>,
    pub take_datasets: Vec<DatasetName>,
    /// Networks, as the configuration writes them.
    pub from: Vec<String>,
}

/// A TOML string, quoted and escaped as needed.
pub fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A TOML array of strings, on one line.
pub fn list<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| quoted(item.as_ref())).collect();
    format!("[{}]", items.join(", "))
}

impl NewAccount {
    /// Its fields as `key = value`, in the order of the documentation.
    fn fields(&self) -> Vec<String> {
        let mut fields = vec![format!("name = {}", quoted(self.name.as_str()))];
        fields.push(format!("role = {}", quoted(self.role.as_str())));
        if !self.from.is_empty() {
            fields.push(format!("from = {}", list(&self.from)));
        }
        if self.role == Role::Loader {
            let all = |names: Vec<&str>| if names.is_empty() { list(["*"]) } else { list(names) };
            let orgs = all(self.take_orgs.iter().map(OrgId::as_str).collect());
            let datasets = all(self.take_datasets.iter().map(DatasetName::as_str).collect());
            fields.push(format!("take = {{ orgs = {orgs}, datasets = {datasets} }}"));
        }
        fields
    }
}

/// Sets `disabled` of the organisation. The same text comes back when it says so already.
pub fn set_org_disabled(text: &str, disabled: bool) -> Result<String, Stop> {
    let document = parse(text)?;
    let edited = set_disabled(text, document.as_table(), disabled)?;
    checked(text, edited, |before| {
        set_flag(before, disabled);
        Some(())
    })
}

/// Sets `disabled` of one account. The same text comes back when it says so already.
pub fn set_account_disabled(text: &str, name: &AccountName, disabled: bool) -> Result<String, Stop> {
    let document = parse(text)?;
    let edited = match (account_table(&document, name), account_inline(&document, name)) {
        (Some(table), _) => set_disabled(text, table, disabled)?,
        (None, Some(account)) => {
            let span = |key| account.as_inline_table().and_then(|own| own.get(key)).and_then(Value::span);
            match (span("disabled"), span("name")) {
                (Some(flag), _) => format!("{}{disabled}{}", &text[..flag.start], &text[flag.end..]),
                (None, _) if !disabled => text.to_owned(),
                (None, Some(name)) => format!("{}, disabled = true{}", &text[..name.end], &text[name.end..]),
                (None, None) => return Err(by_hand()),
            }
        }
        (None, None) => return Err(no_such(name)),
    };
    checked(text, edited, |before| {
        let index = position(before, name)?;
        set_flag(before.get_mut("accounts")?.as_array_mut()?.get_mut(index)?.as_table_mut()?, disabled);
        Some(())
    })
}

/// Adds an account after the last one.
pub fn add_account(text: &str, account: &NewAccount) -> Result<String, Stop> {
    let document = parse(text)?;
    let end = line_end(text);
    let edited = match document.get("accounts") {
        Some(Item::Value(Value::Array(_))) => {
            let mut document: DocumentMut = text.parse().map_err(unreadable)?;
            let inline: Value = format!("{{ {} }}", account.fields().join(", ")).parse().map_err(unreadable)?;
            document["accounts"].as_array_mut().ok_or_else(by_hand)?.push(inline);
            restore_line_ends(text, document.to_string())
        }
        accounts => {
            let block = format!("[[accounts]]{end}{}{end}", account.fields().join(end));
            let last = accounts.and_then(Item::as_array_of_tables).and_then(|tables| tables.iter().last());
            let at = last.map_or(text.len(), |table| end_of_line(text, extent(table).end));
            let (before, after) = (&text[..at], &text[at..]);
            let gap = if before.is_empty() || before.ends_with('\n') { end.to_owned() } else { format!("{end}{end}") };
            let gap = if before.is_empty() { String::new() } else { gap };
            let gap_after = if after.is_empty() || after.starts_with(['\n', '\r']) { "" } else { end };
            format!("{before}{gap}{block}{gap_after}{after}")
        }
    };
    checked(text, edited, |before| {
        let added: toml::Table = account.fields().join("\n").parse().ok()?;
        let accounts = before.entry("accounts").or_insert_with(|| toml::Value::Array(Vec::new()));
        accounts.as_array_mut()?.push(toml::Value::Table(added));
        Some(())
    })
}

/// Removes an account, with the comment lines right above it; all others stay.
pub fn remove_account(text: &str, name: &AccountName) -> Result<String, Stop> {
    let document = parse(text)?;
    let edited = match (account_table(&document, name), account_inline(&document, name)) {
        (Some(table), _) => {
            let Range { start, end } = extent(table);
            let (mut start, end) = (comments_above(text, start_of_line(text, start)), end_of_line(text, end));
            // One of the two gaps around it goes too.
            let above = &text[..start];
            if above.ends_with("\n\n") || above.ends_with("\n\r\n") {
                start = start_of_line(text, start - 1);
            }
            format!("{}{}", &text[..start], &text[end..])
        }
        (None, Some(_)) => in_array(
            text,
            |accounts, index| {
                accounts.remove(index);
                Some(())
            },
            name,
        )?,
        (None, None) => return Err(no_such(name)),
    };
    checked(text, edited, |before| {
        let index = position(before, name)?;
        let accounts = before.get_mut("accounts")?.as_array_mut()?;
        accounts.remove(index);
        // The last `[[accounts]]` takes the key with it; an array written out stays, empty.
        if accounts.is_empty() && account_table(&document, name).is_some() {
            before.remove("accounts");
        }
        Some(())
    })
}

fn parse(text: &str) -> Result<Document<&str>, Stop> {
    Document::parse(text).map_err(unreadable)
}

/// Sets the flag of one table: its value in place, or a new line below `name`.
fn set_disabled(text: &str, table: &Table, disabled: bool) -> Result<String, Stop> {
    if let Some(value) = table.get("disabled") {
        let span = value.span().ok_or_else(by_hand)?;
        return Ok(format!("{}{disabled}{}", &text[..span.start], &text[span.end..]));
    }
    if !disabled {
        return Ok(text.to_owned());
    }
    let name = table.get("name").and_then(Item::span).ok_or_else(by_hand)?;
    let (at, end) = (end_of_line(text, name.end), line_end(text));
    let gap = if text[..at].ends_with('\n') { "" } else { end };
    Ok(format!("{}{gap}disabled = true{end}{}", &text[..at], &text[at..]))
}

/// Edits `accounts = [ { ... } ]`, where there are no lines of its own to cut.
fn in_array(
    text: &str,
    edit: impl FnOnce(&mut toml_edit::Array, usize) -> Option<()>,
    name: &AccountName,
) -> Result<String, Stop> {
    let mut document: DocumentMut = text.parse().map_err(unreadable)?;
    let accounts = document.get_mut("accounts").and_then(Item::as_array_mut).ok_or_else(by_hand)?;
    let named = |value: &Value| {
        value.as_inline_table().and_then(|own| own.get("name")).and_then(Value::as_str) == Some(name.as_str())
    };
    let index = accounts.iter().position(named).ok_or_else(|| no_such(name))?;
    edit(accounts, index).ok_or_else(by_hand)?;
    Ok(restore_line_ends(text, document.to_string()))
}

fn account_table<'d>(document: &'d Document<&str>, name: &AccountName) -> Option<&'d Table> {
    let tables = document.get("accounts")?.as_array_of_tables()?;
    tables.iter().find(|table| table.get("name").and_then(Item::as_str) == Some(name.as_str()))
}

fn account_inline<'d>(document: &'d Document<&str>, name: &AccountName) -> Option<&'d Value> {
    let accounts = document.get("accounts")?.as_array()?;
    accounts.iter().find(|value| {
        value.as_inline_table().and_then(|own| own.get("name")).and_then(Value::as_str) == Some(name.as_str())
    })
}

/// The bytes from a table's header to the last of its values, those of tables inside it too.
fn extent(table: &Table) -> Range<usize> {
    let own = table.span().unwrap_or(0..0);
    let ends = table.iter().map(|(_, item)| match item {
        Item::Table(inner) => extent(inner).end,
        Item::ArrayOfTables(tables) => tables.iter().map(|inner| extent(inner).end).max().unwrap_or(0),
        other => other.span().map_or(0, |span| span.end),
    });
    own.start..ends.fold(own.end, usize::max)
}

fn start_of_line(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// The start of the next line, past a comment behind the value.
fn end_of_line(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1)
}

/// The start of the unbroken run of comment lines that ends at `at`.
fn comments_above(text: &str, mut at: usize) -> usize {
    while at > 0 {
        let start = start_of_line(text, at - 1);
        if !text[start..at].trim_start().starts_with('#') {
            break;
        }
        at = start;
    }
    at
}

fn line_end(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

/// toml_edit prints `\n` alone.
fn restore_line_ends(original: &str, printed: String) -> String {
    if line_end(original) == "\n" { printed } else { printed.replace("\r\n", "\n").replace('\n', "\r\n") }
}

fn position(table: &toml::Table, name: &AccountName) -> Option<usize> {
    let accounts = table.get("accounts")?.as_array()?;
    accounts.iter().position(|account| account.get("name").and_then(toml::Value::as_str) == Some(name.as_str()))
}

fn set_flag(table: &mut toml::Table, disabled: bool) {
    if disabled || table.contains_key("disabled") {
        table.insert("disabled".into(), disabled.into());
    }
}

/// Reads the edited text back: it must say what the original said, with `wanted` done to it, and nothing else.
fn checked(
    original: &str,
    edited: String,
    wanted: impl FnOnce(&mut toml::Table) -> Option<()>,
) -> Result<String, Stop> {
    let mut expected: toml::Table = original.parse().map_err(unreadable)?;
    wanted(&mut expected).ok_or_else(by_hand)?;
    match edited.parse::<toml::Table>() {
        Ok(result) if result == expected => Ok(edited),
        _ => Err(by_hand()),
    }
}

fn no_such(name: &AccountName) -> Stop {
    Stop::No(format!("there is no account {name:?} in this file", name = name.as_str()))
}

fn by_hand() -> Stop {
    Stop::Usage(
        "the file is laid out in a way that this command cannot edit safely; nothing was changed: edit it by hand, \
         then run `nightsafe check`"
            .into(),
    )
}

fn unreadable(error: impl std::fmt::Display) -> Stop {
    Stop::Usage(format!("the file is not TOML: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORG: &str = "\
# Harbour Street, since 2019.
name = \"Harbour\"   # as in the contract
datasets = [ 'ims' ]

# Everything of the nightly job.

# The job itself.
[[accounts]]
name = \"nightly\" # rotates in May
from = [
  \"192.0.2.0/24\",   # head office
]

[retention]
listed = \"30d\"

# By hand, now and then.
[[accounts]]
name = \"manual\"
[accounts.take]
orgs = [\"*\"]
datasets = [\"*\"]

# end of file
";

    fn name(text: &str) -> AccountName {
        text.parse().unwrap()
    }

    fn provider(text: &str) -> NewAccount {
        NewAccount { name: name(text), role: Role::Provider, take_orgs: vec![], take_datasets: vec![], from: vec![] }
    }

    #[test]
    fn disabling_an_organisation_adds_one_line_and_enabling_changes_one_word() {
        let off = set_org_disabled(ORG, true).unwrap();
        assert_eq!(off, ORG.replace("contract\n", "contract\ndisabled = true\n"));
        assert_eq!(set_org_disabled(&off, true).unwrap(), off);
        assert_eq!(set_org_disabled(&off, false).unwrap(), off.replace("disabled = true", "disabled = false"));
        assert_eq!(set_org_disabled(ORG, false).unwrap(), ORG);
    }

    #[test]
    fn disabling_an_account_touches_that_account_alone() {
        let off = set_account_disabled(ORG, &name("nightly"), true).unwrap();
        assert_eq!(off, ORG.replace("in May\n", "in May\ndisabled = true\n"));
        let commented = off.replace("disabled = true\n", "disabled   =   true   # why\n");
        let on = set_account_disabled(&commented, &name("nightly"), false).unwrap();
        assert_eq!(on, commented.replace("true   #", "false   #"));
        assert!(matches!(set_account_disabled(ORG, &name("nobody"), true), Err(Stop::No(_))));
    }

    #[test]
    fn removing_an_account_takes_its_own_comments_and_leaves_all_others() {
        let rest = remove_account(ORG, &name("nightly")).unwrap();
        assert!(rest.contains("# Everything of the nightly job.\n\n[retention]"), "{rest}");
        assert!(!rest.contains("The job itself") && rest.contains("# By hand"), "{rest}");
        let rest = remove_account(&rest, &name("manual")).unwrap();
        assert!(rest.ends_with("listed = \"30d\"\n\n# end of file\n"), "{rest}");
    }

    #[test]
    fn an_account_is_added_after_the_last_one() {
        let more = add_account(ORG, &provider("third")).unwrap();
        let block = "datasets = [\"*\"]\n\n[[accounts]]\nname = \"third\"\nrole = \"provider\"\n\n# end of file\n";
        assert!(more.ends_with(block), "{more}");
        let loader = NewAccount { role: Role::Loader, take_orgs: vec!["harbour".parse().unwrap()], ..provider("l") };
        let first = add_account("name = \"x\"", &loader).unwrap();
        assert_eq!(
            first,
            "name = \"x\"\n\n[[accounts]]\nname = \"l\"\nrole = \"loader\"\ntake = { orgs = [\"harbour\"], datasets = [\"*\"] }\n"
        );
    }

    #[test]
    fn adding_and_removing_the_only_account_gives_the_same_text_back() {
        let alone = "name = \"x\"\n# [[accounts]] come here\n";
        let with = add_account(alone, &provider("one")).unwrap();
        assert_eq!(remove_account(&with, &name("one")).unwrap(), alone);
    }

    #[test]
    fn windows_line_ends_stay() {
        let windows = ORG.replace('\n', "\r\n");
        for edited in [
            set_org_disabled(&windows, true).unwrap(),
            add_account(&windows, &provider("third")).unwrap(),
            remove_account(&windows, &name("nightly")).unwrap(),
        ] {
            assert_eq!(edited.matches('\n').count(), edited.matches("\r\n").count());
        }
    }

    #[test]
    fn accounts_written_as_an_array_are_edited_in_place() {
        let array = "name = \"x\" # kept\naccounts = [{ name = \"a\" }, { name = \"b\", disabled = true }]\n";
        assert!(add_account(array, &provider("c")).unwrap().contains("{ name = \"c\", role = \"provider\" }"));
        assert!(set_account_disabled(array, &name("a"), true).unwrap().contains("name = \"a\", disabled = true"));
        assert!(set_account_disabled(array, &name("b"), false).unwrap().contains("disabled = false"));
        let none = remove_account(&remove_account(array, &name("a")).unwrap(), &name("b")).unwrap();
        assert!(none.contains("accounts = []") && none.contains("# kept"), "{none}");
    }

    #[test]
    fn a_layout_that_cannot_be_cut_out_is_left_alone() {
        let torn =
            "name = \"x\"\n[[accounts]]\nname = \"l\"\n[retention]\nlisted = \"1d\"\n[accounts.take]\norgs = [\"*\"]\n";
        assert!(matches!(remove_account(torn, &name("l")), Err(Stop::Usage(_))));
    }
}
