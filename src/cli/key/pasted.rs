//! A public key as a person hands it in: an OpenSSH line, PuTTY's public form, or something that must be refused.
//!
//! Must never let anything secret through, nor repeat it in an error. Does no input or output. Called by [`super`].

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, PublicKey};

use crate::cli::outcome::Stop;
use crate::types::Timestamp;

/// Most bytes of what is handed in; the largest key in use is under 3 KiB.
pub const LARGEST: u64 = 64 * 1024;

/// Fewest bits of an RSA key (NIST SP 800-131A).
const RSA_BITS: u32 = 2048;

/// The key and its comment, printable and on one line.
///
/// # Errors
/// What it is instead, and what to send.
pub fn parse(text: &str) -> Result<(PublicKey, String), Stop> {
    let no = |why: &str| Err(Stop::Usage(why.to_owned()));
    if is_private(text) {
        return no(
            "this is a PRIVATE key: it was not read any further, and must never leave the machine of its owner. Ask them \
             to make a new pair, since this one has been passed on, and to send the .pub file alone",
        );
    }
    if text.len() as u64 > LARGEST {
        return no("this is too long for a public key: send the .pub file");
    }
    let joined = rfc4716(text);
    let text = joined.as_deref().unwrap_or(text).trim_start_matches('\u{feff}');
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let Some(line) = lines.next() else { return no("there is no key in this") };
    if lines.next().is_some() {
        return no(
            "there is more than one line in this: add one key at a time; a key that was wrapped must be one line again",
        );
    }
    let mut words = line.split_whitespace();
    let (Some(kind), Some(base64)) = (words.next(), words.next()) else {
        return no("this is not a public key: it looks like \"ssh-ed25519 AAAA... comment\", on one line");
    };
    if kind.contains("-cert-") {
        return no("this is a certificate: send the public key that it was made for");
    }
    if kind == "ssh-dss" {
        return no("DSA keys are too weak: make a new one with ssh-keygen -t ed25519");
    }
    let Ok(key) = PublicKey::from_openssh(&format!("{kind} {base64}")) else {
        return no(if line.contains(" ssh-") || line.contains(" ecdsa-") || line.contains(" sk-") {
            "there are options in front of the key: give the key alone, and use --from and --expires"
        } else {
            "this is not a public key that the gateway takes: it looks like \"ssh-ed25519 AAAA... comment\"; ed25519, \
             ecdsa, rsa and their sk- forms are taken"
        });
    };
    strong_enough(&key)?;
    let comment: Vec<&str> = words.collect();
    let comment: String =
        comment.join(" ").chars().filter(|c| !c.is_control() && !crate::types::deceives(*c)).collect();
    Ok((key, comment.chars().take(200).collect()))
}

fn is_private(text: &str) -> bool {
    let marks = ["PRIVATE KEY", "PuTTY-User-Key-File-", "Private-Lines:", "AGE-SECRET-KEY-", "b3BlbnNzaC1rZXktdjEA"];
    marks.iter().any(|mark| text.contains(mark))
}

fn strong_enough(key: &PublicKey) -> Result<(), Stop> {
    let weak = |why: String| Err(Stop::Usage(format!("{why}: make a new one with ssh-keygen -t ed25519")));
    match key.key_data() {
        KeyData::Rsa(rsa) if rsa.key_size() < RSA_BITS => {
            weak(format!("this RSA key has {} bits, and {RSA_BITS} is the least that is taken", rsa.key_size()))
        }
        KeyData::Dsa(_) => weak("DSA keys are too weak".into()),
        _ => match key.algorithm() {
            Algorithm::Other(_) => weak(format!("keys of the type {} are not taken", key.algorithm().as_str())),
            _ => Ok(()),
        },
    }
}

/// The form of RFC 4716, which PuTTYgen's "Save public key" writes, as an OpenSSH line; none when it is not that.
fn rfc4716(text: &str) -> Option<String> {
    let body = text.split_once("---- BEGIN SSH2 PUBLIC KEY ----")?.1.split_once("---- END SSH2 PUBLIC KEY ----")?.0;
    let (mut base64, mut comment, mut goes_on) = (String::new(), String::new(), false);
    for line in body.lines().map(str::trim) {
        // Section 3.3: a header is `Tag: value`; a backslash at its end continues it.
        let header = goes_on || line.contains(": ");
        goes_on = header && line.ends_with('\\');
        if let Some(value) = line.strip_prefix("Comment: ") {
            comment = value.trim_matches('"').to_owned();
        }
        if !header {
            base64.push_str(line);
        }
    }
    let bytes = data_encoding::BASE64.decode(base64.as_bytes()).ok()?;
    // RFC 4253, section 6.6: the blob begins with the type's name as a string.
    let length = usize::try_from(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
    let kind = std::str::from_utf8(bytes.get(4..4_usize.checked_add(length)?)?).ok()?;
    Some(format!("{kind} {base64} {comment}"))
}

/// The value of `expiry-time`, always with `Z`: a bare time would mean the machine's zone. A day counts to its end.
///
/// # Errors
/// When it is no time, or over already.
pub fn expiry(text: &str, now: Timestamp) -> Result<String, Stop> {
    let end_of_day = |day: Date| day.at(23, 59, 59, 0);
    let civil: Option<DateTime> = match text.parse::<Timestamp>() {
        Ok(at) => Some(at.to_zoned_datetime(TimeZone::UTC).datetime()),
        Err(_) => text.parse::<Date>().ok().filter(|_| text.len() == 10).map(end_of_day),
    };
    let at = civil.and_then(|civil| civil.to_zoned_datetime(TimeZone::UTC).ok());
    let Some(at) = at else {
        return Err(Stop::Usage(format!(
            "--expires {text:?} is not a time: write 2027-12-31, or 2027-12-31T18:00:00Z"
        )));
    };
    if at.timestamp() <= now {
        return Err(Stop::Usage(format!("--expires {text:?} is over already: the key would never let anybody in")));
    }
    Ok(at.strftime("%Y%m%d%H%M%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    fn refused(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_line_a_file_and_puttys_form_give_the_same_key() {
        let (key, comment) = parse(&format!("\u{feff}# mine\n{ED} nightly job\r\n")).unwrap();
        assert_eq!((key.to_openssh().unwrap().as_str(), comment.as_str()), (ED, "nightly job"));
        let base64 = ED.split(' ').nth(1).unwrap();
        let putty = format!(
            "---- BEGIN SSH2 PUBLIC KEY ----\r\nComment: \"nightly job\"\r\n{}\r\n{}\r\n---- END SSH2 PUBLIC KEY ----\r\n",
            &base64[..40],
            &base64[40..]
        );
        assert_eq!(parse(&putty).unwrap(), (key, comment));
    }

    #[test]
    fn a_private_key_is_refused_for_what_it_is_and_not_repeated() {
        for secret in [
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n",
            "-----BEGIN RSA PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n",
            "PuTTY-User-Key-File-3: ssh-ed25519\nb3BlbnNzaC1rZXk\n",
            "AGE-SECRET-KEY-1B3BlbnNzaC1rZXk",
        ] {
            let why = refused(secret);
            assert!(why.contains("PRIVATE key") && !why.contains("b3Blb"), "{why}");
        }
    }

    #[test]
    fn weak_and_foreign_keys_are_refused_with_the_way_out() {
        // A modulus of 1024 bits, as a blob: type, exponent, modulus.
        let mut blob = b"\x00\x00\x00\x07ssh-rsa\x00\x00\x00\x03\x01\x00\x01\x00\x00\x00\x81\x00".to_vec();
        blob.extend([0xC1; 128]);
        let weak = format!("ssh-rsa {} old", data_encoding::BASE64.encode(&blob));
        assert!(refused(&weak).contains("1024 bits"), "{}", refused(&weak));
        assert!(refused("ssh-dss AAAAB3NzaC1kc3MAAACB x").contains("ed25519"));
        assert!(refused("ssh-ed25519-cert-v01@openssh.com AAAA x").contains("certificate"));
        assert!(refused(&format!("from=\"192.0.2.1\" {ED}")).contains("--from"));
        assert!(refused(&format!("{ED}\n{ED}\n")).contains("one key at a time"));
        assert!(refused("").contains("no key"));
        assert!(refused("hello world").contains("not a public key"));
    }

    #[test]
    fn an_expiry_is_written_in_utc_and_must_lie_ahead() {
        let now: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
        assert_eq!(expiry("2027-12-31", now).unwrap(), "20271231235959Z");
        assert_eq!(expiry("2027-12-31T18:00:00+01:00", now).unwrap(), "20271231170000Z");
        assert!(expiry("2026-02-28", now).unwrap_err().to_string().contains("over already"));
        for bad in ["tomorrow", "20271231", "2027-13-01", ""] {
            assert!(expiry(bad, now).is_err(), "{bad}");
        }
    }
}
