//! The words for what a cell violated. Made of the schema alone: they can be shown to anyone who may see the schema, and
//! never hold the cell.

use super::compound::PointFormat;
use super::constraints::{Bound, Members};
use super::kind::{Kind, When};
use super::number::NumberForm;
use super::text::TextFormat;
use super::{Field, Violations};
use crate::check::report::ErrorType;

/// Takes a violation's type and rule, and what makes its words.
type Told<'t> = dyn FnMut(ErrorType, &'static str, &dyn Fn() -> String) + 't;

impl Field {
    /// Each violation's type, rule (constraint's name, or the type's) and words, which never hold the cell. Flags among
    /// the violations come with the rules `value-spaces` and `unpadded-dates`.
    pub fn explain(&self, violations: Violations) -> Vec<(ErrorType, &'static str, String)> {
        let mut found = Vec::new();
        self.tell(violations, &mut |kind, rule, words| found.push((kind, rule, words())));
        found
    }

    /// As [`Field::explain`], one violation after another; the words are made only when they are asked for: a file in
    /// which every cell is wrong needs few of them.
    pub fn tell(&self, violations: Violations, found: &mut Told<'_>) {
        let mut add = |violation, kind, rule, words: &dyn Fn() -> String| {
            if violations.has(violation) {
                found(kind, rule, words);
            }
        };
        let constraint = ErrorType::ConstraintError;
        let limits = &self.constraints;
        let bounds = limits.bounds.as_deref();
        let dates =
            matches!(self.kind, Kind::Date(_) | Kind::DateTime(_) | Kind::Time(_) | Kind::Year | Kind::YearMonth);
        let (below, above) = if dates { ("is before", "is after") } else { ("is less than", "is greater than") };
        let (not_above, not_below) =
            if dates { ("is not after", "is not before") } else { ("is not greater than", "is not less than") };
        let against = |words: &str, bound: Option<&Option<Bound>>| {
            let bound = bound.and_then(Option::as_ref).map_or("its bound", |bound| &bound.text);
            format!("{words} {bound}")
        };
        add(Violations::TYPE, ErrorType::TypeError, self.kind.name(), &|| self.kind.refusal());
        add(Violations::REQUIRED, constraint, "required", &|| "has no value, but must have one".into());
        add(Violations::MIN_LENGTH, constraint, "minLength", &|| {
            format!("is shorter than {}", self.kind.count(limits.min_length.unwrap_or(0)))
        });
        add(Violations::MAX_LENGTH, constraint, "maxLength", &|| {
            format!("is longer than {}", self.kind.count(limits.max_length.unwrap_or(0)))
        });
        add(Violations::MINIMUM, constraint, "minimum", &|| against(below, bounds.map(|b| &b.minimum)));
        add(Violations::MAXIMUM, constraint, "maximum", &|| against(above, bounds.map(|b| &b.maximum)));
        add(Violations::EXCLUSIVE_MINIMUM, constraint, "exclusiveMinimum", &|| {
            against(not_above, bounds.map(|b| &b.exclusive_minimum))
        });
        add(Violations::EXCLUSIVE_MAXIMUM, constraint, "exclusiveMaximum", &|| {
            against(not_below, bounds.map(|b| &b.exclusive_maximum))
        });
        add(Violations::ENUM, constraint, "enum", &|| {
            limits.members.as_ref().map_or_else(String::new, |m| m.refusal())
        });
        add(Violations::PATTERN, constraint, "pattern", &|| {
            let pattern = limits.pattern.as_ref().map_or("", |pattern| &pattern.text);
            format!("does not match the pattern {}", shortened(pattern))
        });
        add(Violations::SPACES, ErrorType::TypeError, "value-spaces", &|| "has white space around it".into());
        add(Violations::UNPADDED, ErrorType::TypeError, "unpadded-dates", &|| {
            "has a day or month of one digit, where two are asked for".into()
        });
    }
}

/// Text of the schema, as much of it as a message can take.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

impl Members {
    fn refusal(&self) -> String {
        let count = self.count;
        match self.listed() {
            Some(_) if count == 1 => format!("is not {}, the only allowed value", self.listed().unwrap_or_default()),
            Some(list) => format!("is not one of the {count} allowed values: {list}"),
            None => format!("is not one of the {count} allowed values"),
        }
    }

    /// All members in quotes, when they are few and short.
    pub fn listed(&self) -> Option<String> {
        let list: Vec<String> = self.shown.iter().map(|member| format!("{member:?}")).collect();
        let list = list.join(", ");
        (self.count == self.shown.len() && list.len() <= 200).then_some(list)
    }
}

impl Kind {
    /// "2 characters".
    pub(super) fn count(&self, length: usize) -> String {
        let unit = match self {
            Self::Object => "member",
            Self::Array | Self::List(_) => "item",
            _ => "character",
        };
        format!("{length} {unit}{}", if length == 1 { "" } else { "s" })
    }

    /// What a value must look like, as a type error says it.
    fn refusal(&self) -> String {
        match self {
            Self::String(TextFormat::Email) => "is not an email address".into(),
            Self::String(TextFormat::Uri) => "is not a URI (for example https://example.org/)".into(),
            Self::String(TextFormat::Binary) => "is not base64".into(),
            Self::String(TextFormat::Uuid) => "is not a UUID (32 hexadecimal digits, 8-4-4-4-12)".into(),
            Self::String(TextFormat::Default) | Self::Any => "is not text".into(),
            Self::Number(form) => format!("is not a number (for example {})", form.example("1234", "5")),
            Self::Integer(form) => format!("is not a whole number (for example {})", form.example("1234", "")),
            Self::Boolean(words) => {
                let list =
                    |words: &[String]| words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
                format!("is neither true ({}) nor false ({})", list(&words.yes_words), list(&words.no_words))
            }
            Self::Object => "is not a JSON object".into(),
            Self::Array => "is not a JSON array".into(),
            Self::List(list) => {
                format!("is not a list of values of the type {}, each after {:?}", list.item.name(), list.delimiter)
            }
            Self::Date(when) => when.refusal("a date", "YYYY-MM-DD (for example 2026-12-31)"),
            Self::Time(when) => when.refusal("a time", "hh:mm:ss (for example 23:59:58)"),
            Self::DateTime(when) => {
                when.refusal("a date and time", "YYYY-MM-DDThh:mm:ss (for example 2026-12-31T23:59:58)")
            }
            Self::Year => "is not a year of four digits (for example 2026)".into(),
            Self::YearMonth => "is not a month of the form YYYY-MM (for example 2026-12)".into(),
            Self::Duration => "is not a duration of the form PnYnMnDTnHnMnS (for example P1DT12H)".into(),
            Self::Point(PointFormat::Default) => {
                "is not a point of the form lon, lat (for example -2.98, 53.41)".into()
            }
            Self::Point(PointFormat::Array) => "is not a point of the form [lon, lat]".into(),
            Self::Point(PointFormat::Object) => "is not a point of the form {\"lon\": ..., \"lat\": ...}".into(),
            Self::GeoJson { topo: false } => "is not GeoJSON".into(),
            Self::GeoJson { topo: true } => "is not TopoJSON".into(),
        }
    }
}

impl When {
    fn refusal(&self, what: &str, default: &str) -> String {
        match self {
            Self::Default => format!("is not {what} of the form {default}"),
            Self::Any => format!(
                "is not {what} in an unambiguous form (for example {})",
                match what {
                    "a date" => "2026-12-31 or 31 Dec 2026",
                    "a time" => "23:59 or 11:59 PM",
                    _ => "2026-12-31 23:59",
                }
            ),
            Self::Pattern(pattern) => {
                format!("is not {what} of the form {} (for example {})", pattern.in_words(), pattern.example())
            }
        }
    }
}

impl NumberForm {
    /// A number as the form writes it; `whole` has four digits or more.
    pub(super) fn example(&self, whole: &str, fraction: &str) -> String {
        let mut text = whole.to_owned();
        if let Some(group) = self.group {
            text.insert(text.len().saturating_sub(3), group);
        }
        if !fraction.is_empty() {
            text.push(self.decimal);
            text.push_str(fraction);
        }
        text
    }
}
