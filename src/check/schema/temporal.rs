//! Dates and times by a `strptime` pattern: exact widths, real days, English names.
//!
//! Supported: `%d %m %Y %y %b %B %a %A %j %H %I %p %M %S %f %z %%`, and `%F %T %D %R`, which stand for others. Called by
//! `kind` and `moment`; compiled by the readers.

use super::calendar::{self, MICROS_PER_DAY, MICROS_PER_SECOND};
use super::strptime::Found;

/// A pattern, compiled.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    items: Vec<Item>,
    fixed: Option<Places>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    Literal(u8),
    Day,
    Month,
    Year,
    /// POSIX: 69 to 99 are 19xx, 00 to 68 are 20xx.
    ShortYear,
    MonthName {
        short: bool,
    },
    WeekdayName {
        short: bool,
    },
    DayOfYear,
    Hour,
    Hour12,
    Half,
    Minute,
    Second,
    Fraction,
    Zone,
}

/// A pattern of day, month, year and one-byte literals alone: read at fixed places.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub length: usize,
    pub day: usize,
    pub month: usize,
    pub year: usize,
    /// Literals' places and bytes; `usize::MAX` for the places of a form without any.
    pub literals: [(usize, u8); 2],
}

/// What a text said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Since 1970-01-01.
    pub days: i32,
    /// Since midnight; a day's length for 24:00:00.
    pub micros: i64,
    /// East of UTC, when the text said so.
    pub offset_minutes: Option<i32>,
}

impl Moment {
    /// Microseconds since 1970-01-01T00:00:00, in UTC when there is a zone.
    pub fn since_epoch(self) -> i64 {
        let offset = i64::from(self.offset_minutes.unwrap_or(0)) * 60 * MICROS_PER_SECOND;
        i64::from(self.days) * MICROS_PER_DAY + self.micros - offset
    }
}

/// What a pattern is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Date,
    Time,
    DateTime,
}

impl Pattern {
    /// # Errors
    /// Where (bytes of the pattern), and what is wrong there.
    pub fn compile(text: &str, purpose: For) -> Result<Self, (std::ops::Range<usize>, String)> {
        let mut items = Vec::new();
        let mut rest = text.char_indices();
        while let Some((at, c)) = rest.next() {
            if c != '%' {
                let mut bytes = [0; 4];
                items.extend(c.encode_utf8(&mut bytes).bytes().map(Item::Literal));
                continue;
            }
            let Some((letter_at, letter)) = rest.next() else {
                return Err((at..text.len(), "a % that no letter follows".into()));
            };
            let span = at..letter_at + letter.len_utf8();
            let Some(found) = directive(letter) else {
                return Err((span, format!("%{letter} is not supported")));
            };
            if found.iter().any(|item| !matches!(item, Item::Literal(_)) && items.contains(item)) {
                return Err((span, format!("%{letter} says again what the pattern has already")));
            }
            items.extend_from_slice(found);
        }
        complete(&items, purpose).map_err(|why| (0..text.len(), why.to_owned()))?;
        let fixed = Places::of(&items);
        Ok(Self { items, fixed })
    }

    /// Where day, month and year stand, when the pattern has nothing else.
    pub fn places(&self) -> Option<Places> {
        self.fixed
    }

    /// `lenient` takes one digit for a day or month.
    #[inline]
    pub fn parse(&self, cell: &str, lenient: bool) -> Option<Moment> {
        match &self.fixed {
            Some(fixed) if !lenient => {
                fixed.parse(cell.as_bytes()).map(|days| Moment { days, micros: 0, offset_minutes: None })
            }
            _ => self.parse_items(cell.as_bytes(), lenient),
        }
    }

    fn parse_items(&self, cell: &[u8], lenient: bool) -> Option<Moment> {
        let mut text = cell;
        let mut found = Found::default();
        for item in &self.items {
            text = found.take(*item, text, lenient)?;
        }
        if text.is_empty() { found.moment() } else { None }
    }

    /// The last second but one of 2026, written by the pattern; what messages show.
    pub fn example(&self) -> String {
        let mut text = Vec::new();
        for item in &self.items {
            let piece: &str = match item {
                Item::Literal(byte) => {
                    text.push(*byte);
                    continue;
                }
                Item::Day => "31",
                Item::Month => "12",
                Item::Year => "2026",
                Item::ShortYear => "26",
                Item::MonthName { short: true } => "Dec",
                Item::MonthName { short: false } => "December",
                Item::WeekdayName { short: true } => "Thu",
                Item::WeekdayName { short: false } => "Thursday",
                Item::DayOfYear => "365",
                Item::Hour => "23",
                Item::Hour12 => "11",
                Item::Half => "PM",
                Item::Minute => "59",
                Item::Second => "58",
                Item::Fraction => "000000",
                Item::Zone => "+0000",
            };
            text.extend_from_slice(piece.as_bytes());
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The pattern for people: `dd/mm/yyyy`.
    pub fn in_words(&self) -> String {
        let mut text = Vec::new();
        for item in &self.items {
            let piece: &str = match item {
                Item::Literal(byte) => {
                    text.push(*byte);
                    continue;
                }
                Item::Day => "dd",
                Item::Month => "mm",
                Item::Year => "yyyy",
                Item::ShortYear => "yy",
                Item::MonthName { short: true } => "Mon",
                Item::MonthName { short: false } => "Month",
                Item::WeekdayName { short: true } => "Ddd",
                Item::WeekdayName { short: false } => "Weekday",
                Item::DayOfYear => "day of year",
                Item::Hour | Item::Hour12 => "hh",
                Item::Half => "AM/PM",
                Item::Minute => "mm",
                Item::Second => "ss",
                Item::Fraction => "ffffff",
                Item::Zone => "+hhmm",
            };
            text.extend_from_slice(piece.as_bytes());
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn directive(letter: char) -> Option<&'static [Item]> {
    use Item::{
        Day, DayOfYear, Fraction, Half, Hour, Hour12, Literal, Minute, Month, MonthName, Second, ShortYear,
        WeekdayName, Year, Zone,
    };
    Some(match letter {
        'd' => &[Day],
        'm' => &[Month],
        'Y' => &[Year],
        'y' => &[ShortYear],
        'b' | 'h' => &[MonthName { short: true }],
        'B' => &[MonthName { short: false }],
        'a' => &[WeekdayName { short: true }],
        'A' => &[WeekdayName { short: false }],
        'j' => &[DayOfYear],
        'H' => &[Hour],
        'I' => &[Hour12],
        'p' => &[Half],
        'M' => &[Minute],
        'S' => &[Second],
        'f' => &[Fraction],
        'z' => &[Zone],
        '%' => &[Literal(b'%')],
        'F' => &[Year, Literal(b'-'), Month, Literal(b'-'), Day],
        'T' => &[Hour, Literal(b':'), Minute, Literal(b':'), Second],
        'D' => &[Month, Literal(b'/'), Day, Literal(b'/'), ShortYear],
        'R' => &[Hour, Literal(b':'), Minute],
        _ => return None,
    })
}

/// Whether the items say all that a value of the type needs, and nothing twice.
fn complete(items: &[Item], purpose: For) -> Result<(), &'static str> {
    let count = |wanted: &[Item]| items.iter().filter(|item| wanted.contains(item)).count();
    let years = count(&[Item::Year, Item::ShortYear]);
    let months = count(&[Item::Month, Item::MonthName { short: true }, Item::MonthName { short: false }]);
    let days = count(&[Item::Day]);
    let of_year = count(&[Item::DayOfYear]);
    let hours = count(&[Item::Hour, Item::Hour12]);
    let weekdays = count(&[Item::WeekdayName { short: true }, Item::WeekdayName { short: false }]);
    if items.iter().all(|item| matches!(item, Item::Literal(_))) {
        return Err("it has no directive such as %d, %m or %Y");
    }
    if years > 1 || months > 1 || hours > 1 || weekdays > 1 {
        return Err("it says the same twice");
    }
    if count(&[Item::Hour12]) != count(&[Item::Half]) {
        return Err("%I and %p need each other");
    }
    if count(&[Item::Minute, Item::Second, Item::Fraction]) > 0 && hours == 0 {
        return Err("it has minutes or seconds, but no hour");
    }
    let by_month = years == 1 && months == 1 && days == 1 && of_year == 0;
    let by_day = years == 1 && months == 0 && days == 0 && of_year == 1;
    match purpose {
        For::Date | For::DateTime if !by_month && !by_day => Err("it must say year, month and day"),
        For::Time if years + months + days + of_year + weekdays > 0 => Err("a time has no date"),
        For::Time if hours == 0 => Err("it must say the hour"),
        _ => Ok(()),
    }
}

impl Places {
    fn of(items: &[Item]) -> Option<Self> {
        let (mut at, mut day, mut month, mut year) = (0, None, None, None);
        let mut literals = Vec::new();
        for item in items {
            at += match item {
                Item::Literal(byte) => {
                    literals.push((at, *byte));
                    1
                }
                Item::Day => {
                    day = Some(at);
                    2
                }
                Item::Month => {
                    month = Some(at);
                    2
                }
                Item::Year => {
                    year = Some(at);
                    4
                }
                _ => return None,
            };
        }
        let literals = match *literals.as_slice() {
            [a, b] => [a, b],
            // A digit of the day: never compared, since there is nothing to compare.
            [] => [(usize::MAX, 0); 2],
            _ => return None,
        };
        Some(Self { length: at, day: day?, month: month?, year: year?, literals })
    }

    #[inline]
    fn parse(&self, cell: &[u8]) -> Option<i32> {
        if cell.len() != self.length {
            return None;
        }
        for (at, byte) in self.literals {
            if at != usize::MAX && cell.get(at) != Some(&byte) {
                return None;
            }
        }
        let (day, month) = (calendar::two(cell, self.day)?, calendar::two(cell, self.month)?);
        calendar::days(calendar::four(cell, self.year)? as i32, month, day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pattern: &str, purpose: For, cell: &str) -> Option<Moment> {
        Pattern::compile(pattern, purpose).unwrap().parse(cell, false)
    }

    fn day(pattern: &str, cell: &str) -> Option<i32> {
        parse(pattern, For::Date, cell).map(|moment| moment.days)
    }

    #[test]
    fn a_date_has_exact_widths_and_a_day_that_exists() {
        let new_year = calendar::days(2024, 1, 2);
        for (pattern, cell) in [
            ("%d/%m/%Y", "02/01/2024"),
            ("%Y-%m-%d", "2024-01-02"),
            ("%Y%m%d", "20240102"),
            ("%d %b %Y", "02 jan 2024"),
            ("%A %d %B %Y", "Tuesday 02 January 2024"),
            ("%d.%m.%y", "02.01.24"),
            ("%Y-%j", "2024-002"),
            ("%F", "2024-01-02"),
            ("%m/%d/%Y", "01/02/2024"),
            ("%d%%%m%%%Y", "02%01%2024"),
        ] {
            assert_eq!(day(pattern, cell), new_year, "{pattern} {cell}");
        }
        for (pattern, cell) in [
            ("%d/%m/%Y", "2/1/2024"),
            ("%d/%m/%Y", "02/01/24"),
            ("%d/%m/%Y", "29/02/2023"),
            ("%d/%m/%Y", "02-01-2024"),
            ("%d/%m/%Y", "02/13/2024"),
            ("%d/%m/%Y", " 2/01/2024"),
            ("%d/%m/%Y", "02/01/2024 "),
            ("%d/%m/%Y", "٠٢/٠١/٢٠٢٤"),
            ("%d/%m/%Y", "00/01/2024"),
            ("%d/%m/%Y", "01/01/0000"),
            ("%A %d %B %Y", "Monday 02 January 2024"),
            ("%Y-%j", "2023-366"),
            ("%Y-%j", "2023-000"),
            ("%d/%m/%Y", ""),
        ] {
            assert_eq!(day(pattern, cell), None, "{pattern} {cell}");
        }
    }

    #[test]
    fn lenience_is_for_days_and_months_alone() {
        let pattern = Pattern::compile("%d/%m/%Y", For::Date).unwrap();
        assert_eq!(pattern.parse("2/1/2024", true).map(|m| m.days), calendar::days(2024, 1, 2));
        assert_eq!(pattern.parse("2/1/24", true), None);
        assert_eq!(pattern.parse("/1/2024", true), None);
    }

    #[test]
    fn times_and_zones_are_read() {
        let seconds = |moment: Moment| moment.since_epoch() / MICROS_PER_SECOND;
        let at = |pattern, cell| parse(pattern, For::DateTime, cell).map(seconds);
        assert_eq!(at("%d/%m/%Y %H:%M:%S", "02/01/1970 01:02:03"), Some(86_400 + 3723));
        assert_eq!(at("%Y-%m-%dT%H:%M:%S%z", "1970-01-01T01:00:00+0100"), Some(0));
        assert_eq!(at("%Y-%m-%dT%H:%M:%S%z", "1970-01-01T01:00:00Z"), Some(3600));
        assert_eq!(at("%d/%m/%Y %I:%M %p", "01/01/1970 12:30 am"), Some(1800));
        assert_eq!(at("%d/%m/%Y %I:%M %p", "01/01/1970 12:30 PM"), Some(45_000));
        for cell in ["02/01/1970 24:00:00", "02/01/1970 23:60:00", "02/01/1970 23:59:60", "02/01/1970"] {
            assert_eq!(at("%d/%m/%Y %H:%M:%S", cell), None, "{cell}");
        }
        assert_eq!(parse("%H:%M:%S.%f", For::Time, "00:00:01.5").map(|m| m.micros), Some(1_500_000));
    }

    #[test]
    fn patterns_that_cannot_give_a_value_are_refused() {
        for (pattern, purpose) in [
            ("%d/%m", For::Date),
            ("%d/%m/%Y %d", For::Date),
            ("%Q", For::Date),
            ("%", For::Date),
            ("dd/mm/yyyy", For::Date),
            ("%-d/%m/%Y", For::Date),
            ("%H:%M", For::DateTime),
            ("%d/%m/%Y", For::Time),
            ("%M:%S", For::Time),
            ("%I:%M", For::Time),
            ("%Y %y %m %d", For::Date),
            ("%Y-%m-%d %j", For::Date),
            ("%U", For::Date),
        ] {
            assert!(Pattern::compile(pattern, purpose).is_err(), "{pattern}");
        }
    }

    #[test]
    fn the_example_of_a_pattern_is_one_of_its_values() {
        for pattern in ["%d/%m/%Y", "%A, %d %B %Y", "%a %d-%b-%y", "%Y-%jT%I.%M.%S %p", "%D %T.%f %z"] {
            let compiled = Pattern::compile(pattern, For::DateTime).unwrap();
            assert!(compiled.parse(&compiled.example(), false).is_some(), "{pattern}");
        }
        assert_eq!(Pattern::compile("%d/%m/%Y", For::Date).unwrap().in_words(), "dd/mm/yyyy");
    }
}
