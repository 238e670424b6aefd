//! Events as CSV that no spreadsheet executes.
//!
//! Must never let a cell, or what a spreadsheet with another idea of separators takes for one, begin a formula (OWASP, "CSV
//! Injection"): an apostrophe goes before what would. Quoting is RFC 4180's, of every cell. Called by `export`.

use serde_json::Value;

use crate::ledger::Logged;

/// The first line.
pub(super) const HEADER: [&str; 16] = [
    "sequence",
    "time",
    "kind",
    "organisation",
    "dataset",
    "upload",
    "delivery",
    "account",
    "fingerprint",
    "address",
    "session",
    "client",
    "name",
    "size",
    "sha256",
    "details",
];

/// What begins a formula, the full-width forms too.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];
/// What some spreadsheet takes for the end of a cell.
const SEPARATOR: [char; 6] = [',', ';', '|', '\t', '\r', '\n'];

/// A line, with its end.
pub(super) fn line(cells: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let cells: Vec<String> = cells.into_iter().map(|cell| quoted(cell.as_ref())).collect();
    cells.join(",") + "\r\n"
}

/// One event's cells, in the order of the header.
pub(super) fn cells(logged: &Logged) -> [String; 16] {
    let event = &logged.event;
    let (actor, mut details) = (&event.actor, event.detail.clone());
    let mut take = |name: &str| match details.remove(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    };
    let (name, size, sha256) = (take("name"), take("size"), take("sha256"));
    details.retain(|_, value| !value.is_null());
    let details = if details.is_empty() { String::new() } else { Value::Object(details).to_string() };
    let text = |value: Option<String>| value.unwrap_or_default();
    [
        logged.sequence.to_string(),
        event.at.to_string(),
        event.kind.as_str().to_owned(),
        text(event.org.as_ref().map(ToString::to_string)),
        text(event.dataset.as_ref().map(ToString::to_string)),
        text(event.upload.map(|id| id.to_string())),
        text(event.delivery.map(|id| id.to_string())),
        actor.account.clone(),
        text(actor.fingerprint.as_ref().map(ToString::to_string)),
        text(actor.address.map(|address| address.to_string())),
        text(actor.session.map(|session| session.to_string())),
        text(actor.client.clone()),
        name,
        size,
        sha256,
        details,
    ]
}

fn quoted(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len() + 2);
    text.push('"');
    let mut beginning = true;
    for (place, c) in cell.chars().enumerate() {
        let first_blank = place == 0 && matches!(c, '\t' | '\r' | '\n');
        if first_blank || (beginning && FORMULA.contains(&c)) {
            text.push('\'');
        }
        if c == '"' {
            text.push('"');
        }
        text.push(c);
        // Blanks and quotes before a formula hide it from nobody.
        beginning = SEPARATOR.contains(&c) || (beginning && (c.is_whitespace() || c == '"' || c == '\''));
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Event, Kind};
    use crate::ledger::testing::at;
    use crate::types::Actor;

    /// Cells as a reader with that separator sees them.
    fn read(text: &str, separator: u8) -> Vec<String> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(separator)
            .from_reader(text.as_bytes());
        reader.records().flat_map(|record| record.unwrap().iter().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    #[test]
    fn hostile_names_are_text_for_every_spreadsheet() {
        let hostile = [
            "=cmd|' /C calc'!A0.csv",
            "+1+1.csv",
            "-2+3.csv",
            "@SUM(A1:A9).csv",
            "\t=1+1",
            "\r=1+1",
            "\n=1+1",
            " =1+1",
            "\"=1+1",
            "a;=HYPERLINK(\"https://evil.example\")",
            "a,=1+1",
            "a\",=1+1",
            "a\";\"=1+1",
            "a\t@x",
            "a|-1",
            "\u{ff1d}1\u{ff0b}1",
            "'=1+1",
        ];
        for name in hostile {
            let event = Event::new(at(0), Kind::RequestRefused, Actor { account: name.into(), ..Actor::gateway() });
            let logged = Logged { sequence: 1, event: event.with("name", name).with("reason", name) };
            let text = line(cells(&logged));
            for separator in [b',', b';', b'\t', b'|'] {
                for cell in read(&text, separator) {
                    let shown = cell.trim_start_matches([' ', '"']);
                    let first = shown.chars().next();
                    assert!(
                        first.is_none_or(|c| !FORMULA.contains(&c)) && !cell.starts_with(['\t', '\r', '\n']),
                        "{name:?} becomes {cell:?} for a reader of {:?}",
                        separator as char
                    );
                }
            }
            let cells = read(&text, b',');
            assert_eq!(cells.len(), HEADER.len(), "{text}");
            assert!(
                cells[12].replace('\'', "") == name.replace('\'', ""),
                "nothing but apostrophes is added: {cells:?}"
            );
        }
    }

    #[test]
    fn what_is_harmless_stays_as_it_is() {
        let event = Event::new(at(0), Kind::UploadAccepted, Actor::gateway())
            .with("name", "HSS0001_2025-02 \"final\", 2.csv")
            .with("size", 12)
            .with("flags", vec!["repeated"])
            .with("scan", Value::Null);
        let text = line(cells(&Logged { sequence: 7, event }));
        assert!(text.ends_with("\r\n"));
        let cells = read(&text, b',');
        assert_eq!((cells[0].as_str(), cells[2].as_str(), cells[13].as_str()), ("7", "upload.accepted", "12"));
        assert_eq!(cells[12], "HSS0001_2025-02 \"final\", 2.csv");
        assert_eq!(cells[15], "{\"flags\":[\"repeated\"]}");
    }
}
