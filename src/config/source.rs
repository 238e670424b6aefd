//! The text of one file of the configuration, and the way from a span of bytes to a place that a person finds.
//!
//! Knows nothing of what the files mean. Called by the readers of this module.

use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use super::diagnostic::{Diagnostic, Findings};

/// Most bytes of one file; a schema of ten thousand fields is a tenth of it.
const FILE_MAX: u64 = 8 << 20;

/// One file, whole and in UTF-8, without a byte-order mark. Lines end in LF or CRLF.
pub(super) struct Source {
    pub path: PathBuf,
    pub text: String,
}

impl Source {
    /// Reads `path`. None, without a finding, when there is no such file.
    pub fn open(path: &Path, findings: &Findings) -> Option<Self> {
        Self::open_up_to(FILE_MAX, path, findings)
    }

    /// As [`Source::open`], for files that may be of another size; `most` in bytes, whole MiB.
    pub fn open_up_to(most: u64, path: &Path, findings: &Findings) -> Option<Self> {
        let bytes = match read(path, most) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return None,
            Err((message, help)) => {
                findings.error(Diagnostic::of_file(path, message, help));
                return None;
            }
        };
        if bytes.1 & 0o002 != 0 {
            findings.warning(Diagnostic::of_file(
                path,
                "every user of this machine may write to this file",
                format!("take that away: chmod o-w {}", path.display()),
            ));
        }
        match String::from_utf8(bytes.0) {
            Ok(text) => {
                let text = text.strip_prefix('\u{FEFF}').map(str::to_owned).unwrap_or(text);
                Some(Self { path: path.to_owned(), text })
            }
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                // Up to `at` the text is whole, so the lossy form has the same bytes there.
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                let source = Self { path: path.to_owned(), text };
                findings.error(source.at(
                    at..at + 1,
                    "the file is not UTF-8 here",
                    "save it as UTF-8 (without a byte-order mark), or mend this character",
                ));
                None
            }
        }
    }

    /// A diagnostic at `span`, in bytes of [`Source::text`]. The caret covers what of it lies on its first line.
    pub fn at(&self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Diagnostic {
        let start = floor(&self.text, span.start);
        let end = floor(&self.text, span.end.max(start));
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
        let line = self.text[line_start..line_end].trim_end_matches('\r');
        let covered = &self.text[start..end.min(line_start + line.len()).max(start)];
        Diagnostic {
            file: self.path.clone(),
            line: self.text[..start].matches('\n').count() + 1,
            column: self.text[line_start..start].chars().count() + 1,
            message: message.into(),
            help: help.into(),
            source: line.to_owned(),
            width: covered.chars().count().max(1),
        }
    }

    /// Each line with the byte at which it starts, without line ends.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut next = 0;
        self.text.split('\n').map(move |line| {
            let start = next;
            next += line.len() + 1;
            (start, line.strip_suffix('\r').unwrap_or(line))
        })
    }
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

type Fault = (String, String);

/// The bytes and the mode of a regular file; none when it does not exist.
fn read(path: &Path, most: u64) -> Result<Option<(Vec<u8>, u32)>, Fault> {
    let cannot = |error: std::io::Error| {
        let help = match error.kind() {
            std::io::ErrorKind::PermissionDenied => "let the user that the gateway runs as read it",
            _ => "see to the file, then try again",
        };
        (format!("cannot be read: {error}"), help.to_owned())
    };
    // Asked before opening: opening a named pipe would wait for ever.
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot(error)),
    };
    if !found.is_file() {
        return Err(("is not a regular file".into(), "put a file in its place".into()));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > most {
        return Err((
            format!("is larger than {} MiB", most >> 20),
            "a file of the configuration is small: is this the right one?".into(),
        ));
    }
    Ok(Some((bytes, found.permissions().mode())))
}

/// `path` without `.` and, where no symbolic link is passed, without `..`: `config/../keys` is shown as `keys`.
pub(super) fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for part in path.components() {
        let plain = matches!(tidy.components().next_back(), Some(Component::Normal(_)));
        match part {
            Component::CurDir => {}
            Component::ParentDir if plain && !tidy.is_symlink() => {
                tidy.pop();
            }
            part => tidy.push(part),
        }
    }
    if tidy.as_os_str().is_empty() { PathBuf::from(".") } else { tidy }
}

/// `path` from the root on, as the model keeps paths.
pub(super) fn absolute(path: &Path) -> PathBuf {
    // An error means that there is no current directory; the relative path is then as good as any.
    tidy(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source { path: "x.toml".into(), text: text.into() }
    }

    #[test]
    fn columns_count_characters_and_line_ends_are_left_out() {
        let source = source("é = 1\r\nñame = \"x\"\r\n");
        let at = source.text.find("\"x\"").unwrap();
        let fault = source.at(at..at + 3, "m", "h");
        assert_eq!((fault.line, fault.column, fault.width), (2, 8, 3));
        assert_eq!(fault.source, "ñame = \"x\"");
    }

    #[test]
    fn a_span_past_the_end_or_inside_a_character_has_a_place_all_the_same() {
        let source = source("aé");
        assert_eq!(source.at(2..900, "m", "h").column, 2);
        assert_eq!(source.at(900..901, "m", "h").column, 3);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_a_fault_with_a_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.toml");
        std::fs::write(&path, b"a = 1\nb = \"\xff\"\n").unwrap();
        let findings = Findings::default();
        assert!(Source::open(&path, &findings).is_none());
        let (errors, _) = findings.sorted(&path);
        assert_eq!((errors[0].line, errors[0].column), (2, 6));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.toml");
        std::fs::write(&path, "\u{FEFF}a = 1").unwrap();
        assert_eq!(Source::open(&path, &Findings::default()).unwrap().text, "a = 1");
    }

    #[test]
    fn what_is_no_file_or_far_too_large_is_refused_without_hanging() {
        let dir = tempfile::tempdir().unwrap();
        let large = dir.path().join("large");
        std::fs::File::create(&large).unwrap().set_len(FILE_MAX + 1).unwrap();
        let findings = Findings::default();
        assert!(Source::open(dir.path(), &findings).is_none());
        assert!(Source::open(&large, &findings).is_none());
        assert!(Source::open(&dir.path().join("missing"), &findings).is_none());
        assert_eq!(findings.errors(), 2);
    }

    #[test]
    fn parent_steps_vanish_unless_they_leave_a_symbolic_link() {
        assert_eq!(tidy(Path::new("config/../keys/./x")), Path::new("keys/x"));
        assert_eq!(tidy(Path::new("../keys")), Path::new("../keys"));
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("link")).unwrap();
        let through = dir.path().join("link/../keys");
        assert_eq!(tidy(&through), through);
    }
}
