//! clamd, asked over its socket while an upload streams (INSTREAM, clamd(8)).
//!
//! Must never call clean what was not scanned whole: a scanner that is down, slow, over its limit or ends early is an
//! [`Unscanned`], never a verdict. Blocking, with deadlines: runs on the upload's blocking thread. Called by `intake`.

mod answer;
mod line;

use std::time::Duration;

use answer::Answer;
use line::{Early, Line};

/// Where clamd listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Path(std::path::PathBuf),
    Tcp(std::net::SocketAddr),
}

#[derive(Debug, Clone)]
pub struct Settings {
    pub address: Address,
    /// Bytes that clamd scans whole: no more than its own StreamMaxLength, MaxFileSize and MaxScanSize. Past the last two
    /// clamd calls clean what it did not look at, unless AlertExceedsMax is set.
    pub max_size: u64,
    /// For connecting, each write and the verdict.
    pub timeout: Duration,
}

/// What clamd said of all the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// `ClamAV 1.4.3`
    pub engine: String,
    /// Version and date of the signatures: `27400 Mon Nov 17 09:26:00 2026`; `not told` when clamd has only signatures
    /// that are not ClamAV's own.
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

/// Asks clamd for its engine and signatures: whether it is there, and speaks as expected.
///
/// # Errors
/// clamd does not answer.
pub fn ping(settings: &Settings) -> Result<(String, String), Unscanned> {
    let told = |error: std::io::Error| Unscanned::unavailable(line::in_words(&error));
    let mut line = Line::connect(&settings.address, settings.timeout).map_err(told)?;
    line.send(b"zVERSION\0").map_err(told)?;
    let answer = line.answer().map_err(told)?;
    answer::version(answer)
        .ok_or_else(|| Unscanned::unavailable(format!("asked for its version it said {:?}", answer::printable(answer))))
}

/// Bytes of one chunk; a push that is smaller waits for the next.
const CHUNK: usize = 64 << 10;

/// The chunk's length, before it.
const PREFIX: usize = 4;

/// One file under way to the scanner.
pub struct Scan {
    line: Line,
    engine: String,
    signatures: String,
    max_size: u64,
    /// Bytes pushed.
    size: u64,
    /// The next chunk, behind room for its length.
    chunk: Vec<u8>,
    /// Given again by every later call.
    failed: Option<Unscanned>,
}

impl Scan {
    /// Connects, and asks for the versions.
    ///
    /// # Errors
    /// clamd does not answer.
    pub fn begin(settings: &Settings) -> Result<Self, Unscanned> {
        let (engine, signatures) = ping(settings)?;
        let told = |error: std::io::Error| Unscanned::unavailable(line::in_words(&error));
        let mut line = Line::connect(&settings.address, settings.timeout).map_err(told)?;
        line.send(b"zINSTREAM\0").map_err(told)?;
        let mut chunk = Vec::with_capacity(PREFIX + CHUNK);
        chunk.resize(PREFIX, 0);
        Ok(Self { line, engine, signatures, max_size: settings.max_size, size: 0, chunk, failed: None })
    }

    /// Sends the next bytes, in chunks of 64 KiB: what is left over goes with the next push.
    ///
    /// # Errors
    /// clamd ended it, is too slow, or the limit is passed. Every later call gives it again.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Unscanned> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let pushed = self.take(bytes);
        self.failed = pushed.clone().err();
        pushed
    }

    /// Ends the stream and waits for the verdict, which covers `size` bytes or is none.
    ///
    /// # Errors
    /// As [`Scan::push`].
    pub fn finish(mut self, size: u64) -> Result<Scanned, Unscanned> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        if size != self.size {
            return Err(Unscanned::unavailable(format!("{size} bytes were received and {} scanned", self.size)));
        }
        self.flush()?;
        self.send(&[0; PREFIX])?;
        let found = match self.line.answer() {
            Ok(answer) => match answer::read(answer) {
                Answer::Clean => None,
                Answer::Found(name) => Some(name),
                other => return Err(self.no_verdict(other)),
            },
            Err(error) => return Err(self.broken(&error)),
        };
        Ok(Scanned { engine: self.engine, signatures: self.signatures, found, size })
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Unscanned> {
        self.size = self.size.saturating_add(bytes.len() as u64);
        if self.size > self.max_size {
            return Err(self.too_large(format!("more than the {} bytes of max_size", self.max_size)));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, after) = rest.split_at(rest.len().min(PREFIX + CHUNK - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            rest = after;
            if self.chunk.len() == PREFIX + CHUNK {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Unscanned> {
        if self.chunk.len() == PREFIX {
            return Ok(());
        }
        let mut chunk = std::mem::take(&mut self.chunk);
        // At most CHUNK. A chunk of no bytes would end the stream; that one is sent by `finish` alone.
        let length = (chunk.len() - PREFIX) as u32;
        chunk[..PREFIX].copy_from_slice(&length.to_be_bytes());
        self.send(&chunk)?;
        chunk.truncate(PREFIX);
        self.chunk = chunk;
        Ok(())
    }

    /// Sends; an answer that is there already, before everything was sent, is never a verdict.
    fn send(&mut self, bytes: &[u8]) -> Result<(), Unscanned> {
        if let Early::Something = self.line.early() {
            return Err(self.ended());
        }
        match self.line.send(bytes) {
            Ok(()) => Ok(()),
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset) =>
            {
                Err(self.ended())
            }
            // It may have answered while this waited for room to send.
            Err(error) => match self.line.early() {
                Early::Something => Err(self.ended()),
                Early::Nothing => Err(self.broken(&error)),
            },
        }
    }

    /// clamd ended it in the middle: it may have said why.
    fn ended(&mut self) -> Unscanned {
        match self.line.answer().map(answer::read) {
            Ok(Answer::Clean | Answer::Found(_)) => {
                Unscanned::unavailable("it answered before it had the whole file".into())
            }
            Ok(other) => self.no_verdict(other),
            Err(error) => self.broken(&error),
        }
    }

    fn no_verdict(&self, answer: Answer) -> Unscanned {
        match answer {
            Answer::TooLarge(said) => self.too_large(format!("clamd said {said:?}")),
            Answer::Other(said) => Unscanned::unavailable(format!("it said {said:?}")),
            // Verdicts are the callers' matter.
            Answer::Clean | Answer::Found(_) => Unscanned::unavailable("it gave a verdict that does not count".into()),
        }
    }

    fn broken(&self, error: &std::io::Error) -> Unscanned {
        let mut detail = line::in_words(error);
        if !self.line.received().is_empty() {
            detail = format!("{detail}; it had said {:?}", answer::printable(self.line.received()));
        }
        Unscanned::unavailable(detail)
    }

    fn too_large(&self, detail: String) -> Unscanned {
        Unscanned {
            reason: "the file is too large to be scanned for malware here: split it and send the parts, or ask for a higher limit"
                .into(),
            detail: format!("{detail}; {} bytes were sent to the scanner", self.size),
            too_large: true,
        }
    }
}

impl Unscanned {
    fn unavailable(detail: String) -> Self {
        Self {
            reason: "the file could not be scanned for malware, because the scanner did not answer as it should: send it again later"
                .into(),
            detail: format!("clamd: {detail}"),
            too_large: false,
        }
    }
}

#[cfg(test)]
mod tests;
