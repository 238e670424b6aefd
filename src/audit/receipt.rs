//! Receipts: what a provider can show for an upload, accepted or rejected; their text, their JSON and their file names.
//!
//! Must never say more than the ledger recorded. Made by `intake` and completed by `ledger`; shown by `sftp` under
//! /receipts, by `queue` in manifests and by `cli`.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::canonical;
use crate::check::Report;
use crate::types::{
    AccountName, DatasetName, FILE_NAME_MAX, FileName, Fingerprint, Invalid, OrgId, Sha256, Timestamp, UploadId,
    deceives,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Accepted,
    Rejected,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Accepted => "accepted",
            Verdict::Rejected => "rejected",
        }
    }

    /// What the file is called: a receipt for what was accepted, a report for what was not.
    fn noun(self) -> &'static str {
        match self {
            Verdict::Accepted => "receipt",
            Verdict::Rejected => "report",
        }
    }
}

/// The two forms in which each receipt lies under /receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    Json,
    Text,
}

impl Form {
    pub const ALL: [Form; 2] = [Form::Json, Form::Text];

    fn extension(self) -> &'static str {
        match self {
            Form::Json => "json",
            Form::Text => "txt",
        }
    }
}

/// The proofs (c2sp.org/tlog-proof) that lie beside a receipt's two files: of its own event, and of its loading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProofFile {
    End,
    Loading,
}

impl ProofFile {
    pub const ALL: [ProofFile; 2] = [ProofFile::End, ProofFile::Loading];

    /// Behind the upload's id, with the dot.
    fn suffix(self) -> &'static str {
        match self {
            ProofFile::End => ".tlog-proof",
            ProofFile::Loading => ".loaded.tlog-proof",
        }
    }
}

/// The slip of the night safe. Field order is the order in the JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The gateway's name.
    pub gateway: String,
    pub upload: UploadId,
    pub verdict: Verdict,
    /// Why it was rejected, one sentence each; empty when accepted.
    pub reasons: Vec<String>,
    pub name: FileName,
    /// Bytes of plaintext received.
    pub size: u64,
    /// Of the plaintext; for a rejection of what was received.
    pub sha256: Sha256,
    /// When the ledger recorded it.
    pub time: Timestamp,
    pub organisation: OrgId,
    pub dataset: DatasetName,
    pub account: AccountName,
    pub fingerprint: Fingerprint,
    /// The accepted upload of the same name that this one takes the place of.
    pub supersedes: Option<UploadId>,
    /// What the check found: counts, errors, remarks.
    pub report: Report,
    /// What the malware scanner said; none when the dataset asks for no scan, or it was rejected before the scan ended.
    pub scan: Option<ScanVerdict>,
    /// A rejected upload whose sealed bytes are kept for the operator.
    pub quarantined: bool,
}

/// A malware scanner's verdict on all bytes of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanVerdict {
    pub engine: String,
    pub signatures: String,
    /// Name of the signature that matched; none is clean.
    pub found: Option<String>,
}

impl ScanVerdict {
    /// `clean (ClamAV 1.4.3, signatures 27400 Mon Nov 17 09:26:00 2026)`
    fn sentence(&self) -> String {
        let verdict = self.found.as_ref().map_or("clean".to_owned(), |found| format!("malware found: {found}"));
        format!("{verdict} ({}, signatures {})", self.engine, self.signatures)
    }
}

/// Sentences of the report that [`Receipt::reasons`] has at most.
pub const REASONS: usize = 20;
/// Kinds of errors that the text lists; the JSON has the rest.
const ERRORS_LISTED: usize = 200;
/// Kinds of remarks that it lists.
const REMARKS_LISTED: usize = 50;
/// Reasons in a status, and bytes of it: clients print it on one line.
const STATUS_REASONS: usize = 3;
const STATUS_BYTES: usize = 700;

/// Length of an id in a file name: a UUID, hyphenated.
const ID_LENGTH: usize = 36;

impl Receipt {
    /// The contents of the file in that form.
    pub fn file(&self, form: Form) -> String {
        match form {
            Form::Json => self.json(),
            Form::Text => self.text(),
        }
    }

    /// The report's canonical JSON.
    ///
    /// # Errors
    /// A count is beyond 2^53 - 1.
    pub fn report_text(&self) -> Result<String, Invalid> {
        let report = serde_json::to_value(&self.report).map_err(|error| Invalid(error.to_string()))?;
        canonical::to_string(&report)
    }

    /// SHA-256 of the report's canonical JSON: the proof of a receipt holds the report by it.
    ///
    /// # Errors
    /// A count is beyond 2^53 - 1.
    pub fn report_digest(&self) -> Result<Sha256, Invalid> {
        Ok(Sha256::of(self.report_text()?.as_bytes()))
    }

    /// Indented JSON in the order of the fields, ending in a line end.
    pub fn json(&self) -> String {
        // Every field is text, a number or a list of text: that always has a JSON form.
        serde_json::to_string_pretty(self).map(|json| json + "\n").unwrap_or_default()
    }

    /// Plain text for a person: a title, aligned `Name:  value` lines, and one sentence that says what it means.
    pub fn text(&self) -> String {
        let mut lines = vec![
            ("Upload", self.upload.to_string()),
            ("File", self.name.to_string()),
            ("Size", format!("{} {}", grouped(self.size), if self.size == 1 { "byte" } else { "bytes" })),
            ("SHA-256", self.sha256.to_string()),
            ("Recorded", self.time.to_string()),
            ("Organisation", self.organisation.to_string()),
            ("Dataset", self.dataset.to_string()),
            ("Account", self.account.to_string()),
            ("Key", self.fingerprint.to_string()),
            ("Gateway", self.gateway.clone()),
            ("Verdict", self.verdict.as_str().to_owned()),
        ];
        lines.extend(self.supersedes.map(|earlier| ("Supersedes", earlier.to_string())));
        lines.extend(self.report.rows.map(|rows| ("Rows", grouped(rows))));
        if self.report.restricted > 0 {
            let rows = grouped(self.report.restricted);
            lines.push(("Restricted", format!("{rows} rows, whose subjects objected or did not consent")));
        }
        lines.extend(self.scan.as_ref().map(|scan| ("Scan", scan.sentence())));
        let flags = &self.report.flags;
        lines.extend(flags.iter().take(REMARKS_LISTED).map(|flag| ("Remark", flag.sentence())));
        if let Some(more) = flags.len().checked_sub(REMARKS_LISTED).filter(|more| *more > 0) {
            lines.push(("Remark", format!("and {more} more kinds of remarks")));
        }
        if self.report.errors > 0 {
            lines.push(("Errors", grouped(self.report.errors)));
        }
        lines.extend(self.further_reasons().map(|reason| ("Reason", reason.clone())));

        let title = match self.verdict {
            Verdict::Accepted => "Receipt of an accepted upload",
            Verdict::Rejected => "Report on a rejected upload",
        };
        let mut text = format!("{title}\n\n");
        for (name, value) in lines {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:<15}{}", format!("{name}:"), one_line(&value));
        }
        self.list_errors(&mut text);
        text.push('\n');
        text.push_str(self.meaning());
        text.push('\n');
        text
    }

    /// Reasons that are not the sentence of one of the report's errors: those are listed by themselves.
    fn further_reasons(&self) -> impl Iterator<Item = &String> {
        let listed = if self.report.groups.is_empty() { Vec::new() } else { self.report.reasons(REASONS) };
        self.reasons.iter().filter(move |reason| !listed.contains(reason))
    }

    fn list_errors(&self, text: &mut String) {
        let groups = &self.report.groups;
        if groups.is_empty() {
            return;
        }
        text.push_str("\nWhat is wrong:\n");
        for group in groups.iter().take(ERRORS_LISTED) {
            let _ = writeln!(text, "- {}", one_line(&group.sentence()));
        }
        if let Some(more) = groups.len().checked_sub(ERRORS_LISTED).filter(|more| *more > 0) {
            let _ = writeln!(text, "and {more} more kinds of errors: see the .json beside this file");
        }
        if !self.report.complete {
            text.push_str("The check ended there: what follows in the file was not looked at.\n");
        }
    }

    fn meaning(&self) -> &'static str {
        match (self.verdict, self.quarantined) {
            (Verdict::Accepted, _) => {
                "This file was received whole, sealed, recorded and queued for loading: you need do nothing more."
            }
            (Verdict::Rejected, false) => {
                "This file was not accepted and nothing of it was kept: mend what the reasons name and send it again."
            }
            (Verdict::Rejected, true) => {
                "This file was not accepted and will not be loaded. What was received of it is kept for a while, sealed, \
                 for the data team alone to look at. Mend what the reasons name and send it again."
            }
        }
    }

    /// What the client is told in its session: the first reasons, how many more there are, and where to read them.
    /// One line, at most 700 bytes.
    pub fn status(&self) -> String {
        let shown: Vec<&str> = self.reasons.iter().take(STATUS_REASONS).map(String::as_str).collect();
        let mut text = one_line(&shown.join("; "));
        // One reason may stand for several groups; past their bound only the groups tell how many there are.
        let all = if self.reasons.len() < REASONS { 0 } else { self.report.groups.len() };
        let more = self.reasons.len().max(all) - shown.len();
        let in_rows = self.report.groups.iter().any(|group| !group.rows.is_empty());
        if more == 0 && !in_rows && text.len() <= STATUS_BYTES {
            return text;
        }
        let report = self.file_name(Form::Text);
        let tail = match more {
            0 => format!("; see /receipts/{report}"),
            more => format!(" ... and {more} more; see /receipts/{report}"),
        };
        let room = STATUS_BYTES - tail.len();
        if text.len() > room {
            let mut end = room - "...".len();
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push_str("...");
        }
        text + &tail
    }

    /// The receipt's name under /receipts in that form: `<name>.<upload>.receipt.json`, or `.report.` for a rejection.
    /// The upload's name is cut, at a character's boundary, so that the whole has at most 255 bytes.
    pub fn file_name(&self, form: Form) -> String {
        self.named(&format!(".{}.{}.{}", self.upload, self.verdict.noun(), form.extension()))
    }

    /// The name of a proof under /receipts: `<name>.<upload>.tlog-proof`, or `.loaded.tlog-proof` for that of its loading.
    pub fn proof_name(&self, of: ProofFile) -> String {
        self.named(&format!(".{}{}", self.upload, of.suffix()))
    }

    fn named(&self, tail: &str) -> String {
        let name = self.name.as_str();
        let mut kept = name.len().min(FILE_NAME_MAX - tail.len());
        while !name.is_char_boundary(kept) {
            kept -= 1;
        }
        format!("{}{tail}", &name[..kept])
    }

    /// Both names under /receipts.
    pub fn file_names(&self) -> [(Form, String); 2] {
        Form::ALL.map(|form| (form, self.file_name(form)))
    }

    /// Reads a name under /receipts. Whoever looks the upload up must compare `file_name` of what was found with the
    /// whole name: the part before the id is not judged here.
    pub fn parse_file_name(name: &str) -> Option<(UploadId, Verdict, Form)> {
        let (rest, form) = strip(name, Form::ALL.map(|form| (form, form.extension())))?;
        let (rest, verdict) = strip(rest, [Verdict::Accepted, Verdict::Rejected].map(|v| (v, v.noun())))?;
        Some((upload_at_end(rest)?, verdict, form))
    }

    /// Reads a name of a proof under /receipts; as with [`Receipt::parse_file_name`], the whole name must be compared.
    pub fn parse_proof_name(name: &str) -> Option<(UploadId, ProofFile)> {
        // The longer suffix ends in the shorter.
        let loading = name.strip_suffix(ProofFile::Loading.suffix()).map(|rest| (rest, ProofFile::Loading));
        let (rest, of) = match loading {
            Some(found) => found,
            None => (name.strip_suffix(ProofFile::End.suffix())?, ProofFile::End),
        };
        Some((upload_at_end(rest)?, of))
    }
}

/// The id that `text` ends in, behind at least one character of a name and a dot.
fn upload_at_end(text: &str) -> Option<UploadId> {
    let start = text.len().checked_sub(ID_LENGTH)?;
    let upload = text.get(start..)?.parse().ok()?;
    text.get(..start)?.strip_suffix('.').filter(|name| !name.is_empty())?;
    Some(upload)
}

/// Takes `.word` off the end of `text`, for the first of the words that is there.
fn strip<'t, T>(text: &'t str, words: [(T, &str); 2]) -> Option<(&'t str, T)> {
    words.into_iter().find_map(|(value, word)| Some((text.strip_suffix(word)?.strip_suffix('.')?, value)))
}

/// 1234567 as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A value cannot forge a further line of the text, nor reorder it.
fn one_line(value: &str) -> String {
    value.chars().map(|c| if c.is_control() || deceives(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{ErrorType, Group};

    fn receipt(name: &str, verdict: Verdict) -> Receipt {
        Receipt {
            gateway: "sftp.example.org".into(),
            upload: "01930e3a-4b5c-7d6e-8f70-8192a3b4c5d6".parse().unwrap(),
            verdict,
            reasons: Vec::new(),
            name: name.parse().unwrap(),
            size: 1_234_567,
            sha256: Sha256([7; 32]),
            time: "2025-03-01T02:03:04.5Z".parse().unwrap(),
            organisation: "harbour".parse().unwrap(),
            dataset: "ims-interventions".parse().unwrap(),
            account: "harbour-nightly".parse().unwrap(),
            fingerprint: Fingerprint("SHA256:abc".into()),
            supersedes: None,
            report: Report::default(),
            scan: None,
            quarantined: false,
        }
    }

    #[test]
    fn the_text_of_a_receipt_is_aligned_and_ends_in_its_meaning() {
        let text = receipt("HSS0001_2025-02.csv", Verdict::Accepted).text();
        assert!(text.starts_with("Receipt of an accepted upload\n\nUpload:        01930e3a-"), "{text}");
        assert!(text.contains("\nSize:          1,234,567 bytes\n"), "{text}");
        assert!(text.contains("\nRecorded:      2025-03-01T02:03:04.5Z\n"), "{text}");
        assert!(text.ends_with("you need do nothing more.\n"), "{text}");
        assert!(!text.contains("Reason:") && !text.contains("Supersedes:"));
    }

    #[test]
    fn a_report_tells_every_reason_on_a_line_of_its_own_and_none_can_forge_one() {
        let mut report = receipt("x.csv", Verdict::Rejected);
        report.reasons = vec!["The file is empty.".into(), "Bad\nVerdict: accepted\u{202E}".into()];
        let text = report.text();
        assert!(
            text.contains("\nReason:        The file is empty.\nReason:        Bad Verdict: accepted \n"),
            "{text}"
        );
        assert_eq!(text.lines().filter(|line| line.starts_with("Verdict:")).count(), 1);
    }

    #[test]
    fn a_report_lists_its_errors_and_says_when_there_are_more() {
        let mut receipt = receipt("x.csv", Verdict::Rejected);
        for column in 1..=300 {
            receipt.report.errors += 2;
            let rows = vec![4, 9];
            let (kind, field) = (ErrorType::TypeError, Some(format!("Field {column}")));
            let message = "is not a date".to_owned();
            receipt.report.groups.push(Group {
                kind,
                rule: "date".into(),
                field,
                column: Some(column),
                count: 2,
                rows,
                message,
            });
        }
        receipt.reasons = receipt.report.reasons(REASONS);
        let text = receipt.text();
        assert!(text.contains("\nErrors:        600\n") && !text.contains("Reason:"), "{text}");
        assert!(text.contains("\n- row 4, \"Field 200\": is not a date (2 rows: 4, 9)\nand 100 more"));
        assert!(text.contains("what follows in the file was not looked at.\n\nThis file was not accepted"), "{text}");

        let status = receipt.status();
        let tail = format!(
            "Field 3\": is not a date (2 rows: 4, 9) ... and 297 more; see /receipts/{}",
            receipt.file_name(Form::Text)
        );
        assert!(status.starts_with("row 4, \"Field 1\"") && status.ends_with(&tail), "{status}");

        // Cells that are missing side by side are groups of one sentence: nothing more is promised than the report has.
        receipt.reasons = vec!["row 4: 300 cells are missing".into()];
        let tail = format!("row 4: 300 cells are missing; see /receipts/{}", receipt.file_name(Form::Text));
        assert_eq!(receipt.status(), tail);
    }

    #[test]
    fn a_status_is_one_short_line_whatever_the_reasons() {
        let mut receipt = receipt(&"é".repeat(127), Verdict::Rejected);
        receipt.reasons = vec!["The file is empty.".into()];
        assert_eq!(receipt.status(), "The file is empty.");
        receipt.reasons = vec!["ä\n".repeat(400), "b".repeat(400), "c".into(), "d".into()];
        let status = receipt.status();
        assert!(status.len() <= STATUS_BYTES && !status.contains('\n'), "{status}");
        assert!(status.contains("... ... and 1 more; see /receipts/"), "{status}");
    }

    #[test]
    fn remarks_the_scan_and_restricted_rows_are_told() {
        let mut receipt = receipt("x.csv", Verdict::Accepted);
        receipt.report.rows = Some(12_345);
        receipt.report.restricted = 7;
        receipt.report.remark(ErrorType::HashCount, "repeated", "the same bytes were accepted before".into());
        let (engine, signatures) = ("ClamAV 1.4.3".into(), "27400 Mon Nov 17 09:26:00 2026".into());
        receipt.scan = Some(ScanVerdict { engine, signatures, found: None });
        let text = receipt.text();
        for line in [
            "Rows:          12,345",
            "Restricted:    7 rows, whose subjects objected or did not consent",
            "Scan:          clean (ClamAV 1.4.3, signatures 27400 Mon Nov 17 09:26:00 2026)",
            "Remark:        the same bytes were accepted before",
        ] {
            assert!(text.contains(&format!("\n{line}\n")), "{line}: {text}");
        }
    }

    #[test]
    fn a_quarantined_upload_is_said_to_be_kept() {
        let mut receipt = receipt("x.csv", Verdict::Rejected);
        assert!(receipt.text().contains("nothing of it was kept"));
        receipt.quarantined = true;
        assert!(receipt.text().contains("is kept for a while, sealed") && !receipt.text().contains("nothing of it"));
    }

    #[test]
    fn json_reads_back_as_the_same_receipt() {
        let receipt = receipt("ünïcode name.csv", Verdict::Accepted);
        let json = receipt.json();
        assert!(json.ends_with("}\n") && json.starts_with("{\n  \"gateway\""));
        assert_eq!(serde_json::from_str::<Receipt>(&json).unwrap(), receipt);
    }

    #[test]
    fn file_names_read_back_in_every_form_and_verdict() {
        for verdict in [Verdict::Accepted, Verdict::Rejected] {
            let receipt = receipt("a.receipt.json", verdict);
            for (form, name) in receipt.file_names() {
                assert_eq!(Receipt::parse_file_name(&name), Some((receipt.upload, verdict, form)), "{name}");
            }
        }
        assert_eq!(
            receipt("x.csv", Verdict::Rejected).file_name(Form::Text),
            "x.csv.01930e3a-4b5c-7d6e-8f70-8192a3b4c5d6.report.txt"
        );
    }

    #[test]
    fn names_of_proofs_read_back_and_fit() {
        for name in ["x.csv".to_owned(), "a.loaded".into(), "é".repeat(127)] {
            let receipt = receipt(&name, Verdict::Accepted);
            for of in ProofFile::ALL {
                let name = receipt.proof_name(of);
                assert!(name.len() <= FILE_NAME_MAX, "{name}");
                assert_eq!(Receipt::parse_proof_name(&name), Some((receipt.upload, of)), "{name}");
                assert_eq!(Receipt::parse_file_name(&name), None);
            }
        }
        let id = "01930e3a-4b5c-7d6e-8f70-8192a3b4c5d6";
        for name in [format!("{id}.tlog-proof"), format!("x.{id}.tlog-proofs"), format!("x.{id}.loaded"), String::new()]
        {
            assert_eq!(Receipt::parse_proof_name(&name), None, "{name}");
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters_and_never_past_255_bytes() {
        for name in ["é".repeat(127), "x".repeat(255), format!("x{}", "漢".repeat(84))] {
            let receipt = receipt(&name, Verdict::Accepted);
            for (form, name) in receipt.file_names() {
                assert!(name.len() <= 255 && name.len() > 250, "{}", name.len());
                assert!(name.parse::<FileName>().is_ok());
                assert_eq!(Receipt::parse_file_name(&name), Some((receipt.upload, Verdict::Accepted, form)));
            }
        }
    }

    #[test]
    fn other_names_are_no_receipts() {
        let id = "01930e3a-4b5c-7d6e-8f70-8192a3b4c5d6";
        for name in [
            String::new(),
            "receipt.json".into(),
            format!("{id}.receipt.json"),
            format!(".{id}.receipt.json"),
            format!("x.{id}.receipt.xml"),
            format!("x.{id}.json"),
            format!("x.{}.receipt.json", id.to_uppercase()),
            format!("x{id}.receipt.txt"),
            format!("é{}.receipt.txt", &id[1..]),
        ] {
            assert_eq!(Receipt::parse_file_name(&name), None, "{name}");
        }
    }
}
