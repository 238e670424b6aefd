//! The queue's verbs, as a loader speaks them: claim, extend, ack, nack. One JSON line for each answer.
//!
//! Must never take an answer that is not whole: a field that is missing or malformed is an error, not a guess. Called by
//! `link` and `run`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::gateway::{Answer, Gateway, GatewayError};
use crate::types::{
    AccountName, DatasetName, DeliveryId, FileName, Fingerprint, LeaseId, OrgId, Sha256, Timestamp, UploadId,
};

/// How long any verb but a waiting claim may take to be answered.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of a reason that are sent; the gateway keeps it with the delivery.
const REASON_MAX: usize = 800;

/// What a delivery is, as the gateway tells it. The same in each attempt.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Manifest {
    pub delivery: DeliveryId,
    pub upload: UploadId,
    pub organisation: OrgId,
    pub dataset: DatasetName,
    pub name: FileName,
    /// Bytes of plaintext.
    pub size: u64,
    /// Of the plaintext.
    pub sha256: Sha256,
    /// Bytes of the sealed object.
    pub sealed_size: u64,
    pub received: Timestamp,
    /// The provider's account that sent it.
    pub account: AccountName,
    pub fingerprint: Fingerprint,
    pub gateway: String,
    #[serde(default)]
    pub supersedes: Option<UploadId>,
    /// Records after the header, where the gateway counted them.
    #[serde(default)]
    pub rows: Option<u64>,
    /// Rows that must not be loaded like the others: [`Claimed::restricted_rows`] names them.
    #[serde(default)]
    pub restricted: u64,
    /// Kinds of remarks.
    #[serde(default)]
    pub flags: Vec<String>,
}

/// A delivery that is ours until its lease runs out.
#[derive(Debug, Clone)]
pub struct Claimed {
    pub manifest: Manifest,
    /// The manifest's JSON as the gateway gave it, with the receipt and with fields that this program does not know.
    pub document: Value,
    pub lease: LeaseId,
    pub lease_expires: Timestamp,
    pub attempt: u32,
    /// Path of the sealed object in the gateway's SFTP tree.
    pub object: String,
    /// Path of the list of restricted rows; none when there are none.
    pub restricted_rows: Option<String>,
    /// Path of the proof that it stands in the gateway's log; none from a gateway that has no such log.
    pub proof: Option<String>,
}

#[derive(Deserialize)]
struct ClaimLine {
    lease: LeaseId,
    lease_expires: Timestamp,
    attempt: u32,
    object: String,
    #[serde(default)]
    restricted_rows: Option<String>,
    #[serde(default)]
    proof: Option<String>,
    #[serde(flatten)]
    manifest: Manifest,
}

/// What a claim asks for.
#[derive(Debug, Clone)]
pub struct Request {
    pub orgs: Vec<OrgId>,
    pub datasets: Vec<DatasetName>,
    pub lease: Duration,
    /// How long the gateway may hold the answer until there is work; none answers at once.
    pub wait: Option<Duration>,
}

/// Why a verb did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum VerbError {
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The gateway understood and declined (exit status 1), in its words.
    #[error("{0}")]
    No(String),
    /// The gateway did not understand the command (exit status 2).
    #[error("the gateway did not take the command: {0}")]
    Usage(String),
    /// The gateway failed (exit status 3), or its answer makes no sense.
    #[error("the gateway failed: {0}")]
    Failed(String),
}

/// Claims at most one delivery.
pub async fn claim(gateway: &Gateway, request: &Request) -> Result<Option<Claimed>, VerbError> {
    let patience = PATIENCE + request.wait.unwrap_or_default();
    let answer = gateway.exec(&request.command(), patience).await?;
    // A bare "no" without a word is a way to say that there is nothing.
    if answer.status == Some(1) && answer.lines.is_empty() && answer.stderr.is_empty() {
        return Ok(None);
    }
    judge(&answer)?;
    match answer.lines.iter().find(|line| !line.trim().is_empty()) {
        None => Ok(None),
        Some(line) => Claimed::parse(line).map(Some).map_err(VerbError::Failed),
    }
}

/// Extends a lease; returns its new end by the gateway's clock.
pub async fn extend(gateway: &Gateway, claimed: &Claimed, by: Duration) -> Result<Timestamp, VerbError> {
    #[derive(Deserialize)]
    struct Line {
        lease_expires: Timestamp,
    }
    let command = format!("extend {} --lease {} --for {}s", claimed.manifest.delivery, claimed.lease, by.as_secs());
    let answer = gateway.exec(&command, PATIENCE).await?;
    judge(&answer)?;
    Ok(answered::<Line>(&answer)?.lease_expires)
}

/// Acknowledges; saying it again under the same lease is fine.
pub async fn acknowledge(gateway: &Gateway, claimed: &Claimed) -> Result<(), VerbError> {
    let command = format!("ack {} --lease {}", claimed.manifest.delivery, claimed.lease);
    judge(&gateway.exec(&command, PATIENCE).await?)
}

/// Gives a delivery back; returns whether the gateway gave it up (dead letters).
pub async fn give_back(gateway: &Gateway, claimed: &Claimed, reason: &str) -> Result<bool, VerbError> {
    #[derive(Deserialize)]
    struct Line {
        state: String,
    }
    let reason = one_line(reason, REASON_MAX);
    let command = format!("nack {} --lease {} --reason {reason}", claimed.manifest.delivery, claimed.lease);
    let answer = gateway.exec(&command, PATIENCE).await?;
    judge(&answer)?;
    Ok(answered::<Line>(&answer)?.state == "dead")
}

impl Request {
    fn command(&self) -> String {
        let mut command = format!("claim --max 1 --lease {}s", self.lease.as_secs());
        for org in &self.orgs {
            command.push_str(&format!(" --org {org}"));
        }
        for dataset in &self.datasets {
            command.push_str(&format!(" --dataset {dataset}"));
        }
        if let Some(wait) = self.wait {
            command.push_str(&format!(" --wait {}s", wait.as_secs()));
        }
        command
    }
}

impl Claimed {
    /// Parses one line of a claim's answer.
    ///
    /// # Errors
    /// Says which field is missing or malformed.
    pub fn parse(line: &str) -> Result<Self, String> {
        let unclear = |e: serde_json::Error| format!("its claim is not what this program understands: {e}");
        let mut document: Value = serde_json::from_str(line).map_err(unclear)?;
        let ClaimLine { lease, lease_expires, attempt, object, restricted_rows, proof, manifest } =
            ClaimLine::deserialize(&document).map_err(unclear)?;
        if let Value::Object(fields) = &mut document {
            // What differs from attempt to attempt is the claim's, not the manifest's.
            for field in ["lease", "lease_expires", "attempt", "manifest", "object", "restricted_rows", "proof"] {
                fields.remove(field);
            }
        }
        Ok(Self { manifest, document, lease, lease_expires, attempt, object, restricted_rows, proof })
    }

    /// The manifest as a file: JSON for programs and eyes, ending in a line end. The same in each attempt.
    pub fn manifest_file(&self) -> String {
        format!("{:#}\n", self.document)
    }
}

fn judge(answer: &Answer) -> Result<(), VerbError> {
    let said = || {
        #[derive(Deserialize)]
        struct Line {
            error: String,
        }
        let said = answer.stderr.lines().find_map(|line| serde_json::from_str::<Line>(line).ok());
        let said = said.map_or_else(|| answer.stderr.clone(), |line| line.error);
        if said.is_empty() { "no reason given".to_owned() } else { one_line(&said, REASON_MAX) }
    };
    match answer.status {
        Some(0) => Ok(()),
        Some(1) => Err(VerbError::No(said())),
        Some(2) => Err(VerbError::Usage(said())),
        Some(_) => Err(VerbError::Failed(said())),
        None => Err(VerbError::Failed(format!("the command ended without a status: {}", said()))),
    }
}

fn answered<'a, T: Deserialize<'a>>(answer: &'a Answer) -> Result<T, VerbError> {
    let line = answer.lines.first().map(String::as_str).unwrap_or_default();
    serde_json::from_str(line).map_err(|e| VerbError::Failed(format!("its answer {line:?} makes no sense: {e}")))
}

/// One line without control characters, at most `max` bytes: fit for a command line and for a log.
pub fn one_line(text: &str, max: usize) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > max {
            let cut = (0..=max.saturating_sub(3)).rev().find(|&at| line.is_char_boundary(at)).unwrap_or(0);
            line.truncate(cut);
            line.push_str("...");
            break;
        }
    }
    line
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A claim's line for a delivery of these facts.
    pub fn claim_line(name: &str, size: u64, sha256: Sha256, sealed_size: u64) -> String {
        let delivery = "0197f6a0-0000-7000-8000-000000000001";
        serde_json::json!({
            "delivery": delivery, "upload": "0197f6a0-0000-7000-8000-000000000002",
            "lease": "0197f6a0-0000-7000-8000-000000000003", "lease_expires": "2025-07-10T12:15:00Z", "attempt": 2,
            "manifest": format!("/queue/{delivery}/manifest.json"), "object": format!("/queue/{delivery}/object.age"),
            "organisation": "harbour", "dataset": "ims-interventions", "name": name, "size": size, "sha256": sha256,
            "sealed_size": sealed_size, "received": "2025-07-10T12:00:00Z", "account": "harbour-nightly",
            "fingerprint": "SHA256:abc", "gateway": "sftp.example.org", "supersedes": null, "flags": ["late"],
            "receipt": {"verdict": "accepted"}, "rows": 12
        })
        .to_string()
    }

    fn answer(status: u32, stdout: &str, stderr: &str) -> Answer {
        Answer { lines: stdout.lines().map(str::to_owned).collect(), stderr: stderr.into(), status: Some(status) }
    }

    #[test]
    fn a_claim_keeps_unknown_fields_in_the_manifest_and_drops_the_lease() {
        let claimed = Claimed::parse(&claim_line("a.csv", 3, Sha256([7; 32]), 219)).unwrap();
        assert_eq!(claimed.attempt, 2);
        assert_eq!(claimed.manifest.size, 3);
        let file = claimed.manifest_file();
        assert!(file.contains("\"rows\": 12") && file.contains("\"receipt\"") && file.ends_with("}\n"), "{file}");
        assert!(!file.contains("lease") && !file.contains("attempt"), "{file}");
    }

    #[test]
    fn a_claim_with_a_name_that_is_a_path_is_refused() {
        for name in ["../x", "a/b", "..", ""] {
            assert!(Claimed::parse(&claim_line(name, 3, Sha256([7; 32]), 219)).is_err(), "{name:?}");
        }
        assert!(Claimed::parse("{}").unwrap_err().contains("missing field"));
        assert!(Claimed::parse("not json").is_err());
    }

    #[test]
    fn a_refusal_carries_the_gateways_own_words() {
        let error = judge(&answer(1, "", "{\"error\":\"this lease is over\",\"delivery\":\"x\"}")).unwrap_err();
        assert!(matches!(&error, VerbError::No(said) if said == "this lease is over"));
        assert!(matches!(judge(&answer(2, "", "usage")), Err(VerbError::Usage(_))));
        assert!(matches!(judge(&answer(3, "", "disk")), Err(VerbError::Failed(_))));
        let none = Answer { lines: vec![], stderr: String::new(), status: None };
        assert!(matches!(judge(&none), Err(VerbError::Failed(_))));
    }

    #[test]
    fn a_claim_names_its_filters() {
        let request = Request {
            orgs: vec!["harbour".parse().unwrap()],
            datasets: vec!["ims".parse().unwrap()],
            lease: Duration::from_secs(900),
            wait: Some(Duration::from_secs(60)),
        };
        assert_eq!(request.command(), "claim --max 1 --lease 900s --org harbour --dataset ims --wait 60s");
    }

    #[test]
    fn a_reason_is_one_bounded_line() {
        assert_eq!(one_line("a\nb\tc\u{7} d", 100), "a b c d");
        let long = one_line(&"é".repeat(1000), 100);
        assert!(long.len() <= 100 && long.ends_with("..."), "{long}");
        let words = one_line(&"word ".repeat(1000), 100);
        assert!(words.len() <= 100, "{}", words.len());
    }
}
