//! Opening a draft's own chunks again: by the payload key that whoever sealed them has kept, never by an identity.
//!
//! A draft that did not come in one clean sequence is read once more when it is completed, to be checked and sealed as one
//! file. The keys for that go when the draft does. Called by `intake`.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::{CHUNK, SealError, TAG};

/// Bytes of a [`RunKey`].
pub const RUN_KEY: usize = 32;

/// The key of one age file's payload. Wiped when it is dropped.
#[derive(Clone)]
pub struct RunKey(Zeroizing<[u8; RUN_KEY]>);

/// Never shown, not even by accident.
impl std::fmt::Debug for RunKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RunKey")
    }
}

impl RunKey {
    pub fn new(bytes: Zeroizing<[u8; RUN_KEY]>) -> Self {
        Self(bytes)
    }

    /// For a ticket, which is sealed itself.
    pub fn bytes(&self) -> &[u8; RUN_KEY] {
        &self.0
    }

    /// Opens the sealed chunk number `index` in place, and cuts its tag off. `last`: it was sealed as the file's last.
    ///
    /// # Errors
    /// It is not that chunk, whole and unchanged. What is in `chunk` then is not to be used.
    pub fn open(&self, index: u64, last: bool, chunk: &mut Vec<u8>) -> Result<(), SealError> {
        let failed = |_| SealError("a chunk of a draft does not open: its file was changed or is damaged".into());
        let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &self.0[..]).map_err(failed)?);
        let length = key.open_in_place(nonce(index, last), Aad::empty(), chunk).map_err(failed)?.len();
        chunk.truncate(length);
        Ok(())
    }

    /// Where chunk number `index` begins, behind the header.
    pub const fn at(index: u64) -> u64 {
        index.saturating_mul((CHUNK + TAG) as u64)
    }
}

/// age v1, "Payload": 11 bytes of counter, big-endian, and one that is 1 for the last chunk. 2^64 chunks are out of any
/// file's reach.
pub(super) fn nonce(chunk: u64, last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&chunk.to_be_bytes());
    nonce[11] = u8::from(last);
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashSet;
    use std::sync::Mutex;

    use super::super::{Sealer, generate_identity};
    use super::*;

    /// Half a key, which names it; the chunk's number; whether it is the last.
    type Pair = ([u8; 16], u64, bool);

    static SEALED: Mutex<Option<HashSet<Pair>>> = Mutex::new(None);

    /// In every test of this crate: no pair of key and nonce seals twice.
    pub(in super::super) fn once(key: &[u8; RUN_KEY], chunk: u64, last: bool) {
        let name = key[..16].try_into().unwrap();
        let new = SEALED.lock().unwrap().get_or_insert_default().insert((name, chunk, last));
        assert!(new, "chunk {chunk} was sealed twice under one key");
    }

    #[test]
    fn a_run_opens_by_its_key_chunk_by_chunk_and_nothing_else_does() {
        let recipients = [generate_identity().1.parse().unwrap()];
        let (_, mut sealer) = Sealer::begin(&recipients).unwrap();
        let key = sealer.key();
        let mut first = vec![1; CHUNK];
        sealer.seal(&mut first, false).unwrap();
        let mut second = vec![2; 5];
        sealer.seal(&mut second, true).unwrap();

        let opened = |key: &RunKey, index, last, chunk: &[u8]| {
            let mut chunk = chunk.to_vec();
            key.open(index, last, &mut chunk).map(|()| chunk)
        };
        assert_eq!(opened(&key, 0, false, &first).unwrap(), vec![1; CHUNK]);
        assert_eq!(opened(&key, 1, true, &second).unwrap(), vec![2; 5]);
        assert_eq!(RunKey::at(1), first.len() as u64);
        let other = Sealer::begin(&recipients).unwrap().1.key();
        for (key, index, last, chunk) in [
            (&key, 1, false, &second),
            (&key, 0, true, &second),
            (&key, 1, false, &first),
            (&other, 0, false, &first),
            (&key, 0, false, &first[..CHUNK].to_vec()),
            (&key, 0, false, &vec![]),
        ] {
            assert!(opened(key, index, last, chunk).is_err(), "{index} {last}");
        }
        let again = RunKey::new(Zeroizing::new(*key.bytes()));
        assert!(opened(&again, 1, true, &second).is_ok());
        assert_eq!(format!("{key:?}"), "RunKey");
    }
}
