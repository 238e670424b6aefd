//! The malware scanner as a tee of the pass: begun with the first bytes, given all of them, asked at the end.
//!
//! Must never take for scanned what was not scanned whole. Blocking: runs on the worker's thread. Called by `pipeline`.

use crate::audit::ScanVerdict;
use crate::config::{ClamdAddress, ScanSettings};
use crate::scan::{Address, Scan, Scanned, Settings, Unscanned};

/// One upload's way to the scanner.
pub(super) struct Scanning(State);

enum State {
    /// No byte came yet.
    Idle(Begin),
    Running(Box<dyn Scanner>),
    Failed(Unscanned),
}

type Begin = Box<dyn FnOnce() -> Result<Box<dyn Scanner>, Unscanned> + Send>;

/// A scanner that was begun: clamd, or what tests put in its place.
pub(super) trait Scanner: Send {
    fn push(&mut self, bytes: &[u8]) -> Result<(), Unscanned>;
    fn finish(self: Box<Self>, size: u64) -> Result<Scanned, Unscanned>;
}

impl Scanner for Scan {
    fn push(&mut self, bytes: &[u8]) -> Result<(), Unscanned> {
        Scan::push(self, bytes)
    }
    fn finish(self: Box<Self>, size: u64) -> Result<Scanned, Unscanned> {
        Scan::finish(*self, size)
    }
}

fn settings(scan: &ScanSettings) -> Settings {
    let address = match &scan.clamd {
        ClamdAddress::Path(path) => Address::Path(path.clone()),
        ClamdAddress::Tcp(address) => Address::Tcp(*address),
    };
    Settings { address, max_size: scan.max_size, timeout: scan.timeout }
}

impl Scanning {
    pub(super) fn by_clamd(scan: &ScanSettings) -> Self {
        let settings = settings(scan);
        Self::by(move || Ok(Box::new(Scan::begin(&settings)?)))
    }

    pub(super) fn by(begin: impl FnOnce() -> Result<Box<dyn Scanner>, Unscanned> + Send + 'static) -> Self {
        Self(State::Idle(Box::new(begin)))
    }

    /// Sends the next bytes; the first ones make the connection.
    ///
    /// # Errors
    /// There will be no verdict; every later call says so again.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Unscanned> {
        let pushed = self.running().and_then(|scan| scan.push(bytes));
        if let Err(unscanned) = &pushed {
            self.0 = State::Failed(unscanned.clone());
        }
        pushed
    }

    /// The verdict over all `size` bytes of the upload; an empty one is asked about too.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn finish(mut self, size: u64) -> Result<ScanVerdict, Unscanned> {
        self.running()?;
        let State::Running(scan) = self.0 else { return Err(unexpected("the scan was not begun".into())) };
        let scanned = scan.finish(size)?;
        if scanned.size != size {
            return Err(unexpected(format!("{} of {size} bytes were scanned", scanned.size)));
        }
        Ok(ScanVerdict { engine: scanned.engine, signatures: scanned.signatures, found: scanned.found })
    }

    fn running(&mut self) -> Result<&mut Box<dyn Scanner>, Unscanned> {
        let under_way = State::Failed(unexpected("its beginning did not come to an end".into()));
        self.0 = match std::mem::replace(&mut self.0, under_way) {
            State::Idle(begin) => begin().map_or_else(State::Failed, State::Running),
            state => state,
        };
        match &mut self.0 {
            State::Running(scan) => Ok(scan),
            State::Failed(unscanned) => Err(unscanned.clone()),
            State::Idle(_) => Err(unexpected("the scan was not begun".into())),
        }
    }
}

fn unexpected(detail: String) -> Unscanned {
    Unscanned { reason: "the file could not be scanned".into(), detail, too_large: false }
}

#[cfg(test)]
mod tests {
    use super::super::pipeline::tests::{Bench, plaintext};
    use super::super::pipeline::{Broken, Cause, Content, Finished, Pipeline, Seed, Stop, Stored, Want};
    use super::*;
    use crate::check::Format;

    /// A scanner that plays its part.
    #[derive(Clone, Default)]
    struct Played {
        found: Option<String>,
        /// Bytes that it takes.
        most: Option<u64>,
        /// Bytes that it loses.
        loses: u64,
        /// It ends at the verdict.
        dies: bool,
        seen: u64,
    }

    fn unscanned(too_large: bool) -> Unscanned {
        Unscanned { reason: "too large for the scanner".into(), detail: "as played".into(), too_large }
    }

    impl Scanner for Played {
        fn push(&mut self, bytes: &[u8]) -> Result<(), Unscanned> {
            self.seen += bytes.len() as u64;
            if self.most.is_some_and(|most| self.seen > most) { Err(unscanned(true)) } else { Ok(()) }
        }
        fn finish(self: Box<Self>, size: u64) -> Result<Scanned, Unscanned> {
            assert_eq!(self.seen, size, "not every byte came to the scanner");
            let (engine, signatures) = ("ClamAV 1.4.3".into(), "27400".into());
            let scanned = Scanned { engine, signatures, found: self.found, size: size - self.loses };
            if self.dies { Err(unscanned(false)) } else { Ok(scanned) }
        }
    }

    fn with(bench: &Bench, scanning: Scanning) -> Seed {
        let (_, mut seed) = bench.seed(Format::Csv, u64::MAX);
        if let Content::Extract { scan, .. } = &mut seed.content {
            *scan = Some(scanning);
        }
        seed
    }

    /// An upload of so many bytes, in two pieces.
    fn pass(bench: &Bench, size: usize, want: Want, played: Played) -> Result<Finished, Broken> {
        let seed = with(bench, Scanning::by(move || Ok(Box::new(played))));
        let mut pipeline = Pipeline::new(seed).unwrap();
        let plain = plaintext(size);
        for piece in plain.chunks(size.div_ceil(2).max(1)) {
            let _ = pipeline.push(piece);
        }
        pipeline.finish(want)
    }

    #[test]
    fn what_is_clean_is_taken_with_the_scanners_verdict_however_small() {
        let bench = Bench::new();
        let finished = pass(&bench, 300_000, Want::Object, Played::default()).unwrap();
        let scan = finished.scan.unwrap();
        assert_eq!((scan.engine.as_str(), scan.found), ("ClamAV 1.4.3", None));
        assert!(matches!(finished.stored, Stored::Object { .. }));
        let draft = pass(&bench, 1, Want::Draft, Played::default()).unwrap();
        assert!(draft.scan.is_some() && matches!(draft.stored, Stored::Draft(_)));
    }

    #[test]
    fn what_the_scanner_knows_is_rejected_by_the_name_of_the_signature_and_not_kept() {
        let bench = Bench::new();
        let played = Played { found: Some("Eicar-Test".into()), ..Played::default() };
        let finished = pass(&bench, 300_000, Want::Object, played.clone()).unwrap();
        let error = &finished.outcome.report.groups[0];
        assert!(error.rule == "malware" && error.message.contains("Eicar-Test"), "{error:?}");
        assert_eq!(finished.scan.unwrap().found.as_deref(), Some("Eicar-Test"));
        assert!(matches!(finished.stored, Stored::Nothing));
        assert_eq!((bench.spooled(), bench.vault.objects().unwrap()), (0, vec![]));
        assert!(matches!(pass(&bench, 9, Want::Draft, played).unwrap().stored, Stored::Nothing));
    }

    #[test]
    fn what_was_not_scanned_whole_is_never_taken() {
        let bench = Bench::new();
        let (loses, dies) = (Played { loses: 1, ..Played::default() }, Played { dies: true, ..Played::default() });
        for played in [loses, dies] {
            let broken = pass(&bench, 300_000, Want::Object, played).unwrap_err();
            assert_eq!(broken.cause, Cause::Scan, "{broken:?}");
        }
        assert_eq!((bench.spooled(), bench.vault.objects().unwrap()), (0, vec![]));
    }

    #[test]
    fn a_scanner_that_is_down_is_the_gateways_fault_and_told_on_the_next_write() {
        let bench = Bench::new();
        let mut pipeline = Pipeline::new(with(&bench, Scanning::by(|| Err(unscanned(false))))).unwrap();
        for _ in 0..2 {
            let Err(Stop::Broken(broken)) = pipeline.push(b"x") else { panic!("it goes on") };
            assert_eq!((broken.cause, broken.detail.as_str()), (Cause::Scan, "as played"));
        }
        assert_eq!(pipeline.finish(Want::Object).unwrap_err().cause, Cause::Scan);
    }

    #[test]
    fn what_is_too_large_to_be_scanned_is_rejected_as_soon_as_that_is_known() {
        let bench = Bench::new();
        let played = Played { most: Some(5), ..Played::default() };
        let seed = with(&bench, Scanning::by(move || Ok(Box::new(played))));
        let mut pipeline = Pipeline::new(seed).unwrap();
        assert!(pipeline.push(b"12345").is_ok());
        assert!(matches!(pipeline.push(b"6"), Err(Stop::Fault(_))));
        let finished = pipeline.finish(Want::Object).unwrap();
        assert_eq!(finished.outcome.report.groups[0].rule, "scan");
        assert!(finished.scan.is_none() && matches!(finished.stored, Stored::Nothing));
    }
}
