//! Proof of an event: what this gateway's proofs carry besides (`extra`), and their verification, offline and without a
//! ledger.
//!
//! `extra` is canonical JSON: `leaf` (the entry's text), `private` and `salt` (its private part and what the commitment
//! was salted with; both, or neither once they are erased), `witnesses` (verifier keys of those who cosigned, so that
//! their lines can be told from damaged ones; whom to trust is the reader's to say). All that stands in a proof is
//! verified: a file with one bit changed is none. Does no input or output. Made by `sftp` and `cli`; verified by `cli` and
//! `loader`.

use serde::Deserialize;
use serde_json::Value;

use super::leaf::{self, Fields, Private};
use super::note::KeyKind;
use super::{Checkpoint, Event, Hash, Proof, VerifierKey, Wrong, canonical};
use crate::types::{Invalid, Timestamp};

/// The proof of an event. `leaf` and the private part's body are canonical JSON, as [`leaf::divide`] made them; `witnesses`
/// are the keys of those who cosigned the checkpoint.
pub fn proof(
    index: u64,
    leaf: &str,
    private: Option<&Private>,
    hashes: Vec<Hash>,
    checkpoint: &str,
    witnesses: &[VerifierKey],
) -> Proof {
    let keys: Vec<String> = witnesses.iter().map(VerifierKey::to_string).collect();
    let extra = extra(leaf, private, &keys).into_bytes();
    Proof { extra: Some(extra), index, hashes, checkpoint: checkpoint.to_owned() }
}

/// The extra data. Its parts are canonical, and their names in order, so the whole is.
fn extra(leaf: &str, private: Option<&Private>, witnesses: &[String]) -> String {
    let mut text = format!("{{\"leaf\":{}", Value::from(leaf));
    if let Some(Private { salt, body }) = private {
        text.push_str(&format!(",\"private\":{body},\"salt\":\"{}\"", data_encoding::HEXLOWER.encode(salt)));
    }
    if !witnesses.is_empty() {
        text.push_str(&format!(",\"witnesses\":{}", Value::from(witnesses)));
    }
    text.push('}');
    text
}

/// The extra data as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Carried {
    leaf: String,
    private: Option<Value>,
    salt: Option<String>,
    #[serde(default)]
    witnesses: Vec<String>,
}

/// What a proof says, once all of it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// The event's number in the log, from 1.
    pub sequence: u64,
    /// What happened. Without its private part it has what is public, and the account [`leaf::ERASED`].
    pub event: Event,
    /// The entry's public part, word for word as it stands in the log.
    pub leaf: String,
    /// The private part; none when the proof was made after it had been erased.
    pub private: Option<Private>,
    /// The tree that the entry is in.
    pub checkpoint: Checkpoint,
    /// Which of the keys signed it.
    pub key: VerifierKey,
    pub witnessed: Vec<Witnessed>,
}

/// A cosignature that fits its key and the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    pub key: VerifierKey,
    pub at: Timestamp,
    /// Whether the reader named this key. Of another, anybody could have made it.
    pub trusted: bool,
}

/// Verifies a proof file against the log's keys: the present one, or one of former keys. Cosignatures are verified too,
/// those of `witnesses` as trusted ones; how many of them are enough is for the caller to say.
///
/// # Errors
/// Says what does not hold, in words for who holds the file.
pub fn verify(file: &[u8], keys: &[VerifierKey], witnesses: &[VerifierKey]) -> Result<Verified, Wrong> {
    let text = std::str::from_utf8(file).map_err(|_| Wrong("the proof is not text (UTF-8)".into()))?;
    let proof: Proof = text.parse().map_err(wrong)?;
    let extra = proof.extra.as_deref().ok_or_else(|| Wrong("the proof does not carry its entry".into()))?;
    let (leaf, private, carried) = carried(extra)?;
    let (checkpoint, key, witnessed) = signatures(&proof.checkpoint, keys, witnesses, &carried)?;

    proof.verify(&super::tree::leaf_hash(leaf.as_bytes()), &key)?;
    canonical::parse(&leaf).map_err(wrong)?;
    let fields = Fields::of(&leaf).map_err(wrong)?;
    if let Some(private) = &private
        && private.commitment().to_string() != fields.private
    {
        return Err(Wrong("the private part is not the one that the entry commits to".into()));
    }
    let (sequence, event) = leaf::join(&leaf, private.as_ref().map(|private| private.body.as_str())).map_err(wrong)?;
    if sequence.checked_sub(1) != Some(proof.index) {
        return Err(Wrong(format!("the entry calls itself number {sequence}, and stands at place {}", proof.index)));
    }
    Ok(Verified { sequence, event, leaf, private, checkpoint, key, witnessed })
}

fn wrong(invalid: Invalid) -> Wrong {
    Wrong(invalid.0)
}

/// Takes the extra data apart: the leaf, the private part, the keys of witnesses.
fn carried(extra: &[u8]) -> Result<(String, Option<Private>, Vec<VerifierKey>), Wrong> {
    let damaged = |why: &str| Wrong(format!("what the proof carries is damaged: {why}"));
    let text = std::str::from_utf8(extra).map_err(|_| damaged("it is not text"))?;
    let Carried { leaf, private, salt, witnesses } =
        serde_json::from_str(text).map_err(|error| damaged(&error.to_string()))?;
    let private = match (private, salt) {
        (None, None) => None,
        (Some(body), Some(salt)) => {
            let salt = data_encoding::HEXLOWER.decode(salt.as_bytes()).ok().and_then(|salt| salt.try_into().ok());
            let salt = salt.ok_or_else(|| damaged("the salt is not 64 hexadecimal digits"))?;
            Some(Private { salt, body: canonical::to_string(&body).map_err(wrong)? })
        }
        _ => return Err(damaged("a private part and its salt belong together")),
    };
    if self::extra(&leaf, private.as_ref(), &witnesses) != text {
        return Err(damaged("it is not in its canonical form"));
    }
    let keys = witnesses.iter().map(|key| key.parse()).collect::<Result<Vec<VerifierKey>, _>>().map_err(wrong)?;
    if keys.iter().any(|key| key.kind() != KeyKind::Cosignature) {
        return Err(damaged("a key among the witnesses is none of a witness"));
    }
    match (1..keys.len()).any(|place| keys[..place].contains(&keys[place])) {
        true => Err(damaged("it names a witness twice")),
        false => Ok((leaf, private, keys)),
    }
}

/// Verifies each signature of the checkpoint, and that the log's is among them.
fn signatures(
    note: &str,
    keys: &[VerifierKey],
    trusted: &[VerifierKey],
    carried: &[VerifierKey],
) -> Result<(Checkpoint, VerifierKey, Vec<Witnessed>), Wrong> {
    let (_, parsed) = Checkpoint::read(note).map_err(wrong)?;
    let signed_by = |key: &&VerifierKey| parsed.signatures.iter().any(|signature| key.is_of(signature));
    let Some(key) = keys.iter().find(signed_by).or(keys.first()) else {
        return Err(Wrong("no key of the log was given".into()));
    };
    let checkpoint = Checkpoint::verify(note, key)?;

    // The log's own, then those of the witnesses as the proof names them: one spelling.
    let all: Vec<VerifierKey> = std::iter::once(key).chain(carried).cloned().collect();
    if let Some(signature) = parsed.signatures.iter().find(|signature| !all.iter().any(|key| key.is_of(signature))) {
        let name = signature.name();
        return Err(Wrong(format!("the checkpoint has a signature of {name} by a key that the proof does not name")));
    }
    if let Some(key) = carried.iter().find(|key| !signed_by(key)) {
        return Err(Wrong(format!("the proof names the witness {}, who did not sign", key.name())));
    }
    let in_order = all.iter().zip(&parsed.signatures).all(|(key, signature)| key.is_of(signature));
    if parsed.signatures.len() != all.len() || !in_order {
        return Err(Wrong(
            "the checkpoint's signatures are not the log's and then one for each key of a witness".into(),
        ));
    }
    let mut witnessed = Vec::new();
    for signed in parsed.signed(&all)? {
        if let Some(at) = signed.at {
            witnessed.push(Witnessed { trusted: trusted.contains(&signed.key), key: signed.key, at });
        }
    }
    Ok((checkpoint, key.clone(), witnessed))
}
