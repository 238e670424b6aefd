//! One conversation with a witness (c2sp.org/tlog-witness, add-checkpoint): what is asked, and what its answer means.
//!
//! Blocking, bounded in time and in what it reads. Believes nothing that the witness's key did not sign. Called by
//! `witnesses`.

use std::time::Duration;

use ureq::tls::{RootCerts, TlsConfig};

use crate::audit::{Checkpoint, Hash, Note, Signature, VerifierKey};

/// For the whole of a request: name, connection, TLS, answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of an answer: some signature lines.
const ANSWER_MAX: u64 = 64 * 1024;

/// What a witness answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It cosigned; this line is verified.
    Cosigned(Signature),
    /// It knows the log up to this size, which is another than was supposed.
    Knows(u64),
    /// It holds another log than this one, or says so.
    Contradicts(String),
    /// It does not want to, or cannot.
    Refuses(String),
}

/// The client that asks witnesses; its connections are kept.
pub(super) fn agent() -> ureq::Agent {
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        // An answer from elsewhere is none of this witness.
        .max_redirects(0)
        .user_agent(concat!("nightsafe/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .build()
        .new_agent()
}

/// The body of a request: the size that the witness is supposed to know, the proof from there, the checkpoint.
pub(super) fn body(old: u64, proof: &[Hash], checkpoint: &str) -> String {
    let lines: String = proof.iter().map(|hash| format!("{hash}\n")).collect();
    format!("old {old}\n{lines}\n{checkpoint}")
}

/// Asks for a cosignature.
///
/// # Errors
/// The witness cannot be reached, or does not answer in time.
pub(super) fn ask(
    agent: &ureq::Agent,
    url: &str,
    body: &str,
    checkpoint: &str,
    key: &VerifierKey,
) -> Result<Answer, String> {
    let mut response = agent
        .post(format!("{url}/add-checkpoint"))
        .content_type("text/plain; charset=utf-8")
        .send(body)
        .map_err(|error| unreached(&error.to_string()))?;
    let status = response.status().as_u16();
    let text =
        response.body_mut().with_config().limit(ANSWER_MAX).read_to_string().map_err(|error| error.to_string())?;
    Ok(judge(status, &text, checkpoint, key))
}

/// Why there is no answer, with what to do where that is not plain.
fn unreached(error: &str) -> String {
    match error.contains("certificate") {
        true => format!(
            "{error}: its certificate must be for the name in its url, by an authority that this machine trusts (one of your own: \
             set SSL_CERT_FILE)"
        ),
        false => error.to_owned(),
    }
}

/// What an answer means, whoever gave it.
fn judge(status: u16, text: &str, checkpoint: &str, key: &VerifierKey) -> Answer {
    let refuses = |why: &str| Answer::Refuses(why.to_owned());
    match status {
        200 => cosignature(text, checkpoint, key),
        409 => match text.strip_suffix('\n').and_then(|size| size.parse::<u64>().ok()) {
            Some(size) => Answer::Knows(size),
            None => refuses("it answered 409 without the size that it knows"),
        },
        422 => Answer::Contradicts("it says that this log does not continue the one that it has seen (422)".into()),
        403 => refuses("it does not know this log's key (403): give it the key that `nightsafe audit key` shows"),
        404 => refuses("it does not know this log, or is not there (404): check its url, and register the log with it"),
        status => Answer::Refuses(format!("it answered with the HTTP status {status}")),
    }
}

/// The line of the answer that the witness's key signed; what others signed is ignored.
fn cosignature(text: &str, checkpoint: &str, key: &VerifierKey) -> Answer {
    let refuses = |why: &str| Answer::Refuses(why.to_owned());
    let Some(lines) = text.strip_suffix('\n') else { return refuses("its answer is no signature") };
    let Ok(signatures) = lines.split('\n').map(str::parse).collect::<Result<Vec<Signature>, _>>() else {
        return refuses("its answer is no signature");
    };
    let Some(signature) = signatures.into_iter().find(|signature| key.is_of(signature)) else {
        return refuses("it signed with another key than the one that is configured");
    };
    let Ok(Note { text, .. }) = checkpoint.parse() else { return refuses("the checkpoint is none") };
    let alone = Note { text, signatures: vec![signature.clone()] }.to_string();
    match Checkpoint::cosignatures(&alone, std::slice::from_ref(key)) {
        Ok(_) => Answer::Cosigned(signature),
        Err(wrong) => Answer::Refuses(format!("its signature is wrong: {wrong}")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::audit::tree::empty_root;

    /// A witness's key, and what it says of a note's text.
    pub fn cosign(seed: u8, text: &str) -> (VerifierKey, String) {
        use ring::signature::KeyPair;
        let (name, seconds) = ("witness.example.org", 1_760_000_000u64);
        let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let public = [&[4], pair.public_key().as_ref()].concat();
        let id = ring::digest::digest(&ring::digest::SHA256, &[name.as_bytes(), b"\n", &public].concat());
        let id = &id.as_ref()[..4];
        let signature = pair.sign(format!("cosignature/v1\ntime {seconds}\n{text}").as_bytes());
        let base64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
        let key = format!("{name}+{}+{}", data_encoding::HEXLOWER.encode(id), base64(&public));
        let line = base64(&[id, &seconds.to_be_bytes(), signature.as_ref()].concat());
        (key.parse().unwrap(), format!("— {name} {line}\n"))
    }

    #[test]
    fn a_request_is_written_as_the_specification_shows() {
        let hash = empty_root();
        assert_eq!(body(0, &[], "example.com/log\n1\n"), "old 0\n\nexample.com/log\n1\n");
        assert_eq!(body(20, &[hash, hash], "note\n"), format!("old 20\n{hash}\n{hash}\n\nnote\n"));
    }

    #[test]
    fn an_answer_is_believed_when_the_configured_key_signed_this_checkpoint() {
        let signer = crate::ledger::testing::signer();
        let checkpoint = |size| {
            let extension = String::new();
            Checkpoint { origin: signer.name().into(), size, root: empty_root(), extension }
        };
        let (this, other) = (checkpoint(3), checkpoint(4));
        let note = this.sign(&signer);
        let (key, line) = cosign(1, &this.to_string());
        let (foreign, foreign_line) = cosign(2, &this.to_string());
        let judged = |status, text: &str| judge(status, text, &note, &key);
        assert_eq!(judged(200, &line), Answer::Cosigned(line.trim_end().parse().unwrap()));
        // Others may have signed too.
        assert_eq!(judged(200, &format!("{foreign_line}{line}")), Answer::Cosigned(line.trim_end().parse().unwrap()));
        let (_, of_other) = cosign(1, &other.to_string());
        for lie in [of_other.as_str(), &foreign_line, "", "\n", "ok\n", line.trim_end(), &line.replace("— ", "- ")] {
            assert!(matches!(judged(200, lie), Answer::Refuses(_)), "{lie}");
        }
        assert!(matches!(judge(200, &line, &note, &foreign), Answer::Refuses(_)));
        assert_eq!(judged(409, "17\n"), Answer::Knows(17));
        for text in ["", "17", "seventeen\n", "-1\n"] {
            assert!(matches!(judged(409, text), Answer::Refuses(_)), "{text}");
        }
        assert!(matches!(judged(422, ""), Answer::Contradicts(_)));
        for status in [301, 400, 403, 404, 500] {
            assert!(matches!(judged(status, &line), Answer::Refuses(_)), "{status}");
        }
    }
}
