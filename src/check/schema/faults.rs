//! What the readers share: faults as they are gathered, and values of the wrong kind.

use std::ops::Range;

use super::SchemaFault;
use super::json::{Json, Member, Node};

/// Faults that are told; a schema with more is beyond reading one by one.
const MOST: usize = 1000;

/// Properties that demand nothing: a slip in one of them does no harm.
const DESCRIPTIVE: &[&str] = &[
    "$schema",
    "profile",
    "title",
    "description",
    "homepage",
    "version",
    "created",
    "keywords",
    "contributors",
    "examples",
    "example",
    "rdfType",
    "label",
];

/// The faults of one schema so far.
#[derive(Default)]
pub(super) struct Faults {
    pub all: Vec<SchemaFault>,
}

impl Faults {
    pub fn error(&mut self, span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.add(span, message.into(), help.into(), false);
    }

    pub fn warning(&mut self, span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.add(span, message.into(), help.into(), true);
    }

    fn add(&mut self, span: &Range<usize>, message: String, help: String, warning: bool) {
        if self.all.len() < MOST || (!warning && !self.failed()) {
            self.all.push(SchemaFault { span: span.clone(), message, help, warning });
        }
    }

    /// Whether there is an error among them.
    pub fn failed(&self) -> bool {
        self.all.iter().any(|fault| !fault.warning)
    }

    fn wrong_kind(&mut self, name: &str, wanted: &str, node: &Node) {
        self.error(&node.span, format!("{name} is {}, not {wanted}", node.kind()), format!("write {wanted}"));
    }

    pub fn string<'n>(&mut self, name: &str, node: &'n Node) -> Option<&'n str> {
        let Json::String(text) = &node.json else {
            self.wrong_kind(name, "a string", node);
            return None;
        };
        Some(text)
    }

    pub fn boolean(&mut self, name: &str, node: &Node) -> Option<bool> {
        let Json::Bool(value) = node.json else {
            self.wrong_kind(name, "true or false", node);
            return None;
        };
        Some(value)
    }

    pub fn array<'n>(&mut self, name: &str, node: &'n Node) -> Option<&'n [Node]> {
        let Json::Array(items) = &node.json else {
            self.wrong_kind(name, "an array", node);
            return None;
        };
        Some(items)
    }

    pub fn object<'n>(&mut self, name: &str, node: &'n Node) -> Option<&'n [Member]> {
        let Json::Object(members) = &node.json else {
            self.wrong_kind(name, "an object", node);
            return None;
        };
        Some(members)
    }

    /// A string of one character.
    pub fn character(&mut self, name: &str, node: &Node) -> Option<char> {
        let text = self.string(name, node)?;
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) => Some(c),
            _ => {
                self.error(&node.span, format!("{name} is not one character"), "only single characters are supported");
                None
            }
        }
    }

    pub fn length(&mut self, name: &str, node: &Node) -> Option<usize> {
        let length = if let Json::Number(text) = &node.json { text.parse().ok() } else { None };
        if length.is_none() {
            self.error(&node.span, format!("{name} is not a whole number from 0 on"), "write a number without quotes");
        }
        length
    }

    /// A property that the specification does not know: a slip of the pen for one of `known` is an error, anything else a
    /// custom property, which the specification allows.
    pub fn unknown(&mut self, member: &Member, known: &[&str], place: &str) {
        let key = &member.key;
        match nearest(key, known) {
            Some(near) if DESCRIPTIVE.contains(&near) => self.warning(
                &member.key_span,
                format!("{key:?} is no property of {place} that Table Schema knows: it has no effect"),
                format!("did you mean {near:?}?"),
            ),
            Some(near) => self.error(
                &member.key_span,
                format!("{key:?} is no property of {place}"),
                format!("did you mean {near:?}?"),
            ),
            None => self.warning(
                &member.key_span,
                format!("{key:?} is no property of {place} that Table Schema knows: it has no effect"),
                "leave it out, unless other programs use it",
            ),
        }
    }
}

/// The known word that was probably meant.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let plain = |word: &str| word.to_lowercase().replace(['_', '-', ' '], "");
    let word = plain(word);
    let best = known.iter().map(|known| (strsim::damerau_levenshtein(&word, &plain(known)), *known)).min()?;
    let most = match word.chars().count() {
        0..=3 => 0,
        4..=5 => 1,
        _ => 2,
    };
    (best.0 <= most).then_some(best.1)
}
