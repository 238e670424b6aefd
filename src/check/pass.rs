//! The one pass over an extract: each demand is fed what the one before it lets pass, and the first final fault ends it.
//!
//! Size, then, for a packed file, its kind and its packing, then the kind of what is inside, then the table. A kind holds its
//! first bytes back until it is sure, so that no row of what is no table is complained of. Every fault of this file is in
//! the report as an error; the table's are put there by the table. Made by [`super::Rules::begin`], fed by `intake`.

use std::sync::Arc;

use super::kind::TypeCheck;
use super::table::Table;
use super::unpack::{Compression, Damaged, Unpack};
use super::{At, Collector, Context, ErrorType, Fault, Format, Outcome, Rules, bytes_in_words};

/// The check of one extract under way.
pub struct Check {
    size: SizeCheck,
    packed: Option<Packed>,
    /// None for [`Format::Opaque`].
    text: Option<Text>,
    out: Collector,
    /// The first final fault.
    fault: Option<Fault>,
}

/// What ends a check.
enum Stop {
    /// The table's, which has told it to the collector.
    Table(Fault),
    Found(ErrorType, &'static str, Option<u64>, Fault),
}

impl From<Damaged> for Stop {
    fn from(damaged: Damaged) -> Self {
        Self::Found(ErrorType::CompressionError, damaged.rule, None, Fault(damaged.message))
    }
}

impl Check {
    /// `packed`: what the file's name says it is packed with.
    pub(super) fn begin(rules: &Rules, packed: Option<Compression>, context: &Context) -> Self {
        let encoding = rules.table.as_ref().map(|table| table.encoding).unwrap_or_default();
        let text = || Text {
            kind: TypeCheck::text(encoding, &rules.compression),
            table: rules.table.as_ref().map(|table| Table::begin(Arc::clone(table), context)),
            seen: 0,
        };
        let errors = rules.table.as_ref().map_or(1, |table| table.limits.errors);
        Self {
            size: SizeCheck { seen: 0, min: rules.min_size, max: rules.max_size },
            packed: packed.map(|compression| Packed {
                kind: TypeCheck::packed(compression),
                unpack: Unpack::begin(compression, rules.unpack),
            }),
            text: (rules.format == Format::Csv).then(text),
            out: Collector::new(errors),
            fault: None,
        }
    }

    /// Takes the next bytes, in order, cut anywhere. After a final fault they are only counted.
    ///
    /// # Errors
    /// The first final fault; later calls give it again.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let sized = self.size.push(bytes);
        if self.fault.is_none()
            && let Err(stop) = sized.and_then(|()| self.content(bytes))
        {
            self.stop(stop);
        }
        self.fault.clone().map_or(Ok(()), Err)
    }

    /// The verdict over all bytes pushed.
    pub fn finish(mut self) -> Outcome {
        if self.fault.is_none()
            && let Err(stop) = self.end()
        {
            self.stop(stop);
        }
        let mut out = self.out;
        let rules = self.text.and_then(|text| text.table).map(|table| table.finish(&mut out)).unwrap_or_default();
        let mut report = out.finish();
        report.restricted = rules.restricted.count;
        Outcome { report, restricted: rules.restricted, sums: rules.sums }
    }

    fn content(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        match (&mut self.packed, &mut self.text) {
            (Some(packed), Some(text)) => packed.push(bytes, text, &mut self.out),
            (None, Some(text)) => text.push(bytes, &mut self.out),
            (_, None) => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), Stop> {
        self.size.finish()?;
        let Some(text) = &mut self.text else { return Ok(()) };
        if let Some(packed) = &mut self.packed {
            packed.finish(text, &mut self.out)?;
        }
        text.finish(&mut self.out)?;
        // A dataset that allows empty files has no demands on the rows of one.
        if text.seen == 0 && self.size.min == 0 && text.table.take().is_some() {
            self.out.counted(Some(0), None);
        }
        Ok(())
    }

    fn stop(&mut self, stop: Stop) {
        self.out.stopped();
        self.fault = Some(match stop {
            Stop::Table(fault) => fault,
            Stop::Found(kind, rule, row, fault) => {
                self.out.error(kind, rule, At { row, ..At::default() }, || fault.0.clone());
                // The rows break off here by no fault of theirs: the table is not asked how it likes that end.
                if let Some(table) = self.text.as_mut().and_then(|text| text.table.take()) {
                    table.break_off(&mut self.out);
                }
                fault
            }
        });
    }
}

/// A packed file.
struct Packed {
    kind: TypeCheck,
    unpack: Unpack,
}

impl Packed {
    fn push(&mut self, bytes: &[u8], text: &mut Text, out: &mut Collector) -> Result<(), Stop> {
        let (head, rest) = self.kind.push(bytes).map_err(wrong_packing)?;
        self.unpack(&head, text, out)?;
        self.unpack(rest, text, out)
    }

    fn finish(&mut self, text: &mut Text, out: &mut Collector) -> Result<(), Stop> {
        let head = self.kind.finish().map_err(wrong_packing)?;
        self.unpack(&head, text, out)?;
        Ok(self.unpack.finish()?)
    }

    fn unpack(&mut self, bytes: &[u8], text: &mut Text, out: &mut Collector) -> Result<(), Stop> {
        let mut stop = None;
        let unpacked = self.unpack.push(bytes, &mut |piece| {
            stop = text.push(piece, out).err();
            stop.is_none()
        });
        stop.map_or(Ok(()), Err)?;
        Ok(unpacked?)
    }
}

fn wrong_packing(fault: Fault) -> Stop {
    Stop::Found(ErrorType::FormatError, "file-type", None, fault)
}

/// Text in rows, as it is after unpacking.
struct Text {
    kind: TypeCheck,
    /// None when there are no demands on the rows, or no more.
    table: Option<Table>,
    /// Bytes.
    seen: u64,
}

impl Text {
    fn push(&mut self, bytes: &[u8], out: &mut Collector) -> Result<(), Stop> {
        self.seen += bytes.len() as u64;
        let (head, rest) = self.kind.push(bytes).map_err(wrong_type)?;
        self.rows(&head, out)?;
        self.rows(rest, out)
    }

    fn finish(&mut self, out: &mut Collector) -> Result<(), Stop> {
        let head = self.kind.finish().map_err(wrong_type)?;
        self.rows(&head, out)
    }

    fn rows(&mut self, bytes: &[u8], out: &mut Collector) -> Result<(), Stop> {
        match &mut self.table {
            Some(table) if !bytes.is_empty() => table.push(bytes, out).map_err(Stop::Table),
            _ => Ok(()),
        }
    }
}

fn wrong_type(fault: Fault) -> Stop {
    Stop::Found(ErrorType::FormatError, "file-type", Some(1), fault)
}

struct SizeCheck {
    seen: u64,
    min: u64,
    max: u64,
}

impl SizeCheck {
    fn push(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.seen = self.seen.saturating_add(bytes.len() as u64);
        if self.seen <= self.max {
            return Ok(());
        }
        Err(wrong_size(
            "size",
            format!(
                "the file is larger than {}, the most that this dataset takes: split it, or ask for a higher limit",
                bytes_in_words(self.max)
            ),
        ))
    }

    fn finish(&self) -> Result<(), Stop> {
        match self.seen {
            seen if seen >= self.min => Ok(()),
            0 => Err(wrong_size(
                "empty",
                "the file is empty (0 bytes): check that the export ran and has finished, then send the file again"
                    .into(),
            )),
            seen => Err(wrong_size(
                "size",
                format!(
                    "the file has {}, this dataset takes files from {} on: check that the export has finished, then send it again",
                    bytes_in_words(seen),
                    bytes_in_words(self.min)
                ),
            )),
        }
    }
}

fn wrong_size(rule: &'static str, message: String) -> Stop {
    Stop::Found(ErrorType::ByteCount, rule, None, Fault(message))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn rules(format: Format) -> Rules {
        Rules { compression: vec![Compression::Gzip, Compression::Zip], ..Rules::of(format, 2048) }
    }

    fn begin_as(name: &str, rules: &Rules) -> Check {
        rules.begin(&name.parse().unwrap(), jiff::civil::date(2026, 1, 31), None)
    }

    fn begin(rules: &Rules) -> Check {
        begin_as("a.csv", rules)
    }

    fn outcome_of(name: &str, rules: &Rules, bytes: &[u8]) -> Outcome {
        let mut outcomes = [bytes.len(), 1, 7].map(|piece| {
            let mut check = begin_as(name, rules);
            for piece in bytes.chunks(piece.max(1)) {
                let _ = check.push(piece);
            }
            check.finish()
        });
        assert_eq!(outcomes[0].report, outcomes[1].report, "the verdict depends on how the bytes are cut");
        assert_eq!(outcomes[0].report, outcomes[2].report, "the verdict depends on how the bytes are cut");
        std::mem::take(&mut outcomes[0])
    }

    /// Type, rule and row of the only error.
    fn error(name: &str, rules: &Rules, bytes: &[u8]) -> (ErrorType, String, Option<u64>) {
        let report = outcome_of(name, rules, bytes).report;
        assert!(report.errors == 1 && report.first.len() == 1 && !report.complete, "{report:?}");
        (report.first[0].kind, report.first[0].rule.clone(), report.first[0].row)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::default());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    fn verdict(rules: &Rules, pieces: &[&[u8]]) -> Vec<Fault> {
        let mut check = begin(rules);
        for piece in pieces {
            let _ = check.push(piece);
        }
        check.finish().report.groups.into_iter().map(|group| Fault(group.message)).collect()
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

    #[test]
    fn each_final_fault_has_its_type_and_rule() {
        let csv = rules(Format::Csv);
        assert_eq!(error("a.csv", &csv, b""), (ErrorType::ByteCount, "empty".into(), None));
        assert_eq!(error("a.csv", &csv, &[b'x'; 2049]), (ErrorType::ByteCount, "size".into(), None));
        assert_eq!(error("a.csv", &csv, b"%PDF-1.7\n"), (ErrorType::FormatError, "file-type".into(), Some(1)));
        let packed = gzip(b"id\n1\n");
        assert_eq!(error("a.csv", &csv, &packed), (ErrorType::FormatError, "file-type".into(), Some(1)));
        assert_eq!(error("a.csv.gz", &csv, b"id\n1\n"), (ErrorType::FormatError, "file-type".into(), None));
        let cut = &packed[..packed.len() - 1];
        assert_eq!(error("a.csv.gz", &csv, cut), (ErrorType::CompressionError, "truncated".into(), None));
        assert_eq!(error("a.csv.gz", &csv, b"\x1f"), (ErrorType::CompressionError, "truncated".into(), None));
    }

    #[test]
    fn what_is_packed_is_judged_by_what_is_inside() {
        let csv = rules(Format::Csv);
        for text in [&b"id,name\r\n1,x\r\n"[..], &b"id,name\r\n".repeat(100)] {
            assert_eq!(outcome_of("A.CSV.GZ", &csv, &gzip(text)).report.errors, 0);
        }
        let inside = error("a.csv.gz", &csv, &gzip(&[b"%PDF-1.7\n".as_slice(), &[b'x'; 1000]].concat()));
        assert_eq!(inside, (ErrorType::FormatError, "file-type".into(), Some(1)));
        let twice = error("a.csv.gz", &csv, &gzip(&gzip(b"id\n1\n")));
        assert_eq!(twice, (ErrorType::FormatError, "file-type".into(), Some(1)));
    }

    #[test]
    fn a_dataset_that_opens_nothing_refuses_what_is_packed_and_an_opaque_one_takes_it() {
        let closed = Rules::of(Format::Csv, 2048);
        assert_eq!(error("a.csv.gz", &closed, &gzip(b"id\n")).1, "file-type");
        assert_eq!(outcome_of("a.csv.gz", &Rules::of(Format::Opaque, 2048), b"\x1f\x8bnonsense").report.errors, 0);
    }

    #[test]
    fn bytes_after_a_fault_are_counted_and_do_no_more() {
        let mut check = begin(&rules(Format::Csv));
        let mut fault = None;
        for _ in 0..100 {
            fault = check.push(b"%PDF-1.7 padding to make this a head").err().or(fault);
        }
        assert_eq!(check.size.seen, 3600);
        let report = check.finish().report;
        assert_eq!((report.errors, report.first[0].message.clone()), (1, fault.unwrap().0));
    }
}
