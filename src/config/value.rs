//! What single values may be: texts, numbers in their bounds, durations, sizes, choices, networks.
//!
//! Each function makes a parser for [`super::section::Section`]; none knows which key it serves.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use toml::de::DeValue;

use super::diagnostic::nearest;
use super::model::Network;
use super::section::{Wrong, kind};
use super::units::{format_duration, format_size, parse_duration, parse_size};
use crate::types::{Invalid, deceives};

/// Most characters of a name or title.
const LINE_MAX: usize = 200;
/// Most characters of a description.
const PROSE_MAX: usize = 2000;

pub(super) fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, Wrong> {
    match value {
        DeValue::String(text) => Ok(text),
        other => Err(Wrong::new(format!("is {}, not a text", kind(other)), "write a text in double quotes")),
    }
}

pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, Wrong> {
    match value {
        DeValue::Boolean(value) => Ok(*value),
        other => {
            Err(Wrong::new(format!("is {}, not true or false", kind(other)), "write true or false, without quotes"))
        }
    }
}

/// Text of the vocabulary: an account's name, a dataset's name.
pub(super) fn parsed<T: FromStr<Err = Invalid>>(value: &DeValue<'_>) -> Result<T, Wrong> {
    Ok(text(value)?.parse()?)
}

/// A line for people: not empty, no control characters.
pub(super) fn line(value: &DeValue<'_>) -> Result<String, Wrong> {
    readable(text(value)?, LINE_MAX)
}

/// A few sentences for people; line breaks and runs of blanks become one blank.
pub(super) fn prose(value: &DeValue<'_>) -> Result<String, Wrong> {
    let words: Vec<&str> = text(value)?.split_whitespace().collect();
    if words.is_empty() { Ok(String::new()) } else { readable(&words.join(" "), PROSE_MAX) }
}

fn readable(text: &str, most: usize) -> Result<String, Wrong> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Wrong::new("is empty", "write what people should read"));
    }
    if text.chars().any(|c| c.is_control() || deceives(c)) {
        return Err(Wrong::new("contains a character that hides or reorders text", "write plain text on one line"));
    }
    if text.chars().count() > most {
        return Err(Wrong::new("is too long", format!("use at most {most} characters")));
    }
    Ok(text.to_owned())
}

/// A whole number in `bounds`.
pub(super) fn whole<T>(bounds: RangeInclusive<T>) -> impl FnOnce(&DeValue<'_>) -> Result<T, Wrong>
where
    T: TryFrom<i64> + PartialOrd + std::fmt::Display,
{
    move |value| {
        let help = format!("write a whole number from {} to {}", bounds.start(), bounds.end());
        let DeValue::Integer(number) = value else {
            return Err(Wrong::new(format!("is {}, not a whole number", kind(value)), help));
        };
        let read =
            i64::from_str_radix(number.as_str(), number.radix()).ok().and_then(|number| T::try_from(number).ok());
        match read {
            Some(number) if bounds.contains(&number) => Ok(number),
            _ => Err(Wrong::new(format!("{number} is out of bounds"), help)),
        }
    }
}

/// A duration in `bounds`, a text with a unit.
pub(super) fn duration(bounds: RangeInclusive<Duration>) -> impl FnOnce(&DeValue<'_>) -> Result<Duration, Wrong> {
    move |value| {
        if let DeValue::Integer(number) = value {
            return Err(Wrong::new("a duration needs a unit", format!("write \"{number}s\" or \"{number}m\"")));
        }
        let read = parse_duration(text(value)?)?;
        if bounds.contains(&read) {
            return Ok(read);
        }
        let (low, high) = (format_duration(*bounds.start()), format_duration(*bounds.end()));
        Err(Wrong::new(format!("{} is out of bounds", format_duration(read)), format!("write {low} to {high}")))
    }
}

/// A size in `bounds`: a number of bytes, or a text with a unit.
pub(super) fn size(bounds: RangeInclusive<u64>) -> impl FnOnce(&DeValue<'_>) -> Result<u64, Wrong> {
    move |value| {
        let read = match value {
            // A negative number parses as none and is out of bounds below.
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            value => Some(parse_size(text(value)?)?),
        };
        match read {
            Some(read) if bounds.contains(&read) => Ok(read),
            _ => {
                let (low, high) = (format_size(*bounds.start()), format_size(*bounds.end()));
                Err(Wrong::new("the size is out of bounds", format!("write {low} to {high}")))
            }
        }
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(choices: &[(&'static str, T)]) -> impl Fn(&DeValue<'_>) -> Result<T, Wrong> {
    move |value| {
        let word = text(value)?;
        match choices.iter().find(|(name, _)| *name == word) {
            Some((_, meaning)) => Ok(*meaning),
            None => Err(Wrong::new(
                format!("{word:?} is not known here"),
                nearest(word, choices.iter().map(|(name, _)| *name)),
            )),
        }
    }
}

pub(super) fn network(value: &DeValue<'_>) -> Result<Network, Wrong> {
    parse_network(text(value)?)
}

/// Parses `192.0.2.0/24`, `2001:db8::/32` or a single address. An IPv4-mapped IPv6 network becomes the IPv4 one.
pub(super) fn parse_network(text: &str) -> Result<Network, Wrong> {
    let help =
        "write an address range such as \"192.0.2.0/24\" or \"2001:db8::/32\", or one address; names are not looked up";
    let wrong = || Wrong::new(format!("{text:?} is not a network"), help);
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) if prefix.len() <= 3 && prefix.bytes().all(|b| b.is_ascii_digit()) => {
            (address, Some(prefix.parse::<u8>().map_err(|_| wrong())?))
        }
        Some(_) => return Err(wrong()),
        None => (text, None),
    };
    let written: IpAddr = address.parse().map_err(|_| wrong())?;
    let address = written.to_canonical();
    let width = if address.is_ipv4() { 32 } else { 128 };
    // ::ffff:192.0.2.0/120 is 192.0.2.0/24.
    let mapped = if written.is_ipv6() && address.is_ipv4() { 96 } else { 0 };
    let prefix = match prefix {
        None => width,
        Some(prefix) => prefix.checked_sub(mapped).filter(|prefix| *prefix <= width).ok_or_else(wrong)?,
    };
    let base = masked(address, prefix);
    if base != address {
        let message = format!("{text:?} has bits set beyond its prefix");
        return Err(Wrong::new(
            message,
            format!("write \"{base}/{prefix}\" for the network, or \"{address}\" for the one address"),
        ));
    }
    Ok(Network { address, prefix })
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(a) => IpAddr::V4((u32::from(a) & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)).into()),
        IpAddr::V6(a) => {
            IpAddr::V6((u128::from(a) & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_as_written() {
        for (text, address, prefix) in [
            ("192.0.2.0/24", "192.0.2.0", 24),
            ("192.0.2.7", "192.0.2.7", 32),
            ("0.0.0.0/0", "0.0.0.0", 0),
            ("2001:db8::/32", "2001:db8::", 32),
            ("::1", "::1", 128),
            ("::/0", "::", 0),
            ("::ffff:192.0.2.0/120", "192.0.2.0", 24),
        ] {
            let network = parse_network(text).unwrap();
            assert_eq!((network.address, network.prefix), (address.parse().unwrap(), prefix), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_network_is_refused() {
        for text in
            ["", "host.example", "192.0.2.0/33", "192.0.2.0/", "192.0.2.0/+8", "::ffff:192.0.2.0/24", "::1/129", "!::1"]
        {
            assert!(parse_network(text).is_err(), "{text}");
        }
        assert!(parse_network("192.0.2.5/24").unwrap_err().help.contains("192.0.2.0/24"));
    }
}
