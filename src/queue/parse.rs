//! The command line of an exec request, as OpenSSH joins it: words apart by blanks, `'...'` and `"..."` kept together.
//!
//! Must never run anything, nor answer with more than a bounded text. Called by `mod`.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use crate::config::units::parse_duration;
use crate::types::{DatasetName, DeliveryId, LeaseId, OrgId};

/// Longest command line, in bytes.
const LINE_MAX: usize = 8192;

/// Most organisations, and most datasets, that one claim may name.
const FILTERS_MAX: usize = 100;

/// Most deliveries of one claim.
const CLAIM_MAX: usize = 100;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Claim(Ask),
    Extend { delivery: DeliveryId, lease: LeaseId, by: Option<Duration> },
    Ack { delivery: DeliveryId, lease: LeaseId },
    Nack { delivery: DeliveryId, lease: LeaseId, reason: String },
}

/// What a claim asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub orgs: Option<BTreeSet<OrgId>>,
    pub datasets: Option<BTreeSet<DatasetName>>,
    pub max: usize,
    pub lease: Option<Duration>,
    pub wait: Wait,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    No,
    Until(Duration),
    /// Until there is work or the session ends.
    Forever,
}

/// A usage error, in words that end in how it is meant.
type Parse<T> = Result<T, String>;

const CLAIM: &str = "claim [--org ORGANISATION]... [--dataset DATASET]... [--max N] [--lease 15m] [--wait [60s]]";
const EXTEND: &str = "extend DELIVERY --lease LEASE [--for 15m]";
const ACK: &str = "ack DELIVERY --lease LEASE";
const NACK: &str = "nack DELIVERY --lease LEASE --reason WORDS TO THE END OF THE LINE";

/// Each command, its options and its usage.
const COMMANDS: [(&str, &[&str], &str); 4] = [
    ("claim", &["org", "dataset", "max", "lease", "wait"], CLAIM),
    ("extend", &["lease", "for"], EXTEND),
    ("ack", &["lease"], ACK),
    ("nack", &["lease", "reason"], NACK),
];

pub(super) fn is_ours(command: &str) -> bool {
    let first = command.split_whitespace().next();
    COMMANDS.iter().any(|(name, ..)| Some(*name) == first)
}

pub(super) fn parse(line: &str) -> Parse<Command> {
    if line.len() > LINE_MAX {
        return Err(format!("the command is longer than {LINE_MAX} bytes"));
    }
    let mut words = Words { rest: line };
    let name = words.next()?.unwrap_or_default();
    let Some((name, options, usage)) = COMMANDS.into_iter().find(|(known, ..)| *known == name) else {
        return Err(format!("{} is no command here; there are claim, extend, ack and nack", shown(&name)));
    };
    let given = Given::read(&mut words, options).map_err(|wrong| format!("{wrong}; usage: {usage}"))?;
    command(name, given).map_err(|wrong| format!("{wrong}; usage: {usage}"))
}

fn command(name: &str, given: Given) -> Parse<Command> {
    if name == "claim" {
        if let Some(extra) = given.plain.first() {
            return Err(format!("claim takes options only, not {}", shown(extra)));
        }
        return Ok(Command::Claim(Ask {
            orgs: given.set("org")?,
            datasets: given.set("dataset")?,
            max: given.value("max", number)?.unwrap_or(1),
            lease: given.value("lease", positive_duration)?,
            wait: match given.one("wait")? {
                None => Wait::No,
                Some("") => Wait::Forever,
                Some(text) => Wait::Until(duration(text)?),
            },
        }));
    }
    let [delivery] = given.plain.as_slice() else {
        return Err(match given.plain.len() {
            0 => "the delivery's id is missing".to_owned(),
            _ => format!("one delivery at a time: {} is too much", shown(&given.plain[1])),
        });
    };
    let delivery = delivery.parse().map_err(|_| format!("{} is not a delivery's id", shown(delivery)))?;
    let lease = given.value("lease", |text| {
        text.parse().map_err(|_| format!("{} is not a lease's id: take it from the claim", shown(text)))
    })?;
    let lease = lease.ok_or("--lease LEASE is missing: take it from the claim")?;
    Ok(match name {
        "extend" => Command::Extend { delivery, lease, by: given.value("for", positive_duration)? },
        "ack" => Command::Ack { delivery, lease },
        _ => {
            let reason = given.one("reason")?.filter(|reason| !reason.is_empty());
            let reason = reason.ok_or("--reason is missing: say in a few words why it was not loaded")?;
            Command::Nack { delivery, lease, reason: reason.to_owned() }
        }
    })
}

/// What stands after the command: options with their values (empty for `--wait` alone), and plain words.
#[derive(Default)]
struct Given {
    options: Vec<(&'static str, String)>,
    plain: Vec<String>,
}

impl Given {
    fn read(words: &mut Words<'_>, known: &'static [&'static str]) -> Parse<Self> {
        let mut given = Given::default();
        loop {
            if known.contains(&"reason")
                && let Some(reason) = words.reason()
            {
                given.options.push(("reason", reason));
                return Ok(given);
            }
            let Some(word) = words.next()? else { return Ok(given) };
            let Some(option) = word.strip_prefix("--") else {
                given.plain.push(word);
                continue;
            };
            let (name, inline) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            let name = known.iter().copied().find(|known| *known == name).ok_or_else(|| unknown(name, known))?;
            let value = match inline {
                Some(value) => value,
                None if words.option_follows() => match name {
                    "wait" => String::new(),
                    _ => return Err(format!("--{name} needs a value")),
                },
                None => words.next()?.unwrap_or_default(),
            };
            given.options.push((name, value));
        }
    }

    fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.options.iter().filter(move |(option, _)| *option == name).map(|(_, value)| value.as_str())
    }

    fn one(&self, name: &'static str) -> Parse<Option<&str>> {
        let mut values = self.all(name);
        let value = values.next();
        if values.next().is_some() {
            return Err(format!("--{name} is given twice"));
        }
        Ok(value)
    }

    fn value<T>(&self, name: &'static str, read: impl FnOnce(&str) -> Parse<T>) -> Parse<Option<T>> {
        self.one(name)?.map(read).transpose().map_err(|wrong| format!("--{name}: {wrong}"))
    }

    fn set<T: FromStr + Ord>(&self, name: &'static str) -> Parse<Option<BTreeSet<T>>> {
        let values: Vec<&str> = self.all(name).collect();
        if values.is_empty() {
            return Ok(None);
        }
        if values.len() > FILTERS_MAX {
            return Err(format!("--{name} may be given {FILTERS_MAX} times at most"));
        }
        let parse = |text: &&str| text.parse().map_err(|_| format!("--{name}: {} is no name", shown(text)));
        values.iter().map(parse).collect::<Parse<_>>().map(Some)
    }
}

fn unknown(name: &str, known: &[&str]) -> String {
    let nearest = known.iter().max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)));
    let meant = nearest.map(|nearest| format!("; did you mean --{nearest}?")).unwrap_or_default();
    format!("--{} is no option here{meant}", shown(name).trim_matches('"'))
}

fn number(text: &str) -> Parse<usize> {
    let number = text.parse().ok().filter(|number| (1..=CLAIM_MAX).contains(number));
    number.ok_or_else(|| format!("{} is not a number from 1 to {CLAIM_MAX}", shown(text)))
}

fn positive_duration(text: &str) -> Parse<Duration> {
    duration(text).and_then(|duration| match duration.is_zero() {
        true => Err("it must be longer than nothing".to_owned()),
        false => Ok(duration),
    })
}

/// Durations as the configuration writes them. The message cuts what the client wrote.
fn duration(text: &str) -> Parse<Duration> {
    let wrong = |_| format!("{} is not a duration: write one such as 90s, 15m, 24h or 1h30m", shown(text));
    parse_duration(text).map_err(wrong)
}

/// The line, word by word.
struct Words<'l> {
    rest: &'l str,
}

impl<'l> Words<'l> {
    fn next(&mut self) -> Parse<Option<String>> {
        self.rest = self.rest.trim_start();
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (mut word, mut quote) = (String::new(), None);
        let mut characters = self.rest.char_indices();
        for (at, c) in characters.by_ref() {
            match quote {
                None if c == '"' || c == '\'' => quote = Some(c),
                None if c.is_whitespace() => {
                    self.rest = &self.rest[at..];
                    return Ok(Some(word));
                }
                Some(open) if c == open => quote = None,
                _ => word.push(c),
            }
        }
        if let Some(open) = quote {
            return Err(format!("a quotation mark ({open}) is not closed"));
        }
        self.rest = "";
        Ok(Some(word))
    }

    /// Whether an option comes next, or nothing.
    fn option_follows(&self) -> bool {
        let rest = self.rest.trim_start();
        rest.is_empty() || rest.starts_with("--")
    }

    /// The rest of the line, if it starts with `--reason`: as it stands (it may hold a lone apostrophe), but without
    /// the quotation marks that enclose it whole.
    fn reason(&mut self) -> Option<String> {
        let rest = self.rest.trim_start().strip_prefix("--reason")?;
        if !(rest.is_empty() || rest.starts_with('=') || rest.starts_with(char::is_whitespace)) {
            return None;
        }
        self.rest = "";
        let text = rest.strip_prefix('=').unwrap_or(rest).trim();
        let inside = |mark: char| text.strip_prefix(mark)?.strip_suffix(mark).filter(|inside| !inside.contains(mark));
        Some(inside('"').or_else(|| inside('\'')).unwrap_or(text).trim().to_owned())
    }
}

/// A word of the client's in a message: quoted, escaped, cut.
fn shown(word: &str) -> String {
    let cut: String = word.chars().take(40).collect();
    format!("{cut:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "01930e3a-4b5c-7d6e-8f70-8192a3b4c5d6";
    const L: &str = "01930e3a-0000-7d6e-8f70-8192a3b4c5d6";

    fn ask(line: &str) -> Ask {
        match parse(line) {
            Ok(Command::Claim(ask)) => ask,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_bare_claim_takes_one_of_anything_at_once() {
        let expected = Ask { orgs: None, datasets: None, max: 1, lease: None, wait: Wait::No };
        assert_eq!(ask("claim"), expected);
        assert_eq!(ask("  claim  "), expected);
    }

    #[test]
    fn a_claim_reads_its_options_in_any_order_and_spelling() {
        let got = ask("claim --max=5 --org harbour --org \"mill-lane\" --dataset='gp' --lease 1h30m --wait 60s");
        assert_eq!(got.orgs.unwrap().len(), 2);
        assert_eq!(got.datasets.unwrap().len(), 1);
        assert_eq!(
            (got.max, got.lease, got.wait),
            (5, Some(Duration::from_secs(5400)), Wait::Until(Duration::from_secs(60)))
        );
        assert_eq!(ask("claim --wait").wait, Wait::Forever);
        assert_eq!(ask("claim --wait --max 2").wait, Wait::Forever);
        assert_eq!(ask("claim --wait --max 2").max, 2);
        assert_eq!(ask("claim --lease 2w").lease, Some(Duration::from_secs(14 * 86_400)), "as in the configuration");
        assert_eq!(ask("claim --wait=0s").wait, Wait::Until(Duration::ZERO));
    }

    #[test]
    fn the_other_commands_read_delivery_and_lease() {
        let (delivery, lease) = (D.parse().unwrap(), L.parse().unwrap());
        assert_eq!(parse(&format!("ack {D} --lease {L}")), Ok(Command::Ack { delivery, lease }));
        assert_eq!(parse(&format!("ack --lease={L} '{D}'")), Ok(Command::Ack { delivery, lease }));
        let by = Some(Duration::from_secs(900));
        assert_eq!(parse(&format!("extend {D} --for 15m --lease {L}")), Ok(Command::Extend { delivery, lease, by }));
        assert_eq!(parse(&format!("extend {D} --lease {L}")), Ok(Command::Extend { delivery, lease, by: None }));
    }

    #[test]
    fn a_reason_is_the_rest_of_the_line() {
        for (text, expected) in [
            (" can't load: row 3 --lease is \"bad\"", "can't load: row 3 --lease is \"bad\""),
            (" 'quoted whole'", "quoted whole"),
            ("=\"quoted whole\"", "quoted whole"),
            (" \"a\" and \"b\"", "\"a\" and \"b\""),
            ("   many   words ", "many   words"),
        ] {
            match parse(&format!("nack {D} --lease {L} --reason{text}")) {
                Ok(Command::Nack { reason, .. }) => assert_eq!(reason, expected),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn wrong_usage_says_what_and_how_it_is_meant() {
        for (line, expected) in [
            ("", "\"\" is no command"),
            ("claim --orgs harbour", "--orgs is no option here; did you mean --org?"),
            ("claim --laese 5m", "did you mean --lease?"),
            ("claim harbour", "claim takes options only"),
            ("claim --max 0", "--max: \"0\" is not a number from 1 to 100"),
            ("claim --max 101", "not a number from 1 to 100"),
            ("claim --max", "--max needs a value"),
            ("claim --max 1 --max 2", "--max is given twice"),
            ("claim --org --max 1", "--org needs a value"),
            ("claim --org ../etc", "--org: \"../etc\" is no name"),
            ("claim --lease 0s", "longer than nothing"),
            ("claim --lease 15", "is not a duration"),
            ("claim --lease 30m1h", "is not a duration"),
            ("claim --lease ''", "is not a duration"),
            ("claim --lease 99999999999999999999d", "is not a duration"),
            ("claim --lease 99999999999999999d", "is not a duration"),
            ("claim --org 'harbour", "quotation mark (') is not closed"),
            ("ack", "the delivery's id is missing"),
            (&format!("ack {D}"), "--lease LEASE is missing"),
            (&format!("ack {D} {D} --lease {L}"), "one delivery at a time"),
            ("ack x --lease y", "\"x\" is not a delivery's id"),
            (&format!("ack {D} --lease y"), "--lease: \"y\" is not a lease's id"),
            (&format!("nack {D} --lease {L}"), "--reason is missing"),
            (&format!("nack {D} --lease {L} --reason  "), "--reason is missing"),
            (&format!("nack {D} --lease {L} --reasons x"), "did you mean --reason?"),
        ] {
            let wrong = parse(line).unwrap_err();
            assert!(wrong.contains(expected), "{line}: {wrong}");
            assert!(line.is_empty() || wrong.contains("; usage: "), "{wrong}");
        }
    }

    #[test]
    fn hostile_lines_get_short_answers() {
        let long = "x".repeat(9000);
        for line in [
            long.as_str(),
            &format!("claim --lease {}", "x".repeat(8000)),
            &format!("claim --{}", "x".repeat(8000)),
            "claim --\u{1b}[2J\u{202e}",
            "claim '\n'",
        ] {
            let wrong = parse(line).unwrap_err();
            assert!(wrong.len() < 300 && !wrong.contains(['\u{1b}', '\n', '\u{202e}']), "{wrong}");
        }
        let many = "claim".to_owned() + &" --org a".repeat(101);
        assert!(parse(&many).unwrap_err().contains("100 times at most"));
    }

    #[test]
    fn only_the_first_word_decides_whether_it_is_ours() {
        for (line, ours) in
            [("claim", true), ("  nack x", true), ("claims", false), ("sha256sum ack", false), ("", false)]
        {
            assert_eq!(is_ours(line), ours, "{line}");
        }
    }
}
