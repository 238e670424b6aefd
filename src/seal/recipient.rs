//! Recipients: the public keys that uploads are sealed to, parsed once from `recipients.txt`.
//!
//! Must never let an identity in: one that is pasted here by mistake is refused loudly, and not repeated.

use std::fmt;
use std::str::FromStr;

use age::ssh::ParseRecipientKeyError;

use crate::types::{Invalid, Sha256};

/// One age recipient: X25519 (`age1...`) or SSH (`ssh-ed25519 ...`, `ssh-rsa ...` of 2048 to 4096 bits). Shown as it is
/// written in `recipients.txt`, without an SSH key's comment; two are equal when they are the same key.
#[derive(Clone)]
pub struct Recipient(Key);

#[derive(Clone)]
enum Key {
    X25519(age::x25519::Recipient),
    Ssh(age::ssh::Recipient),
}

impl Recipient {
    /// SHA-256 of its text (without a comment, without a newline): what the audit log tells of it.
    pub fn digest(&self) -> Sha256 {
        Sha256::of(self.to_string().as_bytes())
    }

    pub(super) fn as_age(&self) -> &dyn age::Recipient {
        match &self.0 {
            Key::X25519(key) => key,
            Key::Ssh(key) => key,
        }
    }
}

impl From<&age::x25519::Identity> for Recipient {
    fn from(identity: &age::x25519::Identity) -> Self {
        Self(Key::X25519(identity.to_public()))
    }
}

impl TryFrom<age::ssh::Identity> for Recipient {
    type Error = ParseRecipientKeyError;
    fn try_from(identity: age::ssh::Identity) -> Result<Self, ParseRecipientKeyError> {
        age::ssh::Recipient::try_from(identity).map(|key| Self(Key::Ssh(key)))
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Key::X25519(key) => key.fmt(f),
            Key::Ssh(key) => key.fmt(f),
        }
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl PartialEq for Recipient {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}
impl Eq for Recipient {}

impl FromStr for Recipient {
    type Err = Invalid;

    /// Parses one line of `recipients.txt` (no `#` comment, surrounding space is ignored).
    fn from_str(line: &str) -> Result<Self, Invalid> {
        let line = line.trim();
        refuse_identities(line)?;
        if line.is_empty() {
            return invalid(
                "the line is empty: write an age recipient (age1...) or an SSH public key (ssh-ed25519 ...)",
            );
        }
        if line.starts_with("age1") {
            return x25519(line).map(|key| Self(Key::X25519(key)));
        }
        match line.split_whitespace().next() {
            Some(kind @ ("ssh-ed25519" | "ssh-rsa")) => ssh(kind, line).map(|key| Self(Key::Ssh(key))),
            Some(kind) if kind.starts_with("ecdsa-sha2-") || kind.starts_with("sk-") || kind.starts_with("ssh-") => {
                invalid(format!(
                    "age cannot seal to a key of the type {}: use an age recipient (age1..., made by age-keygen), ssh-ed25519 or ssh-rsa",
                    printable(kind)
                ))
            }
            _ => invalid(
                "this is not an age recipient: write age1... (the public key that age-keygen shows), or an SSH public key: ssh-ed25519 or ssh-rsa",
            ),
        }
    }
}

fn invalid<T>(why: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid(why.into()))
}

/// Cut and cleaned, for a message.
fn printable(word: &str) -> String {
    word.chars().filter(char::is_ascii_graphic).take(40).collect()
}

/// A private key on the gateway would break the promise that it cannot open what it took.
fn refuse_identities(line: &str) -> Result<(), Invalid> {
    let upper = line.to_ascii_uppercase();
    if upper.contains("AGE-SECRET-KEY-") || upper.contains("AGE-PLUGIN-") || upper.contains("PRIVATE KEY") {
        return invalid(
            "THIS IS A PRIVATE KEY (an identity), not a recipient: remove it from this machine, where it must never be, and make \
             a new one if others could read this file; write its public half here (age1..., `age-keygen -y FILE` shows it)",
        );
    }
    Ok(())
}

fn x25519(text: &str) -> Result<age::x25519::Recipient, Invalid> {
    // In Bech32 the last '1' ends the prefix, and the data has none: age1NAME1... belongs to a plugin or a later type.
    if let Some(name) = text.get(4..).and_then(|rest| rest.rsplit_once('1')).map(|(name, _)| name) {
        return invalid(format!(
            "this recipient needs something that the gateway does not run (age-plugin-{}): use an X25519 recipient (age1..., \
             made by age-keygen), ssh-ed25519 or ssh-rsa",
            printable(name)
        ));
    }
    let mistyped = || {
        Invalid(
            "this recipient does not parse, a character is wrong or missing: copy the whole of age1... again (62 characters)"
                .into(),
        )
    };
    let key: age::x25519::Recipient = text.parse().map_err(|_| mistyped())?;
    if low_order(&point(text).ok_or_else(mistyped)?) {
        return invalid("this recipient is a weak key that anybody could open: make another with age-keygen");
    }
    Ok(key)
}

/// The 32 bytes of a recipient whose checksum was verified: Bech32 (BIP 173) data after `age1`, without the checksum.
fn point(text: &str) -> Option<[u8; 32]> {
    const CHARSET: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let data = text.strip_prefix("age1")?;
    let data = data.get(..data.len().checked_sub(6)?)?;
    let (mut bytes, mut bits, mut held) = (Vec::with_capacity(33), 0u32, 0u32);
    for c in data.bytes() {
        let value = CHARSET.iter().position(|known| *known == c)?;
        held = (held << 5 | u32::try_from(value).ok()?) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 0xff) as u8);
        }
    }
    bytes.try_into().ok()
}

/// The points of Curve25519 whose order is small (RFC 7748, section 6.1): the shared secret would be zero, and the
/// `age` crate panics on it.
fn low_order(point: &[u8; 32]) -> bool {
    const POINTS: [&str; 7] = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    let mut masked = *point;
    masked[31] &= 0x7f;
    POINTS.contains(&data_encoding::HEXLOWER.encode(&masked).as_str())
}

fn ssh(kind: &str, line: &str) -> Result<age::ssh::Recipient, Invalid> {
    let Some(data) = line.split_whitespace().nth(1) else {
        return invalid(format!("the key after {kind} is missing: copy the whole line of the .pub file"));
    };
    let text = format!("{kind} {data}");
    match text.parse::<age::ssh::Recipient>() {
        // What does not come back as it was written was cut, or carries more than the key.
        Ok(key) if key.to_string() == text => Ok(key),
        Err(ParseRecipientKeyError::RsaModulusTooSmall) => invalid(
            "this RSA key has fewer than 2048 bits: make an ed25519 key (ssh-keygen -t ed25519) or an age recipient",
        ),
        Err(ParseRecipientKeyError::RsaModulusTooLarge) => invalid(
            "this RSA key has more than 4096 bits: make an ed25519 key (ssh-keygen -t ed25519) or an age recipient",
        ),
        Ok(_) | Err(_) => invalid(
            "this SSH public key does not parse, a character is wrong or missing: copy the whole line of the .pub file",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN";

    fn why(line: &str) -> String {
        line.parse::<Recipient>().unwrap_err().0
    }

    #[test]
    fn a_recipient_shows_as_it_was_written_but_for_comments() {
        let (_, x25519) = super::super::generate_identity();
        for (written, shown) in
            [(x25519.as_str(), x25519.as_str()), (ED25519, ED25519), (&format!("  {ED25519} alice@host "), ED25519)]
        {
            assert_eq!(written.parse::<Recipient>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn an_identity_is_refused_loudly_and_not_repeated() {
        let (secret, _) = super::super::generate_identity();
        for line in [secret.as_str(), &secret.to_lowercase(), "-----BEGIN OPENSSH PRIVATE KEY-----"] {
            let why = why(line);
            assert!(why.contains("PRIVATE KEY"), "{why}");
            assert!(!why.to_lowercase().contains(&line.to_lowercase()), "{why}");
        }
    }

    #[test]
    fn what_the_gateway_cannot_seal_to_is_refused_with_the_reason() {
        assert!(
            why("age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t").contains("plugin-yubikey")
        );
        assert!(why("ecdsa-sha2-nistp256 AAAA").contains("ecdsa-sha2-nistp256"));
        assert!(why("sk-ssh-ed25519@openssh.com AAAA").contains("sk-ssh-ed25519"));
        assert!(why("ssh-ed25519").contains("missing"));
        assert!(why(&ED25519[..60]).contains("does not parse"));
        assert!(why(&format!("{ED25519}!")).contains("does not parse"));
        assert!(why("").contains("empty"));
        assert!(why("hello").contains("not an age recipient"));
        // The zero point, with a right checksum.
        assert!(why("age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq").contains("does not parse"));
        // One character of the data wrong: `age1` stays, or it would not be taken for a recipient at all.
        let (_, mut wrong) = super::super::generate_identity();
        let other = if wrong[10..].starts_with('q') { "p" } else { "q" };
        wrong.replace_range(10..11, other);
        assert!(why(&wrong).contains("does not parse"));
    }

    #[test]
    fn points_of_small_order_are_known() {
        assert!(low_order(&[0; 32]));
        let mut one = [0; 32];
        (one[0], one[31]) = (1, 0x80);
        assert!(low_order(&one));
        let (_, good) = super::super::generate_identity();
        assert!(!low_order(&point(&good).unwrap()));
    }
}
