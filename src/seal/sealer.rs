//! The sealing half: one header and one payload for each upload, under a file key that only the recipients can recover.

use std::cell::RefCell;
use std::collections::HashSet;

use age_core::format::{FileKey, Stanza};
use age_core::secrecy::ExposeSecret;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, UnboundKey};
use ring::hkdf;
use zeroize::Zeroizing;

use super::run::{RunKey, nonce};
use super::{CHUNK, Recipient, SealError, TAG};
use crate::types::{Envelope, Sha256};

/// Bytes of the payload's nonce, which follow the header (age v1, "Payload").
const PAYLOAD_NONCE: usize = 16;

/// Seals one age file's payload, chunk by chunk, under a file key of its own. The key it holds is wiped when it is
/// dropped; `ring` works on a copy that lives on the stack while one chunk is sealed.
pub struct Sealer {
    key: Zeroizing<[u8; 32]>,
    /// Chunks sealed; the nonce of the next one.
    chunks: u64,
    ended: bool,
}

/// Bytes of the age file that holds `plaintext` bytes; `header_len` is the length of what [`Sealer::begin`] returned.
pub fn sealed_size(header_len: u64, plaintext: u64) -> u64 {
    let chunks = plaintext.div_ceil(CHUNK as u64).max(1);
    header_len.saturating_add(plaintext).saturating_add(chunks.saturating_mul(TAG as u64))
}

impl Sealer {
    /// Draws a file key; returns the header with the payload's nonce, to be written first.
    ///
    /// # Errors
    /// No recipients, or one that the `age` crate refuses.
    pub fn begin(recipients: &[Recipient]) -> Result<(Vec<u8>, Sealer), SealError> {
        let Some((first, others)) = recipients.split_first() else {
            return Err(SealError("there is no recipient to seal to".into()));
        };
        let keeping = Keeping { recipient: first.as_age(), file_key: RefCell::new(None) };
        let all = std::iter::once(&keeping as &dyn age::Recipient).chain(others.iter().map(Recipient::as_age));
        let encryptor = age::Encryptor::with_recipients(all)
            .map_err(|error| SealError(format!("the file key cannot be wrapped for the recipients: {error}")))?;
        // The crate writes the header and the payload's nonce when it wraps the output; its writer is not used further.
        let mut header = Vec::with_capacity(512);
        drop(encryptor.wrap_output(&mut header).map_err(|error| SealError(format!("the age header failed: {error}")))?);
        let (Some(file_key), Some(nonce)) = (keeping.file_key.into_inner(), header.last_chunk::<PAYLOAD_NONCE>())
        else {
            return Err(SealError("the age crate wrote no header".into()));
        };
        let key = payload_key(&file_key, nonce)?;
        Ok((header, Sealer { key, chunks: 0, ended: false }))
    }

    /// What opens the chunks again. Whoever keeps it can read the file: it is for drafts alone, and goes with them.
    pub fn key(&self) -> RunKey {
        RunKey::new(self.key.clone())
    }

    /// Seals `chunk` in place and appends its tag. Every chunk but the last is exactly [`CHUNK`] bytes; the last is 1 to
    /// [`CHUNK`] bytes, or empty when the whole file is. After `last` nothing may follow.
    ///
    /// # Errors
    /// A chunk of the wrong length, or one after the last: a fault of the caller.
    pub fn seal(&mut self, chunk: &mut Vec<u8>, last: bool) -> Result<(), SealError> {
        let tag = self.seal_in_place(chunk, last)?;
        chunk.extend_from_slice(&tag);
        Ok(())
    }

    /// The same for a chunk inside a larger buffer: returns the tag, which belongs right behind it.
    ///
    /// # Errors
    /// As [`Sealer::seal`].
    pub fn seal_in_place(&mut self, chunk: &mut [u8], last: bool) -> Result<[u8; TAG], SealError> {
        let fits = match (last, chunk.len()) {
            (false, len) => len == CHUNK,
            (true, 0) => self.chunks == 0,
            (true, len) => len <= CHUNK,
        };
        if self.ended || !fits {
            return Err(SealError(format!("a chunk of {} bytes cannot be sealed here", chunk.len())));
        }
        #[cfg(test)]
        super::run::tests::once(&self.key, self.chunks, last);
        let failed = |_| SealError("ChaCha20-Poly1305 failed".into());
        let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &self.key[..]).map_err(failed)?);
        let tag = key.seal_in_place_separate_tag(nonce(self.chunks, last), Aad::empty(), chunk).map_err(failed)?;
        self.chunks += 1;
        self.ended = last;
        tag.as_ref().try_into().map_err(|_| SealError("ChaCha20-Poly1305 failed".into()))
    }
}

/// What an age file is sealed with; `header` is what [`Sealer::begin`] returned for these recipients.
pub fn envelope(header: &[u8], recipients: &[Recipient]) -> Envelope {
    let mut digests: Vec<Sha256> = recipients.iter().map(Recipient::digest).collect();
    digests.sort_unstable();
    Envelope { header: Sha256::of(&header[..header.len().saturating_sub(PAYLOAD_NONCE)]), recipients: digests }
}

/// HKDF-SHA256 of the file key, with the payload's nonce as salt and "payload" as info (age v1, "Payload").
fn payload_key(file_key: &[u8; 16], nonce: &[u8; PAYLOAD_NONCE]) -> Result<Zeroizing<[u8; 32]>, SealError> {
    let mut key = Zeroizing::new([0; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, nonce)
        .extract(file_key)
        .expand(&[b"payload"], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut key[..]))
        .map_err(|_| SealError("HKDF failed".into()))?;
    Ok(key)
}

/// One recipient that keeps the file key, which the crate shows to nobody else, and delegates.
struct Keeping<'a> {
    recipient: &'a dyn age::Recipient,
    file_key: RefCell<Option<Zeroizing<[u8; 16]>>>,
}

impl age::Recipient for Keeping<'_> {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), age::EncryptError> {
        *self.file_key.borrow_mut() = Some(Zeroizing::new(*file_key.expose_secret()));
        self.recipient.wrap_file_key(file_key)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::path::Path;
    use std::process::Command;

    use super::super::{Identities, generate_identity};
    use super::*;

    const SIZES: [usize; 7] = [0, 1, 65535, 65536, 65537, 131_072, 200_001];

    fn plaintext(size: usize) -> Vec<u8> {
        (0..size).map(|i| (i * 31 % 251) as u8).collect()
    }

    fn sealed(recipients: &[Recipient], plain: &[u8]) -> Vec<u8> {
        let (mut file, mut sealer) = Sealer::begin(recipients).unwrap();
        let header = file.len() as u64;
        let mut chunks = plain.chunks(CHUNK).peekable();
        if plain.is_empty() {
            let mut empty = vec![];
            sealer.seal(&mut empty, true).unwrap();
            file.extend(empty);
        }
        while let Some(chunk) = chunks.next() {
            let mut chunk = chunk.to_vec();
            sealer.seal(&mut chunk, chunks.peek().is_none()).unwrap();
            file.extend(chunk);
        }
        assert_eq!(file.len() as u64, sealed_size(header, plain.len() as u64));
        file
    }

    fn opened(identity: &str, sealed: &[u8]) -> Vec<u8> {
        let identities = Identities::parse(identity, "the test's identity").unwrap();
        let mut plain = vec![];
        identities.open(std::io::Cursor::new(sealed.to_vec())).unwrap().read_to_end(&mut plain).unwrap();
        plain
    }

    fn opened_by_the_age_program(dir: &Path, identity: &str, sealed: &[u8]) -> Vec<u8> {
        let (key, file) = (dir.join("identity"), dir.join("sealed.age"));
        std::fs::write(&key, identity).unwrap();
        std::fs::File::create(&file).unwrap().write_all(sealed).unwrap();
        let output = Command::new("age").arg("-d").arg("-i").arg(&key).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn ssh_key(dir: &Path, kind: &str) -> (String, Recipient) {
        let file = dir.join(kind);
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", kind, "-N", "", "-C", "a test", "-f"]).arg(&file);
        assert!(command.status().unwrap().success());
        let public = std::fs::read_to_string(file.with_extension("pub")).unwrap();
        (std::fs::read_to_string(file).unwrap(), public.parse().unwrap())
    }

    #[test]
    fn the_age_crate_and_the_age_program_open_every_size() {
        let dir = tempfile::tempdir().unwrap();
        let (secret, public) = generate_identity();
        let recipients = [public.parse().unwrap()];
        for size in SIZES {
            let plain = plaintext(size);
            let file = sealed(&recipients, &plain);
            assert!(opened(&secret, &file) == plain, "the crate, {size} bytes");
            assert!(opened_by_the_age_program(dir.path(), &secret, &file) == plain, "the program, {size} bytes");
        }
    }

    #[test]
    fn each_of_several_recipients_opens_it_ssh_keys_too() {
        let dir = tempfile::tempdir().unwrap();
        let (secret, public) = generate_identity();
        let (ed25519, ed25519_public) = ssh_key(dir.path(), "ed25519");
        let (rsa, rsa_public) = ssh_key(dir.path(), "rsa");
        let recipients = [rsa_public, public.parse().unwrap(), ed25519_public];
        let plain = plaintext(70_000);
        let file = sealed(&recipients, &plain);
        for identity in [secret.as_str(), &ed25519, &rsa] {
            assert!(opened(identity, &file) == plain);
            assert!(opened_by_the_age_program(dir.path(), identity, &file) == plain);
        }
        let alone = sealed(&recipients[2..], &plain);
        assert!(opened(&ed25519, &alone) == plain);
    }

    #[test]
    fn chunks_of_the_wrong_length_or_after_the_last_are_refused() {
        let recipients = [generate_identity().1.parse().unwrap()];
        let begin = || Sealer::begin(&recipients).unwrap().1;
        assert!(begin().seal(&mut vec![0; CHUNK - 1], false).is_err());
        assert!(begin().seal(&mut vec![0; CHUNK + 1], true).is_err());
        let mut sealer = begin();
        sealer.seal(&mut vec![0; CHUNK], false).unwrap();
        assert!(sealer.seal(&mut vec![], true).is_err(), "an empty last chunk after a full one");
        sealer.seal(&mut vec![0; 1], true).unwrap();
        assert!(sealer.seal(&mut vec![0; 1], true).is_err());
        assert!(Sealer::begin(&[]).is_err());
    }

    #[test]
    fn the_envelope_is_of_the_header_up_to_its_mac_and_of_each_recipient() {
        let texts = [generate_identity().1, generate_identity().1];
        let recipients = texts.clone().map(|text| text.parse().unwrap());
        // Headers of the same recipients differ in length: a stanza of random form is among theirs.
        let (header, mut sealer) = Sealer::begin(&recipients).unwrap();
        let (mut file, mut chunk) = (header.clone(), b"x".to_vec());
        sealer.seal(&mut chunk, true).unwrap();
        file.extend(chunk);
        assert_ne!(envelope(&header, &recipients).header, envelope(&file, &recipients).header);

        let envelope = envelope(&header, &recipients);
        // By hand: the header ends with the line that begins with three hyphens.
        let mac = file.windows(5).position(|window| window == b"\n--- ").unwrap() + 1;
        let end = mac + file[mac..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
        assert_eq!(envelope.header, Sha256::of(&file[..end]));
        let mut expected = texts.map(|text| Sha256::of(text.as_bytes()));
        expected.sort();
        assert_eq!(envelope.recipients, expected);
    }

    #[test]
    fn no_two_files_share_a_key() {
        let recipients = [generate_identity().1.parse().unwrap()];
        let plain = plaintext(100);
        assert_ne!(sealed(&recipients, &plain)[200..], sealed(&recipients, &plain)[200..]);
    }
}
