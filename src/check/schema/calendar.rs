//! The calendar: which days exist, and how many days or months they are from a beginning.
//!
//! Proleptic Gregorian, years 1 to 9999; no leap seconds. Called by the types that hold dates.

pub(super) const MICROS_PER_SECOND: i64 = 1_000_000;
pub(super) const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// Names in English, as `strptime` reads them in the C locale.
pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(super) const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// Days since 1970-01-01, or none when there is no such day.
#[inline]
pub(super) fn days(year: i32, month: u32, day: u32) -> Option<i32> {
    if year < 1 || !(1..=12).contains(&month) || day < 1 || (day > 28 && day > month_length(year, month)) {
        return None;
    }
    Some(days_unchecked(year, month, day))
}

/// Whether there is such a day, and which; as [`days`], without a branch that depends on the date, for numbers of two and
/// four digits.
#[inline]
pub(super) fn days_quick(year: u32, month: u32, day: u32) -> (bool, i32) {
    const LENGTHS: [u8; 16] = [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 0, 0, 0];
    // Days of the year before the month.
    const BEFORE: [u16; 16] = [0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 0, 0, 0];
    let place = (month as usize).min(15);
    // A year that hundred divides is a leap year when sixteen does, any other when four does.
    let hundreds = year.is_multiple_of(100);
    let leap = year & if hundreds { 15 } else { 3 } == 0;
    let length = u32::from(LENGTHS[place]) + u32::from(leap & (month == 2));
    let there = (day.wrapping_sub(1) < length) & (year > 0);
    let past = year.max(1) - 1;
    let before_year = past * 365 + past / 4 - past / 100 + past / 400;
    let of_year = u32::from(BEFORE[place]) + u32::from(leap & (month > 2)) + day;
    // 0001-01-01 is 719162 days before 1970-01-01.
    (there, (before_year + of_year) as i32 - 719_163)
}

/// The same for months and years that are known to be there, also before year 1.
pub(super) fn days_unchecked(year: i32, month: u32, day: u32) -> i32 {
    // Years begin in March, so that the leap day comes last (H. Hinnant, "chrono-compatible low-level date algorithms").
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month as i32 + 9) % 12) + 2) / 5 + day as i32 - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

pub(super) fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

pub(super) fn month_length(year: i32, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// 0 for Monday.
pub(super) fn weekday(days: i32) -> usize {
    // 1970-01-01 was a Thursday.
    (days + 3).rem_euclid(7) as usize
}

/// Two ASCII digits at a place.
#[inline]
pub(super) fn two(text: &[u8], at: usize) -> Option<u32> {
    let [a, b] = *text.get(at..)?.first_chunk::<2>()?;
    let (a, b) = (a.wrapping_sub(b'0'), b.wrapping_sub(b'0'));
    (a <= 9 && b <= 9).then(|| u32::from(a) * 10 + u32::from(b))
}

/// Four ASCII digits at a place.
#[inline]
pub(super) fn four(text: &[u8], at: usize) -> Option<u32> {
    Some(two(text, at)? * 100 + two(text, at + 2)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_agree_with_another_calendar() {
        let epoch = jiff::civil::date(1970, 1, 1);
        for (year, month, day) in
            [(1, 1, 1), (1600, 2, 29), (1899, 12, 31), (1970, 1, 1), (2000, 2, 29), (2026, 11, 23), (9999, 12, 31)]
        {
            let date = jiff::civil::date(year, month, day);
            let found = days(year.into(), month as u32, day as u32).unwrap();
            assert_eq!(found, epoch.until(date).unwrap().get_days(), "{date}");
            assert_eq!(weekday(found) as i8 + 1, date.weekday().to_monday_one_offset());
        }
    }

    #[test]
    fn days_that_are_not_there_are_none() {
        for (year, month, day) in
            [(2023, 2, 29), (1900, 2, 29), (2024, 4, 31), (2024, 13, 1), (2024, 0, 1), (2024, 1, 0), (0, 1, 1)]
        {
            assert_eq!(days(year, month, day), None, "{year}-{month}-{day}");
        }
    }
}
