//! One pass over the plaintext: digest, check, seal, write. Knows no session, no network and no ledger.
//!
//! Must never hand plaintext to anything but the digest, the check and the seal. Blocking: runs on a blocking thread.
//! Called by `lane`.

use ring::digest;

use crate::check::{Check, Fault, Outcome};
use crate::seal::{CHUNK, Recipient, SealError, Sealer, TAG};
use crate::types::{Sha256, UploadId};
use crate::vault::{Spool, Vault};

/// Sealed chunks that are written at once.
const CHUNKS_A_WRITE: usize = 4;
/// Room for them and for a header of a few recipients; more recipients only make the first write longer.
const OUT: usize = CHUNKS_A_WRITE * (CHUNK + TAG) + 4096;

/// What one upload's pipeline is made of.
pub(super) struct Seed {
    pub vault: Vault,
    pub upload: UploadId,
    pub recipients: Vec<Recipient>,
    pub check: Check,
}

/// The gateway failed, not the upload. The detail is for the log: it may name paths.
#[derive(Debug, Clone)]
pub(super) struct Broken {
    /// The disk is full.
    pub full: bool,
    pub detail: String,
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        let full = matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
        Self { full, detail: error.to_string() }
    }
}
impl From<SealError> for Broken {
    fn from(error: SealError) -> Self {
        Self { full: false, detail: error.to_string() }
    }
}

/// Why more bytes make no sense.
#[derive(Debug, Clone)]
pub(super) enum Stop {
    Fault(Fault),
    Broken(Broken),
}

/// What the end of the pass should leave behind, if the content is acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// An object in the vault.
    Object,
    /// A sealed and synced spool, to be kept later.
    Draft,
    /// Only digest and verdict: it will not be accepted anyway.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Finished {
    pub size: u64,
    pub sha256: Sha256,
    pub outcome: Outcome,
    pub stored: Stored,
}

#[derive(Debug)]
pub(super) enum Stored {
    Nothing,
    Object { sealed_size: u64 },
    Draft(Spool),
}

pub(super) struct Pipeline {
    digest: digest::Context,
    size: u64,
    check: Check,
    /// None once nothing will be stored: after a fault.
    sealing: Option<Sealing>,
    stop: Option<Stop>,
}

impl Pipeline {
    pub(super) fn new(seed: Seed) -> Result<Self, Broken> {
        let (header, sealer) = Sealer::begin(&seed.recipients)?;
        let (vault, upload) = (seed.vault, seed.upload);
        let open = header.len();
        Ok(Self {
            digest: digest::Context::new(&digest::SHA256),
            size: 0,
            check: seed.check,
            sealing: Some(Sealing { vault, upload, sealer, out: header, open, spool: None }),
            stop: None,
        })
    }

    /// Takes the next bytes. After a fault they are still counted and digested, for the report.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.digest.update(bytes);
        self.size += bytes.len() as u64;
        if self.stop.is_none() {
            let stored = match (self.check.push(bytes), &mut self.sealing) {
                (Err(fault), _) => Err(Stop::Fault(fault)),
                (Ok(()), Some(sealing)) => sealing.push(bytes).map_err(Stop::Broken),
                (Ok(()), None) => Ok(()),
            };
            if let Err(stop) = stored {
                // The spool's file goes at once: the disk may be needed.
                self.sealing = None;
                self.stop = Some(stop);
            }
        }
        match &self.stop {
            Some(stop) => Err(stop.clone()),
            None => Ok(()),
        }
    }

    /// Bytes that came so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Brings all whole chunks to the disk.
    pub(super) fn sync(&mut self) -> Result<(), Broken> {
        let Some(sealing) = &mut self.sealing else { return Ok(()) };
        let synced = sealing.write().and_then(|()| Ok(sealing.spool()?.sync()?));
        if let Err(broken) = &synced {
            self.sealing = None;
            self.stop = Some(Stop::Broken(broken.clone()));
        }
        synced
    }

    /// The verdict, and what is stored.
    pub(super) fn finish(self, want: Want) -> Result<Finished, Broken> {
        if let Some(Stop::Broken(broken)) = self.stop {
            return Err(broken);
        }
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.digest.finish().as_ref());
        let outcome = self.check.finish();
        let acceptable = outcome.report.acceptable();
        let stored = match (want, self.sealing) {
            (Want::Object, Some(sealing)) if acceptable => Stored::Object { sealed_size: sealing.finish()?.keep()? },
            (Want::Draft, Some(sealing)) if acceptable => {
                let mut spool = sealing.finish()?;
                spool.sync()?;
                Stored::Draft(spool)
            }
            _ => Stored::Nothing,
        };
        Ok(Finished { size: self.size, sha256: Sha256(sha256), outcome, stored })
    }
}

/// Plaintext in, an age file out.
struct Sealing {
    vault: Vault,
    upload: UploadId,
    sealer: Sealer,
    /// The header at first, sealed chunks, and behind them the plaintext of the open chunk: each is copied here once
    /// and sealed in place. Only what is before `open` is ever written.
    out: Vec<u8>,
    /// Where the open chunk begins. It is sealed when it is full and more comes, or at the end.
    open: usize,
    /// Made when there is something to write: a small file that is refused never touches the disk.
    spool: Option<Spool>,
}

impl Sealing {
    fn push(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        while !bytes.is_empty() {
            if self.out.len() - self.open == CHUNK {
                self.seal(false)?;
                if self.open >= CHUNKS_A_WRITE * (CHUNK + TAG) {
                    self.write()?;
                }
            }
            let room = CHUNK - (self.out.len() - self.open);
            let (now, rest) = bytes.split_at(bytes.len().min(room));
            self.make_room(now.len() + TAG);
            self.out.extend_from_slice(now);
            bytes = rest;
        }
        Ok(())
    }

    /// Small for a small file, all at once for one that goes on.
    fn make_room(&mut self, more: usize) {
        let needed = self.out.len() + more;
        if needed > self.out.capacity() {
            let size = if needed <= CHUNK { needed.next_power_of_two() } else { needed.max(OUT) };
            self.out.reserve_exact(size - self.out.len());
        }
    }

    fn seal(&mut self, last: bool) -> Result<(), Broken> {
        let tag = self.sealer.seal_in_place(&mut self.out[self.open..], last)?;
        self.make_room(TAG);
        self.out.extend_from_slice(&tag);
        self.open = self.out.len();
        Ok(())
    }

    /// Writes what is sealed; the open chunk moves to the front.
    fn write(&mut self) -> Result<(), Broken> {
        let open = std::mem::take(&mut self.open);
        if open > 0 {
            self.spool()?;
            if let Some(spool) = &mut self.spool {
                spool.write(&self.out[..open])?;
            }
            self.out.drain(..open);
        }
        Ok(())
    }

    fn spool(&mut self) -> Result<&mut Spool, Broken> {
        let spool = match self.spool.take() {
            Some(spool) => spool,
            None => self.vault.create(self.upload)?,
        };
        Ok(self.spool.insert(spool))
    }

    fn finish(mut self) -> Result<Spool, Broken> {
        self.seal(true)?;
        self.write()?;
        match self.spool {
            Some(spool) => Ok(spool),
            // There is always a header to write.
            None => Err(Broken { full: false, detail: "nothing was written".into() }),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{Cursor, Read};

    use super::*;
    use crate::check::{Format, Rules};
    use crate::seal::{Identities, generate_identity};
    use crate::types::Timestamp;

    pub(in super::super) struct Bench {
        pub dir: tempfile::TempDir,
        pub vault: Vault,
        pub recipient: Recipient,
        secret: zeroize::Zeroizing<String>,
    }

    fn begin(rules: &Rules) -> Check {
        rules.begin(&"a.csv".parse().unwrap(), jiff::civil::date(2026, 1, 31), None)
    }

    impl Bench {
        pub fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (secret, public) = generate_identity();
            let vault = Vault::open(dir.path()).unwrap();
            Self { dir, vault, recipient: public.parse().unwrap(), secret }
        }

        pub fn seed(&self, format: Format, max_size: u64) -> (UploadId, Seed) {
            let upload = UploadId::new(Timestamp::UNIX_EPOCH);
            let check = begin(&Rules::of(format, max_size));
            (upload, Seed { vault: self.vault.clone(), upload, recipients: vec![self.recipient.clone()], check })
        }

        pub fn opened(&self, upload: UploadId) -> Vec<u8> {
            let object = self.vault.read(upload).unwrap();
            let mut sealed = vec![0; usize::try_from(object.size()).unwrap()];
            object.read_at(0, &mut sealed).unwrap();
            let mut plain = vec![];
            let identities = Identities::parse(&self.secret, "test").unwrap();
            identities.open(Cursor::new(sealed)).unwrap().read_to_end(&mut plain).unwrap();
            plain
        }

        /// Files in the spool.
        pub fn spooled(&self) -> usize {
            std::fs::read_dir(self.dir.path().join("spool")).unwrap().count()
        }
    }

    pub(in super::super) fn plaintext(size: usize) -> Vec<u8> {
        (0..size).map(|i| b'a' + (i % 23) as u8).collect()
    }

    pub(in super::super) fn sha256(bytes: &[u8]) -> Sha256 {
        Sha256(digest::digest(&digest::SHA256, bytes).as_ref().try_into().unwrap())
    }

    #[test]
    fn what_goes_in_however_cut_is_what_the_sealed_object_opens_to() {
        let bench = Bench::new();
        for size in [1, 2, 65535, 65536, 65537, 131_072, 262_144, 262_145, 1_000_003] {
            for cut in [1021, 32 * 1024, 65536, 262_144, size] {
                let (upload, seed) = bench.seed(Format::Csv, u64::MAX);
                let plain = plaintext(size);
                let mut pipeline = Pipeline::new(seed).unwrap();
                for piece in plain.chunks(cut) {
                    pipeline.push(piece).unwrap();
                }
                let finished = pipeline.finish(Want::Object).unwrap();
                assert_eq!(
                    (finished.size, finished.sha256, finished.outcome.report.errors),
                    (size as u64, sha256(&plain), 0)
                );
                let Stored::Object { sealed_size } = finished.stored else { panic!("not stored") };
                assert_eq!(sealed_size, bench.vault.read(upload).unwrap().size());
                assert!(bench.opened(upload) == plain, "{size} bytes cut at {cut}");
            }
        }
        assert_eq!(bench.spooled(), 0);
    }

    #[test]
    fn an_empty_file_that_is_allowed_is_one_empty_chunk() {
        let bench = Bench::new();
        let (upload, mut seed) = bench.seed(Format::Opaque, 10);
        let rules = Rules { min_size: 0, ..Rules::of(Format::Opaque, 10) };
        seed.check = begin(&rules);
        let finished = Pipeline::new(seed).unwrap().finish(Want::Object).unwrap();
        assert_eq!((finished.size, finished.sha256), (0, sha256(b"")));
        assert_eq!(bench.opened(upload), b"");
    }

    #[test]
    fn a_refused_upload_is_digested_and_leaves_nothing() {
        let bench = Bench::new();
        let (_, seed) = bench.seed(Format::Opaque, 600_000);
        let mut pipeline = Pipeline::new(seed).unwrap();
        let plain = plaintext(700_000);
        assert!(pipeline.push(&plain[..500_000]).is_ok());
        assert_eq!(bench.spooled(), 1);
        assert!(matches!(pipeline.push(&plain[500_000..650_000]), Err(Stop::Fault(_))));
        assert_eq!(bench.spooled(), 0, "the spool goes as soon as the fault is known");
        assert!(matches!(pipeline.push(&plain[650_000..]), Err(Stop::Fault(_))));
        let finished = pipeline.finish(Want::Object).unwrap();
        assert_eq!((finished.size, finished.sha256, finished.outcome.report.errors), (700_000, sha256(&plain), 1));
        assert!(matches!(finished.stored, Stored::Nothing));
        assert_eq!(bench.vault.objects().unwrap(), []);
    }

    #[test]
    fn a_small_refused_file_never_touches_the_disk() {
        let bench = Bench::new();
        let (_, seed) = bench.seed(Format::Csv, 10_000);
        std::fs::remove_dir(bench.dir.path().join("spool")).unwrap();
        let mut pipeline = Pipeline::new(seed).unwrap();
        let _ = pipeline.push(b"%PDF-1.7\n");
        assert_eq!(pipeline.finish(Want::Object).unwrap().outcome.report.errors, 1);
    }

    #[test]
    fn a_disk_that_fails_is_no_fault_of_the_upload() {
        let bench = Bench::new();
        let (_, seed) = bench.seed(Format::Csv, u64::MAX);
        std::fs::remove_dir(bench.dir.path().join("spool")).unwrap();
        let mut pipeline = Pipeline::new(seed).unwrap();
        assert!(matches!(pipeline.push(&plaintext(400_000)), Err(Stop::Broken(_))));
        assert!(pipeline.finish(Want::Object).is_err());
    }

    #[test]
    fn a_draft_is_whole_before_it_is_kept() {
        let bench = Bench::new();
        let (upload, seed) = bench.seed(Format::Csv, u64::MAX);
        let plain = plaintext(100_000);
        let mut pipeline = Pipeline::new(seed).unwrap();
        pipeline.push(&plain[..70_000]).unwrap();
        pipeline.sync().unwrap();
        pipeline.push(&plain[70_000..]).unwrap();
        let Stored::Draft(spool) = pipeline.finish(Want::Draft).unwrap().stored else { panic!("no draft") };
        assert_eq!((bench.spooled(), bench.vault.objects().unwrap().len()), (1, 0));
        spool.keep().unwrap();
        assert!(bench.opened(upload) == plain);
    }

    #[test]
    fn plaintext_is_nowhere_under_the_state_directory() {
        let bench = Bench::new();
        let (_, seed) = bench.seed(Format::Csv, u64::MAX);
        let mut pipeline = Pipeline::new(seed).unwrap();
        let canary = b"a canary that must not be seen";
        pipeline.push(&canary.repeat(20_000)).unwrap();
        pipeline.sync().unwrap();
        for entry in std::fs::read_dir(bench.dir.path().join("spool")).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(bytes.len() > 500_000 && !bytes.windows(canary.len()).any(|window| window == canary));
        }
    }
}
