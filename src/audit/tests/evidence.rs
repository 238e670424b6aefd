//! A proof file holds as it was made, and in no other way: every bit of it counts.

use serde_json::json;

use super::notes::cosign;
use crate::audit::leaf::{self, Private, divide};
use crate::audit::{Checkpoint, Event, Kind, Signer, VerifierKey, evidence, tree};
use crate::types::{Actor, Fingerprint, Timestamp};

/// A log of some events, and the proof of one of them.
struct Log {
    signer: Signer,
    event: Event,
    leaf: String,
    private: Private,
    hashes: Vec<tree::Hash>,
    checkpoint: Checkpoint,
}

const INDEX: u64 = 5;

fn log() -> Log {
    let actor = Actor {
        org: Some("harbour".parse().unwrap()),
        account: "harbour-nightly".into(),
        fingerprint: Some(Fingerprint("SHA256:abc".into())),
        address: Some("192.0.2.7:50122".parse().unwrap()),
        session: None,
        client: Some("OpenSSH_9.6".into()),
    };
    let event = Event::new(Timestamp::UNIX_EPOCH, Kind::UploadAccepted, actor)
        .dataset(&"ims".parse().unwrap())
        .with("size", 10)
        .with("sha256", "ab".repeat(32))
        .with("name", "März \"1\".csv")
        .with("scan", json!({"clean": true}));
    let parts: Vec<_> =
        (1..=11).map(|sequence| divide(&event, sequence, [0xa0 | sequence as u8; 32]).unwrap()).collect();
    let grove = super::Grove::new(parts.iter().map(|(leaf, _)| leaf.hash).collect());
    let (signer, _) = Signer::generate("example.com/log").unwrap();
    let root = tree::root(&grove, 11).unwrap();
    let checkpoint = Checkpoint { origin: "example.com/log".into(), size: 11, root, extension: String::new() };
    let hashes = tree::inclusion(&grove, INDEX, 11).unwrap();
    let (leaf, private) = parts.into_iter().nth(INDEX as usize).unwrap();
    Log { signer, event, leaf: leaf.text, private, hashes, checkpoint }
}

impl Log {
    fn file(&self, private: bool, cosignatures: &[(VerifierKey, String)]) -> String {
        let private = private.then_some(&self.private);
        let (keys, lines): (Vec<_>, String) = cosignatures.iter().cloned().unzip();
        let note = self.checkpoint.sign(&self.signer) + &lines;
        evidence::proof(INDEX, &self.leaf, private, self.hashes.clone(), &note, &keys).to_string()
    }
    fn key(&self) -> [VerifierKey; 1] {
        [self.signer.verifier_key().clone()]
    }
    fn cosigned(&self) -> [(VerifierKey, String); 1] {
        [cosign([7; 32], "witness.example.com/w1", 1_679_315_147, &self.checkpoint.to_string())]
    }
}

#[test]
fn a_proof_tells_the_event_who_signed_and_who_saw_it() {
    let log = log();
    let verified = evidence::verify(log.file(true, &[]).as_bytes(), &log.key(), &[]).unwrap();
    assert_eq!((verified.sequence, &verified.event), (6, &log.event));
    assert_eq!((&verified.leaf, &verified.private), (&log.leaf, &Some(log.private.clone())));
    assert_eq!((&verified.checkpoint, &verified.key), (&log.checkpoint, &log.key()[0]));
    assert_eq!(verified.witnessed, []);

    // Once the private part is erased, the public part holds on.
    let erased = evidence::verify(log.file(false, &[]).as_bytes(), &log.key(), &[]).unwrap();
    assert_eq!((erased.event.actor.account.as_str(), erased.private), (leaf::ERASED, None));
    assert_eq!(erased.event.detail["size"], 10);

    // A former key is as good, a foreign one is not.
    let (other, _) = Signer::generate("example.com/log").unwrap();
    let both = [other.verifier_key().clone(), log.key()[0].clone()];
    assert_eq!(evidence::verify(log.file(true, &[]).as_bytes(), &both, &[]).unwrap().key, log.key()[0]);
    let refused = evidence::verify(log.file(true, &[]).as_bytes(), &both[..1], &[]).unwrap_err().0;
    assert!(refused.contains("not by the key"), "{refused}");
    assert!(evidence::verify(log.file(true, &[]).as_bytes(), &[], &[]).is_err());
}

#[test]
fn a_witness_is_trusted_when_the_reader_names_its_key() {
    let log = log();
    let cosigned = log.cosigned();
    let file = log.file(true, &cosigned);
    for (trusted, keys) in [(false, vec![]), (true, vec![cosigned[0].0.clone()])] {
        let witnessed = evidence::verify(file.as_bytes(), &log.key(), &keys).unwrap().witnessed;
        assert_eq!(witnessed.len(), 1);
        assert_eq!((witnessed[0].trusted, witnessed[0].at.as_second()), (trusted, 1_679_315_147));
    }
    // A line by a key that the proof does not name, and a key without a line.
    let note = log.checkpoint.sign(&log.signer);
    let (key, line) = &cosigned[0];
    let nameless = evidence::proof(INDEX, &log.leaf, None, log.hashes.clone(), &format!("{note}{line}"), &[]);
    let silent = evidence::proof(INDEX, &log.leaf, None, log.hashes.clone(), &note, std::slice::from_ref(key));
    for (proof, word) in [(nameless, "does not name"), (silent, "did not sign")] {
        let refused = evidence::verify(proof.to_string().as_bytes(), &log.key(), &[]).unwrap_err().0;
        assert!(refused.contains(word), "{refused}");
    }
}

#[test]
fn no_bit_of_a_proof_can_change() {
    let log = log();
    for file in [log.file(true, &log.cosigned()), log.file(false, &[])] {
        let good = file.as_bytes();
        evidence::verify(good, &log.key(), &[]).unwrap();
        let passes = |bent: &[u8]| evidence::verify(bent, &log.key(), &[]).is_ok();
        for bit in 0..good.len() * 8 {
            let mut bent = good.to_vec();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert!(!passes(&bent), "bit {} of byte {}: {:?}", bit % 8, bit / 8, char::from(good[bit / 8]));
        }
        for end in 0..good.len() {
            assert!(!passes(&good[..end]), "cut to {end} bytes");
        }
        for extra in ["\n", " ", "\0", "x", "\r\n", &file] {
            assert!(!passes(format!("{file}{extra}").as_bytes()), "{extra:?} behind it");
            assert!(!passes(format!("{extra}{file}").as_bytes()), "{extra:?} before it");
        }
        for place in 0..good.len() {
            let doubled = [&good[..=place], &good[place..]].concat();
            assert!(!passes(&doubled), "byte {place} twice");
        }
        assert!(!passes(file.replace('\n', "\r\n").as_bytes()));
    }
}

#[test]
fn the_signatures_of_a_proof_have_one_spelling() {
    let log = log();
    let others = [
        cosign([7; 32], "witness.example.com/w1", 1_679_315_147, &log.checkpoint.to_string()),
        cosign([8; 32], "witness.example.com/w2", 1_679_315_148, &log.checkpoint.to_string()),
    ];
    let trusted: Vec<VerifierKey> = others.iter().map(|(key, _)| key.clone()).collect();
    let file = log.file(true, &others);
    let verify = |file: &str| evidence::verify(file.as_bytes(), &log.key(), &trusted);
    assert_eq!(verify(&file).unwrap().witnessed.len(), 2);

    let own = log.checkpoint.sign(&log.signer).lines().last().unwrap().to_owned() + "\n";
    let [(_, first), (_, second)] = &others;
    let later = cosign([7; 32], "witness.example.com/w1", 1_679_315_149, &log.checkpoint.to_string()).1;
    let all = format!("{own}{first}{second}");
    assert!(file.ends_with(&all));
    for lines in [
        format!("{own}{own}{first}{second}"),
        format!("{own}{first}{second}{own}"),
        format!("{own}{first}{second}{second}"),
        format!("{own}{first}{later}{second}"),
        format!("{own}{second}{first}"),
        format!("{first}{own}{second}"),
    ] {
        let refused = verify(&file.replace(&all, &lines)).unwrap_err().0;
        assert!(refused.contains("one for each key"), "{refused}");
    }
    let twice = [others[0].clone(), others[0].clone()];
    assert!(verify(&log.file(true, &twice)).unwrap_err().0.contains("twice"));
    // By a witness whom the reader trusts, and the proof does not name.
    let more = verify(&(log.file(true, &others[..1]) + second)).unwrap_err().0;
    assert!(more.contains("does not name"), "{more}");
}

#[test]
fn what_a_proof_carries_has_one_spelling() {
    let log = log();
    let proof: crate::audit::Proof = log.file(true, &[]).parse().unwrap();
    let extra = String::from_utf8(proof.extra.clone().unwrap()).unwrap();
    let salt = extra.split("\"salt\":\"").nth(1).unwrap()[..64].to_owned();
    for bent in [
        extra.replace("{\"leaf\"", "{ \"leaf\""),
        extra.replace("\"salt\"", "\"pepper\""),
        extra.replace(&salt, &salt.to_uppercase()),
        extra.replace(&salt, &salt[..62]),
        extra.replace(&format!(",\"salt\":\"{salt}\""), ""),
        extra.replace('}', ",\"more\":1}"),
        extra.replace("\"actor\":{", "\"actor\":{\"account\":\"x\","),
        extra.replace("März", "M\\u00e4rz"),
        extra.replace("harbour-nightly", "harbour-mightly"),
        extra.replace("OpenSSH_9.6", "OpenSSH_9.7"),
        extra.replace(",\"salt\"", ",\"witnesses\":[],\"salt\""),
        extra.replacen("{\"leaf\"", "{\"leaf\":\"\",\"leaf\"", 1),
    ] {
        assert_ne!(bent, extra);
        let bent = crate::audit::Proof { extra: Some(bent.into_bytes()), ..proof.clone() }.to_string();
        assert!(evidence::verify(bent.as_bytes(), &log.key(), &[]).is_err(), "{bent}");
    }
    // Private parts of two entries exchanged.
    let (_, other) = divide(&log.event, 7, [7; 32]).unwrap();
    let note = log.checkpoint.sign(&log.signer);
    let swapped = evidence::proof(INDEX, &log.leaf, Some(&other), log.hashes.clone(), &note, &[]).to_string();
    let refused = evidence::verify(swapped.as_bytes(), &log.key(), &[]).unwrap_err().0;
    assert!(refused.contains("commits to"), "{refused}");
}
