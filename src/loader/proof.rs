//! What a loader that was told to demands of the log: that this very delivery stands in it, sealed to the right people.
//!
//! Must never let a delivery pass on the gateway's word: the log's key comes from the data team. Called by `deliver`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::queue::Manifest;
use crate::audit::evidence::{self, Verified};
use crate::audit::{Kind, VerifierKey};
use crate::types::Sha256;

/// What is demanded.
#[derive(Debug, Clone)]
pub struct Demand {
    /// The log's verifier key, and former ones.
    pub keys: Vec<VerifierKey>,
    /// Witnesses of which each must have cosigned.
    pub witnesses: Vec<VerifierKey>,
    pub recipients: Sealed,
}

/// Whom the logged recipients must be. Digests as `seal::Recipient::digest` makes them.
#[derive(Debug, Clone)]
pub enum Sealed {
    /// At least one of these: the loader's own.
    ToOneOf(BTreeSet<Sha256>),
    /// These, and nobody else.
    Exactly(BTreeSet<Sha256>),
}

/// Why a delivery is not proven.
#[derive(Debug, PartialEq, Eq)]
pub enum Unproven {
    /// In words for the delivery's history.
    Refused(String),
    /// All is as demanded but for what these witnesses have to say, who cosign the log some seconds behind: their names.
    Awaits(String),
}

impl Demand {
    /// Holds a proof against the manifest. Returns the digest that the object's age header must have.
    ///
    /// # Errors
    /// It does not hold, or not yet.
    pub fn check(&self, proof: &[u8], manifest: &Manifest) -> Result<Sha256, Unproven> {
        let refused = |why: String| Unproven::Refused(format!("its proof is refused: {why}"));
        let verified =
            evidence::verify(proof, &self.keys, &self.witnesses).map_err(|wrong| refused(wrong.to_string()))?;
        is_of(&verified, manifest).map_err(refused)?;
        self.sealed(&verified).map_err(refused)?;
        let header = digest(verified.event.detail.get("header"));
        let header = header.ok_or_else(|| refused("it has no digest of the age header".into()))?;
        let silent = self.witnesses.iter().filter(|key| !verified.witnessed.iter().any(|one| one.key == **key));
        let silent: Vec<&str> = silent.map(VerifierKey::name).collect();
        match silent.is_empty() {
            true => Ok(header),
            false => Err(Unproven::Awaits(silent.join(", "))),
        }
    }

    fn sealed(&self, verified: &Verified) -> Result<(), String> {
        let logged = verified.event.detail.get("recipients").and_then(Value::as_array);
        let logged: Option<BTreeSet<Sha256>> =
            logged.and_then(|list| list.iter().map(|one| digest(Some(one))).collect());
        let logged = logged.ok_or("it does not tell whom the object is sealed to")?;
        match &self.recipients {
            Sealed::ToOneOf(own) if logged.is_disjoint(own) => {
                Err("by the log it is not sealed to any identity of this loader".into())
            }
            Sealed::Exactly(wanted) if logged != *wanted => {
                let (more, fewer) = (logged.difference(wanted).count(), wanted.difference(&logged).count());
                Err(format!(
                    "by the log it is not sealed to exactly the recipients that were named: to {more} others, and not to {fewer} \
                     of them"
                ))
            }
            _ => Ok(()),
        }
    }
}

/// The event must be the acceptance of this delivery, as the manifest tells it.
fn is_of(verified: &Verified, manifest: &Manifest) -> Result<(), String> {
    let event = &verified.event;
    if event.kind != Kind::UploadAccepted {
        return Err(format!("it is of {}, not of an accepted upload", event.kind.as_str()));
    }
    let detail = |name: &str| event.detail.get(name).cloned().unwrap_or_default();
    let pairs = [
        ("upload", event.upload.map(|id| id.to_string()).into(), Value::from(manifest.upload.to_string())),
        ("delivery", event.delivery.map(|id| id.to_string()).into(), manifest.delivery.to_string().into()),
        ("organisation", event.org.as_ref().map(ToString::to_string).into(), manifest.organisation.to_string().into()),
        ("dataset", event.dataset.as_ref().map(ToString::to_string).into(), manifest.dataset.to_string().into()),
        ("size", detail("size"), manifest.size.into()),
        ("SHA-256", detail("sha256"), manifest.sha256.to_string().into()),
        ("sealed size", detail("sealed_size"), manifest.sealed_size.into()),
        ("name", detail("name"), manifest.name.as_str().into()),
    ];
    // The name is private: a proof may be without it.
    let differs = pairs.iter().find(|(name, logged, told)| logged != told && !(*name == "name" && logged.is_null()));
    match differs {
        Some((name, logged, told)) => Err(format!("the log has {name} {logged}, the manifest {told}")),
        None => Ok(()),
    }
}

fn digest(value: Option<&Value>) -> Option<Sha256> {
    value?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::queue::{Claimed, tests::claim_line};
    use super::*;
    use crate::audit::{Checkpoint, Event, Frontier, Signer, leaf};
    use crate::types::Actor;

    const RECIPIENT: Sha256 = Sha256([3; 32]);
    const OTHER: Sha256 = Sha256([4; 32]);
    const HEADER: Sha256 = Sha256([2; 32]);

    fn manifest() -> Manifest {
        Claimed::parse(&claim_line("a.csv", 10, Sha256([1; 32]), 200)).unwrap().manifest
    }

    fn accepted(manifest: &Manifest) -> Event {
        Event::new(manifest.received, Kind::UploadAccepted, Actor::gateway())
            .org(&manifest.organisation)
            .dataset(&manifest.dataset)
            .upload(manifest.upload)
            .delivery(manifest.delivery)
            .with("size", manifest.size)
            .with("sha256", manifest.sha256.to_string())
            .with("sealed_size", manifest.sealed_size)
            .with("name", manifest.name.as_str())
            .with("header", HEADER.to_string())
            .with("recipients", vec![RECIPIENT.to_string()])
    }

    /// The proof of this event as the only one of a log.
    fn proof(event: &Event, signer: &Signer) -> Vec<u8> {
        let (leaf, private) = leaf::divide(event, 1, [9; 32]).unwrap();
        let mut tree = Frontier::new();
        tree.push(leaf.hash, |_, _, _| {});
        let checkpoint =
            Checkpoint { origin: signer.name().into(), size: 1, root: tree.root(), extension: String::new() };
        let checkpoint = checkpoint.sign(signer);
        evidence::proof(0, &leaf.text, Some(&private), vec![], &checkpoint, &[]).to_string().into_bytes()
    }

    fn demand(signer: &Signer, recipients: Sealed) -> Demand {
        Demand { keys: vec![signer.verifier_key().clone()], witnesses: vec![], recipients }
    }

    fn signer() -> Signer {
        Signer::generate("sftp.example.org/audit").unwrap().0
    }

    #[test]
    fn the_proof_of_this_delivery_passes_and_tells_the_header() {
        let (signer, manifest) = (signer(), manifest());
        let proof = proof(&accepted(&manifest), &signer);
        for recipients in [Sealed::ToOneOf([RECIPIENT, OTHER].into()), Sealed::Exactly([RECIPIENT].into())] {
            assert_eq!(demand(&signer, recipients).check(&proof, &manifest), Ok(HEADER));
        }
    }

    #[test]
    fn other_recipients_are_refused() {
        let (signer, manifest) = (signer(), manifest());
        let proof = proof(&accepted(&manifest), &signer);
        for (recipients, word) in [
            (Sealed::ToOneOf([OTHER].into()), "not sealed to any identity"),
            (Sealed::Exactly([OTHER].into()), "to 1 others, and not to 1"),
            (Sealed::Exactly([RECIPIENT, OTHER].into()), "to 0 others, and not to 1"),
        ] {
            let Unproven::Refused(why) = demand(&signer, recipients).check(&proof, &manifest).unwrap_err() else {
                panic!()
            };
            assert!(why.contains(word), "{why}");
        }
    }

    fn witness() -> VerifierKey {
        Signer::generate("witness.example.org").unwrap().0.verifier_key().clone()
    }

    #[test]
    fn a_witness_that_has_not_cosigned_yet_is_awaited() {
        let (signer, manifest) = (signer(), manifest());
        let demand = Demand { witnesses: vec![witness()], ..demand(&signer, Sealed::ToOneOf([RECIPIENT].into())) };
        let awaits = demand.check(&proof(&accepted(&manifest), &signer), &manifest);
        assert_eq!(awaits, Err(Unproven::Awaits("witness.example.org".into())));
    }

    #[test]
    fn a_proof_of_anything_else_is_refused() {
        let (signer, manifest) = (signer(), manifest());
        let own = || demand(&signer, Sealed::ToOneOf([RECIPIENT].into()));
        let good = accepted(&manifest);
        for (event, word) in [
            (Event { kind: Kind::UploadRejected, ..good.clone() }, "upload.rejected"),
            (good.clone().with("size", 11), "size 11"),
            (good.clone().with("sha256", OTHER.to_string()), "SHA-256"),
            (good.clone().with("sealed_size", 201), "sealed size"),
            (good.clone().with("name", "b.csv"), "name"),
            (good.clone().org(&"meadow".parse().unwrap()), "organisation"),
            (good.clone().with("recipients", Value::Null), "whom"),
            (good.clone().with("header", Value::Null), "header"),
        ] {
            let Unproven::Refused(why) = own().check(&proof(&event, &signer), &manifest).unwrap_err() else { panic!() };
            assert!(why.contains(word), "{word}: {why}");
            // Nor is a witness waited for then.
            let witnessed = Demand { witnesses: vec![witness()], ..own() };
            assert!(matches!(witnessed.check(&proof(&event, &signer), &manifest), Err(Unproven::Refused(_))));
        }
        let stranger = Signer::generate("sftp.example.org/audit").unwrap().0;
        assert!(own().check(&proof(&good, &stranger), &manifest).is_err());
        assert!(own().check(b"", &manifest).is_err());
    }
}
