//! Reads what a field's type is with its format and options.

use super::compound::PointFormat;
use super::faults::Faults;
use super::json::place_in_string;
use super::kind::{Booleans, Kind, List, When};
use super::number::NumberForm;
use super::read::as_string;
use super::read_field::{Properties, Scope};
use super::temporal::{For, Pattern};
use super::text::TextFormat;

impl Properties<'_> {
    /// The type with its format and options.
    pub fn kind(&self, type_name: &str, scope: &Scope<'_>, faults: &mut Faults) -> Option<Kind> {
        let format = match self.find("format") {
            // "fmt:" was version 0's way to write patterns.
            Some(node) => faults.string("format", node).map(|text| text.strip_prefix("fmt:").unwrap_or(text))?,
            None => "default",
        };
        let found = match (type_name, format) {
            ("string", "default") => Kind::String(TextFormat::Default),
            ("string", "email") => Kind::String(TextFormat::Email),
            ("string", "uri") => Kind::String(TextFormat::Uri),
            ("string", "binary") => Kind::String(TextFormat::Binary),
            ("string", "uuid") => Kind::String(TextFormat::Uuid),
            ("number", "default") => Kind::Number(self.number_form(faults)?),
            ("integer", "default") => Kind::Integer(NumberForm { decimal: '.', ..self.number_form(faults)? }),
            ("boolean", "default") => Kind::Boolean(self.booleans(faults)?),
            ("object", "default") => Kind::Object,
            ("array", "default") => Kind::Array,
            ("list", "default") => Kind::List(self.list(faults)?),
            ("date", format) => Kind::Date(self.when(format, For::Date, scope, faults)?),
            ("time", format) => Kind::Time(self.when(format, For::Time, scope, faults)?),
            ("datetime", format) => Kind::DateTime(self.when(format, For::DateTime, scope, faults)?),
            ("year", "default") => Kind::Year,
            ("yearmonth", "default") => Kind::YearMonth,
            ("duration", "default") => Kind::Duration,
            ("geopoint", "default") => Kind::Point(PointFormat::Default),
            ("geopoint", "array") => Kind::Point(PointFormat::Array),
            ("geopoint", "object") => Kind::Point(PointFormat::Object),
            ("geojson", "default") => Kind::GeoJson { topo: false },
            ("geojson", "topojson") => Kind::GeoJson { topo: true },
            ("any", "default") => Kind::Any,
            (_, other) => {
                let known: &[&str] = match type_name {
                    "string" => &["default", "email", "uri", "binary", "uuid"],
                    "geopoint" => &["default", "array", "object"],
                    "geojson" => &["default", "topojson"],
                    _ => &["default"],
                };
                let node = self.find("format")?;
                let message = format!("the type {type_name} has no format {other:?}");
                faults.error(&node.span, message, format!("write one of {}, or leave it out", known.join(", ")));
                return None;
            }
        };
        Some(found)
    }

    fn when(&self, format: &str, purpose: For, scope: &Scope<'_>, faults: &mut Faults) -> Option<When> {
        match format {
            "default" => return Some(When::Default),
            "any" => return Some(When::Any),
            _ => {}
        }
        match Pattern::compile(format, purpose) {
            Ok(pattern) => Some(When::Pattern(Box::new(pattern))),
            Err((inside, why)) => {
                let node = self.find("format")?;
                let prefix = as_string(node)?.len() - format.len();
                let inside = inside.start + prefix..inside.end + prefix;
                let help = if format.contains('%') {
                    "known are %d %m %Y %y %b %B %a %A %j %H %I %p %M %S %f %z %F %T %D %R %%".to_owned()
                } else {
                    "write default, any or a pattern such as %d/%m/%Y".to_owned()
                };
                let message = format!("the format {format:?} cannot be used: {why}");
                faults.error(&place_in_string(scope.text, &node.span, &inside), message, help);
                None
            }
        }
    }

    fn number_form(&self, faults: &mut Faults) -> Option<NumberForm> {
        let mut form = NumberForm::default();
        let mut character = |name: &str| match self.find(name) {
            Some(node) => faults.character(name, node).map(|c| Some((c, node.span.clone()))),
            None => Some(None),
        };
        let (decimal, group) = (character("decimalChar")?, character("groupChar")?);
        for (name, found) in [("decimalChar", &decimal), ("groupChar", &group)] {
            if let Some((c, span)) = found
                && (c.is_ascii_alphanumeric() || ['+', '-'].contains(c))
            {
                faults.error(span, format!("{name} cannot be {c:?}"), "write a character that no number has otherwise");
                return None;
            }
        }
        form.decimal = decimal.map_or('.', |(c, _)| c);
        form.group = group.as_ref().map(|(c, _)| *c);
        // An integer has no decimal character that could be mistaken.
        let is_number = self.find("type").and_then(as_string).is_some_and(|name| name == "number");
        if let Some((c, span)) = group
            && is_number
            && c == form.decimal
        {
            faults.error(&span, "groupChar and decimalChar are the same character", "write two different characters");
            return None;
        }
        if let Some(node) = self.find("bareNumber") {
            form.bare = faults.boolean("bareNumber", node)?;
        }
        Some(form)
    }

    fn booleans(&self, faults: &mut Faults) -> Option<Booleans> {
        let default = Booleans::default();
        let mut words = |name: &str, default: Vec<String>| {
            let Some(node) = self.find(name) else { return Some(default) };
            let items = faults.array(name, node)?;
            if items.is_empty() {
                faults.error(&node.span, format!("{name} has no value"), "list the words that cells hold");
                return None;
            }
            items.iter().map(|item| faults.string(name, item).map(str::to_owned)).collect()
        };
        let (yes, no) = (words("trueValues", default.yes_words)?, words("falseValues", default.no_words)?);
        if let Some(both) = yes.iter().find(|word| no.contains(word)) {
            let span = self.find("trueValues").or_else(|| self.find("falseValues"))?.span.clone();
            faults.error(
                &span,
                format!("{both:?} means both true and false"),
                "list it once; trueValues and falseValues left out keep their defaults",
            );
            return None;
        }
        Some(Booleans::new(yes, no))
    }

    fn list(&self, faults: &mut Faults) -> Option<List> {
        let delimiter = match self.find("delimiter") {
            Some(node) => {
                let text = faults.string("delimiter", node)?;
                if text.is_empty() {
                    faults.error(&node.span, "delimiter is empty", "write what stands between two items");
                    return None;
                }
                text.to_owned()
            }
            None => ",".to_owned(),
        };
        let Some(node) = self.find("itemType") else {
            return Some(List { delimiter, item: Box::new(Kind::String(TextFormat::Default)) });
        };
        let item = match faults.string("itemType", node)? {
            "string" => Kind::String(TextFormat::Default),
            "integer" => Kind::Integer(NumberForm::default()),
            "number" => Kind::Number(NumberForm::default()),
            "boolean" => Kind::Boolean(Booleans::default()),
            "datetime" => Kind::DateTime(When::Default),
            "date" => Kind::Date(When::Default),
            "time" => Kind::Time(When::Default),
            other => {
                let help = "write string, integer, number, boolean, datetime, date or time";
                faults.error(&node.span, format!("a list cannot hold items of the type {other:?}"), help);
                return None;
            }
        };
        Some(List { delimiter, item: Box::new(item) })
    }
}
