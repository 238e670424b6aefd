//! Notes, keys and checkpoints: the examples of the specifications, and every other spelling refused.

use crate::audit::note::{KeyKind, SIGNATURES_MAX};
use crate::audit::{Checkpoint, Note, Signature, Signer, VerifierKey};

// The keys and notes of golang.org/x/mod/sumdb/note's documentation.
const SECRET: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const ENOCH: &str = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";
const TEXT: &str =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const PETERS: &str =
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
const ENOCHS: &str =
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=";

fn key(text: &str) -> VerifierKey {
    text.parse().unwrap()
}

#[test]
fn the_published_keys_sign_and_verify_the_published_note() {
    let signer: Signer = SECRET.parse().unwrap();
    assert_eq!(signer.verifier_key(), &key(PETER));
    assert_eq!(signer.verifier_key().to_string(), PETER);
    assert_eq!(signer.sign(TEXT).to_string(), PETERS);
    let written = format!("{TEXT}\n{PETERS}\n{ENOCHS}\n");
    let note: Note = written.parse().unwrap();
    assert_eq!(note.to_string(), written);
    assert_eq!(note.verify(&[key(PETER)]).unwrap().len(), 1);
    let both = note.verify(&[key(ENOCH), key(PETER)]).unwrap();
    assert_eq!(both.iter().map(|signed| signed.key.name()).collect::<Vec<_>>(), ["PeterNeumann", "EnochRoot"]);
    assert!(both.iter().all(|signed| signed.at.is_none()));
}

#[test]
fn a_note_that_the_key_did_not_sign_is_refused_with_the_names() {
    let note: Note = format!("{TEXT}\n{ENOCHS}\n").parse().unwrap();
    let refused = note.verify(&[key(PETER)]).unwrap_err().0;
    assert_eq!(refused, "it is signed by a key of EnochRoot, not by the key of PeterNeumann that was given");
    assert!(note.signed(&[key(PETER)]).unwrap().is_empty());
    // Another text below the same signature.
    let forged: Note = format!("{TEXT}Really.\n\n{PETERS}\n").parse().unwrap();
    assert!(forged.verify(&[key(PETER)]).unwrap_err().0.contains("does not fit"));
    // A wrong signature beside a right one is no note to trust.
    let bent = PETERS.replace("x08go/ZJ", "x08go/ZK");
    let note: Note = format!("{TEXT}\n{PETERS}\n{bent}\n").parse().unwrap();
    assert!(note.verify(&[key(PETER)]).is_err());
}

#[test]
fn other_spellings_of_a_note_are_refused() {
    let good = format!("{TEXT}\n{PETERS}\n");
    assert!(good.parse::<Note>().is_ok());
    let bad = [
        TEXT.to_owned(),
        format!("{TEXT}\n"),
        format!("\n{TEXT}"),
        format!("{TEXT}\n{PETERS}"),
        format!("{TEXT}\n{PETERS}\n\n"),
        format!("{TEXT}\n{PETERS}\nmore\n"),
        format!("{TEXT}{PETERS}\n"),
        good.replace('\n', "\r\n"),
        format!("\u{1}{good}"),
        format!("{TEXT}\n {PETERS}\n"),
        format!("{TEXT}\n{PETERS} \n"),
        good.replace("— PeterNeumann ", "— PeterNeumann  "),
        good.replace("— PeterNeumann", "— Peter Neumann"),
        good.replace("— PeterNeumann", "— Peter+Neumann"),
        good.replace("— PeterNeumann", "- PeterNeumann"),
        // The last character before = holds two bits that mean nothing: only one spelling is right.
        good.replace("wJnAM=", "wJnAN="),
        good.replace("wJnAM=", "wJnAM"),
        format!("{TEXT}\n— PeterNeumann x08gow==\n"),
        format!("{TEXT}\n{}", format!("{PETERS}\n").repeat(SIGNATURES_MAX + 1)),
        format!("{}\n{good}", "x".repeat(300_000)),
    ];
    for note in bad {
        assert!(note.parse::<Note>().is_err(), "{note:.300}");
    }
    assert!(format!("{TEXT}\n{}", format!("{PETERS}\n").repeat(16)).parse::<Note>().is_ok());
}

#[test]
fn other_spellings_of_a_key_are_refused_and_a_secret_one_is_not_repeated() {
    for text in [
        "",
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "peterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TX",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n",
        " PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+AhPJ",
    ] {
        assert!(text.parse::<VerifierKey>().is_err(), "{text}");
    }
    let refused = SECRET.parse::<VerifierKey>().unwrap_err().0;
    assert!(refused.contains("secret") && !refused.contains("AYEK"), "{refused}");
    for end in 0..SECRET.len() {
        let refused = SECRET[..end].parse::<Signer>().unwrap_err().0;
        assert!(!refused.contains("AYEK"), "{refused}");
    }
    assert!(PETER.parse::<Signer>().is_err());
    assert!(!format!("{:?}", SECRET.parse::<Signer>().unwrap()).contains("AYEK"));
}

#[test]
fn a_new_key_is_another_each_time_and_reads_back_from_its_text() {
    let (first, secret) = Signer::generate("sftp.example.org/audit").unwrap();
    let (second, _) = Signer::generate("sftp.example.org/audit").unwrap();
    assert_ne!(first.verifier_key(), second.verifier_key());
    let again: Signer = secret.parse().unwrap();
    assert_eq!(again.verifier_key(), first.verifier_key());
    for name in ["", "two words", "a+b", "line\nbreak", &"x".repeat(256)] {
        assert!(Signer::generate(name).is_err(), "{name}");
    }
}

// The examples of c2sp.org/tlog-checkpoint and c2sp.org/tlog-cosignature.
const EXAMPLE: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

#[test]
fn the_example_of_the_specification_reads_and_writes_back() {
    let (checkpoint, note) = Checkpoint::read(EXAMPLE).unwrap();
    assert_eq!(checkpoint.origin, "example.com/behind-the-sofa");
    assert_eq!(checkpoint.size, 20_852_163);
    assert_eq!(checkpoint.root.to_string(), "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=");
    assert_eq!((checkpoint.to_string(), note.to_string()), (note.text.clone(), EXAMPLE.to_owned()));
    let names: Vec<_> = note.signatures.iter().map(Signature::name).collect();
    assert_eq!(names, ["example.com/behind-the-sofa", "witness.example.com/w1"]);
}

#[test]
fn other_spellings_of_a_checkpoint_are_refused() {
    let good = "example.com/log\n12\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    assert!(good.parse::<Checkpoint>().is_ok());
    assert_eq!(format!("{good}extra\nlines\n").parse::<Checkpoint>().unwrap().extension, "extra\nlines\n");
    for bad in [
        good.replace("12", "012"),
        good.replace("12", "+12"),
        good.replace("12", "-1"),
        good.replace("12", "9223372036854775808"),
        good.replace("12", ""),
        good.replace("12", "1 2"),
        good.replace("12", "0x12"),
        good.replace("example.com/log", ""),
        good.replace("q2I=", "q2J="),
        good.replace("q2I=", "q2I"),
        good.replace("CsUY", "CsU"),
        format!("{good}\n"),
        format!("{good}extra"),
        format!("{good}extra\n\nlines\n"),
        good.trim_end().to_owned(),
        "example.com/log\n12\n".to_owned(),
        String::new(),
    ] {
        assert!(bad.parse::<Checkpoint>().is_err(), "{bad}");
    }
}

#[test]
fn a_checkpoint_is_verified_for_the_log_of_its_key_only() {
    let (signer, _) = Signer::generate("example.com/log").unwrap();
    let (other, _) = Signer::generate("example.com/log").unwrap();
    let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=".parse().unwrap();
    let checkpoint = Checkpoint { origin: "example.com/log".into(), size: 12, root, extension: String::new() };
    let note = checkpoint.sign(&signer);
    assert_eq!(Checkpoint::verify(&note, signer.verifier_key()).unwrap(), checkpoint);
    assert!(Checkpoint::verify(&note, other.verifier_key()).is_err());
    let foreign = Checkpoint { origin: "example.com/other".into(), ..checkpoint }.sign(&signer);
    assert!(Checkpoint::verify(&foreign, signer.verifier_key()).unwrap_err().0.contains("example.com/other"));
}

/// A witness as c2sp.org/tlog-cosignature describes it, written out by hand.
pub fn cosign(seed: [u8; 32], name: &str, seconds: u64, text: &str) -> (VerifierKey, String) {
    use ring::signature::KeyPair;
    let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let public = pair.public_key().as_ref();
    let id = ring::digest::digest(&ring::digest::SHA256, &[name.as_bytes(), b"\n\x04", public].concat());
    let id = &id.as_ref()[..4];
    let message = format!("cosignature/v1\ntime {seconds}\n{text}");
    let signature = pair.sign(message.as_bytes());
    let bytes = [id, &seconds.to_be_bytes(), signature.as_ref()].concat();
    let base64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
    let key =
        format!("{name}+{}+{}", data_encoding::HEXLOWER.encode(id), base64(&[&[4], public].concat())).parse().unwrap();
    (key, format!("— {name} {}\n", base64(&bytes)))
}

#[test]
fn a_witness_is_believed_for_its_own_words_and_time_only() {
    let (signer, _) = Signer::generate("example.com/log").unwrap();
    let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=".parse().unwrap();
    let checkpoint = Checkpoint { origin: "example.com/log".into(), size: 12, root, extension: String::new() };
    let note = checkpoint.sign(&signer);
    let (witness, line) = cosign([7; 32], "witness.example.com/w1", 1_679_315_147, &checkpoint.to_string());
    assert_eq!(witness.kind(), KeyKind::Cosignature);
    assert_eq!(witness.to_string().parse::<VerifierKey>().unwrap(), witness);
    let cosigned = format!("{note}{line}");
    let signed = Checkpoint::cosignatures(&cosigned, std::slice::from_ref(&witness)).unwrap();
    assert_eq!(signed.len(), 1);
    assert_eq!(signed[0].at.unwrap().to_string(), "2023-03-20T12:25:47Z");
    // The log's own key does not count as a witness, a witness's key not as the log's.
    assert!(Checkpoint::cosignatures(&cosigned, &[signer.verifier_key().clone()]).unwrap().is_empty());
    assert!(Checkpoint::verify(&cosigned, &witness).is_err());
    assert_eq!(Checkpoint::verify(&cosigned, signer.verifier_key()).unwrap(), checkpoint);
    assert!(Checkpoint::cosignatures(&note, std::slice::from_ref(&witness)).unwrap().is_empty());
    // Of another checkpoint, or with another time.
    let other = Checkpoint { size: 13, ..checkpoint.clone() };
    let (_, of_other) = cosign([7; 32], "witness.example.com/w1", 1_679_315_147, &other.to_string());
    assert!(Checkpoint::cosignatures(&format!("{note}{of_other}"), std::slice::from_ref(&witness)).is_err());
    let (_, beyond) = cosign([7; 32], "witness.example.com/w1", u64::MAX, &checkpoint.to_string());
    assert!(Checkpoint::cosignatures(&format!("{note}{beyond}"), std::slice::from_ref(&witness)).is_err());
    let signature: Signature = line.trim_end().parse().unwrap();
    assert!(witness.is_of(&signature) && !signer.verifier_key().is_of(&signature));
}
