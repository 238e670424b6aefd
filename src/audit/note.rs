//! Signed notes (c2sp.org/signed-note): text with Ed25519 signatures, and the keys that make and verify them.
//!
//! Parsing is strict: each note has one spelling, so that no bit of it can change unnoticed. Must never show a secret key
//! but to who made it, once. Does no input or output.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use data_encoding::{BASE64, HEXLOWER};
use ring::rand::SecureRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use zeroize::Zeroizing;

use super::tree::Wrong;
use crate::types::{Invalid, Timestamp};

/// Most bytes in a note that is parsed. Post-quantum signatures of others have nearly 5 kB.
pub const NOTE_MAX: usize = 256 * 1024;
/// Most signatures in a note; the specification wants at least 16 accepted.
pub const SIGNATURES_MAX: usize = 32;
/// Most bytes in a key's name.
pub const NAME_MAX: usize = 255;

const ED25519_TYPE: u8 = 0x01;
const COSIGNATURE_TYPE: u8 = 0x04;

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// A note's text as it is (type 0x01): a log's own key.
    Ed25519,
    /// A checkpoint with the time at which a witness saw it (type 0x04, c2sp.org/tlog-cosignature).
    Cosignature,
}

impl KeyKind {
    fn byte(self) -> u8 {
        match self {
            KeyKind::Ed25519 => ED25519_TYPE,
            KeyKind::Cosignature => COSIGNATURE_TYPE,
        }
    }
}

/// A public key: `name+hash+base64`, the hash in eight hexadecimal digits, as golang.org/x/mod/sumdb/note writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: String,
    kind: KeyKind,
    key: [u8; 32],
}

/// The first four bytes of SHA-256(name, newline, type, key).
fn key_id(name: &str, kind: KeyKind, key: &[u8; 32]) -> [u8; 4] {
    let text = [name.as_bytes(), b"\n", &[kind.byte()], key].concat();
    let digest = ring::digest::digest(&ring::digest::SHA256, &text);
    let mut id = [0; 4];
    id.copy_from_slice(&digest.as_ref()[..4]);
    id
}

/// Checks a key's name: 1 to 255 bytes, no space, no `+`, no control character.
///
/// # Errors
/// Says what a name may be.
pub fn check_name(name: &str) -> Result<(), Invalid> {
    let fine = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
    match !name.is_empty() && name.len() <= NAME_MAX && name.chars().all(fine) {
        true => Ok(()),
        false => Err(Invalid(format!(
            "{name:?} cannot name a key: use a URL without its scheme, such as sftp.example.org/audit (no spaces, no '+', at most {NAME_MAX} bytes)"
        ))),
    }
}

impl VerifierKey {
    pub fn name(&self) -> &str {
        &self.name
    }
    pub fn kind(&self) -> KeyKind {
        self.kind
    }
    /// The key's id, as it stands before each of its signatures.
    pub fn id(&self) -> [u8; 4] {
        key_id(&self.name, self.kind, &self.key)
    }

    /// Whether a signature names this key, by name and id; it may still be forged.
    pub fn is_of(&self, signature: &Signature) -> bool {
        self.name == signature.name && self.id() == signature.id
    }

    /// Verifies one signature of this key over a note's text; a witness's tells its time.
    fn check(&self, text: &str, signature: &Signature) -> Result<Option<Timestamp>, Wrong> {
        let forged = || Wrong(format!("the signature of {} does not fit the text", self.name));
        let verify = |message: &[u8], bytes: &[u8]| {
            UnparsedPublicKey::new(&ED25519, self.key).verify(message, bytes).map_err(|_| forged())
        };
        match self.kind {
            KeyKind::Ed25519 => verify(text.as_bytes(), &signature.bytes).map(|()| None),
            KeyKind::Cosignature => {
                let (time, bytes) = signature.bytes.split_first_chunk::<8>().ok_or_else(forged)?;
                let seconds = u64::from_be_bytes(*time);
                verify(cosigned(seconds, text).as_bytes(), bytes)?;
                let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
                time.map(Some).ok_or_else(|| Wrong(format!("the signature of {} is from no real time", self.name)))
            }
        }
    }
}

/// What a witness signs (c2sp.org/tlog-cosignature, "Ed25519 signed message").
fn cosigned(seconds: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {seconds}\n{text}")
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = BASE64.encode(&[&[self.kind.byte()], &self.key[..]].concat());
        write!(f, "{}+{}+{key}", self.name, HEXLOWER.encode(&self.id()))
    }
}

impl serde::Serialize for VerifierKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for VerifierKey {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Invalid(format!("{text:?} is no verifier key: it has three parts, NAME+HASH+KEY")));
        };
        if name == "PRIVATE" {
            return Err(Invalid(
                "this is a secret signing key: give the verifier key, and keep this one secret".into(),
            ));
        }
        check_name(name)?;
        let (kind, key) = decode_key(key)?;
        let key = Self { name: name.to_owned(), kind, key: *key };
        match HEXLOWER.encode(&key.id()) == hash {
            true => Ok(key),
            false => {
                Err(Invalid(format!("{text:?} is no verifier key: its parts do not belong together (copied whole?)")))
            }
        }
    }
}

/// The type and the 32 bytes behind it, of a verifier or a signing key.
fn decode_key(text: &str) -> Result<(KeyKind, Zeroizing<[u8; 32]>), Invalid> {
    let wrong = || Invalid("the key's last part is not an Ed25519 key: 44 characters of base64".into());
    let bytes = Zeroizing::new(BASE64.decode(text.as_bytes()).map_err(|_| wrong())?);
    let (kind, key) = bytes.split_first().ok_or_else(wrong)?;
    let kind = match *kind {
        ED25519_TYPE => KeyKind::Ed25519,
        COSIGNATURE_TYPE => KeyKind::Cosignature,
        other => {
            return Err(Invalid(format!(
                "the key is of type {other}: only Ed25519 (1) and Ed25519 cosignatures (4) are known"
            )));
        }
    };
    let key: [u8; 32] = key.try_into().map_err(|_| wrong())?;
    Ok((kind, Zeroizing::new(key)))
}

/// A secret Ed25519 key that signs notes: `PRIVATE+KEY+name+hash+base64`, as golang.org/x/mod/sumdb/note writes it.
/// Shows itself as its verifier key only.
#[derive(Clone)]
pub struct Signer {
    pair: Arc<Ed25519KeyPair>,
    key: VerifierKey,
}

const SECRET: &str = "PRIVATE+KEY+";

impl Signer {
    /// A new key, and its secret text, which is nowhere else.
    ///
    /// # Errors
    /// The name is none for a key; the system has no randomness.
    pub fn generate(name: &str) -> Result<(Self, Zeroizing<String>), Invalid> {
        check_name(name)?;
        let mut seed = Zeroizing::new([0; 32]);
        ring::rand::SystemRandom::new()
            .fill(&mut seed[..])
            .map_err(|_| Invalid("the system gives no random bytes for a key".into()))?;
        let signer = Self::from_seed(name, &seed)?;
        let secret = Zeroizing::new([&[ED25519_TYPE], &seed[..]].concat());
        let encoded = Zeroizing::new(BASE64.encode(&secret));
        let hash = HEXLOWER.encode(&signer.key.id());
        Ok((signer, Zeroizing::new(format!("{SECRET}{name}+{hash}+{}", *encoded))))
    }

    fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, Invalid> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed)
            .map_err(|_| Invalid("the signing key is not an Ed25519 key".into()))?;
        let mut key = [0; 32];
        key.copy_from_slice(pair.public_key().as_ref());
        let key = VerifierKey { name: name.to_owned(), kind: KeyKind::Ed25519, key };
        Ok(Self { pair: Arc::new(pair), key })
    }

    pub fn name(&self) -> &str {
        &self.key.name
    }

    pub fn verifier_key(&self) -> &VerifierKey {
        &self.key
    }

    /// Signs a note's text, which ends in a newline.
    pub fn sign(&self, text: &str) -> Signature {
        let bytes = self.pair.sign(text.as_bytes()).as_ref().to_vec();
        Signature { name: self.key.name.clone(), id: self.key.id(), bytes }
    }
}

impl FromStr for Signer {
    type Err = Invalid;
    /// The text without a newline. Errors never repeat the text.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut parts = text.strip_prefix(SECRET).unwrap_or_default().splitn(3, '+');
        let (Some(name), Some(hash), Some(secret)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Invalid("this is no signing key: it begins with PRIVATE+KEY+ and a name".into()));
        };
        check_name(name)?;
        let (kind, seed) = decode_key(secret)?;
        if kind != KeyKind::Ed25519 {
            return Err(Invalid("this is a witness's key, which cannot sign a log".into()));
        }
        let signer = Self::from_seed(name, &seed)?;
        match HEXLOWER.encode(&signer.key.id()) == hash {
            true => Ok(signer),
            false => Err(Invalid("this is no signing key: its parts do not belong together (copied whole?)".into())),
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.key)
    }
}

/// One signature: `— name base64`, without the newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

impl Signature {
    /// The name of the key that made it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\u{2014} {} {}", self.name, BASE64.encode(&[&self.id[..], &self.bytes].concat()))
    }
}

impl FromStr for Signature {
    type Err = Invalid;
    fn from_str(line: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid(format!("{line:?} is no signature: an em dash, a key's name, base64"));
        let (name, encoded) = line.strip_prefix("\u{2014} ").and_then(|rest| rest.split_once(' ')).ok_or_else(wrong)?;
        check_name(name)?;
        let bytes = BASE64.decode(encoded.as_bytes()).map_err(|_| wrong())?;
        match bytes.split_first_chunk::<4>() {
            Some((id, bytes)) if !bytes.is_empty() => {
                Ok(Self { name: name.to_owned(), id: *id, bytes: bytes.to_vec() })
            }
            _ => Err(wrong()),
        }
    }
}

/// A text and its signatures, not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Ends in a newline.
    pub text: String,
    pub signatures: Vec<Signature>,
}

/// A signature that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub key: VerifierKey,
    /// When a witness signed, to the second; none for a log's own key.
    pub at: Option<Timestamp>,
}

impl Note {
    /// Verifies what these keys signed; signatures of others are ignored, as the specification demands.
    ///
    /// # Errors
    /// A signature of one of the keys is wrong.
    pub fn signed(&self, keys: &[VerifierKey]) -> Result<Vec<Signed>, Wrong> {
        let mut signed = Vec::new();
        for signature in &self.signatures {
            if let Some(key) = keys.iter().find(|key| key.is_of(signature)) {
                signed.push(Signed { key: key.clone(), at: key.check(&self.text, signature)? });
            }
        }
        Ok(signed)
    }

    /// As [`Note::signed`], and at least one of the keys must have signed.
    ///
    /// # Errors
    /// A signature of one of the keys is wrong, or none of them signed.
    pub fn verify(&self, keys: &[VerifierKey]) -> Result<Vec<Signed>, Wrong> {
        let signed = self.signed(keys)?;
        match signed.is_empty() {
            false => Ok(signed),
            true => {
                let named = |names: Vec<&str>| names.join(", ");
                let wanted = named(keys.iter().map(VerifierKey::name).collect());
                let found = named(self.signatures.iter().map(Signature::name).collect());
                Err(Wrong(format!("it is signed by a key of {found}, not by the key of {wanted} that was given")))
            }
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

impl FromStr for Note {
    type Err = Invalid;
    fn from_str(note: &str) -> Result<Self, Invalid> {
        let wrong = |what: String| Err(Invalid(format!("this is no signed note: {what}")));
        if note.len() > NOTE_MAX {
            return wrong(format!("it has more than {NOTE_MAX} bytes"));
        }
        if let Some(c) = note.chars().find(|c| *c < ' ' && *c != '\n') {
            return wrong(format!("it has the control character {c:?}"));
        }
        let Some((text, lines)) = note.rfind("\n\n").map(|end| (&note[..=end], &note[end + 2..])) else {
            return wrong("no empty line divides its text from signatures".into());
        };
        let Some(lines) = lines.strip_suffix('\n') else {
            return wrong("it does not end in a line with a signature".into());
        };
        let signatures = lines.split('\n').take(SIGNATURES_MAX + 1).map(str::parse).collect::<Result<Vec<_>, _>>()?;
        match signatures.len() > SIGNATURES_MAX {
            true => wrong(format!("it has more than {SIGNATURES_MAX} signatures")),
            false => Ok(Self { text: text.to_owned(), signatures }),
        }
    }
}
