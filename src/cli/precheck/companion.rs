//! Small files that lie beside an extract and vouch for it: judged here as the gateway will judge them.
//!
//! What they may say, and how they are compared, is `intake`'s. Called by `judge`.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::check::{ErrorType, Outcome};
use crate::config::{Companion, CompanionKind};
use crate::intake::judge_companion;
use crate::types::{FileName, Sha256};

/// Bytes that are read of a companion: one more than it may have.
const MOST: u64 = (64 << 10) + 1;

/// Adds to the report in what `file`, to be sent as `name`, does not agree with the companions beside it. False when there
/// are none, so that only the gateway can judge them; where one is demanded, that is an error here too.
pub fn judge(
    file: Option<&Path>,
    name: &FileName,
    digests: (&Sha256, Option<&str>),
    asked: &Companion,
    outcome: &mut Outcome,
) -> bool {
    let mut found = false;
    for kind in &asked.kinds {
        let Some(text) = file.and_then(|file| read_beside(file, *kind)) else { continue };
        found = true;
        let counted = (outcome.report.rows, &outcome.sums);
        for (kind, rule, message) in judge_companion(*kind, name, &text, digests, counted) {
            outcome.report.add(kind, rule, message);
        }
    }
    if !found && asked.required && file.is_some() {
        let names: Vec<String> =
            asked.kinds.iter().map(|kind| format!("{:?}", format!("{name}.{}", suffix(*kind)))).collect();
        let message =
            format!("nothing vouches for the file: put {} beside it, and send that first", names.join(" or "));
        outcome.report.add(ErrorType::HashCount, "companion", message);
    }
    found
}

fn suffix(kind: CompanionKind) -> &'static str {
    match kind {
        CompanionKind::Sha256 => "sha256",
        CompanionKind::Md5 => "md5",
        CompanionKind::Totals => "totals",
    }
}

/// None when it is not there, or cannot be read: then it cannot be sent either.
fn read_beside(file: &Path, kind: CompanionKind) -> Option<Vec<u8>> {
    let mut path = file.as_os_str().to_owned();
    path.push(format!(".{}", suffix(kind)));
    let mut text = Vec::new();
    File::open(path).ok()?.take(MOST).read_to_end(&mut text).ok()?;
    Some(text)
}
