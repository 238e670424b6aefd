//! Small files that lie beside an extract and vouch for it: judged here as far as they are there.
//!
//! Looks at `NAME.sha256`; other kinds are left to the gateway, by name. Called by `judge`.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::judge::whole_file;
use crate::check::{ErrorType, Report};
use crate::config::{Companion, CompanionKind};
use crate::types::Sha256;

/// Bytes of a companion: a digest and a name.
const MOST: u64 = 64 << 10;

/// Compares `sha256` with what the companion beside `file` says, if the dataset takes one and it is there. What could not
/// be compared goes to `not_judged`.
pub fn judge(
    file: Option<&Path>,
    sha256: &Sha256,
    asked: &Companion,
    report: &mut Report,
    not_judged: &mut Vec<&'static str>,
) {
    if asked.kinds.is_empty() {
        return;
    }
    let beside = file.filter(|_| asked.kinds.contains(&CompanionKind::Sha256)).map(companion_of);
    let said = beside.as_deref().and_then(read);
    let (Some(file), Some(beside), Some(said)) = (file, beside, said) else {
        not_judged.push("companion");
        return;
    };
    let fault = match stated(&said, file) {
        Some(stated) if stated.eq_ignore_ascii_case(&sha256.to_string()) => None,
        Some(_) => Some("the SHA-256 in it is not that of this file: make it anew from the file as it is"),
        None => Some("it does not hold this file's SHA-256: make it with sha256sum"),
    };
    if let Some(words) = fault {
        let message = format!("the companion {}: {words}", beside.file_name().unwrap_or_default().to_string_lossy());
        let (problem, group) = whole_file(ErrorType::HashCount, "companion", message);
        report.errors += 1;
        report.first.push(problem);
        report.groups.push(group);
    }
    if asked.kinds.len() > 1 {
        not_judged.push("companion");
    }
}

fn companion_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sha256");
    name.into()
}

/// None when it is not there or no text: then it is the gateway's to say so.
fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(MOST).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The digest for `file`: alone, or in a line of sha256sum's (`DIGEST  NAME`, `DIGEST *NAME`).
fn stated(text: &str, file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    let text = text.trim_start_matches('\u{feff}');
    let digest = |word: &str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    text.lines().find_map(|line| {
        let (word, rest) = line.trim_end().split_at_checked(64)?;
        let of = rest.trim_start().trim_start_matches('*');
        let of = of.rsplit(['/', '\\']).next().unwrap_or(of);
        (digest(word) && (of.is_empty() || of == name)).then(|| word.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_found_in_each_form_that_tools_write() {
        let digest = "ab".repeat(32);
        let file = Path::new("out/visits.csv");
        for text in [
            digest.clone(),
            format!("{digest}  visits.csv\n"),
            format!("{digest} *visits.csv\r\n"),
            format!("\u{feff}{digest}  C:\\out\\visits.csv\r\n"),
            format!("{}  other.csv\n{digest}  ./visits.csv\n", "cd".repeat(32)),
        ] {
            assert_eq!(stated(&text, file).as_deref(), Some(digest.as_str()), "{text:?}");
        }
        for text in ["", "no digest", &format!("{digest}  other.csv"), &digest[1..], &"zz".repeat(32)] {
            assert_eq!(stated(text, file), None, "{text:?}");
        }
    }
}
