//! `sha256sum`, `sha1sum` and `md5sum`, in the format of coreutils 9: what rclone and people's scripts compare with.
//!
//! Must never tell a digest that the organisation is not offered. Called by `mod`.

use tokio::sync::watch;

use super::words::{quoted, split};
use super::{Answer, Input, empty, program_of};
use crate::sftp::digests;
use crate::sftp::shared::Shared;
use crate::sftp::tree;
use crate::types::{DigestKind, Refusal, RefusalKind};

/// Which program is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Program {
    kind: DigestKind,
    /// `echo 'abc' | md5sum`, as rclone before 1.54 asks first: the digest of a word and a line end.
    of_word: bool,
}

impl Program {
    /// The program, and the rest of the line. rclone takes itself for a third way to a digest (`rclone hashsum sha256 FILE`),
    /// and for SHA-256 the only one that it finds by itself.
    pub fn find(line: &str) -> Option<(Self, &str)> {
        let (first, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let rest = rest.trim_start();
        let plain = |kind| Self { kind, of_word: false };
        match first {
            "echo" => {
                let (word, program) = rest.split_once('|')?;
                program_of(program.trim()).map(|kind| (Self { kind, of_word: true }, word))
            }
            "rclone" => {
                let (second, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                if second != "hashsum" {
                    return program_of(second).map(|kind| (plain(kind), rest));
                }
                let (name, rest) = rest.trim_start().split_once(' ').unwrap_or((rest, ""));
                let kind = DigestKind::ALL.into_iter().find(|kind| kind.as_str() == name.to_ascii_lowercase())?;
                Some((plain(kind), rest))
            }
            _ => program_of(first).map(|kind| (plain(kind), rest)),
        }
    }

    fn name(self) -> String {
        format!("{}sum", self.kind.as_str())
    }
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `DIGEST  NAME`
    Text,
    /// `DIGEST *NAME`
    Binary,
    /// `SHA256 (NAME) = DIGEST`
    Tag,
}

pub(super) async fn run(
    program: Program,
    rest: &str,
    shared: &Shared,
    input: watch::Receiver<Input>,
    answer: &mut Answer,
) {
    let name = program.name();
    if let Err(refusal) = digests::allowed(shared, program.kind) {
        return answer.error(1, format!("{name}: {}", refusal.reason));
    }
    let words = match split(rest) {
        Ok(words) => words,
        Err(wrong) => return answer.error(1, format!("{name}: {wrong}")),
    };
    if program.of_word {
        let text = words.join(" ") + "\n";
        return answer.line(line(program.kind, Style::Text, &digests::of_bytes(text.as_bytes(), program.kind), "-"));
    }
    let (style, mut files) = match options(words) {
        Ok(given) => given,
        Err(option) => {
            let wrong = format!("{name}: unrecognized option {}: here it takes file names alone", quoted(&option));
            return answer.error(1, wrong);
        }
    };
    if files.is_empty() {
        files.push("-".into());
    }
    for file in files {
        let digest = match file.as_str() {
            "-" => match empty(input.clone()).await {
                Ok(()) => Ok(digests::of_bytes(b"", program.kind)),
                Err(wrong) => Err(wrong.to_owned()),
            },
            path => of_file(shared, path, program.kind).await.map_err(|refusal| reason(&refusal)),
        };
        match digest {
            Ok(digest) => answer.line(line(program.kind, style, &digest, &file)),
            Err(reason) => answer.error(1, format!("{name}: {}: {reason}", quoted(&file))),
        }
    }
}

async fn of_file(shared: &Shared, path: &str, kind: DigestKind) -> Result<String, Refusal> {
    let node = tree::locate(shared, path.as_bytes())?;
    digests::of(shared, &node, kind).await
}

/// In coreutils' words where it has some: scripts look for them.
fn reason(refusal: &Refusal) -> String {
    match refusal {
        missing if missing.kind == RefusalKind::NotFound => "No such file or directory".into(),
        directory if *directory == tree::is_a_directory() => "Is a directory".into(),
        other => other.reason.clone(),
    }
}

/// Options first or between, as GNU programs take them, until `--`.
fn options(words: Vec<String>) -> Result<(Style, Vec<String>), String> {
    let (mut style, mut files, mut only_files) = (Style::Text, Vec::new(), false);
    for word in words {
        match word.as_str() {
            _ if only_files => files.push(word),
            "--" => only_files = true,
            "-b" | "--binary" => style = Style::Binary,
            "-t" | "--text" => style = Style::Text,
            "--tag" => style = Style::Tag,
            option if option.starts_with('-') && option != "-" => return Err(word),
            _ => files.push(word),
        }
    }
    Ok((style, files))
}

/// One line of coreutils' output: a backslash before it says that the name in it is escaped.
fn line(kind: DigestKind, style: Style, digest: &str, name: &str) -> String {
    let escaped = name.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
    let mark = if escaped == name { "" } else { "\\" };
    match style {
        Style::Text => format!("{mark}{digest}  {escaped}"),
        Style::Binary => format!("{mark}{digest} *{escaped}"),
        Style::Tag => format!("{mark}{} ({escaped}) = {digest}", kind.as_str().to_uppercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["plain.csv", "with blank.csv", r"back\slash.csv", "Übergabe März.csv"];

    /// The oracle: the programs themselves.
    #[test]
    fn lines_are_those_of_coreutils() {
        let dir = tempfile::tempdir().unwrap();
        for name in NAMES {
            std::fs::write(dir.path().join(name), name).unwrap();
            for kind in DigestKind::ALL {
                for (style, option) in [(Style::Text, "-t"), (Style::Binary, "-b"), (Style::Tag, "--tag")] {
                    let program = format!("{}sum", kind.as_str());
                    let mut theirs = std::process::Command::new(&program);
                    let theirs = theirs.args([option, "--", name]).current_dir(dir.path()).output().unwrap();
                    let ours = line(kind, style, &digests::of_bytes(name.as_bytes(), kind), name) + "\n";
                    assert_eq!(ours, String::from_utf8(theirs.stdout).unwrap(), "{program} {option} {name}");
                }
            }
        }
    }

    #[test]
    fn programs_are_found_with_the_rest_of_their_line() {
        let found = |line| Program::find(line).map(|(program, rest)| (program.kind, program.of_word, rest));
        assert_eq!(found("md5sum 'a b'"), Some((DigestKind::Md5, false, "'a b'")));
        assert_eq!(found("sha1sum"), Some((DigestKind::Sha1, false, "")));
        assert_eq!(found("echo 'abc' | md5sum"), Some((DigestKind::Md5, true, "'abc' ")));
        assert_eq!(found("rclone hashsum sha256 /a\\ b"), Some((DigestKind::Sha256, false, "/a\\ b")));
        assert_eq!(found("rclone hashsum SHA256"), Some((DigestKind::Sha256, false, "")));
        assert_eq!(found("rclone sha1sum /a"), Some((DigestKind::Sha1, false, "/a")));
        for line in ["rclone hashsum crc32", "rclone hashsum", "echo abc", "echo abc | sort", "sha256summer a"] {
            assert_eq!(found(line), None, "{line}");
        }
    }

    #[test]
    fn options_end_at_two_dashes() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let given = |given: &[&str]| options(words(given));
        assert_eq!(given(&["-b", "a", "--", "-b"]), Ok((Style::Binary, words(&["a", "-b"]))));
        assert_eq!(given(&["-"]), Ok((Style::Text, words(&["-"]))));
        assert_eq!(given(&["a", "-c"]), Err("-c".into()));
    }
}
