//! The types of Table Schema with their formats: what each makes of a cell.
//!
//! Every reading is strict, linear in the cell and, but for JSON types, without allocation. Called by the judge; made by
//! the readers.

use super::Value;
use super::compound::{self, PointFormat};
use super::duration::Duration;
use super::moment;
use super::number::NumberForm;
use super::temporal::Pattern;
use super::text::TextFormat;
use super::words::Words;

/// A type with its format.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    String(TextFormat),
    Number(NumberForm),
    Integer(NumberForm),
    Boolean(Booleans),
    Object,
    Array,
    List(List),
    Date(When),
    Time(When),
    DateTime(When),
    Year,
    YearMonth,
    Duration,
    Point(PointFormat),
    GeoJson { topo: bool },
    Any,
}

/// The format of a date or time.
#[derive(Debug, Clone)]
pub(super) enum When {
    Default,
    Any,
    Pattern(Box<Pattern>),
}

/// Which words are true and false.
#[derive(Debug, Clone)]
pub(super) struct Booleans {
    pub yes: Words,
    pub no: Words,
    /// For messages: as the schema lists them.
    pub yes_words: Vec<String>,
    pub no_words: Vec<String>,
}

impl Booleans {
    pub fn new(yes_words: Vec<String>, no_words: Vec<String>) -> Self {
        let words = |list: &[String]| Words::new(list.iter().map(String::as_str));
        Self { yes: words(&yes_words), no: words(&no_words), yes_words, no_words }
    }
}

impl Default for Booleans {
    /// https://datapackage.org/standard/table-schema/#boolean
    fn default() -> Self {
        let words = |list: [&str; 4]| list.into_iter().map(str::to_owned).collect();
        Self::new(words(["true", "True", "TRUE", "1"]), words(["false", "False", "FALSE", "0"]))
    }
}

#[derive(Debug, Clone)]
pub(super) struct List {
    pub delimiter: String,
    /// Never a list.
    pub item: Box<Kind>,
}

impl Kind {
    /// The type's name in Table Schema.
    pub fn name(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
            Self::Number(_) => "number",
            Self::Integer(_) => "integer",
            Self::Boolean(_) => "boolean",
            Self::Object => "object",
            Self::Array => "array",
            Self::List(_) => "list",
            Self::Date(_) => "date",
            Self::Time(_) => "time",
            Self::DateTime(_) => "datetime",
            Self::Year => "year",
            Self::YearMonth => "yearmonth",
            Self::Duration => "duration",
            Self::Point(_) => "geopoint",
            Self::GeoJson { .. } => "geojson",
            Self::Any => "any",
        }
    }

    /// What the cell means, none when it is not of the type. `lenient` takes days and months of one digit.
    #[inline]
    pub fn read(&self, cell: &str, lenient: bool) -> Option<Value> {
        match self {
            plain if plain.is_plain_text() => Some(Value::Text),
            Self::Integer(form) => form.integer(cell),
            Self::Number(form) => form.number(cell),
            Self::Date(When::Pattern(pattern)) => pattern.parse(cell, lenient).map(|moment| Value::Date(moment.days)),
            Self::Date(When::Default) => moment::date(cell, lenient).map(Value::Date),
            Self::Boolean(words) if words.yes.has(cell) => Some(Value::Boolean(true)),
            Self::Boolean(words) => words.no.has(cell).then_some(Value::Boolean(false)),
            other => other.read_rarer(cell, lenient),
        }
    }

    /// Every text is of it, and means no more than itself.
    #[inline]
    pub fn is_plain_text(&self) -> bool {
        matches!(self, Self::String(TextFormat::Default) | Self::Any)
    }

    fn read_rarer(&self, cell: &str, lenient: bool) -> Option<Value> {
        let date_time = |moment: super::temporal::Moment| Value::DateTime {
            micros: moment.since_epoch(),
            zoned: moment.offset_minutes.is_some(),
        };
        match self {
            Self::Date(_) => moment::any_date(cell).map(Value::Date),
            Self::DateTime(When::Default) => moment::date_time(cell, lenient).map(date_time),
            Self::DateTime(When::Any) => moment::any_date_time(cell).map(date_time),
            Self::DateTime(When::Pattern(pattern)) => pattern.parse(cell, lenient).map(date_time),
            Self::Time(When::Default) => moment::time(cell).map(Value::Time),
            Self::Time(When::Any) => moment::any_time(cell).map(Value::Time),
            Self::Time(When::Pattern(pattern)) => pattern
                .parse(cell, lenient)
                .map(|moment| Value::Time(moment.since_epoch().rem_euclid(super::calendar::MICROS_PER_DAY))),
            Self::Year => moment::year(cell).map(Value::Year),
            Self::YearMonth => moment::year_month(cell, lenient).map(Value::YearMonth),
            Self::String(format) => format.fits(cell).then_some(Value::Text),
            Self::Duration => Duration::parse(cell).map(|_| Value::Text),
            Self::Object => compound::object_length(cell).map(|_| Value::Text),
            Self::Array => compound::array_length(cell).map(|_| Value::Text),
            Self::Point(format) => compound::point(cell, *format).map(|_| Value::Text),
            Self::GeoJson { topo: true } => compound::is_topojson(cell).then_some(Value::Text),
            Self::GeoJson { topo: false } => compound::is_geojson(cell).then_some(Value::Text),
            Self::List(list) => {
                list.items(cell).all(|item| list.item.read(item, false).is_some()).then_some(Value::Text)
            }
            _ => None,
        }
    }

    /// What `minLength` and `maxLength` count, for types that are not counted in characters.
    pub fn length(&self, cell: &str) -> usize {
        match self {
            Self::Object => compound::object_length(cell).unwrap_or(0),
            Self::Array => compound::array_length(cell).unwrap_or(0),
            Self::List(list) => list.items(cell).count(),
            _ => cell.chars().count(),
        }
    }

    /// Bytes that are equal for equal values, for types whose values are more than their text.
    pub fn canonical(&self, cell: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Object | Self::Array | Self::GeoJson { .. } => {
                return compound::canonical_json(cell).unwrap_or_else(|| cell.as_bytes().to_vec());
            }
            Self::Duration => {
                if let Some(duration) = Duration::parse(cell) {
                    bytes.extend(duration.months.to_le_bytes());
                    bytes.extend(duration.micros.to_le_bytes());
                }
            }
            Self::Point(format) => {
                if let Some((lon, lat)) = compound::point(cell, *format) {
                    lon.canonical("", &mut bytes);
                    lat.canonical("", &mut bytes);
                }
            }
            Self::List(list) => {
                for item in list.items(cell) {
                    list.item.read(item, false).unwrap_or(Value::Wrong).canonical(item, &mut bytes);
                }
            }
            other => other.read(cell, false).unwrap_or(Value::Wrong).canonical(cell, &mut bytes),
        }
        bytes
    }

    /// Whether white space around a value is a habit that the policy judges, rather than a part of the text.
    pub fn minds_spaces(&self) -> bool {
        matches!(
            self,
            Self::Number(_)
                | Self::Integer(_)
                | Self::Boolean(_)
                | Self::Date(_)
                | Self::Time(_)
                | Self::DateTime(_)
                | Self::Year
                | Self::YearMonth
                | Self::Duration
        )
    }

    /// Whether a day or month of one digit is a habit that the policy judges.
    pub fn minds_padding(&self) -> bool {
        matches!(self, Self::Date(_) | Self::DateTime(_) | Self::YearMonth)
    }

    pub fn is_ordered(&self) -> bool {
        self.minds_spaces() && !matches!(self, Self::Boolean(_))
    }

    pub fn is_collection(&self) -> bool {
        matches!(self, Self::String(_) | Self::Array | Self::Object | Self::List(_))
    }

    /// Whether any text could stand in it, a formula too.
    pub fn is_free_text(&self) -> bool {
        match self {
            Self::String(TextFormat::Default | TextFormat::Email) | Self::Any => true,
            Self::List(list) => list.item.is_free_text(),
            _ => false,
        }
    }
}

impl List {
    /// The items; an empty text has none.
    fn items<'c>(&'c self, cell: &'c str) -> impl Iterator<Item = &'c str> {
        cell.split(self.delimiter.as_str()).filter(move |_| !cell.is_empty())
    }
}
