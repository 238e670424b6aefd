//! Edits of an organisation's authorized_keys: text in, text out, line by line, every other line kept as it is.
//!
//! A disabled key is its line behind `#disabled YYYY-MM-DD# `. Does no input or output, and decides nothing about who
//! may come in: `config` reads the same file for that. Called by the commands `key`, `account` and `org`.

use russh::keys::ssh_key::public::KeyData;
use russh::keys::{HashAlg, PublicKey};

use crate::types::{AccountName, Fingerprint};

/// What stands above the first key of a new file.
pub const HEADER: &str = "\
# The public keys of this organisation's accounts, one a line, as `nightsafe key add` writes them:
#   account=\"NAME\",from=\"192.0.2.0/24\",expiry-time=\"20271231Z\" ssh-ed25519 AAAA... comment
# from and expiry-time may be left out; account too, while the organisation has only one. Nothing private belongs here.
";

const DISABLED: &str = "#disabled ";

/// One line that holds a key, in force or disabled.
#[derive(Debug, Clone)]
pub struct KeyLine {
    /// From 1.
    pub number: usize,
    /// The day it was disabled, as the line says.
    pub disabled: Option<String>,
    /// Options in order: name and value, without quotes.
    pub options: Vec<(String, Option<String>)>,
    pub key: PublicKey,
    pub comment: String,
    /// The line as it would stand in force.
    pub text: String,
}

impl KeyLine {
    pub fn option(&self, name: &str) -> Option<&str> {
        let named = |(own, _): &&(String, Option<String>)| own.eq_ignore_ascii_case(name);
        self.options.iter().find(named).and_then(|(_, value)| value.as_deref())
    }
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.key)
    }
    /// The account that the line names, or `only` when it names none.
    pub fn account<'a>(&'a self, only: Option<&'a AccountName>) -> Option<&'a str> {
        self.option("account").or(only.map(AccountName::as_str))
    }
}

pub fn fingerprint(key: &PublicKey) -> Fingerprint {
    Fingerprint(key.fingerprint(HashAlg::Sha256).to_string())
}

/// The key's type in words: `ssh-ed25519`, `ssh-rsa 3072`.
pub fn kind(key: &PublicKey) -> String {
    match key.key_data() {
        KeyData::Rsa(rsa) => format!("ssh-rsa {}", rsa.key_size()),
        _ => key.algorithm().as_str().to_owned(),
    }
}

/// Every line that holds a key. Comments, blank lines and lines that do not parse are left out.
pub fn keys(text: &str) -> Vec<KeyLine> {
    let lines = text.lines().enumerate();
    lines.filter_map(|(index, line)| key_line(index + 1, line)).collect()
}

/// The text with one line more at its end.
pub fn add(text: &str, line: &str) -> String {
    let end = line_end(text);
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { end };
    format!("{text}{gap}{line}{end}")
}

/// Names `account` in every key line, disabled or not, that names none.
pub fn name_account(text: &str, account: &AccountName) -> String {
    rewrite(text, |key, line| {
        if key.option("account").is_some() {
            return Some(line.to_owned());
        }
        let at = line.len() - key.text.len();
        let rest = &line[at..];
        let comma = if key.options.is_empty() { " " } else { "," };
        Some(format!("{}account=\"{account}\"{comma}{rest}", &line[..at]))
    })
}

/// Comments the key out; the same text comes back when it is disabled already. `day` is `YYYY-MM-DD`.
pub fn disable(text: &str, fingerprint: &Fingerprint, day: &str) -> String {
    rewrite(text, |key, line| {
        let wanted = key.disabled.is_none() && key.fingerprint() == *fingerprint;
        Some(if wanted { format!("{DISABLED}{day}# {}", line.trim_start()) } else { line.to_owned() })
    })
}

/// Brings a disabled key back; the same text comes back when it is in force already.
pub fn enable(text: &str, fingerprint: &Fingerprint) -> String {
    rewrite(text, |key, line| {
        let wanted = key.disabled.is_some() && key.fingerprint() == *fingerprint;
        Some(if wanted { key.text.clone() } else { line.to_owned() })
    })
}

/// Removes every key line that `goes` picks; comments around it stay.
pub fn remove(text: &str, goes: impl Fn(&KeyLine) -> bool) -> String {
    rewrite(text, |key, line| (!goes(key)).then(|| line.to_owned()))
}

/// Hands each key's line, without line end, to `edit`; none drops it.
fn rewrite(text: &str, edit: impl Fn(&KeyLine, &str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, whole) in text.split_inclusive('\n').enumerate() {
        let line = whole.trim_end_matches(['\n', '\r']);
        match key_line(index + 1, line) {
            None => out.push_str(whole),
            Some(key) => {
                if let Some(edited) = edit(&key, line) {
                    out.push_str(&edited);
                    out.push_str(&whole[line.len()..]);
                }
            }
        }
    }
    out
}

fn line_end(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

fn key_line(number: usize, line: &str) -> Option<KeyLine> {
    let line = line.trim_start();
    let (disabled, text) = match line.strip_prefix(DISABLED) {
        Some(rest) => {
            let (day, text) = rest.split_once('#')?;
            (Some(day.trim().to_owned()), text.trim_start())
        }
        None => (None, line),
    };
    if text.starts_with('#') {
        return None;
    }
    // sshd(8), "AUTHORIZED_KEYS FILE FORMAT": options stand in front only when the line does not begin with a key.
    let (options, rest) = match key_and_comment(text) {
        Some(_) => ("", text),
        None => {
            let end = end_of_options(text)?;
            (&text[..end], text[end..].trim_start())
        }
    };
    let (key, comment) = key_and_comment(rest)?;
    Some(KeyLine { number, disabled, options: split_options(options), key, comment, text: text.to_owned() })
}

fn key_and_comment(text: &str) -> Option<(PublicKey, String)> {
    let (kind, rest) = text.split_once([' ', '\t'])?;
    let rest = rest.trim_start();
    let (base64, comment) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    let key = PublicKey::from_openssh(&format!("{kind} {}", base64.trim_end())).ok()?;
    Some((key, comment.trim().to_owned()))
}

/// Where the options end: the first blank outside quotes; `\"` inside quotes is no end.
fn end_of_options(text: &str) -> Option<usize> {
    let (mut in_quotes, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => in_quotes = !in_quotes,
            ' ' | '\t' if !in_quotes => return Some(at),
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

fn split_options(text: &str) -> Vec<(String, Option<String>)> {
    let (mut options, mut current, mut in_quotes, mut escaped) = (Vec::new(), String::new(), false, false);
    for c in text.chars().chain([',']) {
        match c {
            ',' if !in_quotes => {
                let option = std::mem::take(&mut current);
                if !option.is_empty() {
                    options.push(match option.split_once('=') {
                        Some((name, value)) => {
                            let value = value.strip_prefix('"').unwrap_or(value);
                            let value = value.strip_suffix('"').unwrap_or(value).replace("\\\"", "\"");
                            (name.to_owned(), Some(value))
                        }
                        None => (option, None),
                    });
                }
            }
            _ => {
                if c == '"' && !escaped {
                    in_quotes = !in_quotes;
                }
                current.push(c);
            }
        }
        escaped = c == '\\' && !escaped;
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    const EC: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHwf2HMM5TRXvo2SQJjsNkiDD5KqiiNjrGVv3UUh+mMT5RHxiRtOnlqvjhQtBq0VpmpCV/PwUdhOig4vkbqAcEc=";

    fn file() -> String {
        format!(
            "# head\n\n{ED} a key\n  # mid\nfrom=\"192.0.2.0/24,198.51.100.7\",restrict {EC} b \"c\"\nnonsense here\n"
        )
    }

    #[test]
    fn keys_are_found_with_options_and_comments() {
        let found = keys(&file());
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].number, found[0].comment.as_str()), (3, "a key"));
        assert_eq!(found[1].option("from"), Some("192.0.2.0/24,198.51.100.7"));
        assert_eq!(found[1].options[1], ("restrict".to_owned(), None));
        assert_eq!(found[1].comment, "b \"c\"");
    }

    #[test]
    fn disabling_and_enabling_gives_the_same_text_back() {
        let (text, print) = (file(), keys(&file())[1].fingerprint());
        let off = disable(&text, &print, "2026-03-01");
        assert!(off.contains(&format!("\n#disabled 2026-03-01# from=\"192.0.2.0/24,198.51.100.7\",restrict {EC}")));
        assert_eq!(disable(&off, &print, "2026-04-01"), off);
        assert_eq!(keys(&off)[1].disabled.as_deref(), Some("2026-03-01"));
        assert_eq!(enable(&off, &print), text);
    }

    #[test]
    fn removing_a_key_leaves_the_comments_around_it() {
        let print = keys(&file())[0].fingerprint();
        let rest = remove(&file(), |key| key.fingerprint() == print);
        assert_eq!(rest, file().replace(&format!("{ED} a key\n"), ""));
    }

    #[test]
    fn naming_the_account_reaches_disabled_lines_and_keeps_those_that_name_one() {
        let (account, other): (AccountName, AccountName) = ("old".parse().unwrap(), "x".parse().unwrap());
        let text = disable(&file(), &keys(&file())[0].fingerprint(), "2026-03-01");
        let named = name_account(&text, &account);
        assert!(named.contains(&format!("#disabled 2026-03-01# account=\"old\" {ED} a key")), "{named}");
        assert!(named.contains("account=\"old\",from=\"192.0.2.0/24,198.51.100.7\",restrict ecdsa"), "{named}");
        assert_eq!(name_account(&named, &other), named);
        assert!(keys(&named).iter().all(|key| key.account(None) == Some("old")));
    }

    #[test]
    fn a_line_is_added_behind_a_last_line_without_end() {
        assert_eq!(add("# x", ED), format!("# x\n{ED}\n"));
        assert_eq!(add("# x\r\n", ED), format!("# x\r\n{ED}\r\n"));
    }
}
