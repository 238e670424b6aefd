//! Dates and times in their default forms (XML Schema) and in the forms of `any`.
//!
//! `any` is a fixed list of forms that can be read in one way only; day and month are never guessed:
//! dates `2026-05-17`, `20260517`, `2026/05/17`, `17 May 2026`, `17-May-2026`, `May 17, 2026` (names in English, short or
//! long); times `09:30`, `09:30:00`, `09:30:00.5`, `9:30 AM` as `09:30 AM`; datetimes a date, `T` or a space, and a time,
//! with a zone or without. Called by `kind`.

use super::calendar::{self, MICROS_PER_DAY, MICROS_PER_SECOND};
use super::strptime;
use super::temporal::Moment;

/// `YYYY-MM-DD`.
#[inline]
pub(super) fn date(cell: &str, lenient: bool) -> Option<i32> {
    let text = cell.as_bytes();
    if text.len() == 10 && text.get(4) == Some(&b'-') && text.get(7) == Some(&b'-') {
        return calendar::days(calendar::four(text, 0)? as i32, calendar::two(text, 5)?, calendar::two(text, 8)?);
    }
    if !lenient {
        return None;
    }
    let mut parts = cell.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let year = calendar::four(year.as_bytes(), 0).filter(|_| year.len() == 4)?;
    if parts.next().is_some() {
        return None;
    }
    calendar::days(year as i32, short_number(month)?, short_number(day)?)
}

/// `YYYY-MM`; months since year 0.
pub(super) fn year_month(cell: &str, lenient: bool) -> Option<i32> {
    let (year, month) = cell.split_once('-')?;
    let year = calendar::four(year.as_bytes(), 0).filter(|found| year.len() == 4 && *found > 0)?;
    let month = short_number(month).filter(|_| lenient || month.len() == 2)?;
    (1..=12).contains(&month).then(|| year as i32 * 12 + month as i32 - 1)
}

/// `YYYY`. XML Schema also knows years before 1 and after 9999; no extract has them but by mistake.
pub(super) fn year(cell: &str) -> Option<i32> {
    let year = calendar::four(cell.as_bytes(), 0).filter(|year| cell.len() == 4 && *year > 0)?;
    Some(year as i32)
}

/// One or two ASCII digits.
fn short_number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits && (1..=2).contains(&text.len()) { text.parse().ok() } else { None }
}

/// `hh:mm:ss`, decimals of the second and a zone if there are any. In microseconds, UTC when there is a zone.
pub(super) fn time(cell: &str) -> Option<i64> {
    let (micros, offset) = clock(cell.as_bytes(), false)?;
    if micros >= MICROS_PER_DAY {
        return None;
    }
    Some(in_utc(micros, offset))
}

fn in_utc(micros: i64, offset: Option<i32>) -> i64 {
    (micros - i64::from(offset.unwrap_or(0)) * 60 * MICROS_PER_SECOND).rem_euclid(MICROS_PER_DAY)
}

/// XML Schema's `dateTime` with a year of four digits: `2024-01-26T15:00:00`, decimals and zone if there are any;
/// 24:00:00 is the end of the day.
pub(super) fn date_time(cell: &str, lenient: bool) -> Option<Moment> {
    let at = cell.find('T')?;
    let days = date(cell.get(..at)?, lenient)?;
    let (micros, offset_minutes) = clock(cell.as_bytes().get(at + 1..)?, false)?;
    Some(Moment { days, micros, offset_minutes })
}

/// A time of day with its zone; without seconds only when `short`.
fn clock(text: &[u8], short: bool) -> Option<(i64, Option<i32>)> {
    let (hour, minute) = (calendar::two(text, 0)?, calendar::two(text, 3)?);
    let mut rest = text.get(5..)?;
    let mut second = 0;
    if rest.first() == Some(&b':') {
        second = calendar::two(rest, 1)?;
        rest = rest.get(3..)?;
    } else if !short {
        return None;
    }
    let mut decimals = 0;
    if let Some(after) = rest.strip_prefix(b".").filter(|_| text.get(5) == Some(&b':')) {
        let length = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, after) = after.split_at_checked(length).filter(|(digits, _)| !digits.is_empty())?;
        // "24:00:00.0" is the end of the day, with any other decimal it is past it.
        if hour == 24 && digits.iter().any(|digit| *digit != b'0') {
            return None;
        }
        decimals = strptime::micros(digits);
        rest = after;
    }
    let offset = match rest {
        [] => None,
        _ => Some(strptime::zone(rest, false).filter(|(_, rest)| rest.is_empty())?.0),
    };
    let in_day = hour <= 23 || (hour == 24 && minute == 0 && second == 0);
    if text.get(2) != Some(&b':') || !in_day || minute > 59 || second > 59 {
        return None;
    }
    let seconds = i64::from(hour * 3600 + minute * 60 + second);
    Some((seconds * MICROS_PER_SECOND + decimals, offset))
}

/// A date in one of the forms of `any`.
pub(super) fn any_date(cell: &str) -> Option<i32> {
    let text = cell.as_bytes();
    let digits = |length: usize| text.len() == length && text.iter().all(u8::is_ascii_digit);
    if digits(8) {
        return calendar::days(calendar::four(text, 0)? as i32, calendar::two(text, 4)?, calendar::two(text, 6)?);
    }
    if text.first_chunk::<4>().is_some_and(|first| first.iter().all(u8::is_ascii_digit)) {
        return match text.get(4)? {
            b'-' => date(cell, false),
            b'/' if text.len() == 10 && text.get(7) == Some(&b'/') => {
                calendar::days(calendar::four(text, 0)? as i32, calendar::two(text, 5)?, calendar::two(text, 8)?)
            }
            _ => None,
        };
    }
    if let Some((month, rest)) = cell.split_once(' ').filter(|(month, _)| month_of(month).is_some()) {
        let (day, year) = rest.split_once(", ")?;
        return named(day, month, year);
    }
    let separator = if cell.contains('-') { '-' } else { ' ' };
    let mut parts = cell.split(separator);
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() { None } else { named(day, month, year) }
}

fn named(day: &str, month: &str, year: &str) -> Option<i32> {
    let year = calendar::four(year.as_bytes(), 0).filter(|_| year.len() == 4)?;
    calendar::days(year as i32, month_of(month)?, short_number(day)?)
}

fn month_of(name: &str) -> Option<u32> {
    let is = |month: &str| {
        month.eq_ignore_ascii_case(name) || month.get(..3).is_some_and(|short| short.eq_ignore_ascii_case(name))
    };
    calendar::MONTHS.iter().position(|month| is(month)).map(|index| index as u32 + 1)
}

/// A time in one of the forms of `any`, with its zone.
fn any_clock(text: &str) -> Option<(i64, Option<i32>)> {
    let Some((time, half)) = text.rsplit_once(' ') else { return clock(text.as_bytes(), true) };
    let afternoon = half.eq_ignore_ascii_case("pm");
    let (micros, offset) = clock(time.as_bytes(), true)?;
    let hour = micros / (3600 * MICROS_PER_SECOND);
    if !(afternoon || half.eq_ignore_ascii_case("am")) || offset.is_some() || !(1..=12).contains(&hour) {
        return None;
    }
    let begin = if afternoon { 12 } else { 0 };
    Some((micros + (begin + hour % 12 - hour) * 3600 * MICROS_PER_SECOND, None))
}

pub(super) fn any_time(cell: &str) -> Option<i64> {
    let (micros, offset) = any_clock(cell).filter(|(micros, _)| *micros < MICROS_PER_DAY)?;
    Some(in_utc(micros, offset))
}

pub(super) fn any_date_time(cell: &str) -> Option<Moment> {
    // The first colon is in the time, two digits after where it begins.
    let begin = cell.find(':')?.checked_sub(2)?;
    let (date, time) = (cell.get(..begin)?, cell.get(begin..)?);
    let date = date.strip_suffix('T').or_else(|| date.strip_suffix(' '))?;
    let (micros, offset_minutes) = any_clock(time)?;
    Some(Moment { days: any_date(date)?, micros, offset_minutes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datetime_is_what_xml_schema_says() {
        let at = |cell| date_time(cell, false).map(|moment| moment.since_epoch() / MICROS_PER_SECOND);
        for (cell, seconds) in [
            ("1970-01-01T00:00:00", 0),
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T01:00:00.300+01:00", 0),
            ("1969-12-31T24:00:00", 0),
            ("1970-01-01T00:00:01.123456789", 1),
        ] {
            assert_eq!(at(cell), Some(seconds), "{cell}");
        }
        for cell in [
            "2024-01-01T25:00:00",
            "2024-06-30T23:59:60Z",
            "2024-01-01 10:00:00",
            "2024-01-01T10:00",
            "2024-01-01t10:00:00",
            "2024-01-01T10:00:00z",
            "2024-01-01T10:00:00.",
            "2024-01-01T10:00:00+0100",
            "2024-01-01T10:00:00+15:00",
            "2024-02-30T10:00:00",
            "2024-1-1T10:00:00",
            "2024-01-01T24:00:01",
            "2024-01-01T24:00:00.1",
            "2024-01-01",
            "T10:00:00",
            "",
            "2024-01-01T1:000:00",
            "2024-01-01T10:00:00 ",
        ] {
            assert_eq!(at(cell), None, "{cell}");
        }
        assert!(date_time("2024-1-1T10:00:00", true).is_some());
    }

    #[test]
    fn times_years_and_months_have_their_widths() {
        assert_eq!(time("00:00:01.5"), Some(1_500_000));
        assert_eq!(time("01:00:00+02:00"), Some(23 * 3600 * MICROS_PER_SECOND));
        assert!(
            ["24:00:00", "1:00:00", "10:00", "10:00:60", "10-00-00", "10:00:0é"]
                .iter()
                .all(|cell| time(cell).is_none())
        );
        assert_eq!(
            (year("2024"), year("24"), year("20245"), year("-2024"), year("0000")),
            (Some(2024), None, None, None, None)
        );
        assert_eq!((year_month("2024-01", false), year_month("2024-1", false)), (Some(24288), None));
        assert_eq!(year_month("2024-1", true), Some(24288));
        assert!(
            ["2024-13", "2024-00", "05-2024", "2024/05", "2024-05-01", "2024-"]
                .iter()
                .all(|cell| year_month(cell, true).is_none())
        );
        assert_eq!((date("2024-2-3", false), date("2024-2-3", true)), (None, calendar::days(2024, 2, 3)));
    }

    #[test]
    fn any_takes_forms_that_read_in_one_way_only() {
        let day = calendar::days(1955, 5, 6);
        for cell in ["1955-05-06", "19550506", "1955/05/06", "6 May 1955", "06 may 1955", "6-May-1955", "May 6, 1955"] {
            assert_eq!(any_date(cell), day, "{cell}");
        }
        for cell in [
            "06/05/1955",
            "05-06-1955",
            "6/5/55",
            "6 May 55",
            "May 1955",
            "19551332",
            "32 May 1955",
            "6 Mai 1955",
            "6 Ma\u{e9} 1955",
            "",
        ] {
            assert_eq!(any_date(cell), None, "{cell}");
        }
        assert_eq!(any_time("09:30 PM"), time("21:30:00"));
        assert_eq!(any_time("12:00 AM"), Some(0));
        assert_eq!(any_time("13:00 PM"), None);
        assert_eq!(any_date_time("6 May 1955 09:30"), date_time("1955-05-06T09:30:00", false));
        assert_eq!(any_date_time("1955-05-06T09:30:00Z"), date_time("1955-05-06T09:30:00Z", false));
        assert_eq!(any_date_time("06/05/1955 09:30"), None);
    }
}
