//! Which days a value can stand for: what dates, datetimes, months and years are compared by.
//!
//! A comparison says "wrong" only where every reading is wrong: a datetime in UTC may be the day before or after where it
//! was written. Called by `row` and `period`.

use crate::check::schema::Value;

/// Days since 1970-01-01, the first and the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Days {
    pub first: i64,
    pub last: i64,
}

const DAY: i64 = 86_400_000_000;
/// Local time is at most 14 hours before UTC and 12 after (the time zone database).
const AHEAD: i64 = 14 * 3_600_000_000;
const BEHIND: i64 = 12 * 3_600_000_000;

impl Days {
    pub fn of(value: Value) -> Option<Self> {
        match value {
            Value::Date(day) => Some(Self { first: day.into(), last: day.into() }),
            Value::DateTime { micros, zoned: false } => Some(Self::one(micros.div_euclid(DAY))),
            Value::DateTime { micros, zoned: true } => Some(Self {
                first: micros.saturating_sub(BEHIND).div_euclid(DAY),
                last: micros.saturating_add(AHEAD).div_euclid(DAY),
            }),
            Value::YearMonth(months) => Some(Self::months(months.into(), 1)),
            Value::Year(year) => Some(Self::months(i64::from(year) * 12, 12)),
            _ => None,
        }
    }

    pub fn one(day: i64) -> Self {
        Self { first: day, last: day }
    }

    /// `count` months from one on, counted from January of the year 0.
    pub fn months(from: i64, count: i64) -> Self {
        Self { first: month_start(from), last: month_start(from + count) - 1 }
    }

    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Whether `later` is before `earlier`, whatever they stand for.
pub(super) fn before(later: Value, earlier: Value) -> bool {
    match (later, earlier) {
        (Value::DateTime { micros: later, zoned: a }, Value::DateTime { micros: earlier, zoned: b }) => {
            let slack = if a == b { 0 } else { AHEAD };
            later.saturating_add(slack) < earlier
        }
        (Value::Time(later), Value::Time(earlier)) => later < earlier,
        _ => match (Days::of(later), Days::of(earlier)) {
            (Some(later), Some(earlier)) => later.last < earlier.first,
            _ => false,
        },
    }
}

/// Whether the value begins after `today`. A datetime with a zone is taken in UTC, as today is.
pub(super) fn after(value: Value, today: i64) -> bool {
    match value {
        Value::DateTime { micros, .. } => micros.div_euclid(DAY) > today,
        value => Days::of(value).is_some_and(|days| days.first > today),
    }
}

/// Days since 1970-01-01 of the first of a month, counted from January of the year 0; proleptic Gregorian calendar
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil).
fn month_start(months: i64) -> i64 {
    // Years that begin in March, so that the leap day is the last.
    let shifted = months - 2;
    let year = shifted.div_euclid(12);
    let day_of_year = (153 * shifted.rem_euclid(12) + 2) / 5;
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64, zoned: bool) -> Value {
        Value::DateTime { micros: hours * 3_600_000_000, zoned }
    }

    #[test]
    fn months_begin_where_the_calendar_says() {
        for year in [-4i16, 0, 1, 1600, 1900, 1969, 1970, 2000, 2023, 2024, 2100, 9999] {
            for month in 1..=12i8 {
                let date = jiff::civil::date(year, month, 1);
                let days = i64::from(date.since(jiff::civil::date(1970, 1, 1)).unwrap().get_days());
                assert_eq!(month_start(i64::from(year) * 12 + i64::from(month) - 1), days, "{date}");
            }
        }
    }

    #[test]
    fn a_coarse_date_is_before_another_only_when_all_of_it_is() {
        let may_2026 = Value::YearMonth(2026 * 12 + 4);
        let first_of_may = Value::Date(20_574);
        assert!(!before(may_2026, first_of_may) && !before(first_of_may, may_2026));
        assert!(before(Value::Date(20_573), may_2026) && !before(may_2026, Value::Date(20_573)));
        assert!(before(Value::Year(2025), first_of_may) && !before(Value::Year(2026), may_2026));
        assert!(!before(Value::Missing, first_of_may) && !before(Value::Text, Value::Text));
    }

    #[test]
    fn times_of_unknown_zone_are_given_the_benefit_of_the_doubt() {
        assert!(before(at(9, true), at(10, true)) && !before(at(10, true), at(10, true)));
        assert!(!before(at(9, true), at(10, false)) && before(at(9, true), at(30, false)));
        // 23:30 UTC is the next day in summer time.
        let night = Value::DateTime { micros: 84_600_000_000, zoned: true };
        assert!(!before(night, Value::Date(1)) && before(night, Value::Date(2)));
    }

    #[test]
    fn the_future_begins_after_today() {
        assert!(!after(Value::Date(10), 10) && after(Value::Date(11), 10));
        assert!(!after(at(24 * 11 - 1, false), 10) && after(at(24 * 11, false), 10) && after(at(24 * 11, true), 10));
        assert!(!after(Value::Year(1970), 10) && after(Value::Year(1971), 10));
        assert!(!after(Value::YearMonth(1970 * 12), 10) && after(Value::YearMonth(1970 * 12 + 1), 10));
    }

    #[test]
    fn values_at_the_ends_of_their_types_do_no_harm() {
        for value in [Value::Year(i32::MAX), Value::Year(i32::MIN), Value::YearMonth(i32::MAX), Value::Date(i32::MIN)] {
            assert!(Days::of(value).is_some_and(|days| days.first <= days.last));
        }
        for micros in [i64::MAX, i64::MIN] {
            let value = Value::DateTime { micros, zoned: true };
            assert!(Days::of(value).is_some() && !before(value, value));
        }
    }
}
