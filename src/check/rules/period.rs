//! The period that a part of a file's name gives: a year, a quarter, a month or a day.

use super::days::Days;

/// A period of whole days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period(pub(super) Days);

/// The forms, for people.
pub(super) const FORMS: &str = "2026, 2026-Q2, 2026Q2, 2026-05, 202605, 2026-05-17 or 20260517";

impl Period {
    /// Reads one of [`FORMS`]; none when it is no period.
    pub fn parse(text: &str) -> Option<Self> {
        let year: i64 = digits(text.get(..4)?)?;
        let rest = text.get(4..)?;
        let months = |month: i64, count: i64| Some(Self(Days::months(year * 12 + month - 1, count)));
        match *rest.as_bytes() {
            [] => months(1, 12),
            [b'-', b'Q' | b'q', quarter @ b'1'..=b'4'] | [b'Q' | b'q', quarter @ b'1'..=b'4'] => {
                months(i64::from(quarter - b'1') * 3 + 1, 3)
            }
            [b'-', _, _] | [_, _] => months(month(rest.trim_start_matches('-'))?, 1),
            [b'-', _, _, b'-', _, _] => day(year, rest.get(1..3)?, rest.get(4..)?),
            [_, _, _, _] => day(year, rest.get(..2)?, rest.get(2..)?),
            _ => None,
        }
    }
}

fn month(text: &str) -> Option<i64> {
    digits(text).filter(|month| (1..=12).contains(month))
}

fn day(year: i64, month_text: &str, day_text: &str) -> Option<Period> {
    let month = Days::months(year * 12 + month(month_text)? - 1, 1);
    let day = month.first + digits(day_text).filter(|day| *day >= 1)? - 1;
    (day <= month.last).then_some(Period(Days::one(day)))
}

/// ASCII digits and nothing else, two or four of them.
fn digits(text: &str) -> Option<i64> {
    let plain = matches!(text.len(), 2 | 4) && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(text: &str) -> Option<(String, String)> {
        let date = |day: i64| {
            let from = jiff::civil::date(1970, 1, 1);
            (from + jiff::Span::new().days(day)).to_string()
        };
        Period::parse(text).map(|Period(days)| (date(days.first), date(days.last)))
    }

    #[test]
    fn each_form_is_its_days() {
        let expected = [
            ("2026", "2026-01-01", "2026-12-31"),
            ("2026-Q2", "2026-04-01", "2026-06-30"),
            ("2026q4", "2026-10-01", "2026-12-31"),
            ("2026-05", "2026-05-01", "2026-05-31"),
            ("202402", "2024-02-01", "2024-02-29"),
            ("2026-05-17", "2026-05-17", "2026-05-17"),
            ("20240229", "2024-02-29", "2024-02-29"),
        ];
        for (text, first, last) in expected {
            assert_eq!(days(text), Some((first.into(), last.into())), "{text}");
        }
    }

    #[test]
    fn what_is_no_period_is_none() {
        let wrong = [
            "",
            "26",
            "2026-",
            "2026-13",
            "202600",
            "2026-5",
            "2026-Q5",
            "2026-Q0",
            "2026Q",
            "20260230",
            "2026-02-30",
            "2026-02-00",
            "2026/05",
            "May 2026",
            "2026-05-1",
            "+026",
            "2026-+5",
            "202é",
            "2026--5",
            "２０２６",
            "2026-05-17x",
        ];
        for text in wrong {
            assert_eq!(days(text), None, "{text}");
        }
    }
}
