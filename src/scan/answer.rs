//! What clamd's answers say (clamd(8), "COMMANDS"). Whatever is not clearly a verdict is none.
//!
//! Called by `scan`.

/// An answer to INSTREAM.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Clean,
    /// The signature's name.
    Found(String),
    /// Beyond one of clamd's limits: not scanned whole.
    TooLarge(String),
    /// An error, or nothing that is known.
    Other(String),
}

/// Bytes of a name or a text of clamd's that are kept.
const SHOWN: usize = 100;

pub(super) fn read(answer: &[u8]) -> Answer {
    if answer == b"stream: OK" {
        return Answer::Clean;
    }
    let said = printable(answer);
    if let Some(name) = answer.strip_prefix(b"stream: ").and_then(|rest| rest.strip_suffix(b" FOUND")) {
        // With AlertExceedsMax clamd reports as a finding that it did not look at everything.
        if name.starts_with(b"Heuristics.Limits.Exceeded") {
            return Answer::TooLarge(said);
        }
        return Answer::Found(signature(name));
    }
    let over = b"size limit exceeded";
    let error = answer.ends_with(b"ERROR");
    match error && answer.windows(over.len()).any(|window| window == over) {
        true => Answer::TooLarge(said),
        false => Answer::Other(said),
    }
}

/// Engine and signatures, from `ClamAV 1.4.3/27400/Mon Nov 17 09:26:00 2026`. Without a database of ClamAV's own (daily.cvd)
/// clamd tells the engine alone: then it is not known which signatures it has.
pub(super) fn version(answer: &[u8]) -> Option<(String, String)> {
    let text = printable(answer);
    let mut parts = text.splitn(3, '/').map(str::trim);
    let engine = parts.next().filter(|engine| engine.starts_with("ClamAV "))?.to_owned();
    let signatures: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    let signatures = if signatures.is_empty() { "not told".to_owned() } else { signatures.join(" ") };
    Some((engine, signatures))
}

/// A signature's name goes into receipts: letters, digits and marks of ASCII, no spaces.
fn signature(name: &[u8]) -> String {
    let graphic: String =
        name.iter().filter(|byte| byte.is_ascii_graphic()).take(SHOWN).map(|b| char::from(*b)).collect();
    if graphic.is_empty() { "unnamed".into() } else { graphic }
}

pub(super) fn printable(text: &[u8]) -> String {
    let shown = text.iter().take(SHOWN).map(|byte| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '?',
    });
    shown.collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_words_are_a_verdict() {
        assert_eq!(read(b"stream: OK"), Answer::Clean);
        assert_eq!(read(b"stream: Win.Test FOUND"), Answer::Found("Win.Test".into()));
        for other in ["", "OK", "stream: ok", "stream: OK ", " stream: OK", "1: stream: OK", "stream: FOUND", "x FOUND"]
        {
            assert!(matches!(read(other.as_bytes()), Answer::Other(_)), "{other:?}");
        }
        assert!(matches!(read(b"INSTREAM size limit exceeded. ERROR"), Answer::TooLarge(_)));
        assert!(matches!(read(b"stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND"), Answer::TooLarge(_)));
        assert!(matches!(read(b"INSTREAM: Can't write to temporary file. ERROR"), Answer::Other(_)));
        assert!(matches!(read(b"UNKNOWN COMMAND"), Answer::Other(_)));
    }

    #[test]
    fn a_signature_name_is_made_harmless() {
        assert_eq!(read(b"stream: a\x1b[31m \xff<b> FOUND"), Answer::Found("a[31m<b>".into()));
        assert_eq!(read(b"stream: \xff\x01 FOUND"), Answer::Found("unnamed".into()));
        let Answer::Found(name) = read(&[b"stream: ", &[b'x'; 3000][..], b" FOUND"].concat()) else { panic!() };
        assert_eq!(name.len(), 100);
    }

    #[test]
    fn versions_are_read_with_and_without_signatures() {
        let both = |engine: &str, signatures: &str| Some((engine.to_owned(), signatures.to_owned()));
        assert_eq!(
            version(b"ClamAV 1.4.3/27400/Mon Nov 17 09:26:00 2026"),
            both("ClamAV 1.4.3", "27400 Mon Nov 17 09:26:00 2026")
        );
        assert_eq!(version(b"ClamAV 1.4.3"), both("ClamAV 1.4.3", "not told"));
        assert_eq!(version(b"ClamAV 1.4.3//"), both("ClamAV 1.4.3", "not told"));
        assert_eq!(version(b"UNKNOWN COMMAND"), None);
        assert_eq!(version(b""), None);
    }
}
