//! `keys/<org>/authorized_keys` and `recipients.txt`: who may come in with which key, and for whom uploads are sealed.
//!
//! The format of authorized_keys is OpenSSH's (sshd(8), "AUTHORIZED_KEYS FILE FORMAT") with the option `account="NAME"`.
//! Never shows what looks like a private key. Called by [`super::load`].

use std::collections::BTreeMap;
use std::ops::Range;

use russh::keys::{HashAlg, PublicKey};

use super::diagnostic::{Findings, nearest};
use super::key_options::{Options, options};
use super::model::AuthorizedKey;
use super::section::{At, Wrong};
use super::source::Source;
use crate::seal::Recipient;
use crate::types::{AccountName, Fingerprint};

/// Key types that are admitted.
const TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];
/// Bits of an RSA modulus: below, it is weak (NIST SP 800-131A); above, checking it is a burden that a peer puts on us.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=16_384;
/// Bytes of one line; the largest RSA key takes 2,800.
const LINE_MAX: usize = 8192;
/// How a disabled key's line begins, before the date: `#disabled 2026-07-01# ssh-ed25519 ...`.
pub(super) const DISABLED: &str = "#disabled ";

const MAKE_ONE: &str = "paste the whole line of the .pub file; ssh-keygen -t ed25519 makes a key";

/// A fault of a line: bytes of the line, what is wrong, what to write instead.
pub(super) type Fault = (Range<usize>, Wrong);

pub(super) fn fault(span: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Fault {
    (span, Wrong::new(message, help))
}

/// One key line: the key, where the key stands, and which account it names.
pub(super) struct Line {
    pub key: AuthorizedKey,
    pub span: Range<usize>,
    pub account: Option<At<String>>,
}

/// Reads authorized_keys. Returns its lines in order and the number of disabled ones.
pub(super) fn read_keys(source: &Source, findings: &Findings) -> (Vec<Line>, usize) {
    let mut lines = Vec::new();
    let mut disabled = 0;
    let mut inside_block = false;
    for (start, text) in source.lines() {
        let trimmed = text.trim();
        if inside_block {
            inside_block = !(trimmed.starts_with("--") && trimmed.contains("END "));
            continue;
        }
        if trimmed.is_empty() || trimmed.starts_with('#') {
            disabled += usize::from(trimmed.starts_with(DISABLED));
            continue;
        }
        let report = |(span, wrong): Fault| {
            findings.error(source.at(start + span.start..start + span.end, wrong.message, wrong.help));
        };
        if trimmed.starts_with("--") && trimmed.contains("BEGIN ") {
            inside_block = true;
            report(block(trimmed, text.len()));
            continue;
        }
        match line(text) {
            Ok((key, span, options)) => lines.push(Line {
                key,
                span: start + span.start..start + span.end,
                account: options.account.map(|at| At { span: start + at.span.start..start + at.span.end, ..at }),
            }),
            Err(faults) => faults.into_iter().for_each(report),
        }
    }
    (lines, disabled)
}

/// A key in a format of several lines; none of them is shown.
fn block(begin: &str, width: usize) -> Fault {
    if begin.contains("PRIVATE") {
        let help = "take it away at once and make a new key: this one must count as known to others; only the .pub line \
                    belongs here";
        return fault(0..width, "this is a private key", help);
    }
    fault(0..width, "this is a key in another format", "convert it to OpenSSH's: ssh-keygen -i -f FILE, or -m PKCS8 -i")
}

/// One line: options, type, base64, comment.
fn line(text: &str) -> Result<(AuthorizedKey, Range<usize>, Options), Vec<Fault>> {
    if text.len() > LINE_MAX {
        return Err(vec![fault(0..1, format!("the line is longer than {LINE_MAX} bytes"), MAKE_ONE)]);
    }
    let mut faults = Vec::new();
    let first = word(text, 0);
    let mut read = Options::default();
    let mut kind = first.clone();
    if !looks_like_type(&text[first.clone()]) {
        match unquoted_end(text, first.start) {
            Ok(end) => {
                read = options(text, first.start..end, &mut faults);
                kind = word(text, end);
            }
            Err(quote) => {
                return Err(vec![fault(
                    quote..text.len(),
                    "the quotes are not closed",
                    "close them: option=\"value\"",
                )]);
            }
        }
    }
    let blob = word(text, kind.end);
    let key = match key(text, kind.clone(), blob.clone()) {
        Ok(key) => key,
        Err(wrong) => {
            // A line without any key is not a line with strange options.
            if kind.is_empty() {
                faults.clear();
            }
            faults.push(wrong);
            return Err(faults);
        }
    };
    if !faults.is_empty() {
        return Err(faults);
    }
    let fingerprint = Fingerprint(key.fingerprint(HashAlg::Sha256).to_string());
    let comment = text[blob.end..].trim().chars().filter(|c| !c.is_control()).collect();
    let key = AuthorizedKey { key, fingerprint, comment, from: read.from.clone(), expires: read.expires };
    Ok((key, kind.start..blob.end, read))
}

fn looks_like_type(word: &str) -> bool {
    let option = word.contains(['=', '"', ',']);
    !option && (TYPES.contains(&word) || ["ssh-", "ecdsa-", "sk-"].iter().any(|start| word.starts_with(start)))
}

/// The next run of non-blanks from `from` on.
fn word(text: &str, from: usize) -> Range<usize> {
    let blank = |c: char| c == ' ' || c == '\t';
    let start = text[from..].find(|c| !blank(c)).map_or(text.len(), |at| from + at);
    let end = text[start..].find(blank).map_or(text.len(), |at| start + at);
    start..end
}

/// Where the options end: the first blank outside of quotes. The error is where an open quote stands.
fn unquoted_end(text: &str, from: usize) -> Result<usize, usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text[from..].char_indices() {
        match c {
            '"' if !escaped => quote = if quote.is_some() { None } else { Some(from + at) },
            ' ' | '\t' if quote.is_none() => return Ok(from + at),
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    quote.map_or(Ok(text.len()), Err)
}

fn key(text: &str, kind: Range<usize>, blob: Range<usize>) -> Result<PublicKey, Fault> {
    let name = &text[kind.clone()];
    if name.is_empty() {
        return Err(fault(0..text.trim_end().len(), "there is no key on this line", MAKE_ONE));
    }
    if matches!(name, "ssh-dss" | "ssh-dsa") {
        return Err(fault(kind, "DSA keys are too weak", MAKE_ONE));
    }
    if name.contains("-cert-v01@") {
        return Err(fault(kind, "certificates are not taken", "put the key itself here, the .pub file without -cert"));
    }
    if !TYPES.contains(&name) {
        return Err(fault(kind, format!("{name:?} is not a type of key"), nearest(name, TYPES)));
    }
    if blob.is_empty() {
        return Err(fault(kind, format!("the key after {name} is missing"), MAKE_ONE));
    }
    let bytes = data_encoding::BASE64.decode(text[blob.clone()].as_bytes()).map_err(|error| {
        let at = blob.start + error.position.min(blob.len().saturating_sub(1));
        fault(at..at + 1, "the key's base64 is damaged here, or cut", MAKE_ONE)
    })?;
    let key = PublicKey::from_bytes(&bytes)
        .map_err(|error| fault(blob.clone(), format!("this is not a whole {name} key: {error}"), MAKE_ONE))?;
    if key.algorithm().as_str() != name {
        let inside = key.algorithm();
        let help = format!("write {} before it, or paste the right key", inside.as_str());
        return Err(fault(kind, format!("the line says {name}, but the key is {}", inside.as_str()), help));
    }
    if let Some(rsa) = key.key_data().rsa() {
        let bits = |number: &[u8]| number.len() * 8 - number.first().map_or(0, |byte| byte.leading_zeros() as usize);
        let size = rsa.n().as_positive_bytes().map_or(0, bits);
        if size < *RSA_BITS.start() {
            return Err(fault(
                blob,
                format!("an RSA key of {size} bits is too weak"),
                "use 3072 bits or more, or ed25519",
            ));
        }
        if size > *RSA_BITS.end() {
            return Err(fault(
                blob,
                format!("an RSA key of {size} bits is too large"),
                "use 16384 bits or less, or ed25519",
            ));
        }
        // With an exponent of 1 every signature would be right.
        let exponent = rsa.e().as_positive_bytes().unwrap_or_default();
        if exponent.last().is_none_or(|last| last % 2 == 0) || bits(exponent) < 2 {
            return Err(fault(blob, "this RSA key's exponent is not one", MAKE_ONE));
        }
    }
    Ok(key)
}

/// Where each key of the gateway stands, to find the one that is there twice.
pub(super) type Seen = BTreeMap<Fingerprint, String>;

/// Which account of an organisation a key belongs to. Its fault is told when none does.
pub(super) fn owner<'a>(
    source: &Source,
    line: &Line,
    accounts: &[&'a AccountName],
    elsewhere: impl Fn(&str) -> Option<String>,
    findings: &Findings,
) -> Option<&'a AccountName> {
    let names = || accounts.iter().map(|name| name.as_str());
    let (span, message, help) = match &line.account {
        Some(named) => {
            if let Some(found) = accounts.iter().find(|name| name.as_str() == named.value) {
                return Some(found);
            }
            let help = match elsewhere(&named.value) {
                Some(org) => {
                    format!("it is an account of {org}: the key belongs into that organisation's authorized_keys")
                }
                None => nearest(&named.value, names()),
            };
            (named.span.clone(), format!("this organisation has no account {:?}", named.value), help)
        }
        None => match accounts {
            [only] => return Some(only),
            [] => {
                let help = "add an [[accounts]] table to its file in orgs/, or take the key away";
                (line.span.clone(), "this organisation has no account for the key".to_owned(), help.to_owned())
            }
            several => {
                let list: Vec<String> = several.iter().map(|name| format!("account=\"{name}\"")).collect();
                let help = format!("write {} before the key", list.join(" or "));
                (line.span.clone(), "which account is this key for? The organisation has several".to_owned(), help)
            }
        },
    };
    findings.error(source.at(span, message, help));
    None
}

/// Reads recipients.txt: one age recipient a line, `#` begins a comment line.
pub(super) fn read_recipients(source: &Source, findings: &Findings) -> Vec<Recipient> {
    let mut recipients: Vec<Recipient> = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (number, (start, text)) in source.lines().enumerate() {
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let start = start + (text.len() - text.trim_start().len());
        let span = start..start + trimmed.len();
        if trimmed.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
            findings.error(source.at(
                span,
                "this is an identity, the secret half of a recipient",
                "take it away at once and make a new one with age-keygen: this machine must never see it; the line that \
                 belongs here begins with age1",
            ));
            continue;
        }
        match trimmed.parse::<Recipient>() {
            Ok(recipient) => {
                if let Some(first) = seen.insert(recipient.to_string(), number + 1) {
                    let message = format!("the same recipient as on line {first}");
                    findings.warning(source.at(span, message, "take one of the two away"));
                } else {
                    recipients.push(recipient);
                }
            }
            Err(invalid) => {
                let wrong = Wrong::from(invalid);
                let help = match wrong.help.is_empty() {
                    true => "write an age recipient (age1..., from age-keygen) or an ssh-ed25519 or ssh-rsa public key",
                    false => &wrong.help,
                };
                findings.error(source.at(span, wrong.message, help));
            }
        }
    }
    recipients
}
