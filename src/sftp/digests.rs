//! Digests of what an account sees: recorded with the upload, never computed from it again (no key here opens it).
//!
//! Must never tell one that the organisation's `digests` do not name, nor one of another organisation. Called by
//! `extensions` (check-file) and `commands` (sha256sum).

use ring::digest;

use super::provider::{self, Found};
use super::reads::Source;
use super::shared::{Shared, ledger_failed};
use super::tree::{self, Node, missing};
use crate::types::{DigestKind, Refusal};

/// # Errors
/// The organisation's clients may not compare by it.
pub(super) fn allowed(shared: &Shared, kind: DigestKind) -> Result<(), Refusal> {
    let config = shared.config();
    let allowed = &provider::org(&config, shared)?.digests;
    if allowed.contains(&kind) {
        return Ok(());
    }
    let others: Vec<_> = allowed.iter().map(|kind| kind.title()).collect();
    let instead = match others.is_empty() {
        true => "receipts have the SHA-256 of each upload".to_owned(),
        false => format!("use {}", others.join(" or ")),
    };
    Err(Refusal::unsupported(format!("{} is not offered to your organisation: {instead}", kind.title())))
}

/// The digest in hex of the file at a node: of an upload as it was recorded, of a file made here as it reads now.
///
/// # Errors
/// Nothing is there, or its digest is not known.
pub(super) async fn of(shared: &Shared, node: &Node, kind: DigestKind) -> Result<String, Refusal> {
    let spot = match node {
        Node::Provider(provider::Node::Upload(spot)) => spot,
        Node::Provider(_) => {
            let file = tree::read(shared, node).await?;
            return of_source(&file.source, kind);
        }
        Node::Loader(_) => {
            return Err(Refusal::unsupported("a delivery's digests stand in its manifest.json"));
        }
    };
    let recorded = match provider::find(shared, spot).await?.ok_or_else(missing)? {
        Found::Draft(draft) => draft.digests.ok_or_else(|| {
            Refusal::rejected(format!("{:?} is not complete: its digests are known when it is", spot.name.as_str()))
        })?,
        Found::Accepted(listed) => {
            let digests = shared.services.ledger.digests(shared.principal.org(), listed.upload).await;
            digests.map_err(ledger_failed)?.ok_or_else(missing)?
        }
    };
    recorded.hex(kind).ok_or_else(|| {
        Refusal::rejected(format!(
            "the {} of {:?} was not recorded when it came: its receipt has the SHA-256",
            kind.title(),
            spot.name.as_str()
        ))
    })
}

/// # Errors
/// What is not held in memory: a delivery's object.
pub(super) fn of_source(source: &Source, kind: DigestKind) -> Result<String, Refusal> {
    match source {
        Source::Bytes(bytes) => Ok(of_bytes(bytes, kind)),
        Source::Object(_) => Err(Refusal::unsupported("a delivery's digests stand in its manifest.json")),
    }
}

/// In hex.
pub(super) fn of_bytes(bytes: &[u8], kind: DigestKind) -> String {
    let hex = |algorithm| data_encoding::HEXLOWER.encode(digest::digest(algorithm, bytes).as_ref());
    match kind {
        DigestKind::Sha256 => hex(&digest::SHA256),
        DigestKind::Sha1 => hex(&digest::SHA1_FOR_LEGACY_USE_ONLY),
        DigestKind::Md5 => format!("{:x}", md5::compute(bytes)),
    }
}
