//! The file's name: the pattern that it must fit, the parts that it gives, and whether they are the organisation's.
//!
//! Knows nothing of what is in the file. Called by `intake` before a byte comes, and by [`Rules::begin`].

use std::collections::{BTreeMap, BTreeSet};

use regex::{Captures, Regex};

use super::{Compression, Fault, Format, Rules};
use crate::types::FileName;

/// Codes that a message lists.
const CODES_SHOWN: usize = 10;

impl Rules {
    /// Whether a file of this name may be sent as this dataset.
    ///
    /// # Errors
    /// What the name should look like, or which of its parts does not say what a rule of the dataset needs.
    pub fn name_fits(&self, name: &FileName) -> Result<(), Fault> {
        let candidates = self.judged(name);
        let fits = match (&self.name, self.format) {
            (Some(pattern), _) => candidates.iter().any(|text| whole(pattern, text, |_| ()).is_some()),
            (None, Format::Csv) => candidates.iter().any(|text| ends_in(text, ".csv")),
            (None, Format::Opaque) => true,
        };
        if !fits {
            let wanted = match (&self.name_hint, &self.name) {
                (Some(hint), _) => hint.clone(),
                (None, Some(pattern)) => format!("the pattern {}", pattern.as_str()),
                (None, None) => "NAME.csv".to_owned(),
            };
            let text = name.as_str();
            return Err(Fault(format!("{text:?} is not a name that this dataset takes: name the file like {wanted}")));
        }
        let parts = self.parts(name);
        match self.table.as_ref().and_then(|table| table.rules.parts_faults(&parts).into_iter().next()) {
            Some(why) => Err(Fault(why)),
            None => Ok(()),
        }
    }

    /// The named parts of the pattern in this name: `agency`, `period`, ... Empty when it does not fit; a part that the
    /// pattern did not need for this name is not there.
    pub fn parts(&self, name: &FileName) -> BTreeMap<String, String> {
        let Some(pattern) = &self.name else { return BTreeMap::new() };
        let named = |captures: Captures<'_>| {
            let names = pattern.capture_names().flatten();
            names.filter_map(|part| Some((part.to_owned(), captures.name(part)?.as_str().to_owned()))).collect()
        };
        self.judged(name).into_iter().find_map(|text| whole(pattern, text, named)).unwrap_or_default()
    }

    /// Whether the parts of a name are among those that the organisation may use: `codes` has the allowed ones by part.
    /// A part without an entry may be anything.
    ///
    /// # Errors
    /// Which part it is, and what it may be.
    pub fn parts_agree(
        parts: &BTreeMap<String, String>,
        codes: &BTreeMap<String, BTreeSet<String>>,
    ) -> Result<(), Fault> {
        for (part, text) in parts {
            let Some(allowed) = codes.get(part) else { continue };
            if allowed.contains(text) {
                continue;
            }
            let mut shown: Vec<&str> = allowed.iter().take(CODES_SHOWN).map(String::as_str).collect();
            if allowed.len() > CODES_SHOWN {
                shown.push("...");
            }
            let help = match shown.join(", ") {
                none if none.is_empty() => "your organisation has none yet: ask the operator to add it".to_owned(),
                shown => format!("yours: {shown}. Mend the name, or ask the operator to add it"),
            };
            return Err(Fault(format!("{text:?} in the file's name is not an {part} of your organisation ({help})")));
        }
        Ok(())
    }

    /// How a file of this name is packed, when this dataset opens such files: by its ending, in capitals or not.
    pub fn compression_of(&self, name: &FileName) -> Option<Compression> {
        let ending = |compression: &Compression| match compression {
            Compression::Gzip => ".gz",
            Compression::Zip => ".zip",
        };
        self.compression.iter().copied().find(|compression| ends_in(name.as_str(), ending(compression)))
    }

    /// The names that the pattern may fit: that of the file inside, and, when it is packed, its own.
    fn judged<'n>(&self, name: &'n FileName) -> Vec<&'n str> {
        let text = name.as_str();
        let packed = self.compression_of(name).is_some();
        let inside = text.rsplit_once('.').map(|(inside, _)| inside).filter(|_| packed);
        inside.into_iter().chain([text]).collect()
    }
}

/// Whether there is more before the ending, whose case does not matter.
fn ends_in(name: &str, ending: &str) -> bool {
    let start = name.len().saturating_sub(ending.len());
    start > 0 && name.get(start..).is_some_and(|end| end.eq_ignore_ascii_case(ending))
}

/// What `take` makes of the groups when the pattern matches the name from its first character to its last.
fn whole<T>(pattern: &Regex, name: &str, take: impl FnOnce(Captures<'_>) -> T) -> Option<T> {
    let captures = pattern.captures(name)?;
    if captures.get(0).is_some_and(|found| found.len() == name.len()) {
        return Some(take(captures));
    }
    // The leftmost match was a part: another branch of the pattern may still match the whole.
    let anchored = Regex::new(&format!(r"\A(?:{})\z", pattern.as_str())).ok()?;
    anchored.captures(name).map(take)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> FileName {
        text.parse().unwrap()
    }

    fn rules(pattern: &str) -> Rules {
        Rules { name: Some(Regex::new(pattern).unwrap()), ..Rules::of(Format::Csv, 1) }
    }

    const PATTERN: &str = r"(?P<agency>[A-Z]{3}[0-9]{4})_(?P<period>[0-9]{4}-[0-9]{2})(?:_(?P<again>r[0-9]))?\.csv";

    #[test]
    fn a_packed_file_is_judged_by_the_name_of_what_is_inside() {
        let mut rules = rules(PATTERN);
        assert!(rules.name_fits(&name("LIV0123_2026-05.csv.gz")).is_err());
        rules.compression = vec![Compression::Gzip];
        assert!(rules.name_fits(&name("LIV0123_2026-05.csv.GZ")).is_ok());
        assert!(rules.name_fits(&name("LIV0123_2026-05.csv.zip")).is_err());
        assert!(rules.name_fits(&name("LIV0123_2026-05.csv.gz.gz")).is_err());
        assert_eq!(rules.parts(&name("LIV0123_2026-05.csv.gz"))["period"], "2026-05");
        let plain = Rules { compression: vec![Compression::Gzip, Compression::Zip], ..Rules::of(Format::Csv, 1) };
        assert!(plain.name_fits(&name("a.csv.gz")).is_ok() && plain.name_fits(&name("a.CSV.zip")).is_ok());
        assert!(plain.name_fits(&name("a.gz")).is_err() && plain.name_fits(&name(".csv.gz")).is_err());
    }

    #[test]
    fn a_pattern_that_asks_for_the_packing_is_taken_at_its_word() {
        let mut rules = rules(r"(?P<agency>[a-z]+)\.csv\.gz");
        rules.compression = vec![Compression::Gzip];
        assert!(rules.name_fits(&name("a.csv.gz")).is_ok() && rules.name_fits(&name("a.csv")).is_err());
        assert_eq!(rules.parts(&name("a.csv.gz"))["agency"], "a");
    }

    #[test]
    fn compression_goes_by_the_ending_and_only_where_it_is_opened() {
        let mut rules = Rules::of(Format::Csv, 1);
        assert_eq!(rules.compression_of(&name("a.csv.gz")), None);
        rules.compression = vec![Compression::Gzip, Compression::Zip];
        assert_eq!(rules.compression_of(&name("a.csv.Gz")), Some(Compression::Gzip));
        assert_eq!(rules.compression_of(&name("a.zip")), Some(Compression::Zip));
        assert_eq!((rules.compression_of(&name(".gz")), rules.compression_of(&name("a.csv"))), (None, None));
        assert_eq!(rules.compression_of(&name("aüz")), None);
    }

    #[test]
    fn the_parts_of_a_name_are_those_that_it_has() {
        let rules = rules(PATTERN);
        let parts = rules.parts(&name("LIV0123_2026-05.csv"));
        assert_eq!(
            parts.into_iter().collect::<Vec<_>>(),
            [("agency".to_owned(), "LIV0123".to_owned()), ("period".to_owned(), "2026-05".to_owned())]
        );
        assert_eq!(rules.parts(&name("LIV0123_2026-05_r2.csv"))["again"], "r2");
        assert!(rules.parts(&name("x.csv")).is_empty() && rules.parts(&name("LIV0123_2026-05.csvx")).is_empty());
    }

    #[test]
    fn a_later_branch_that_fits_the_whole_gives_its_parts() {
        let rules = rules(r"(?P<short>[a-z]+)|(?P<long>[a-z]+)\.csv");
        assert_eq!(rules.parts(&name("abc.csv"))["long"], "abc");
    }

    #[test]
    fn a_part_must_be_one_of_the_organisations_codes_where_it_has_some() {
        let rules = rules(PATTERN);
        let parts = rules.parts(&name("LIV0123_2026-05.csv"));
        let codes =
            |codes: &[&str]| BTreeMap::from([("agency".into(), codes.iter().map(|c| (*c).to_owned()).collect())]);
        assert_eq!(Rules::parts_agree(&parts, &BTreeMap::new()), Ok(()));
        assert_eq!(Rules::parts_agree(&parts, &codes(&["LIV0123", "LIV0124"])), Ok(()));
        let why = Rules::parts_agree(&parts, &codes(&["LIV9999", "liv0123"])).unwrap_err().0;
        assert!(why.contains("\"LIV0123\"") && why.contains("agency") && why.contains("LIV9999, liv0123"), "{why}");
        assert!(Rules::parts_agree(&parts, &codes(&[])).is_err());
        let many: Vec<String> = (0..500).map(|n| format!("C{n:03}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(Rules::parts_agree(&parts, &codes(&many)).unwrap_err().0.len() < 300);
    }
}
