//! One pass over the plaintext: digest, check, scan, seal, write. Knows no session and no ledger.
//!
//! Must never hand plaintext to anything but the digests, the check, the scanner and the seal. Blocking: runs on a blocking
//! thread. Called by `lane`.
//!
//! After a final fault the bytes are only counted and digested, for the report; in a dataset with quarantine they are
//! sealed all the same, as far as the dataset's size goes. A companion file is no extract: its few bytes are handed on as
//! they are, and nothing is written.

use ring::digest;

use super::companion;
use super::scanning::Scanning;
use super::sealing::{Origin, Sealed, Sealing};
use super::segments::{Segment, Segments};
use super::ticket::Keeper;
use crate::audit::ScanVerdict;
use crate::check::{Check, ErrorType, Fault, Outcome};
use crate::seal::SealError;
use crate::types::{Digests, Envelope, Sha256};

/// What one upload's pipeline is made of.
pub(super) struct Seed {
    pub origin: Origin,
    pub content: Content,
    /// A rejected extract is kept, sealed, up to so many bytes.
    pub quarantine: Option<u64>,
    /// Whether MD5 is wanted beside SHA-256.
    pub md5: bool,
    /// Whether SHA-1 is wanted beside SHA-256.
    pub sha1: bool,
    /// Who writes the ticket, where what is sealed may have to be a draft.
    pub keeper: Option<Keeper>,
}

/// What the bytes are to be.
pub(super) enum Content {
    Extract {
        check: Box<Check>,
        scan: Option<Scanning>,
    },
    /// A companion's text so far.
    Companion(Vec<u8>),
}

/// The gateway failed, not the upload. The detail is for the log: it may name paths.
#[derive(Debug, Clone)]
pub(super) struct Broken {
    pub cause: Cause,
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    DiskFull,
    /// It could not be stored, for another reason.
    Store,
    /// There is no verdict of the malware scanner.
    Scan,
}

impl Broken {
    pub(super) fn store(detail: impl Into<String>) -> Self {
        Self { cause: Cause::Store, detail: detail.into() }
    }
}
impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        let full = matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
        Self { cause: if full { Cause::DiskFull } else { Cause::Store }, detail: error.to_string() }
    }
}
impl From<SealError> for Broken {
    fn from(error: SealError) -> Self {
        Self::store(error.to_string())
    }
}

/// Why more bytes make no sense.
#[derive(Debug, Clone)]
pub(super) enum Stop {
    Fault(Fault),
    Broken(Broken),
}

/// What the end of the pass should leave behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// An object in the vault, if the content is acceptable or quarantined.
    Object,
    /// A sealed and synced spool, to be kept later, if the content is acceptable; an object if it is quarantined.
    Draft,
    /// It is rejected, whatever the content: an object if it is quarantined.
    Rejected,
    /// Only the digest.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Finished {
    pub size: u64,
    pub sha256: Sha256,
    /// In hex, where it was wanted.
    pub md5: Option<String>,
    /// In hex, where it was wanted.
    pub sha1: Option<String>,
    pub outcome: Outcome,
    pub scan: Option<ScanVerdict>,
    pub stored: Stored,
    /// What it is sealed with, if it is stored.
    pub envelope: Option<Envelope>,
    /// Why a rejected extract is not kept, though its dataset quarantines.
    pub unkept: Option<&'static str>,
}

impl Finished {
    pub(super) fn digests(&self) -> Digests {
        Digests { sha256: self.sha256, sha1: self.sha1.clone(), md5: self.md5.clone() }
    }
}

#[derive(Debug)]
pub(super) enum Stored {
    Nothing,
    Object {
        sealed_size: u64,
    },
    Draft(Sealed),
    /// Nothing on the disk: a companion's text.
    Text(Vec<u8>),
}

pub(super) struct Pipeline {
    digest: digest::Context,
    md5: Option<md5::Context>,
    sha1: Option<digest::Context>,
    size: u64,
    content: Content,
    quarantine: Option<u64>,
    origin: Origin,
    /// None once nothing will be stored: after a fault without quarantine.
    sealing: Option<Sealing>,
    keeper: Option<Keeper>,
    /// The ticket is written: when the first chunks are, so that small files never have one.
    ticketed: bool,
    stop: Option<Stop>,
    /// What the scanner would not scan, for the report.
    unscannable: Option<String>,
    unkept: Option<&'static str>,
}

/// What the content came to: the check's outcome, the scanner's verdict, a companion's text.
type Judged = (Outcome, Option<ScanVerdict>, Option<Vec<u8>>);

impl Pipeline {
    pub(super) fn new(mut seed: Seed) -> Result<Self, Broken> {
        let sealing = match &seed.content {
            Content::Companion(_) => None,
            Content::Extract { .. } => Some(Sealing::begin(&mut seed.origin)?),
        };
        Ok(Self {
            digest: digest::Context::new(&digest::SHA256),
            md5: seed.md5.then(md5::Context::new),
            sha1: seed.sha1.then(|| digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY)),
            size: 0,
            content: seed.content,
            quarantine: seed.quarantine,
            origin: seed.origin,
            sealing,
            keeper: seed.keeper,
            ticketed: false,
            stop: None,
            unscannable: None,
            unkept: None,
        })
    }

    /// Takes the next bytes. After a fault they are still counted and digested, and sealed for the quarantine.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.digest.update(bytes);
        if let Some(md5) = &mut self.md5 {
            md5.consume(bytes);
        }
        if let Some(sha1) = &mut self.sha1 {
            sha1.update(bytes);
        }
        self.size += bytes.len() as u64;
        if self.stop.is_none() {
            self.stop = self.judge(bytes).err();
        }
        self.store(bytes);
        match &self.stop {
            Some(stop) => Err(stop.clone()),
            None => Ok(()),
        }
    }

    fn judge(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let (check, scan) = match &mut self.content {
            Content::Extract { check, scan } => (check, scan),
            Content::Companion(text) if text.len() + bytes.len() <= companion::MOST => {
                text.extend_from_slice(bytes);
                return Ok(());
            }
            Content::Companion(_) => return Err(Stop::Fault(Fault(companion::too_long()))),
        };
        if let Err(fault) = check.push(bytes) {
            // Nobody waits for its verdict any more.
            *scan = None;
            return Err(Stop::Fault(fault));
        }
        let Some(Err(unscanned)) = scan.as_mut().map(|scan| scan.push(bytes)) else { return Ok(()) };
        *scan = None;
        if unscanned.too_large {
            self.unscannable = Some(unscanned.reason.clone());
            return Err(Stop::Fault(Fault(unscanned.reason)));
        }
        Err(Stop::Broken(Broken { cause: Cause::Scan, detail: unscanned.detail }))
    }

    fn store(&mut self, bytes: &[u8]) {
        let goes_on = match &self.stop {
            None => true,
            Some(Stop::Fault(_)) => self.quarantined(),
            Some(Stop::Broken(_)) => false,
        };
        let stored = match &mut self.sealing {
            Some(sealing) if goes_on => sealing.push(bytes),
            _ => {
                // The spool's file goes at once: the disk may be needed.
                self.sealing = None;
                return;
            }
        };
        if let Err(broken) = stored.and_then(|()| self.tell()) {
            self.unstored(broken);
        }
    }

    /// How far a draft of it would go. A faulty one is none.
    fn tell(&mut self) -> Result<(), Broken> {
        let (Some(keeper), Some(sealing), None) = (&self.keeper, &self.sealing, &self.stop) else { return Ok(()) };
        keeper.facts.set_sealed(sealing.sealed());
        match sealing.file() {
            Some((number, header, key)) if !self.ticketed => {
                self.ticketed = true;
                keeper.writing(&Segments::default(), Some(0), Some(&(number, header, key, 0)))
            }
            _ => Ok(()),
        }
    }

    /// Writes the ticket anew, if there is one.
    pub(super) fn note(&mut self) -> Result<(), Broken> {
        if !std::mem::take(&mut self.ticketed) {
            return Ok(());
        }
        let told = self.tell();
        if let Err(broken) = &told {
            self.unstored(broken.clone());
        }
        told
    }

    /// Whether a rejected extract of this size is kept.
    fn quarantined(&self) -> bool {
        self.quarantine.is_some_and(|most| self.size <= most)
    }

    /// What was rejected already stays rejected, though it could not be kept.
    fn unstored(&mut self, broken: Broken) {
        self.sealing = None;
        match &self.stop {
            None => self.stop = Some(Stop::Broken(broken)),
            Some(_) => self.unkept(&broken),
        }
    }

    fn unkept(&mut self, broken: &Broken) {
        tracing::error!(error = broken.detail, "a rejected upload could not be quarantined");
        self.unkept = Some("it could not be quarantined, nothing of it was kept");
    }

    /// More bytes make no sense: it is faulty, or broken.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_some()
    }

    pub(super) fn keeper(&self) -> Option<&Keeper> {
        self.keeper.as_ref()
    }

    /// Bytes that came so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Brings all whole chunks to the disk.
    pub(super) fn sync(&mut self) -> Result<(), Broken> {
        let Some(sealing) = &mut self.sealing else { return Ok(()) };
        let synced = sealing.sync().and_then(|()| self.tell());
        if let Err(broken) = &synced {
            self.unstored(broken.clone());
        }
        synced
    }

    /// The verdict, and what is stored.
    pub(super) fn finish(mut self, want: Want) -> Result<Finished, Broken> {
        if let Some(Stop::Broken(broken)) = self.stop {
            return Err(broken);
        }
        let (outcome, scan, text) = self.verdict(want)?;
        let acceptable = outcome.report.acceptable();
        let envelope = self.sealing.as_ref().map(Sealing::envelope);
        let stored = match (want, self.sealing.take()) {
            (Want::Object, Some(sealing)) if acceptable => {
                Stored::Object { sealed_size: sealing.finish()?.spool.keep()? }
            }
            (Want::Draft, Some(sealing)) if acceptable => {
                let mut sealed = sealing.finish()?;
                sealed.spool.sync()?;
                Stored::Draft(sealed)
            }
            (Want::Object | Want::Draft | Want::Rejected, Some(sealing)) if self.quarantined() => {
                match sealing.finish().and_then(|sealed| Ok(sealed.spool.keep()?)) {
                    Ok(sealed_size) => Stored::Object { sealed_size },
                    Err(broken) => {
                        self.unkept(&broken);
                        Stored::Nothing
                    }
                }
            }
            _ => text.map_or(Stored::Nothing, Stored::Text),
        };
        if self.quarantine.is_some_and(|most| self.size > most) {
            self.unkept = Some("it is too large to be quarantined, nothing of it was kept");
        }
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.digest.finish().as_ref());
        let md5 = self.md5.map(|md5| format!("{:x}", md5.finalize()));
        let sha1 = self.sha1.map(|sha1| data_encoding::HEXLOWER.encode(sha1.finish().as_ref()));
        let (size, sha256, unkept) = (self.size, Sha256(sha256), self.unkept);
        Ok(Finished { size, sha256, md5, sha1, outcome, scan, stored, envelope, unkept })
    }

    /// Ends the pass: what came is a segment of a draft from now on, and the checks begin anew when that is completed.
    /// `whole`: all that came; else as far as chunks are sealed.
    ///
    /// # Errors
    /// Nothing of it can be a draft: it is faulty already, or could not be stored.
    pub(super) fn into_segment(self, whole: bool) -> Result<(Origin, Option<Keeper>, Option<Segment>), Stop> {
        if let Some(stop) = self.stop {
            return Err(stop);
        }
        let segment = match self.sealing {
            Some(sealing) if self.size > 0 && whole => sealing.end(0).map(Some),
            Some(sealing) if self.size > 0 => sealing.cut(0),
            _ => Ok(None),
        };
        Ok((self.origin, self.keeper, segment.map_err(Stop::Broken)?))
    }

    /// What the check and the scanner say; a companion's text.
    fn verdict(&mut self, want: Want) -> Result<Judged, Broken> {
        let content = std::mem::replace(&mut self.content, Content::Companion(Vec::new()));
        let (mut outcome, scan, text) = match content {
            Content::Extract { check, scan } => (check.finish(), scan, None),
            Content::Companion(text) => {
                let mut outcome = Outcome::default();
                outcome.report.complete = true;
                if let Some(Stop::Fault(fault)) = &self.stop {
                    outcome.report.add(ErrorType::ByteCount, "companion", fault.0.clone());
                }
                (outcome, None, Some(text))
            }
        };
        let report = &mut outcome.report;
        if self.stop.is_some() {
            report.complete = false;
        }
        if let Some(reason) = self.unscannable.take() {
            report.add(ErrorType::SourceError, "scan", reason);
        }
        // Asked too when the check rejects it already: whoever opens a quarantined file should know.
        let wanted = matches!(want, Want::Object | Want::Draft);
        let Some(scan) = scan.filter(|_| wanted) else { return Ok((outcome, None, text)) };
        let acceptable = report.acceptable();
        match scan.finish(self.size) {
            Ok(verdict) => {
                if let Some(signature) = &verdict.found {
                    let what = format!(
                        "the malware scanner found {signature:?} in it: look at the machine that it comes from, and send no \
                         file before that"
                    );
                    report.add(ErrorType::SourceError, "malware", what);
                }
                Ok((outcome, Some(verdict), text))
            }
            Err(unscanned) if unscanned.too_large => {
                report.add(ErrorType::SourceError, "scan", unscanned.reason);
                Ok((outcome, None, text))
            }
            // Rejected it is, scanned or not.
            Err(_) if !acceptable => Ok((outcome, None, text)),
            Err(unscanned) => Err(Broken { cause: Cause::Scan, detail: unscanned.detail }),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{Cursor, Read};

    use super::*;
    use crate::check::{Format, Rules};
    use crate::seal::{Identities, Recipient, generate_identity};
    use crate::types::{Timestamp, UploadId};
    use crate::vault::Vault;

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
            (upload, self.made(upload, format, max_size))
        }

        pub fn seed_of(&self, upload: UploadId) -> Seed {
            self.made(upload, Format::Csv, u64::MAX)
        }

        fn made(&self, upload: UploadId, format: Format, max_size: u64) -> Seed {
            let content = Content::Extract { check: Box::new(begin(&Rules::of(format, max_size))), scan: None };
            let (vault, recipients) = (self.vault.clone(), vec![self.recipient.clone()]);
            let origin = Origin { vault, upload, recipients, number: 0 };
            Seed { origin, content, quarantine: None, md5: false, sha1: false, keeper: None }
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
                    (size as u64, Sha256::of(&plain), 0)
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
        seed.content = Content::Extract { check: Box::new(begin(&rules)), scan: None };
        let finished = Pipeline::new(seed).unwrap().finish(Want::Object).unwrap();
        assert_eq!((finished.size, finished.sha256), (0, Sha256::of(b"")));
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
        assert_eq!((finished.size, finished.sha256, finished.outcome.report.errors), (700_000, Sha256::of(&plain), 1));
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
        spool.spool.keep().unwrap();
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
