//! clamd, asked over its socket while an upload streams (INSTREAM, clamd(8)).
//!
//! Must never call clean what was not scanned whole: a scanner that is down, slow, over its limit or ends early is an
//! [`Unscanned`], never a verdict. Blocking, with deadlines: runs on the upload's blocking thread. Called by `intake`.

use std::time::Duration;

/// Where clamd listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Path(std::path::PathBuf),
    Tcp(std::net::SocketAddr),
}

#[derive(Debug, Clone)]
pub struct Settings {
    pub address: Address,
    /// Bytes that clamd scans whole.
    pub max_size: u64,
    /// For connecting, each write and the verdict.
    pub timeout: Duration,
}

/// What clamd said of all the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// `ClamAV 1.4.3`
    pub engine: String,
    /// Version and date of the signatures: `27400 Mon Nov 17 09:26:00 2026`
    pub signatures: String,
    /// Name of the signature that matched; none is clean.
    pub found: Option<String>,
    /// Bytes that were scanned.
    pub size: u64,
}

/// There is no verdict. The detail is for the log; `reason` for the provider, with what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unscanned {
    pub reason: String,
    pub detail: String,
    /// The file is too large to be scanned (the provider's matter), rather than the scanner's fault.
    pub too_large: bool,
}

/// One file under way to the scanner.
pub struct Scan {}

impl Scan {
    /// Connects, and asks for the versions.
    ///
    /// # Errors
    /// clamd does not answer.
    pub fn begin(settings: &Settings) -> Result<Self, Unscanned> {
        let _ = settings;
        unimplemented!()
    }

    /// Sends the next bytes.
    ///
    /// # Errors
    /// clamd ended it, is too slow, or the limit is passed. Every later call gives it again.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Unscanned> {
        let _ = bytes;
        unimplemented!()
    }

    /// Ends the stream and waits for the verdict, which covers `size` bytes or is none.
    ///
    /// # Errors
    /// As [`Scan::push`].
    pub fn finish(self, size: u64) -> Result<Scanned, Unscanned> {
        let _ = size;
        unimplemented!()
    }
}
