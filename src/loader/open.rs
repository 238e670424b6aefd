//! Opening a sealed object: whole and checked against the manifest, before anyone sees a byte of it.
//!
//! Must never report success unless every chunk opened and the plaintext's size and SHA-256 are the manifest's. Called by
//! `deliver`; also streams the plaintext for `exec` and `into`, checking it once more on the way.

use std::fs::File;
use std::io::{BufReader, Read};
use std::sync::Arc;

use ring::digest;
use tokio_util::sync::CancellationToken;

use super::disk::Part;
use super::queue::Manifest;
use crate::seal::Identities;
use crate::types::Sha256;

/// Plaintext is passed on in pieces of this size.
pub const PIECE: usize = 64 * 1024;

/// The identities of a loader; an object may be sealed to any of them.
#[derive(Clone)]
pub struct Keys(Arc<Vec<Identities>>);

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The object is not what the manifest says. Fetching it again may help.
    #[error("{0}")]
    Wrong(String),
    /// What took the plaintext failed.
    #[error("{0}")]
    Sink(std::io::Error),
    #[error("interrupted")]
    Interrupted,
}

impl Keys {
    pub fn new(identities: Vec<Identities>) -> Self {
        Self(Arc::new(identities))
    }

    fn open(&self, part: &Part) -> Result<Box<dyn Read + Send>, OpenError> {
        let mut refusals = Vec::new();
        for identities in self.0.iter() {
            let file = part.handle(0).map_err(|e| OpenError::Wrong(format!("cannot read the sealed object: {e}")))?;
            match identities.open(BufReader::with_capacity(4 * PIECE, file)) {
                Ok(plain) => return Ok(plain),
                Err(refusal) => refusals.push(refusal.to_string()),
            }
        }
        refusals.dedup();
        Err(OpenError::Wrong(format!("the sealed object does not open: {}", refusals.join("; "))))
    }

    /// Opens the whole object and compares it with the manifest; nothing leaves this function.
    ///
    /// # Errors
    /// Says what differs.
    pub fn verify(&self, part: &Part, manifest: &Manifest, cancel: &CancellationToken) -> Result<(), OpenError> {
        self.stream(part, manifest, cancel, |_| Ok(()))
    }

    /// Opens the object and gives its plaintext to `sink`, piece by piece; fails at the end if it was not the manifest's.
    /// Call [`Keys::verify`] before, if `sink` cannot take anything back.
    ///
    /// # Errors
    /// Says what differs, or what `sink` said.
    pub fn stream(
        &self,
        part: &Part,
        manifest: &Manifest,
        cancel: &CancellationToken,
        mut sink: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), OpenError> {
        let sealed = part.len().map_err(|e| OpenError::Wrong(format!("cannot read the sealed object: {e}")))?;
        if sealed != manifest.sealed_size {
            return Err(OpenError::Wrong(format!(
                "the sealed object has {sealed} bytes, the manifest says {}",
                manifest.sealed_size
            )));
        }
        let mut plain = self.open(part)?;
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut size = 0u64;
        let mut piece = vec![0; PIECE];
        loop {
            if cancel.is_cancelled() {
                return Err(OpenError::Interrupted);
            }
            let read = match plain.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(OpenError::Wrong(format!("the sealed object is damaged after byte {size}: {e}"))),
            };
            size += read as u64;
            if size > manifest.size {
                return Err(OpenError::Wrong(format!("the plaintext is longer than the manifest's {}", manifest.size)));
            }
            hash.update(&piece[..read]);
            sink(&piece[..read]).map_err(OpenError::Sink)?;
        }
        if size != manifest.size {
            return Err(OpenError::Wrong(format!(
                "the plaintext has {size} bytes, the manifest says {}",
                manifest.size
            )));
        }
        let found = sha256(hash);
        if found != manifest.sha256 {
            return Err(OpenError::Wrong(format!(
                "the plaintext's SHA-256 is {found}, the manifest says {}",
                manifest.sha256
            )));
        }
        Ok(())
    }
}

/// Size and SHA-256 of a file, at most `limit` bytes of it.
pub fn digest_of(file: File, limit: u64) -> std::io::Result<(u64, Sha256)> {
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut file = file.take(limit);
    let mut piece = vec![0; PIECE];
    let mut size = 0;
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok((size, sha256(hash)));
        }
        hash.update(&piece[..read]);
        size += read as u64;
    }
}

fn sha256(hash: digest::Context) -> Sha256 {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    Sha256(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use age::secrecy::ExposeSecret as _;
    use tempfile::TempDir;

    use super::super::disk::Disk;
    use super::super::queue::{Claimed, tests::claim_line};
    use super::*;

    /// A delivery whose sealed object lies fetched on the loader's disk.
    pub struct Fixture {
        pub folder: TempDir,
        pub keys: Keys,
        pub part: Part,
        pub claimed: Claimed,
    }

    pub fn fixture(name: &str, plain: &[u8]) -> Fixture {
        let identity = age::x25519::Identity::generate();
        let recipient = identity.to_public();
        let sealer = age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient)).unwrap();
        let mut sealed = Vec::new();
        let mut writer = sealer.wrap_output(&mut sealed).unwrap();
        writer.write_all(plain).unwrap();
        writer.finish().unwrap();

        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(plain);
        let line = claim_line(name, plain.len() as u64, sha256(hash), sealed.len() as u64);
        let claimed = Claimed::parse(&line).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let part = Disk::open(&folder.path().join("work")).unwrap().part(claimed.manifest.delivery).unwrap();
        part.handle(0).unwrap().write_all(&sealed).unwrap();
        let text = identity.to_string();
        let keys = Keys::new(vec![Identities::parse(text.expose_secret(), "test").unwrap()]);
        Fixture { folder, keys, part, claimed }
    }

    fn verify(f: &Fixture) -> Result<(), OpenError> {
        f.keys.verify(&f.part, &f.claimed.manifest, &CancellationToken::new())
    }

    #[test]
    fn whole_objects_of_every_size_verify() {
        for size in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            verify(&fixture("a.csv", &vec![b'x'; size])).unwrap();
        }
    }

    #[test]
    fn any_changed_byte_of_the_sealed_object_is_noticed() {
        let f = fixture("a.csv", &vec![b'x'; PIECE + 100]);
        let sealed = f.part.len().unwrap();
        for at in [200, sealed / 2, sealed - 1] {
            let mut byte = [0];
            f.part.handle(at).unwrap().read_exact(&mut byte).unwrap();
            f.part.handle(at).unwrap().write_all(&[byte[0] ^ 1]).unwrap();
            assert!(matches!(verify(&f), Err(OpenError::Wrong(_))), "at {at}");
            f.part.handle(at).unwrap().write_all(&byte).unwrap();
        }
        verify(&f).unwrap();
    }

    #[test]
    fn an_object_cut_at_a_chunk_is_noticed_even_if_the_manifest_agrees_with_its_size() {
        let mut f = fixture("a.csv", &vec![b'x'; 2 * PIECE]);
        let cut = f.part.len().unwrap() - (PIECE as u64 + 16);
        f.part.handle(0).unwrap().set_len(cut).unwrap();
        assert!(matches!(verify(&f), Err(OpenError::Wrong(why)) if why.contains("the manifest says")));
        f.claimed.manifest.sealed_size = cut;
        assert!(verify(&f).is_err());
    }

    #[test]
    fn a_plaintext_that_is_not_the_manifests_is_refused() {
        let mut f = fixture("a.csv", b"abc");
        f.claimed.manifest.sha256 = Sha256([0; 32]);
        assert!(matches!(verify(&f), Err(OpenError::Wrong(why)) if why.contains("SHA-256")));
        for size in [2, 4] {
            let mut f = fixture("a.csv", b"abc");
            f.claimed.manifest.size = size;
            assert!(verify(&f).is_err());
        }
    }

    #[test]
    fn an_object_sealed_to_somebody_else_does_not_open() {
        let f = fixture("a.csv", b"abc");
        let other = fixture("a.csv", b"abc");
        let error = other.keys.verify(&f.part, &f.claimed.manifest, &CancellationToken::new()).unwrap_err();
        assert!(error.to_string().contains("does not open"), "{error}");
    }
}
