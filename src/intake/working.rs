//! Working names: what clients call a file while they upload it, to rename it when it is whole.
//!
//! Pure functions over names. Called by `intake`.

use crate::types::FileName;

/// The final names that a working name may stand for, the likelier first; empty when `name` is a final name.
///
/// Known are the configured suffixes (WinSCP's `.filepart`, `.part`, ...), `.in.NAME.` (ProFTPD's hidden stores and
/// clients that copy them), lftp's `.in.NAME` and rclone's `NAME.XXXXXXXX.partial`.
pub(super) fn stands_for(name: &FileName, suffixes: &[String]) -> Vec<FileName> {
    let text = name.as_str();
    let rclone = text.strip_suffix(".partial").and_then(|rest| rest.rsplit_once('.')).and_then(|(base, random)| {
        (random.len() == 8 && random.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(base)
    });
    let hidden = text.strip_prefix(".in.").map(|rest| rest.strip_suffix('.').unwrap_or(rest));
    let suffixed = suffixes.iter().filter_map(|suffix| strip_suffix(text, suffix));
    let mut names: Vec<FileName> = vec![];
    for candidate in rclone.into_iter().chain(hidden).chain(suffixed) {
        if let Ok(candidate) = candidate.parse::<FileName>()
            && !names.contains(&candidate)
        {
            names.push(candidate);
        }
    }
    names
}

/// Without regard to case, as people write suffixes.
fn strip_suffix<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let at = text.len().checked_sub(suffix.len()).filter(|at| *at > 0 && !suffix.is_empty())?;
    let (base, end) = (text.get(..at)?, text.get(at..)?);
    end.eq_ignore_ascii_case(suffix).then_some(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str) -> Vec<String> {
        let suffixes = [".filepart", ".part", ".partial", ".tmp"].map(String::from);
        stands_for(&name.parse().unwrap(), &suffixes).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_clients_call_work_in_progress_stands_for_its_final_name() {
        assert_eq!(names("a.csv.filepart"), ["a.csv"]);
        assert_eq!(names("a.csv.PART"), ["a.csv"]);
        assert_eq!(names("a.csv.tmp"), ["a.csv"]);
        assert_eq!(names(".in.a.csv."), ["a.csv"]);
        assert_eq!(names(".in.a.csv"), ["a.csv"]);
        assert_eq!(names("a.csv.k3J9x0Qz.partial"), ["a.csv", "a.csv.k3J9x0Qz"]);
        assert_eq!(names("a.20240101.partial"), ["a", "a.20240101"]);
        assert_eq!(names("a.csv.partial"), ["a.csv"]);
    }

    #[test]
    fn final_names_stand_for_themselves() {
        for name in ["a.csv", "part", ".part", ".in.", ".in..", "a.partially", "filepart.csv", "ä.csv"] {
            assert_eq!(names(name), [""; 0], "{name}");
        }
    }
}
