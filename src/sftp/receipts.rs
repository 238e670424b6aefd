//! Receipts and reports as files: their names under /receipts/, and their two forms, JSON and plain text.
//!
//! Does no input or output. Called by `provider`.

use crate::audit::{Receipt, Verdict};
use crate::types::UploadId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Text,
}

const SUFFIXES: [(Verdict, Form, &str); 4] = [
    (Verdict::Accepted, Form::Json, ".receipt.json"),
    (Verdict::Accepted, Form::Text, ".receipt.txt"),
    (Verdict::Rejected, Form::Json, ".report.json"),
    (Verdict::Rejected, Form::Text, ".report.txt"),
];

/// Characters of an upload's id.
const ID: usize = 36;

/// What the name of a file under /receipts/ says: `<name>.<upload id>.receipt.json` and the like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReceiptName {
    pub upload: UploadId,
    pub form: Form,
    verdict: Verdict,
    /// The upload's name.
    name: String,
}

impl ReceiptName {
    pub fn parse(name: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(name).ok()?;
        SUFFIXES.iter().find_map(|&(verdict, form, suffix)| {
            let stem = name.strip_suffix(suffix)?;
            let at = stem.len().checked_sub(ID)?;
            let upload = stem.get(at..)?.parse().ok()?;
            let name = stem[..at].strip_suffix('.')?.to_owned();
            Some(Self { upload, form, verdict, name })
        })
    }

    /// Whether this is a name that `receipt` is listed under.
    pub fn is_of(&self, receipt: &Receipt) -> bool {
        self.upload == receipt.upload && self.verdict == receipt.verdict && self.name == receipt.name.as_str()
    }
}

/// The files that a receipt is listed as.
pub(super) fn files(receipt: &Receipt) -> impl Iterator<Item = (String, Form)> {
    SUFFIXES
        .iter()
        .filter(|(verdict, ..)| *verdict == receipt.verdict)
        .map(|(_, form, suffix)| (format!("{}.{}{suffix}", receipt.name, receipt.upload), *form))
}

/// A receipt as the bytes of a file.
pub(super) fn render(receipt: &Receipt, form: Form) -> String {
    match form {
        Form::Json => json(receipt),
        Form::Text => text(receipt),
    }
}

fn json(receipt: &Receipt) -> String {
    // Strings, numbers and lists of a struct of ours: there is nothing in it that JSON cannot say.
    let mut json = serde_json::to_string_pretty(receipt).unwrap_or_default();
    json.push('\n');
    json
}

fn text(receipt: &Receipt) -> String {
    let (title, verdict) = match receipt.verdict {
        Verdict::Accepted => ("Receipt", "accepted"),
        Verdict::Rejected => ("Report", "rejected"),
    };
    let mut text = format!(
        "{title} of {gateway}\n\n\
         Verdict       {verdict}\n\
         File          {name}\n\
         Size          {size} bytes\n\
         SHA-256       {sha256}\n\
         Time          {time}\n\
         Upload        {upload}\n\
         Organisation  {organisation}\n\
         Dataset       {dataset}\n\
         Account       {account}\n\
         Key           {fingerprint}\n",
        gateway = receipt.gateway,
        name = receipt.name,
        size = receipt.size,
        sha256 = receipt.sha256,
        time = receipt.time,
        upload = receipt.upload,
        organisation = receipt.organisation,
        dataset = receipt.dataset,
        account = receipt.account,
        fingerprint = receipt.fingerprint,
    );
    if let Some(earlier) = receipt.supersedes {
        text.push_str(&format!("Takes the place of upload {earlier}\n"));
    }
    for (heading, lines) in [("Why it was rejected", &receipt.reasons), ("Remarks", &receipt.flags)] {
        if !lines.is_empty() {
            text.push_str(&format!("\n{heading}:\n"));
            lines.iter().for_each(|line| text.push_str(&format!("  - {line}\n")));
        }
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::types::{Fingerprint, Sha256, Timestamp};

    pub(in crate::sftp) fn receipt(name: &str, verdict: Verdict) -> Receipt {
        let time: Timestamp = "2026-03-04T05:06:07Z".parse().unwrap();
        Receipt {
            gateway: "sftp.example.org".into(),
            upload: UploadId::new(time),
            verdict,
            reasons: if verdict == Verdict::Rejected { vec!["the file is empty".into()] } else { vec![] },
            name: name.parse().unwrap(),
            size: 12,
            sha256: Sha256([7; 32]),
            time,
            organisation: "harbour".parse().unwrap(),
            dataset: "ims-interventions".parse().unwrap(),
            account: "harbour-nightly".parse().unwrap(),
            fingerprint: Fingerprint("SHA256:abc".into()),
            supersedes: None,
            flags: vec![],
        }
    }

    #[test]
    fn each_listed_name_leads_back_to_its_receipt() {
        let long = format!("{}.csv", "n".repeat(251));
        for name in ["a.csv", "x.receipt.json", "ä.report.txt", long.as_str()] {
            for verdict in [Verdict::Accepted, Verdict::Rejected] {
                let receipt = receipt(name, verdict);
                let files: Vec<_> = files(&receipt).collect();
                assert_eq!(files.len(), 2);
                for (file, form) in files {
                    let parsed = ReceiptName::parse(file.as_bytes()).unwrap();
                    assert!(parsed.is_of(&receipt), "{file}");
                    assert_eq!(parsed.form, form);
                }
            }
        }
    }

    #[test]
    fn other_names_lead_to_no_receipt() {
        let accepted = receipt("a.csv", Verdict::Accepted);
        let id = accepted.upload;
        for name in [
            String::new(),
            ".receipt.json".into(),
            format!("{id}.receipt.json"),
            format!("a.csv.{id}"),
            format!("a.csv.{id}.receipt.xml"),
            format!("a.csv.{}.receipt.json", id.to_string().to_uppercase()),
            format!("ä{}.receipt.json", &id.to_string()[1..]),
        ] {
            assert_eq!(ReceiptName::parse(name.as_bytes()), None, "{name}");
        }
        for name in [format!("b.csv.{id}.receipt.json"), format!("a.csv.{id}.report.json")] {
            assert!(!ReceiptName::parse(name.as_bytes()).unwrap().is_of(&accepted), "{name}");
        }
        assert_eq!(ReceiptName::parse(b"\xff.receipt.json"), None);
    }

    #[test]
    fn the_text_tells_the_reasons_and_the_json_is_the_receipt() {
        let rejected = receipt("a.csv", Verdict::Rejected);
        assert!(render(&rejected, Form::Text).ends_with("Why it was rejected:\n  - the file is empty\n"));
        assert!(render(&rejected, Form::Text).starts_with("Report of sftp.example.org\n\nVerdict       rejected\n"));
        assert_eq!(serde_json::from_str::<Receipt>(&render(&rejected, Form::Json)).unwrap(), rejected);
    }
}
