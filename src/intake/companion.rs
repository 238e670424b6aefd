//! Companion files: `NAME.sha256`, `NAME.md5` and `NAME.totals` vouch for the extract NAME, where its dataset takes them.
//!
//! Pure functions: what a companion says, and whether a file agrees with it. Must never put a sum into words: in a file of
//! one row it is the value of a cell. Called by `admit`, `pipeline` and `vouching`.
//!
//! A companion is read whole (64 KiB at most), in UTF-8. Blank lines and lines that begin with `#` are passed over.
//! - Digests: one line, as `sha256sum` and `md5sum` write it (`DIGEST  NAME`, `DIGEST *NAME`; with `--tag`
//!   `SHA256 (NAME) = DIGEST`), or the digest alone. A name in it must be that of the extract; a path before it is passed
//!   over.
//! - Totals: `rows = 12` and `sum LABEL = 34.50`, a line each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::check::ErrorType;
use crate::config::CompanionKind;
use crate::types::{FileName, Sha256};

/// Bytes of a companion.
pub(super) const MOST: usize = 64 << 10;
/// Sums that totals may state.
const SUMS: usize = 256;
/// Bytes of a number in them.
const NUMBER: usize = 100;

/// What a companion says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Said {
    /// In lower-case hex.
    Digest(String),
    Totals {
        rows: Option<u64>,
        /// Column to decimal text.
        sums: BTreeMap<String, String>,
    },
}

/// What is known of a file.
pub(super) struct Known<'a> {
    pub sha256: String,
    pub md5: Option<&'a str>,
    pub rows: Option<u64>,
    /// None when they are not known any more.
    pub sums: Option<&'a BTreeMap<String, String>>,
}

/// Something in which a file does not agree with its companion.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Disagreement {
    pub kind: ErrorType,
    pub rule: &'static str,
    pub message: String,
}

pub(super) fn as_str(kind: CompanionKind) -> &'static str {
    match kind {
        CompanionKind::Sha256 => "sha256",
        CompanionKind::Md5 => "md5",
        CompanionKind::Totals => "totals",
    }
}

pub(super) fn too_long() -> String {
    "a companion file has at most 64 KiB, this is none: it holds one digest, or the totals, of the file beside it"
        .into()
}

/// The extract's name and the kind, if this is a companion's name.
pub(super) fn split(name: &FileName) -> Option<(FileName, CompanionKind)> {
    let (base, suffix) = name.as_str().rsplit_once('.')?;
    let kinds = [CompanionKind::Sha256, CompanionKind::Md5, CompanionKind::Totals];
    let kind = kinds.into_iter().find(|kind| suffix.eq_ignore_ascii_case(as_str(*kind)))?;
    Some((base.parse().ok()?, kind))
}

/// Reads a companion of the file `about`.
///
/// # Errors
/// What is wrong with it, and what it should look like. Nothing of its content is in the words.
pub(super) fn parse(kind: CompanionKind, about: &FileName, text: &[u8]) -> Result<Said, String> {
    let text = std::str::from_utf8(text).map_err(|_| format!("it is not UTF-8 text: {}", wanted(kind)))?;
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let lines = (1..).zip(text.lines()).map(|(number, line)| (number, line.trim()));
    let lines: Vec<(usize, &str)> = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).collect();
    match kind {
        CompanionKind::Sha256 | CompanionKind::Md5 => match lines.as_slice() {
            [(_, line)] => digest(kind, about, line).map(Said::Digest),
            [] => Err(format!("it says nothing: {}", wanted(kind))),
            _ => Err(format!("it has more than one line: {}", wanted(kind))),
        },
        CompanionKind::Totals => totals(&lines),
    }
}

fn wanted(kind: CompanionKind) -> &'static str {
    match kind {
        CompanionKind::Sha256 => "write it as `sha256sum FILE > FILE.sha256` does, a line for the one file",
        CompanionKind::Md5 => "write it as `md5sum FILE > FILE.md5` does, a line for the one file",
        CompanionKind::Totals => "write lines such as `rows = 12` and `sum LABEL = 34.50`",
    }
}

fn digest(kind: CompanionKind, about: &FileName, line: &str) -> Result<String, String> {
    let (tag, length) = if kind == CompanionKind::Sha256 { ("SHA256", 64) } else { ("MD5", 32) };
    let is_digest = |text: &str| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
    // With --tag (and on BSD): SHA256 (NAME) = DIGEST
    let tagged = line.strip_prefix(tag).and_then(|rest| rest.trim_start().strip_prefix('(')?.rsplit_once(')'));
    let tagged = tagged.and_then(|(name, rest)| Some((rest.trim_start().strip_prefix('=')?.trim(), Some(name))));
    // A name with a backslash makes `sha256sum` put one in front and double those in it.
    let (escaped, plain) = line.strip_prefix('\\').map_or((false, line), |rest| (true, rest));
    let (digest, name) = tagged.unwrap_or_else(|| match plain.split_once(|c: char| c.is_ascii_whitespace()) {
        None => (plain, None),
        // Two blanks, or a blank and a star.
        Some((digest, rest)) => (digest, Some(rest.trim_start().strip_prefix('*').unwrap_or(rest.trim_start()))),
    });
    if !is_digest(digest) {
        return Err(format!("it holds no {tag} digest ({length} hexadecimal digits): {}", wanted(kind)));
    }
    let unescaped = name.map(|name| if escaped { name.replace("\\\\", "\\") } else { name.to_owned() });
    let of_it =
        |name: &str| name == about.as_str() || name.ends_with(&format!("/{about}")) || ends_in_windows(name, about);
    if unescaped.is_some_and(|name| !of_it(&name)) {
        return Err(format!("it is about a file of another name than {:?}: {}", about.as_str(), wanted(kind)));
    }
    Ok(digest.to_ascii_lowercase())
}

fn ends_in_windows(name: &str, about: &FileName) -> bool {
    name.ends_with(&format!("\\{about}"))
}

fn totals(lines: &[(usize, &str)]) -> Result<Said, String> {
    let (mut rows, mut sums) = (None, BTreeMap::new());
    for (number, line) in lines {
        let wrong = |what: &str| format!("line {number} {what}: {}", wanted(CompanionKind::Totals));
        let (what, value) = line.rsplit_once('=').ok_or_else(|| wrong("has no `=`"))?;
        let (what, value) = (what.trim(), value.trim());
        let again = if what == "rows" {
            let count = value.bytes().all(|b| b.is_ascii_digit()).then(|| value.parse().ok()).flatten();
            rows.replace(count.ok_or_else(|| wrong("does not give a number of rows"))?).is_some()
        } else {
            let label = what.strip_prefix("sum").filter(|rest| rest.starts_with(|c: char| c.is_ascii_whitespace()));
            let label = label.map(str::trim).ok_or_else(|| wrong("is neither rows nor a sum"))?;
            if Decimal::parse(value).is_none() {
                return Err(wrong("does not give a decimal number"));
            }
            if sums.len() >= SUMS {
                return Err(format!("it states more than {SUMS} sums: {}", wanted(CompanionKind::Totals)));
            }
            sums.insert(label.to_owned(), value.to_owned()).is_some()
        };
        if again {
            return Err(wrong("says once more what was said before"));
        }
    }
    if rows.is_none() && sums.is_empty() {
        return Err(format!("it says nothing: {}", wanted(CompanionKind::Totals)));
    }
    Ok(Said::Totals { rows, sums })
}

/// What a companion's text makes of a file that lies beside it, as an upload of both would tell: types, rules and words;
/// empty when they agree. `md5` as far as it is known; `sums` by label. For `precheck`, which has no gateway.
pub fn judge_companion(
    kind: CompanionKind,
    about: &FileName,
    text: &[u8],
    digests: (&Sha256, Option<&str>),
    counted: (Option<u64>, &BTreeMap<String, String>),
) -> Vec<(ErrorType, &'static str, String)> {
    let of_it = |why: String| vec![(ErrorType::HashCount, "companion", why)];
    if text.len() > MOST {
        return of_it(too_long());
    }
    let said = match parse(kind, about, text) {
        Ok(said) => said,
        Err(why) => return of_it(why),
    };
    let known = Known { sha256: digests.0.to_string(), md5: digests.1, rows: counted.0, sums: Some(counted.1) };
    let name = format!("{about}.{}", as_str(kind));
    let wrong = compare(kind, &said, &name, &known).unwrap_or_default();
    wrong.into_iter().map(|wrong| (wrong.kind, wrong.rule, wrong.message)).collect()
}

/// In what a file does not agree with its companion `name`; empty when it does. None when that cannot be known any more.
pub(super) fn compare(kind: CompanionKind, said: &Said, name: &str, known: &Known<'_>) -> Option<Vec<Disagreement>> {
    let (rows, sums) = match said {
        Said::Digest(digest) => {
            let actual = if kind == CompanionKind::Md5 { known.md5? } else { known.sha256.as_str() };
            let message = || {
                format!(
                    "the file does not have the digest that {name:?} states: one of the two was changed or cut on its way, or \
                     they are of different exports; send both again"
                )
            };
            let differs = actual != digest;
            let wrong =
                differs.then(|| Disagreement { kind: ErrorType::HashCount, rule: "companion", message: message() });
            return Some(wrong.into_iter().collect());
        }
        Said::Totals { rows, sums } => (rows, sums),
    };
    let mut wrong = Vec::new();
    let mut tell = |kind, message| wrong.push(Disagreement { kind, rule: "control-total", message });
    match (rows, known.rows) {
        (Some(stated), Some(actual)) if *stated != actual => {
            let message =
                format!("the file has {actual} rows, {name:?} states {stated}: check that the export is whole");
            tell(ErrorType::RowCount, message);
        }
        (Some(_), None) => {
            let message =
                format!("{name:?} states a number of rows, and this dataset's rows are not counted: leave it out");
            tell(ErrorType::RowCount, message);
        }
        _ => {}
    }
    if !sums.is_empty() {
        let summed = known.sums?;
        for (place, (label, stated)) in (1..).zip(sums) {
            let message = match summed.get(label) {
                Some(sum) if same_decimal(sum, stated) => continue,
                Some(_) => format!("the sum of {label:?} is not what {name:?} states: check that the export is whole"),
                // Not ours: it is not repeated.
                None => {
                    let ours: Vec<String> = summed.keys().map(|label| format!("{label:?}")).collect();
                    let ours = if ours.is_empty() { "none".into() } else { ours.join(", ") };
                    format!(
                        "sum {place} (by label) of {name:?} is of a column that this dataset does not sum; it sums {ours}"
                    )
                }
            };
            tell(ErrorType::ByteCount, message);
        }
    }
    Some(wrong)
}

fn same_decimal(one: &str, other: &str) -> bool {
    matches!((Decimal::parse(one), Decimal::parse(other)), (Some(one), Some(other)) if one == other)
}

/// A decimal number in the one form that all its spellings have: no zeros that say nothing, no minus before zero.
#[derive(PartialEq, Eq)]
struct Decimal<'t> {
    negative: bool,
    whole: &'t str,
    fraction: &'t str,
}

impl<'t> Decimal<'t> {
    fn parse(text: &'t str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
        if !all_digits || (whole.is_empty() && fraction.is_empty()) || text.len() > NUMBER {
            return None;
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let zero = whole.is_empty() && fraction.is_empty();
        Some(Self { negative: negative && !zero, whole, fraction })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn name(text: &str) -> FileName {
        text.parse().unwrap()
    }

    fn sha256(text: &str) -> Result<Said, String> {
        parse(CompanionKind::Sha256, &name("a b.csv"), text.as_bytes())
    }

    #[test]
    fn a_companion_is_known_by_its_suffix() {
        let known = |text: &str| split(&name(text)).map(|(base, kind)| (base.to_string(), kind));
        assert_eq!(known("a.csv.sha256"), Some(("a.csv".into(), CompanionKind::Sha256)));
        assert_eq!(known("a.csv.MD5"), Some(("a.csv".into(), CompanionKind::Md5)));
        assert_eq!(known("a.totals"), Some(("a".into(), CompanionKind::Totals)));
        for other in ["a.csv", "sha256", ".sha256", "a.sha256.csv", "...md5"] {
            assert!(known(other).is_none_or(|(base, _)| base == ".."), "{other}");
        }
    }

    #[test]
    fn digests_are_read_as_the_common_programs_write_them() {
        for text in [
            SHA.to_owned(),
            SHA.to_uppercase() + "\r\n",
            format!("{SHA}  a b.csv\n"),
            format!("{SHA} *a b.csv\n"),
            format!("{SHA}  /exports/may/a b.csv\n"),
            format!("{SHA}  C:\\exports\\a b.csv\n"),
            format!("\\{SHA}  C:\\\\exports\\\\a b.csv\n"),
            format!("SHA256 (a b.csv) = {SHA}\n"),
            format!("\u{FEFF}# made by export.ps1\n\n{SHA}  a b.csv\n\n"),
        ] {
            assert_eq!(sha256(&text), Ok(Said::Digest(SHA.into())), "{text}");
        }
    }

    #[test]
    fn a_malformed_digest_is_refused_with_what_it_should_be_and_nothing_of_what_it_is() {
        for text in [
            String::new(),
            "# only a comment\n".into(),
            SHA[1..].into(),
            format!("{SHA}0"),
            format!("{SHA}  canary.csv"),
            format!("{SHA}  xa b.csv"),
            format!("{SHA}  a b.csv\n{SHA}  canary.csv\n"),
            format!("MD5 (a b.csv) = {SHA}"),
            "canary,1,2".into(),
        ] {
            let why = sha256(&text).unwrap_err();
            assert!(why.contains("sha256sum") && !why.contains("canary"), "{why}");
        }
        assert!(parse(CompanionKind::Md5, &name("x"), b"\xff\xfe3\0").unwrap_err().contains("not UTF-8"));
    }

    fn read_totals(text: &str) -> Result<Said, String> {
        parse(CompanionKind::Totals, &name("a.csv"), text.as_bytes())
    }

    #[test]
    fn totals_are_rows_and_sums() {
        let text = "# May\nrows = 12\nsum Units Issued = 34.50\r\n sum  a=b = -1 \n";
        let Ok(Said::Totals { rows, sums }) = read_totals(text) else { panic!("not read") };
        let sums: Vec<_> = sums.iter().map(|(label, sum)| (label.as_str(), sum.as_str())).collect();
        assert_eq!((rows, sums), (Some(12), vec![("Units Issued", "34.50"), ("a=b", "-1")]));
        for (text, why) in [
            ("", "says nothing"),
            ("rows 12", "line 1 has no"),
            ("rows = +12", "line 1 does not give a number of rows"),
            ("rows = 1\nrows = 1", "line 2 says once more"),
            ("sum a = 1\n\nsum a = 1", "line 3 says once more"),
            ("sum a = 1e5", "does not give a decimal"),
            ("sum a = .", "does not give a decimal"),
            ("sums = 1", "neither rows nor a sum"),
            ("canary = 1", "neither rows nor a sum"),
        ] {
            let told = read_totals(text).unwrap_err();
            assert!(told.contains(why) && !told.contains("canary"), "{text}: {told}");
        }
        let many: String = (0..300).map(|i| format!("sum {i} = 1\n")).collect();
        assert!(read_totals(&many).unwrap_err().contains("more than 256"));
        assert!(read_totals(&format!("sum a = {}", "1".repeat(101))).is_err());
    }

    #[test]
    fn sums_are_compared_as_numbers_and_never_told() {
        let ours = BTreeMap::from([("Units".to_owned(), "7734.50".to_owned()), ("Nil".into(), "0".into())]);
        let compared = |text: &str| {
            let known = Known { sha256: SHA.into(), md5: None, rows: Some(3), sums: Some(&ours) };
            compare(CompanionKind::Totals, &read_totals(text).unwrap(), "a.csv.totals", &known).unwrap()
        };
        for same in ["sum Units = 7734.5", "sum Units = +07734.500\nrows = 3", "sum Nil = -0.00"] {
            assert_eq!(compared(same), [], "{same}");
        }
        for other in ["sum Units = 7734.51", "sum Units = -7734.5", "sum Units = 77345", "sum Unit = 7734.5"] {
            let wrong = compared(other);
            assert_eq!((wrong.len(), wrong[0].rule), (1, "control-total"), "{other}");
            assert!(!wrong[0].message.contains("7734"), "{wrong:?}");
        }
        let wrong = compared("rows = 4");
        assert!(wrong[0].message.contains("has 3 rows") && wrong[0].message.contains("states 4"), "{wrong:?}");
    }

    #[test]
    fn what_is_not_known_any_more_is_not_compared() {
        let known = Known { sha256: SHA.into(), md5: None, rows: Some(3), sums: None };
        let totals = read_totals("rows = 3\nsum a = 1").unwrap();
        assert_eq!(compare(CompanionKind::Totals, &totals, "x", &known), None);
        assert_eq!(compare(CompanionKind::Md5, &Said::Digest("0".into()), "x", &known), None);
        assert_eq!(compare(CompanionKind::Totals, &read_totals("rows = 3").unwrap(), "x", &known), Some(vec![]));
        let other = Said::Digest("0".repeat(64));
        assert_eq!(compare(CompanionKind::Sha256, &other, "x", &known).unwrap()[0].kind, ErrorType::HashCount);
    }
}
