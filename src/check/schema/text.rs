//! Formats of strings: email, uri, binary, uuid.
//!
//! Shapes alone, read from left to right; nothing is looked up. Called by `kind`.

/// A string's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextFormat {
    Default,
    Email,
    Uri,
    Binary,
    Uuid,
}

impl TextFormat {
    pub fn fits(self, cell: &str) -> bool {
        match self {
            Self::Default => true,
            Self::Email => email(cell),
            Self::Uri => uri(cell),
            Self::Binary => base64(cell.as_bytes()),
            Self::Uuid => uuid(cell.as_bytes()),
        }
    }
}

/// A dot-atom, `@`, a host name (RFC 5321 4.1.2 without quoted and literal forms; letters beyond ASCII as in RFC 6531).
fn email(cell: &str) -> bool {
    let Some((local, domain)) = cell.rsplit_once('@') else { return false };
    let atom =
        |atom: &str| !atom.is_empty() && atom.chars().all(|c| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c));
    let label = |label: &str| {
        let edges = label.starts_with('-') || label.ends_with('-');
        !label.is_empty() && label.len() <= 63 && !edges && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    local.len() <= 64 && domain.len() <= 253 && local.split('.').all(atom) && domain.split('.').all(label)
}

/// A scheme, a colon, and what RFC 3986 allows after it; a host where `http` needs one.
fn uri(cell: &str) -> bool {
    let Some((scheme, rest)) = cell.split_once(':') else { return false };
    let scheme_fits = scheme
        .bytes()
        .enumerate()
        .all(|(at, byte)| byte.is_ascii_alphabetic() || (at > 0 && (byte.is_ascii_digit() || b"+-.".contains(&byte))));
    if scheme.is_empty() || !scheme_fits || rest.is_empty() {
        return false;
    }
    if ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web)) {
        let host = rest.strip_prefix("//").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
        if host.is_none_or(|host| host.is_empty() || host.ends_with('@') || host.starts_with(':')) {
            return false;
        }
    }
    let bytes = rest.as_bytes();
    let allowed = bytes.iter().enumerate().all(|(at, byte)| match byte {
        b'%' => bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
        byte => byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(byte),
    });
    allowed && rest.matches('#').count() <= 1
}

/// RFC 4648 section 4, with its padding.
fn base64(cell: &[u8]) -> bool {
    let padding = cell.iter().rev().take_while(|byte| **byte == b'=').count();
    let Some(body) = cell.get(..cell.len() - padding) else { return false };
    padding <= 2
        && cell.len().is_multiple_of(4)
        && body.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(byte))
}

/// RFC 9562 section 4: 8-4-4-4-12 hexadecimal digits.
fn uuid(cell: &[u8]) -> bool {
    cell.len() == 36
        && cell.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(format: TextFormat, good: &[&str], bad: &[&str]) {
        for cell in good {
            assert!(format.fits(cell), "{cell}");
        }
        for cell in bad {
            assert!(!format.fits(cell), "{cell}");
        }
    }

    #[test]
    fn an_email_has_a_local_part_and_a_host() {
        let long = format!("{}@x.org", "a".repeat(65));
        judge(
            TextFormat::Email,
            &["a@b.org", "first.last+tag@mail.example.co.uk", "o'neil@x.ie", "zoë@exämple.org"],
            &["a", "@b.org", "a@", "a@b..org", ".a@b.org", "a b@c.org", "a@-b.org", "a@b.org ", "a@b@", &long],
        );
    }

    #[test]
    fn a_uri_has_a_scheme_and_no_spaces() {
        judge(
            TextFormat::Uri,
            &["https://a.org/b?c=d#e", "urn:isbn:123", "mailto:a@b.org", "http://[::1]/%20"],
            &[
                "a.org",
                "://a",
                "http://",
                "http:a",
                "http://a b",
                "1http://a",
                "http://a/%2",
                "http://a/é",
                "a:",
                "http://a#b#c",
            ],
        );
    }

    #[test]
    fn binary_is_base64_and_a_uuid_is_36_characters() {
        judge(
            TextFormat::Binary,
            &["", "QQ==", "QUI=", "QUJD", "+/+/"],
            &["Q", "QQ=", "QQ", "Q===", "QQ==QQ==", "Q Q=", "_-_-"],
        );
        judge(
            TextFormat::Uuid,
            &["123e4567-e89b-12d3-a456-426614174000", "123E4567-E89B-12D3-A456-426614174000"],
            &[
                "",
                "123e4567e89b12d3a456426614174000",
                "{123e4567-e89b-12d3-a456-42661417400}",
                "123e4567-e89b-12d3-a456-42661417400g",
            ],
        );
    }
}
