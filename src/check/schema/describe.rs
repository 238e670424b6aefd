//! A field in plain words, for /help.txt.

use super::Field;
use super::constraints::Bound;
use super::explain::shortened;
use super::kind::{Kind, When};
use super::text::TextFormat;

impl Field {
    /// The field in plain words for /help.txt: `date, dd/mm/yyyy, required, 01/01/1900 to 31/12/2015`.
    pub fn describe(&self) -> String {
        let mut parts = vec![self.kind.in_words()];
        let limits = &self.constraints;
        parts.extend(self.kind.form());
        if self.required {
            parts.push("required".into());
        }
        if self.unique {
            parts.push("unique".into());
        }
        match (limits.min_length, limits.max_length) {
            (Some(least), Some(most)) if least == most => parts.push(self.kind.count(least)),
            (Some(least), Some(most)) => parts.push(format!("{least} to {}", self.kind.count(most))),
            (Some(least), None) => parts.push(format!("at least {}", self.kind.count(least))),
            (None, Some(most)) => parts.push(format!("at most {}", self.kind.count(most))),
            (None, None) => {}
        }
        if let Some(bounds) = &limits.bounds {
            let text = |bound: &Option<Bound>| bound.as_ref().map(|bound| bound.text.clone());
            match (text(&bounds.minimum), text(&bounds.maximum)) {
                (Some(least), Some(most)) => parts.push(format!("{least} to {most}")),
                (Some(least), None) => parts.push(format!("{least} or more")),
                (None, Some(most)) => parts.push(format!("{most} or less")),
                (None, None) => {}
            }
            parts.extend(text(&bounds.exclusive_minimum).map(|bound| format!("more than {bound}")));
            parts.extend(text(&bounds.exclusive_maximum).map(|bound| format!("less than {bound}")));
        }
        if let Some(members) = &limits.members {
            parts.push(match members.listed() {
                Some(list) => format!("one of {list}"),
                None => format!("one of {} values", members.count),
            });
        }
        if let Some(pattern) = &limits.pattern {
            parts.push(format!("pattern {}", shortened(&pattern.text)));
        }
        parts.join(", ")
    }
}

impl Kind {
    fn in_words(&self) -> String {
        match self {
            Self::String(TextFormat::Default) | Self::Any => "text".into(),
            Self::String(TextFormat::Email) => "email address".into(),
            Self::String(TextFormat::Uri) => "URI".into(),
            Self::String(TextFormat::Binary) => "base64".into(),
            Self::String(TextFormat::Uuid) => "UUID".into(),
            Self::Integer(_) => "whole number".into(),
            Self::Boolean(_) => "yes or no".into(),
            Self::Object => "JSON object".into(),
            Self::Array => "JSON array".into(),
            Self::List(list) => format!("list of {}, each after {:?}", list.item.name(), list.delimiter),
            Self::DateTime(_) => "date and time".into(),
            Self::YearMonth => "month".into(),
            Self::Point(_) => "point".into(),
            Self::GeoJson { topo: false } => "GeoJSON".into(),
            Self::GeoJson { topo: true } => "TopoJSON".into(),
            other => other.name().into(),
        }
    }

    /// How it is written, where there is a choice.
    fn form(&self) -> Option<String> {
        match self {
            Self::Date(when) => Some(when.form("yyyy-mm-dd")),
            Self::Time(when) => Some(when.form("hh:mm:ss")),
            Self::DateTime(when) => Some(when.form("yyyy-mm-ddThh:mm:ss")),
            Self::YearMonth => Some("yyyy-mm".into()),
            Self::Year => Some("yyyy".into()),
            Self::Duration => Some("PnYnMnDTnHnMnS".into()),
            Self::Number(form) if form.decimal != '.' || form.group.is_some() => {
                Some(format!("such as {}", form.example("1234", "5")))
            }
            Self::Integer(form) if form.group.is_some() => Some(format!("such as {}", form.example("1234", ""))),
            Self::Boolean(words) => Some(format!("{} or {}", words.yes_words.join("/"), words.no_words.join("/"))),
            _ => None,
        }
    }
}

impl When {
    fn form(&self, default: &str) -> String {
        match self {
            Self::Default => default.to_owned(),
            Self::Any => "in any unambiguous form".into(),
            Self::Pattern(pattern) => pattern.in_words(),
        }
    }
}
