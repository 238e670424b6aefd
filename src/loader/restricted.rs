//! The rows of a delivery that must not be loaded like the others: the list, compared with the manifest's count.
//!
//! Must never let a list pass that names more or fewer rows than the manifest counts, nor take a list that is not there for
//! one without rows. Called by `deliver`, which fetches the list with `fetch` and hands it over as it stands.

use super::queue::Manifest;

/// Bytes of a list. The gateway keeps a million runs at most, of two row numbers each.
pub const LIST_MAX: u64 = 64 << 20;

/// A list that agrees with its manifest: lines such as `17` or `20-24`, record numbers with the header as 1, in ascending
/// order. Empty when no row is restricted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows(String);

impl Rows {
    /// # Errors
    /// In words for the delivery's history: the list is not one, or counts otherwise than the manifest.
    pub fn read(list: Vec<u8>, manifest: &Manifest) -> Result<Self, String> {
        let broken = |number: usize| format!("the gateway's list of restricted rows makes no sense in line {number}");
        let text = String::from_utf8(list).map_err(|_| broken(1))?;
        let (mut count, mut last) = (0u64, 0u64);
        for (number, line) in (1..).zip(text.lines()) {
            let (first, end) = run(line).filter(|(first, end)| last < *first && first <= end).ok_or(broken(number))?;
            count = count.saturating_add((end - first).saturating_add(1));
            last = end;
        }
        match manifest.restricted {
            expected if expected != count => Err(format!(
                "the gateway's list names {count} restricted rows, its manifest {expected}: which to leave out is unknown"
            )),
            _ if !text.is_empty() && !text.ends_with('\n') => Err(broken(text.lines().count())),
            _ => Ok(Self(text)),
        }
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// First and last of a line's rows.
fn run(line: &str) -> Option<(u64, u64)> {
    // `parse` alone would take a sign.
    let row = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    match line.split_once('-') {
        Some((first, last)) => Some((row(first)?, row(last)?)),
        None => row(line).map(|row| (row, row)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::queue::{Claimed, tests::claim_line};
    use super::*;
    use crate::types::Sha256;

    fn read(list: &str, count: u64) -> Result<Rows, String> {
        let mut manifest = Claimed::parse(&claim_line("a.csv", 3, Sha256([7; 32]), 219)).unwrap().manifest;
        manifest.restricted = count;
        Rows::read(list.as_bytes().to_vec(), &manifest)
    }

    #[test]
    fn a_list_is_taken_when_it_counts_as_the_manifest_does() {
        assert_eq!(read("17\n20-24\n", 6).unwrap().text(), "17\n20-24\n");
        assert_eq!(read("1\n2\n3-3\n", 3).unwrap().text(), "1\n2\n3-3\n");
        assert!(read("", 0).unwrap().is_empty());
    }

    #[test]
    fn a_list_that_counts_otherwise_is_no_list() {
        for (list, count) in [("", 1), ("17\n", 2), ("17\n20-24\n", 5), ("17\n", 0), ("1-18446744073709551615\n", 7)] {
            let why = read(list, count).unwrap_err();
            assert!(why.contains("which to leave out is unknown"), "{list:?}: {why}");
        }
    }

    #[test]
    fn what_is_not_a_list_is_refused_by_its_line() {
        for list in
            ["0\n", "3\n3\n", "5\n4\n", "5-4\n", "1-3\n3-4\n", "x\n", "+3\n", "-3\n", "3-\n", "\n", "1,2\n", "3"]
        {
            assert!(read(list, 1).unwrap_err().contains("makes no sense in line"), "{list:?}");
        }
        assert!(read("99999999999999999999\n", 1).is_err());
        let manifest = Claimed::parse(&claim_line("a.csv", 3, Sha256([7; 32]), 219)).unwrap().manifest;
        assert!(Rows::read(vec![0xff, b'\n'], &manifest).is_err());
    }

    /// A list that agrees with the manifest, whose count is set by it.
    pub fn rows(claimed: &mut Claimed, list: &str, count: u64) -> Rows {
        claimed.manifest.restricted = count;
        Rows::read(list.as_bytes().to_vec(), &claimed.manifest).unwrap()
    }
}
