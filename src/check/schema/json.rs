//! JSON with places: a tree in which each value knows the bytes of the text that it came from.
//!
//! `serde_json` judges whether the text is JSON (and how deep it nests); this only finds the places. Never holds more than
//! a few times the text. Called by the readers of this room.

use std::ops::Range;

use serde::de::IgnoredAny;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub span: Range<usize>,
    pub json: Json,
}

#[derive(Debug, Clone)]
pub(super) enum Json {
    Null,
    Bool(bool),
    /// As it is written.
    Number(String),
    String(String),
    Array(Vec<Node>),
    Object(Vec<Member>),
}

#[derive(Debug, Clone)]
pub(super) struct Member {
    pub key: String,
    pub key_span: Range<usize>,
    pub value: Node,
}

/// What is wrong with the text, and where.
pub(super) type Fault = (Range<usize>, String);

impl Node {
    /// What kind of value it is, for "this is a number, not a string".
    pub fn kind(&self) -> &'static str {
        match self.json {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::String(_) => "a string",
            Json::Array(_) => "an array",
            Json::Object(_) => "an object",
        }
    }
}

/// Parses a text. A byte order mark before it is passed over.
///
/// # Errors
/// The place where the text is no JSON.
pub(super) fn parse(text: &str) -> Result<Node, Fault> {
    let begin = text.len() - text.strip_prefix('\u{feff}').unwrap_or(text).len();
    let body = text.get(begin..).unwrap_or_default();
    if let Err(error) = serde_json::from_str::<IgnoredAny>(body) {
        let at = begin + offset_of(body, error.line(), error.column());
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or("not JSON").to_owned();
        return Err((at..(at + 1).min(text.len()).max(at), what));
    }
    let mut scanner = Scanner { text, at: begin };
    scanner.value().ok_or_else(|| (scanner.at..scanner.at, "not JSON that can be read".into()))?
}

/// The byte that a line and column (both from 1, columns in bytes) mean.
fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let begin: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let mut at = (begin + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Walks a text that is known to be JSON. None means that it was not after all, or a string that cannot be decoded.
struct Scanner<'t> {
    text: &'t str,
    at: usize,
}

impl Scanner<'_> {
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Option<Result<Node, Fault>> {
        self.skip_space();
        let begin = self.at;
        let json = match self.byte()? {
            b'{' => match self.members()? {
                Ok(members) => Json::Object(members),
                Err(fault) => return Some(Err(fault)),
            },
            b'[' => match self.items()? {
                Ok(items) => Json::Array(items),
                Err(fault) => return Some(Err(fault)),
            },
            b'"' => match self.string()? {
                Ok(text) => Json::String(text),
                Err(fault) => return Some(Err(fault)),
            },
            _ => {
                while self.byte().is_some_and(|byte| !b",]} \t\r\n".contains(&byte)) {
                    self.at += 1;
                }
                match self.text.get(begin..self.at)? {
                    "null" => Json::Null,
                    "true" => Json::Bool(true),
                    "false" => Json::Bool(false),
                    number => Json::Number(number.to_owned()),
                }
            }
        };
        Some(Ok(Node { span: begin..self.at, json }))
    }

    fn members(&mut self) -> Option<Result<Vec<Member>, Fault>> {
        let mut members: Vec<Member> = Vec::new();
        let mut names = std::collections::HashSet::new();
        self.at += 1;
        loop {
            self.skip_space();
            match self.byte()? {
                b'}' => break,
                b',' => self.at += 1,
                _ => {
                    let begin = self.at;
                    let key = match self.string()? {
                        Ok(key) => key,
                        Err(fault) => return Some(Err(fault)),
                    };
                    let key_span = begin..self.at;
                    if !names.insert(key.clone()) {
                        return Some(Err((key_span, format!("the property {key:?} stands here twice"))));
                    }
                    self.skip_space();
                    self.at += 1;
                    match self.value()? {
                        Ok(value) => members.push(Member { key, key_span, value }),
                        Err(fault) => return Some(Err(fault)),
                    }
                }
            }
        }
        self.at += 1;
        Some(Ok(members))
    }

    fn items(&mut self) -> Option<Result<Vec<Node>, Fault>> {
        let mut items = Vec::new();
        self.at += 1;
        loop {
            self.skip_space();
            match self.byte()? {
                b']' => break,
                b',' => self.at += 1,
                _ => match self.value()? {
                    Ok(item) => items.push(item),
                    Err(fault) => return Some(Err(fault)),
                },
            }
        }
        self.at += 1;
        Some(Ok(items))
    }

    fn string(&mut self) -> Option<Result<String, Fault>> {
        let begin = self.at;
        self.at += 1;
        loop {
            match self.byte()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        let raw = self.text.get(begin..self.at)?;
        let text = serde_json::from_str(raw);
        Some(text.map_err(|_| (begin..self.at, "this string holds an escape that stands for no character".into())))
    }
}

/// The bytes of the JSON text that the bytes `inside` of a decoded string came from; `span` is the string's, with quotes.
pub(super) fn place_in_string(text: &str, span: &Range<usize>, inside: &Range<usize>) -> Range<usize> {
    let raw = text.get(span.clone()).unwrap_or_default();
    let last = span.end.saturating_sub(1);
    let (mut begin, mut end) = (last, last);
    let (mut decoded, mut at) = (0, 1);
    while at + 1 < raw.len() {
        if decoded == inside.start {
            begin = span.start + at;
        }
        if decoded >= inside.end && end == last {
            end = span.start + at;
        }
        let (width, long) = step(raw, at);
        at += long;
        decoded += width;
    }
    if begin == last { span.clone() } else { begin..end.max(begin + 1).min(span.end) }
}

/// Decoded and raw bytes of the character at a place of a raw string.
fn step(raw: &str, at: usize) -> (usize, usize) {
    let rest = raw.get(at..).unwrap_or_default();
    let Some(escape) = rest.strip_prefix('\\') else {
        let width = rest.chars().next().map_or(1, char::len_utf8);
        return (width, width);
    };
    if !escape.starts_with('u') {
        return (1, 2);
    }
    let unit = escape.get(1..5).and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or(0);
    match unit {
        0xD800..0xDC00 => (4, 12),
        unit => (char::from_u32(unit).map_or(3, char::len_utf8), 6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_know_their_places() {
        let text = "\u{feff}{ \"a\": [1, \"\\u00e9\"], \"b\" : null }";
        let node = parse(text).unwrap();
        let Json::Object(members) = node.json else { panic!() };
        assert_eq!(&text[members[0].key_span.clone()], "\"a\"");
        let Json::Array(items) = &members[0].value.json else { panic!() };
        assert_eq!((&text[items[0].span.clone()], &text[items[1].span.clone()]), ("1", "\"\\u00e9\""));
        assert!(matches!(&items[1].json, Json::String(text) if text == "é"));
        assert_eq!(&text[members[1].value.span.clone()], "null");
    }

    #[test]
    fn what_is_no_json_is_told_with_its_place() {
        for (text, at) in [("{\"a\": }", "}"), ("[1,\n 2 3]", "3"), ("{\"a\":1,\"a\":2}", "\"a\""), ("", "")] {
            let (span, _) = parse(text).unwrap_err();
            assert_eq!(&text[span], at, "{text}");
        }
        assert!(parse("[\"\\ud800\"]").is_err());
        assert!(parse(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn a_place_inside_a_string_passes_escapes() {
        let text = r#"  "a\\d\u00e9x""#;
        let place = |inside| &text[place_in_string(text, &(2..text.len()), &inside)];
        assert_eq!(place(0..1), "a");
        assert_eq!(place(1..2), r"\\");
        assert_eq!(place(3..5), r"\u00e9");
        assert_eq!(place(5..6), "x");
    }
}
