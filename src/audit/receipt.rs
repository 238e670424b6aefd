//! Receipts: what a provider can show for an upload, accepted or rejected; their text, their JSON and their file names.
//!
//! Must never say more than the ledger recorded. Made by `intake` and completed by `ledger`; shown by `sftp` under
//! /receipts, by `queue` in manifests and by `cli`.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::check::Report;
use crate::types::{
    AccountName, DatasetName, FILE_NAME_MAX, FileName, Fingerprint, OrgId, Sha256, Timestamp, UploadId, deceives,
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
        lines.extend(self.report.flags.iter().map(|flag| ("Remark", flag.message.clone())));
        lines.extend(self.reasons.iter().map(|reason| ("Reason", reason.clone())));

        let (title, meaning) = match self.verdict {
            Verdict::Accepted => (
                "Receipt of an accepted upload",
                "This file was received whole, sealed, recorded and queued for loading: you need do nothing more.",
            ),
            Verdict::Rejected => (
                "Report on a rejected upload",
                "This file was not accepted and nothing of it was kept: mend what the reasons name and send it again.",
            ),
        };
        let mut text = format!("{title}\n\n");
        for (name, value) in lines {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:<15}{}", format!("{name}:"), one_line(&value));
        }
        text.push('\n');
        text.push_str(meaning);
        text.push('\n');
        text
    }

    /// The receipt's name under /receipts in that form: `<name>.<upload>.receipt.json`, or `.report.` for a rejection.
    /// The upload's name is cut, at a character's boundary, so that the whole has at most 255 bytes.
    pub fn file_name(&self, form: Form) -> String {
        let tail = format!(".{}.{}.{}", self.upload, self.verdict.noun(), form.extension());
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
        let start = rest.len().checked_sub(ID_LENGTH)?;
        let upload = rest.get(start..)?.parse().ok()?;
        // At least one character of the name, then the dot.
        rest.get(..start)?.strip_suffix('.').filter(|name| !name.is_empty())?;
        Some((upload, verdict, form))
    }
}

/// Takes `.word` off the end of `text`, for the first of the words that is there.
fn strip<'t, T>(text: &'t str, words: [(T, &str); 2]) -> Option<(&'t str, T)> {
    words.into_iter().find_map(|(value, word)| Some((text.strip_suffix(word)?.strip_suffix('.')?, value)))
}

/// 1234567 as `1,234,567`.
fn grouped(number: u64) -> String {
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
