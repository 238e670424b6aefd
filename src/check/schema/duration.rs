//! Durations as XML Schema writes and compares them (https://www.w3.org/TR/xmlschema-2/#duration).
//!
//! Each number has at most nine digits; seconds count to the microsecond. Called by `kind` and `constraints`.

use std::cmp::Ordering;

use super::calendar::{self, MICROS_PER_DAY, MICROS_PER_SECOND};
use super::strptime;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Duration {
    pub months: i64,
    pub micros: i64,
}

impl Duration {
    /// `PnYnMnDTnHnMnS`, any of them left out, but not all; a sign before it.
    pub fn parse(cell: &str) -> Option<Self> {
        let (sign, text) = cell.strip_prefix('-').map_or((1, cell), |rest| (-1, rest));
        let text = text.strip_prefix('P')?;
        let (date, time) = match text.split_once('T') {
            Some((date, time)) => (date, Some(time)),
            None => (text, None),
        };
        let mut parts = Parts { rest: date };
        let months = parts.number('Y')?.unwrap_or(0) * 12 + parts.number('M')?.unwrap_or(0);
        let mut micros = parts.number('D')?.unwrap_or(0) * MICROS_PER_DAY;
        if !parts.rest.is_empty() || (date.is_empty() && time.is_none()) {
            return None;
        }
        if let Some(time) = time.map(|time| (!time.is_empty()).then_some(time)) {
            let mut parts = Parts { rest: time? };
            micros += parts.number('H')?.unwrap_or(0) * 3600 * MICROS_PER_SECOND;
            micros += parts.number('M')?.unwrap_or(0) * 60 * MICROS_PER_SECOND;
            micros += parts.seconds()?.unwrap_or(0);
            if !parts.rest.is_empty() {
                return None;
            }
        }
        Some(Self { months: sign * months, micros: sign * micros })
    }
}

/// The order that holds from each of XML Schema's four reference dates; none when they disagree (a month, 30 days).
impl PartialOrd for Duration {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let after = |duration: &Self, year: i64, month: i64| {
            let months = year * 12 + month - 1 + duration.months;
            let year = i32::try_from(months.div_euclid(12)).ok()?.clamp(-5_000_000, 5_000_000);
            let days = calendar::days_unchecked(year, months.rem_euclid(12) as u32 + 1, 1);
            Some(i128::from(days) * i128::from(MICROS_PER_DAY) + i128::from(duration.micros))
        };
        let mut orders = [(1696, 9), (1697, 2), (1903, 3), (1903, 7)]
            .into_iter()
            .map(|(year, month)| Some(after(self, year, month)?.cmp(&after(other, year, month)?)));
        let first = orders.next()??;
        orders.all(|order| order == Some(first)).then_some(first)
    }
}

struct Parts<'c> {
    rest: &'c str,
}

impl Parts<'_> {
    /// The number that stands before this letter: inner none when it is left out, outer none when it is no number.
    fn number(&mut self, letter: char) -> Option<Option<i64>> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, after) = self.rest.split_at_checked(end)?;
        let Some(after) = after.strip_prefix(letter) else { return Some(None) };
        if digits.is_empty() || digits.len() > 9 {
            return None;
        }
        self.rest = after;
        digits.parse().ok().map(Some)
    }

    /// In microseconds.
    fn seconds(&mut self) -> Option<Option<i64>> {
        let Some(text) = self.rest.strip_suffix('S') else { return Some(None) };
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || whole.len() > 9 {
            return None;
        }
        self.rest = "";
        let seconds: i64 = whole.parse().ok()?;
        Some(Some(seconds * MICROS_PER_SECOND + strptime::micros(decimals.as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_xml_schema_writes_them() {
        for (cell, months, seconds) in [
            ("P1Y2M3DT4H5M6S", 14, 3 * 86_400 + 14_706),
            ("PT30M", 0, 1800),
            ("-P1M", -1, 0),
            ("P0D", 0, 0),
            ("PT1.5S", 0, 1),
            ("PT36H", 0, 129_600),
        ] {
            let found = Duration::parse(cell).unwrap();
            assert_eq!((found.months, found.micros / MICROS_PER_SECOND), (months, seconds), "{cell}");
        }
        for cell in [
            "",
            "P",
            "PT",
            "P1",
            "1D",
            "P1S",
            "P1DT",
            "PT1D",
            "P1M1Y",
            "P1.5D",
            "+P1D",
            "PT.5S",
            "PT5.S",
            "P1Y ",
            "P9999999999Y",
            "p1d",
        ] {
            assert_eq!(Duration::parse(cell), None, "{cell}");
        }
    }

    #[test]
    fn durations_compare_only_where_every_month_agrees() {
        let order = |a, b| Duration::parse(a)?.partial_cmp(&Duration::parse(b)?);
        assert_eq!(order("P1M", "P27D"), Some(Ordering::Greater));
        assert_eq!(order("P1M", "P30D"), None);
        assert_eq!(order("P1Y", "P12M"), Some(Ordering::Equal));
        assert_eq!(order("P999999999Y", "P1D"), Some(Ordering::Greater));
        assert_eq!(order("-PT1S", "PT0S"), Some(Ordering::Less));
    }
}
