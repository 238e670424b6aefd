//! The options before a key in authorized_keys: `account`, `from`, `expiry-time`, and those that take away what nobody
//! has here anyway.
//!
//! An option that would do something else than OpenSSH says is refused with the reason, never ignored. Called by
//! [`super::keys`].

use std::ops::Range;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use super::diagnostic::nearest;
use super::keys::{Fault, fault};
use super::model::Network;
use super::section::At;
use super::value::parse_network;
use crate::types::Timestamp;

#[derive(Default)]
pub(super) struct Options {
    pub account: Option<At<String>>,
    pub from: Vec<Network>,
    pub expires: Option<Timestamp>,
}

/// Options that mean something here.
const OURS: [&str; 3] = ["account", "from", "expiry-time"];
/// Options that take away what no account has: nothing to do.
const GRANTED: [&str; 6] =
    ["restrict", "no-pty", "no-port-forwarding", "no-agent-forwarding", "no-x11-forwarding", "no-user-rc"];
/// Options of OpenSSH that are refused, and why.
const REFUSED: [(&str, &str); 14] = [
    ("command", "no commands of the key's own run here"),
    ("environment", "the environment cannot be set here"),
    ("permitopen", "there is no forwarding here"),
    ("permitlisten", "there is no forwarding here"),
    ("port-forwarding", "there is no forwarding here"),
    ("agent-forwarding", "there is no forwarding here"),
    ("x11-forwarding", "there is no forwarding here"),
    ("tunnel", "there is no forwarding here"),
    ("pty", "there is no terminal here"),
    ("user-rc", "there is no shell here"),
    ("cert-authority", "certificates are not taken here; each key is listed itself"),
    ("principals", "certificates are not taken here; each key is listed itself"),
    ("no-touch-required", "what a security key asks for is not weakened here"),
    ("verify-required", "this gateway cannot ask a security key for a PIN, so it does not promise it"),
];

/// Reads the options in `span` of the line `text`; what is wrong goes to `faults`.
pub(super) fn options(text: &str, span: Range<usize>, faults: &mut Vec<Fault>) -> Options {
    let mut read = Options::default();
    let mut seen: Vec<String> = Vec::new();
    for part in split(text, span) {
        let option = &text[part.clone()];
        let (written, value) = match option.find('=') {
            Some(at) => (&option[..at], Some(part.start + at + 1..part.end)),
            None => (option, None),
        };
        let name = written.to_ascii_lowercase();
        let name_span = part.start..part.start + written.len();
        if written.is_empty() {
            faults.push(fault(part, "an option is missing here", "take the extra comma away"));
            continue;
        }
        if seen.contains(&name) {
            faults.push(fault(name_span, format!("{name} is there twice"), "keep one of the two"));
            continue;
        }
        seen.push(name.clone());
        if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            faults.push(fault(part, format!("{written} is refused: {reason}"), "take the option away"));
        } else if GRANTED.contains(&name.as_str()) {
            if value.is_some() {
                faults.push(fault(part, format!("{written} takes no value"), format!("write {name}")));
            }
        } else if OURS.contains(&name.as_str()) {
            let Some((value, inner)) = value.and_then(|value| unquote(text, value)) else {
                faults.push(fault(part, format!("{name} needs a value in quotes"), format!("write {name}=\"...\"")));
                continue;
            };
            match name.as_str() {
                "account" => read.account = Some(At { value, span: inner }),
                "from" => read.from = networks(&value, inner, faults),
                _ => match expiry(&value) {
                    Some(at) => read.expires = Some(at),
                    None => faults.push(fault(
                        inner,
                        format!("{value:?} is not a time"),
                        "write YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, with a Z at the end for UTC",
                    )),
                },
            }
        } else {
            let help = nearest(&name, OURS.into_iter().chain(GRANTED));
            faults.push(fault(name_span, format!("unknown option {written:?}"), help));
        }
    }
    read
}

/// The parts between commas outside of quotes.
fn split(text: &str, span: Range<usize>) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let (mut start, mut quoted, mut escaped) = (span.start, false, false);
    for (at, c) in text[span.clone()].char_indices() {
        match c {
            '"' if !escaped => quoted = !quoted,
            ',' if !quoted => {
                parts.push(start..span.start + at);
                start = span.start + at + 1;
            }
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    parts.push(start..span.end);
    parts
}

/// The text in quotes, `\"` being a quote in it, and where it stands.
fn unquote(text: &str, span: Range<usize>) -> Option<(String, Range<usize>)> {
    let inner = text[span.clone()].strip_prefix('"')?.strip_suffix('"')?;
    Some((inner.replace("\\\"", "\""), span.start + 1..span.end - 1))
}

fn networks(list: &str, span: Range<usize>, faults: &mut Vec<Fault>) -> Vec<Network> {
    let mut read = Vec::new();
    for item in list.split(',') {
        // sshd(8) takes patterns and host names too; a network says the same without a name server's word.
        match parse_network(item.trim()) {
            Ok(network) => read.push(network),
            Err(wrong) => faults.push((span.clone(), wrong)),
        }
    }
    read
}

/// `YYYYMMDD[HHMM[SS]][Z]`; without the Z in the machine's time zone, as sshd(8) has it.
fn expiry(text: &str) -> Option<Timestamp> {
    let (digits, zone) = match text.strip_suffix('Z') {
        Some(digits) => (digits, TimeZone::UTC),
        None => (text, TimeZone::system()),
    };
    if !matches!(digits.len(), 8 | 12 | 14) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let part = |range: Range<usize>| digits.get(range).map_or(Some(0), |part| part.parse::<i8>().ok());
    let date = Date::new(digits[..4].parse().ok()?, part(4..6)?, part(6..8)?).ok()?;
    let time = Time::new(part(8..10)?, part(10..12)?, part(12..14)?, 0).ok()?;
    zone.to_timestamp(DateTime::from_parts(date, time)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Options, Vec<String>) {
        let mut faults = Vec::new();
        let read = options(text, 0..text.len(), &mut faults);
        (read, faults.into_iter().map(|(span, wrong)| format!("{}: {}", span.start, wrong.message)).collect())
    }

    #[test]
    fn the_options_of_this_gateway_are_read() {
        let (read, faults) = read(r#"restrict,account="a",From="192.0.2.0/24, ::1",expiry-time="20300102030405Z""#);
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(read.account.unwrap().value, "a");
        assert_eq!(read.from.len(), 2);
        assert_eq!(read.expires.unwrap().to_string(), "2030-01-02T03:04:05Z");
    }

    #[test]
    fn each_wrong_option_is_told_with_its_place() {
        let (_, faults) = read(r#"command="x, \" y",acount="a",from=1.2.3.4,pty,,restrict=1,no-pty,no-pty"#);
        let starts: Vec<&str> = faults.iter().filter_map(|fault| fault.split(':').next()).collect();
        assert_eq!(starts, ["0", "18", "29", "42", "46", "47", "65"], "{faults:?}");
    }

    #[test]
    fn times_that_are_none_are_refused() {
        for text in ["", "Z", "2030", "20301301", "20300101246000", "2030010112", "+2300101", "2030010é"] {
            assert!(expiry(text).is_none(), "{text}");
        }
        assert_eq!(expiry("20300101Z").unwrap().to_string(), "2030-01-01T00:00:00Z");
    }
}
