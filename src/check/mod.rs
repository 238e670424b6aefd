//! What makes an extract acceptable: name, size, type. Push-style: bytes go in as they come, a verdict comes out.
//!
//! Does no input or output and holds a bounded amount of memory, whatever the bytes: it can be fuzzed, and runs the same
//! in the daemon and on a provider's machine. Called by `intake`; `config` compiles its [`Rules`].
//!
//! A [`Check`] is a row of demands, each fed the same bytes: size, type, and in their time those on the content. The
//! words of a [`Fault`] name what is wrong and what to do, never a cell's value.

mod keys;
mod kind;
mod name;
mod policy;
mod report;
mod row;
pub mod rules;
pub mod schema;
mod table;
mod unpack;

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::Regex;

use crate::types::FileName;
pub use keys::Codes;
use kind::TypeCheck;
pub use policy::{Policy, Severity};
pub use report::{At, Collector, ErrorType, Group, Problem, ROWS_SHOWN, Report, Restricted};
pub use rules::{Context, RuleSet};
pub use table::{Dialect, Encoding, Limits, TableRules};
pub use unpack::{Compression, Limits as UnpackLimits};

/// What content a dataset takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text in rows; a spreadsheet, archive, document or program is refused for what it is.
    Csv,
    /// Anything.
    Opaque,
}

/// A dataset's demands, compiled.
#[derive(Debug, Clone)]
pub struct Rules {
    pub format: Format,
    /// Whole-name pattern; none takes `*.csv` for csv, any name for opaque. Its named groups are the name's parts. A
    /// packed file is judged by its name without `.gz` or `.zip`.
    pub name: Option<Regex>,
    /// The pattern in words for people, such as "AGENCY_YYYY-MM.csv".
    pub name_hint: Option<String>,
    /// Bytes; 1 unless the dataset allows empty files.
    pub min_size: u64,
    /// Bytes as received.
    pub max_size: u64,
    /// Opened when the name ends in `.gz` or `.zip`; otherwise such a file is a wrong type. Empty for opaque datasets.
    pub compression: Vec<Compression>,
    pub unpack: UnpackLimits,
    /// None for opaque datasets.
    pub table: Option<Arc<TableRules>>,
}

impl Rules {
    /// Rules that only look at name, size and type; what a test or a dataset without more to say begins from.
    pub fn of(format: Format, max_size: u64) -> Self {
        Self {
            format,
            name: None,
            name_hint: None,
            min_size: 1,
            max_size,
            compression: Vec::new(),
            unpack: UnpackLimits { size: max_size, ratio: 200 },
            table: None,
        }
    }
}

/// A demand that is not met, in words for a person; final: more bytes cannot mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(pub String);

/// The check of one extract under way.
pub struct Check {
    size: SizeCheck,
    /// None for [`Format::Opaque`].
    kind: Option<TypeCheck>,
    out: Collector,
    /// The first final fault.
    fault: Option<Fault>,
}

/// What the check came to.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub report: Report,
    pub restricted: Restricted,
    /// Sums of columns, for control totals: field name to decimal text.
    pub sums: BTreeMap<String, String>,
}

impl Rules {
    /// Begins the check of a file of this name. `today` (UTC) is for rules such as "not in the future"; `last_rows` are
    /// the data rows of the organisation's last accepted upload of this dataset, if they are known.
    pub fn begin(&self, name: &FileName, today: jiff::civil::Date, last_rows: Option<u64>) -> Check {
        let _ = Context { parts: self.parts(name), today, last_rows };
        Check {
            size: SizeCheck { seen: 0, min: self.min_size, max: self.max_size },
            kind: (self.format == Format::Csv).then(TypeCheck::default),
            out: Collector::new(self.table.as_ref().map_or(0, |table| table.limits.errors)),
            fault: None,
        }
    }
}

impl Check {
    /// Takes the next bytes, in order, cut anywhere.
    ///
    /// # Errors
    /// The first final fault; later calls give it again.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if self.fault.is_none() {
            let kind = self.kind.as_mut().map_or(Ok(()), |kind| kind.push(bytes));
            self.fault = self.size.push(bytes).and(kind).err();
        }
        match &self.fault {
            Some(fault) => Err(fault.clone()),
            None => Ok(()),
        }
    }

    /// The verdict over all bytes pushed.
    pub fn finish(self) -> Outcome {
        let mut out = self.out;
        let faults = match self.fault {
            Some(fault) => vec![fault],
            None => {
                let kind = self.kind.map_or(Ok(()), TypeCheck::finish);
                [self.size.finish(), kind].into_iter().filter_map(Result::err).collect()
            }
        };
        for fault in faults {
            out.error(ErrorType::SourceError, "file", At::default(), || fault.0);
        }
        Outcome { report: out.finish(), ..Outcome::default() }
    }
}

struct SizeCheck {
    seen: u64,
    min: u64,
    max: u64,
}

impl SizeCheck {
    fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.seen = self.seen.saturating_add(bytes.len() as u64);
        if self.seen > self.max {
            return Err(Fault(format!(
                "the file is larger than {}, the most that this dataset takes: split it, or ask for a higher limit",
                bytes_in_words(self.max)
            )));
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Fault> {
        match self.seen {
            seen if seen >= self.min => Ok(()),
            0 => Err(Fault(
                "the file is empty (0 bytes): check that the export ran and has finished, then send the file again"
                    .into(),
            )),
            seen => Err(Fault(format!(
                "the file has {}, this dataset takes files from {} on: check that the export has finished, then send it again",
                bytes_in_words(seen),
                bytes_in_words(self.min)
            ))),
        }
    }
}

/// "2 GiB (2147483648 bytes)", or the bytes alone when no unit divides them.
fn bytes_in_words(bytes: u64) -> String {
    let units = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(size, _)| bytes >= *size && bytes.is_multiple_of(*size)) {
        Some((size, unit)) => format!("{} {unit} ({bytes} bytes)", bytes / size),
        None if bytes == 1 => "1 byte".into(),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(format: Format) -> Rules {
        Rules::of(format, 2048)
    }

    fn begin(rules: &Rules) -> Check {
        rules.begin(&"a.csv".parse().unwrap(), jiff::civil::date(2026, 1, 31), None)
    }

    fn verdict(rules: &Rules, pieces: &[&[u8]]) -> Vec<Fault> {
        let mut check = begin(rules);
        for piece in pieces {
            let _ = check.push(piece);
        }
        check.finish().report.groups.into_iter().map(|group| Fault(group.message)).collect()
    }

    #[test]
    fn a_name_fits_whole_or_not_at_all() {
        let fits = |rules: &Rules, name: &str| rules.name_fits(&name.parse().unwrap()).is_ok();
        let mut csv = rules(Format::Csv);
        assert!(fits(&csv, "a.csv") && fits(&csv, "A.CSV") && !fits(&csv, "a.xlsx") && !fits(&csv, ".csv"));
        assert!(!fits(&csv, "ä.cs") && !fits(&csv, "aäcsv"));
        assert!(fits(&rules(Format::Opaque), "anything"));
        csv.name = Some(Regex::new(r"a|[A-Z]{3}[0-9]{4}_[0-9]{4}-[0-9]{2}\.csv|ab").unwrap());
        assert!(fits(&csv, "ABC1234_2024-01.csv") && fits(&csv, "a") && fits(&csv, "ab"));
        assert!(!fits(&csv, "xABC1234_2024-01.csv") && !fits(&csv, "ABC1234_2024-01.csv.gz") && !fits(&csv, "abc"));
        csv.name_hint = Some("AGENCY_YYYY-MM.csv".into());
        let why = csv.name_fits(&"x.csv".parse().unwrap()).unwrap_err().0;
        assert!(why.contains("AGENCY_YYYY-MM.csv") && why.contains("x.csv"), "{why}");
    }

    #[test]
    fn an_empty_file_is_refused_unless_the_dataset_allows_it() {
        let mut rules = rules(Format::Csv);
        let faults = verdict(&rules, &[]);
        assert!(faults.len() == 1 && faults[0].0.starts_with("the file is empty (0 bytes)"), "{faults:?}");
        rules.min_size = 0;
        assert_eq!(verdict(&rules, &[]), []);
    }

    #[test]
    fn a_file_past_its_limit_is_a_fault_as_soon_as_it_is_past_and_stays_one() {
        let mut check = begin(&rules(Format::Opaque));
        assert_eq!(check.push(&[1; 2048]), Ok(()));
        let fault = check.push(&[1]).unwrap_err();
        assert!(fault.0.contains("2 KiB (2048 bytes)"), "{fault:?}");
        assert_eq!(check.push(&[]), Err(fault.clone()));
        assert_eq!(check.finish().report.reasons(9), [fault.0]);
    }

    #[test]
    fn plain_rows_pass_however_they_are_cut() {
        let text = "\u{FEFF}id,name\r\n1,\"Zoë\"\r\n2,<b>\r\n".as_bytes();
        let single: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(verdict(&rules(Format::Csv), &single), []);
        assert_eq!(verdict(&rules(Format::Csv), &[text]), []);
    }

    #[test]
    fn a_wrong_type_is_told_by_its_content_only_where_csv_is_wanted() {
        let zip = b"PK\x03\x04\x14\0\0\0\x08\0";
        assert_eq!(verdict(&rules(Format::Csv), &[&zip[..3], &zip[3..]]).len(), 1);
        assert_eq!(verdict(&rules(Format::Opaque), &[zip]), []);
    }
}
