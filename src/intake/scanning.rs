//! The malware scanner as a tee of the pass: begun with the first bytes, given all of them, asked at the end.
//!
//! Must never take for scanned what was not scanned whole. Blocking: runs on the worker's thread. Called by `pipeline`.

use crate::audit::ScanVerdict;
use crate::config::{ClamdAddress, ScanSettings};
use crate::scan::{Address, Scan, Settings, Unscanned};

/// One upload's way to the scanner.
pub(super) struct Scanning {
    settings: Settings,
    state: State,
}

enum State {
    /// No byte came yet.
    Idle,
    Running(Scan),
    Failed(Unscanned),
}

pub(super) fn settings(scan: &ScanSettings) -> Settings {
    let address = match &scan.clamd {
        ClamdAddress::Path(path) => Address::Path(path.clone()),
        ClamdAddress::Tcp(address) => Address::Tcp(*address),
    };
    Settings { address, max_size: scan.max_size, timeout: scan.timeout }
}

impl Scanning {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, state: State::Idle }
    }

    /// Sends the next bytes; the first ones make the connection.
    ///
    /// # Errors
    /// There will be no verdict; every later call says so again.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Unscanned> {
        let scan = self.running()?;
        if let Err(unscanned) = scan.push(bytes) {
            self.state = State::Failed(unscanned.clone());
            return Err(unscanned);
        }
        Ok(())
    }

    /// The verdict over all `size` bytes of the upload; an empty one is asked about too.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn finish(mut self, size: u64) -> Result<ScanVerdict, Unscanned> {
        self.running()?;
        let State::Running(scan) = self.state else { return Err(unexpected("the scan was not begun")) };
        let scanned = scan.finish(size)?;
        if scanned.size != size {
            return Err(unexpected(&format!("{} of {size} bytes were scanned", scanned.size)));
        }
        Ok(ScanVerdict { engine: scanned.engine, signatures: scanned.signatures, found: scanned.found })
    }

    fn running(&mut self) -> Result<&mut Scan, Unscanned> {
        if let State::Idle = self.state {
            self.state = match Scan::begin(&self.settings) {
                Ok(scan) => State::Running(scan),
                Err(unscanned) => State::Failed(unscanned),
            };
        }
        match &mut self.state {
            State::Running(scan) => Ok(scan),
            State::Failed(unscanned) => Err(unscanned.clone()),
            State::Idle => Err(unexpected("the scan was not begun")),
        }
    }
}

fn unexpected(detail: &str) -> Unscanned {
    Unscanned { reason: "the file could not be scanned".into(), detail: detail.into(), too_large: false }
}
