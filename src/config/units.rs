//! Durations and sizes as people write them: `15m`, `1h30m`, `64KiB`, `2GB`.
//!
//! Knows no settings and no limits of theirs. Called by the readers of this module, by `queue` (leases on the command
//! line) and by `cli`.

use std::time::Duration;

use crate::types::Invalid;

const DURATIONS: [(&str, u64); 6] =
    [("w", 7 * 86_400_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Decimal (1000) and binary (1024) multiples of a byte; the spelling decides which.
const SIZES: [(&str, u64); 13] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
    ("kB", 1000),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("PB", 1_000_000_000_000_000),
    ("", 1),
];

/// Parses `90s`, `15m`, `24h`, `30d`, `2w`, `250ms`, and combinations from large to small such as `1h30m`. Zero is a
/// duration (`0s`); a number without a unit is not.
///
/// # Errors
/// Says how durations are written.
pub fn parse_duration(text: &str) -> Result<Duration, Invalid> {
    let wrong =
        || Invalid(format!("{text:?} is not a duration: write one such as \"90s\", \"15m\", \"1h30m\" or \"30d\""));
    let mut rest = text.trim();
    let mut total: u64 = 0;
    let mut below = usize::MAX;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let (number, after) = leading_number(rest).ok_or_else(wrong)?;
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let size = DURATIONS.iter().position(|(name, _)| *name == unit).ok_or_else(wrong)?;
        // Large to small, each once: "30m1h" and "5m5m" are slips.
        if below != usize::MAX && size <= below {
            return Err(wrong());
        }
        below = size;
        let part = number.checked_mul(DURATIONS[size].1);
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

/// Parses `64KiB`, `2GB`, `20 GiB` and plain numbers of bytes.
///
/// # Errors
/// Says how sizes are written.
pub fn parse_size(text: &str) -> Result<u64, Invalid> {
    let wrong = || Invalid(format!("{text:?} is not a size: write one such as \"64KiB\", \"2GB\" or \"20GiB\""));
    let (number, unit) = leading_number(text.trim()).ok_or_else(wrong)?;
    let unit = unit.trim_start();
    let (_, factor) = SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    number.checked_mul(*factor).ok_or_else(wrong)
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    digits.parse().ok().map(|number| (number, rest))
}

/// The shortest text that [`parse_duration`] reads as `duration`, to the millisecond: `1h30m`.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, size) in DURATIONS {
        // "14d" reads better than "2w".
        if name != "w" && rest >= size {
            text.push_str(&format!("{}{name}", rest / size));
            rest %= size;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

/// A text that [`parse_size`] reads as `bytes`, in the largest unit that divides it: `20GiB`, `1500B`.
pub fn format_size(bytes: u64) -> String {
    let fitting = SIZES.iter().filter(|(name, size)| !name.is_empty() && bytes >= *size && bytes.is_multiple_of(*size));
    match fitting.max_by_key(|(_, size)| *size) {
        Some((name, size)) => format!("{}{name}", bytes / size),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_written() {
        for (text, seconds) in
            [("90s", 90), ("15m", 900), ("24h", 86_400), ("30d", 2_592_000), ("1h30m", 5400), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse_duration("1s250ms"), Ok(Duration::from_millis(1250)));
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in [
            "",
            "15",
            "m",
            "-5m",
            "1.5h",
            "30m1h",
            "5m5m",
            "5 m",
            "5M",
            "99999999999999999999s",
            "300000000000000w",
            "5é",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_as_written() {
        let cases = [
            ("64KiB", 65_536),
            ("2GB", 2_000_000_000),
            ("20GiB", 20 << 30),
            ("0", 0),
            ("512", 512),
            ("1 MiB", 1 << 20),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GiB", "1.5GiB", "2Gb", "-1", "99999999PiB", "1é"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_formatted_reads_back() {
        for text in ["90s", "15m", "24h", "1h30m", "45d", "0s", "250ms"] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
        assert_eq!(format_duration(Duration::from_secs(5400)), "1h30m");
        for (bytes, text) in [(0, "0B"), (20 << 30, "20GiB"), (2_000_000_000, "2GB"), (1500, "1500B"), (1001, "1001B")]
        {
            assert_eq!(format_size(bytes), text);
            assert_eq!(parse_size(text), Ok(bytes));
        }
    }
}
