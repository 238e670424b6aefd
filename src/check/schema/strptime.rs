//! Takes a date or time apart, item by item, and makes a moment of what it found. Called by `temporal` and `moment`.

use super::calendar::{self, MICROS_PER_SECOND, MONTHS, WEEKDAYS};
use super::temporal::{Item, Moment};

/// What the items of one text have said so far.
#[derive(Default)]
pub(super) struct Found {
    day: u32,
    month: u32,
    year: i32,
    of_year: u32,
    weekday: Option<usize>,
    hour: i64,
    hour12: bool,
    afternoon: bool,
    minute: i64,
    second: i64,
    micros: i64,
    offset_minutes: Option<i32>,
}

impl Found {
    /// Takes an item off the text; gives the rest.
    pub fn take<'c>(&mut self, item: Item, text: &'c [u8], lenient: bool) -> Option<&'c [u8]> {
        let pair = |most: u32| calendar::two(text, 0).filter(|n| *n <= most).zip(text.get(2..));
        match item {
            Item::Literal(byte) => return text.strip_prefix(&[byte]),
            Item::Day | Item::Month => {
                let (value, rest) = match pair(31) {
                    Some(found) => found,
                    None if lenient => single(text)?,
                    None => return None,
                };
                if item == Item::Day {
                    self.day = value
                } else {
                    self.month = value
                }
                return Some(rest);
            }
            Item::Year => {
                self.year = calendar::four(text, 0)? as i32;
                return text.get(4..);
            }
            Item::ShortYear => {
                let (year, rest) = pair(99)?;
                self.year = year as i32 + if year >= 69 { 1900 } else { 2000 };
                return Some(rest);
            }
            Item::DayOfYear => {
                let tens = calendar::two(text, 0)?;
                let (ones, rest) = single(text.get(2..)?)?;
                self.of_year = tens * 10 + ones;
                return (self.of_year > 0).then_some(rest);
            }
            Item::MonthName { short } => {
                let (index, rest) = name(text, &MONTHS, short)?;
                self.month = index as u32 + 1;
                return Some(rest);
            }
            Item::WeekdayName { short } => {
                let (index, rest) = name(text, &WEEKDAYS, short)?;
                self.weekday = Some(index);
                return Some(rest);
            }
            Item::Fraction => {
                let length = text.iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
                let (digits, rest) = text.split_at_checked(length).filter(|(digits, _)| !digits.is_empty())?;
                self.micros = micros(digits);
                return Some(rest);
            }
            Item::Zone => {
                let (offset, rest) = zone(text, true)?;
                self.offset_minutes = Some(offset);
                return Some(rest);
            }
            Item::Half => {
                let (half, rest) = text.split_at_checked(2)?;
                self.afternoon = half.eq_ignore_ascii_case(b"pm");
                return (self.afternoon || half.eq_ignore_ascii_case(b"am")).then_some(rest);
            }
            Item::Hour | Item::Hour12 | Item::Minute | Item::Second => {}
        }
        let (value, rest) = pair(59)?;
        match item {
            Item::Hour if value <= 23 => self.hour = value.into(),
            Item::Hour12 if (1..=12).contains(&value) => (self.hour, self.hour12) = (value.into(), true),
            Item::Minute => self.minute = value.into(),
            Item::Second => self.second = value.into(),
            _ => return None,
        }
        Some(rest)
    }

    pub fn moment(&self) -> Option<Moment> {
        let days = match (self.year, self.of_year) {
            // A time alone.
            (0, 0) if self.month == 0 => 0,
            (year, 0) => calendar::days(year, self.month, self.day)?,
            (year, of_year) if of_year <= 365 || (of_year == 366 && calendar::is_leap(year)) => {
                calendar::days(year, 1, 1)? + of_year as i32 - 1
            }
            _ => return None,
        };
        if self.weekday.is_some_and(|weekday| weekday != calendar::weekday(days)) {
            return None;
        }
        let hour = match (self.hour12, self.afternoon) {
            (false, _) => self.hour,
            (true, false) => self.hour % 12,
            (true, true) => self.hour % 12 + 12,
        };
        let micros = (hour * 3600 + self.minute * 60 + self.second) * MICROS_PER_SECOND + self.micros;
        Some(Moment { days, micros, offset_minutes: self.offset_minutes })
    }
}

/// One ASCII digit and the rest.
fn single(text: &[u8]) -> Option<(u32, &[u8])> {
    let (first, rest) = text.split_first()?;
    first.is_ascii_digit().then(|| (u32::from(first - b'0'), rest))
}

/// A name out of a list, in any case, whole or its first three letters.
fn name<'c>(text: &'c [u8], names: &[&str], short: bool) -> Option<(usize, &'c [u8])> {
    names.iter().enumerate().find_map(|(index, name)| {
        let name = if short { name.as_bytes().get(..3)? } else { name.as_bytes() };
        let (found, rest) = text.split_at_checked(name.len())?;
        found.eq_ignore_ascii_case(name).then_some((index, rest))
    })
}

/// Microseconds of a second's decimals; digits past the sixth are dropped.
pub(super) fn micros(digits: &[u8]) -> i64 {
    let taken = digits.iter().take(6);
    let missing = 6u32.saturating_sub(digits.len() as u32);
    taken.fold(0, |value, digit| value * 10 + i64::from(digit.wrapping_sub(b'0'))) * 10i64.pow(missing)
}

/// `Z` or an offset of up to 14 hours; `+hhmm` only when `basic`. In minutes east.
pub(super) fn zone(text: &[u8], basic: bool) -> Option<(i32, &[u8])> {
    let sign = match text.first()? {
        b'Z' => return Some((0, text.get(1..)?)),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let hours = calendar::two(text, 1)? as i32;
    let colon = text.get(3) == Some(&b':');
    if !colon && !basic {
        return None;
    }
    let at = if colon { 4 } else { 3 };
    let minutes = calendar::two(text, at)? as i32;
    if minutes > 59 || hours * 60 + minutes > 14 * 60 {
        return None;
    }
    Some((sign * (hours * 60 + minutes), text.get(at + 2..)?))
}
