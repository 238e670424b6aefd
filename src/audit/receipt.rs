//! Receipts: what a provider can show for an upload, accepted or rejected.

use serde::{Deserialize, Serialize};

use crate::types::{AccountName, DatasetName, FileName, Fingerprint, OrgId, Sha256, Timestamp, UploadId};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Accepted,
    Rejected,
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
    /// Remarks that do not stop it from loading.
    pub flags: Vec<String>,
}
