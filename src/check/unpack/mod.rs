//! gzip and zip, opened in the stream: packed bytes in, the one table out, with limits on size, ratio and number.
//!
//! Strict, so that every tool reads the same table from the file: whatever two readers could understand in two ways is
//! refused. Holds a constant amount of memory, whatever the bytes, and knows nothing of what is inside. Called by `check`.

mod gzip;
mod inflate;
mod zip;

use super::bytes_in_words;
use gzip::Gzip;
use zip::Zip;

/// What is opened, by the ending of the file's name: `.gz`, `.zip`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compression {
    Gzip,
    Zip,
}

impl Compression {
    /// What a file of this name is packed with, if it is one of those that are `opened`. Case does not matter.
    pub fn of_name(name: &str, opened: &[Self]) -> Option<Self> {
        opened.iter().copied().find(|compression| {
            let (name, ending) = (name.as_bytes(), compression.ending().as_bytes());
            name.len() > ending.len() && name[name.len() - ending.len()..].eq_ignore_ascii_case(ending)
        })
    }

    /// What such a file's name ends in: `.gz`, `.zip`.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Gzip => ".gz",
            Self::Zip => ".zip",
        }
    }
}

/// `[limits]` of a dataset that has to do with packed files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Unpacked bytes.
    pub size: u64,
    /// Unpacked bytes for each packed one, looked at after each MiB that was unpacked. 200.
    pub ratio: u64,
}

/// Why it cannot be unpacked: the rule's name and words for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// `checksum`, `truncated`, `ratio`, `size`, `members`, `encrypted`, `method`, `structure`, `trailing-bytes`
    pub rule: &'static str,
    pub message: String,
}

/// What to do about most damage.
const AGAIN: &str = "compress the file again and send it";

impl Damaged {
    fn new(rule: &'static str, message: impl Into<String>) -> Self {
        Self { rule, message: message.into() }
    }

    /// The archive does not keep to its format, or says two things.
    fn structure(what: &str) -> Self {
        Self::new("structure", format!("the packed file is damaged or unusual: {what}; {AGAIN}"))
    }

    fn checksum() -> Self {
        Self::new(
            "checksum",
            format!("the packed file is damaged: its content does not have the checksum that it states; {AGAIN}"),
        )
    }

    fn truncated() -> Self {
        Self::new(
            "truncated",
            "the packed file ends too early: it was cut off; check that compressing and copying have finished, then send it again",
        )
    }

    fn trailing() -> Self {
        Self::new("trailing-bytes", format!("more bytes follow after the end of the packed file; {AGAIN}"))
    }
}

/// Where unpacked bytes go; false when no more are wanted.
type Out<'o> = &'o mut dyn FnMut(&[u8]) -> bool;

/// One packed file under way.
pub struct Unpack {
    packing: Packing,
    meter: Meter,
    /// Given again by every later call.
    damaged: Option<Damaged>,
}

enum Packing {
    Gzip(Box<Gzip>),
    Zip(Box<Zip>),
}

impl Unpack {
    pub fn begin(compression: Compression, limits: Limits) -> Self {
        let packing = match compression {
            Compression::Gzip => Packing::Gzip(Box::default()),
            Compression::Zip => Packing::Zip(Box::default()),
        };
        Self { packing, meter: Meter { limits, taken: 0, given: 0, stopped: false }, damaged: None }
    }

    /// Takes packed bytes, cut anywhere; gives unpacked ones to `out` in pieces of at most 64 KiB. When `out` says stop
    /// (false), nothing more is unpacked, and no damage is looked for any more.
    ///
    /// What is unpacked before a damage is given to `out` first, so that the same comes out however the bytes are cut.
    ///
    /// # Errors
    /// The first damage; the caller pushes no more then.
    pub fn push(&mut self, bytes: &[u8], out: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), Damaged> {
        if let Some(damaged) = &self.damaged {
            return Err(damaged.clone());
        }
        if self.meter.stopped {
            return Ok(());
        }
        let done = match &mut self.packing {
            Packing::Gzip(gzip) => gzip.push(bytes, &mut self.meter, out),
            Packing::Zip(zip) => zip.push(bytes, &mut self.meter, out),
        };
        self.damaged = done.clone().err();
        done
    }

    /// # Errors
    /// It ends too early, or what its end says does not agree with what came.
    pub fn finish(&self) -> Result<(), Damaged> {
        match (&self.damaged, &self.packing) {
            (Some(damaged), _) => Err(damaged.clone()),
            _ if self.meter.stopped => Ok(()),
            (None, Packing::Gzip(gzip)) => gzip.finish(),
            (None, Packing::Zip(zip)) => zip.finish(),
        }
    }
}

/// Counts what goes in and out, and holds it to the limits.
struct Meter {
    limits: Limits,
    /// Packed bytes used so far.
    taken: u64,
    /// Unpacked bytes so far.
    given: u64,
    /// `out` wants no more.
    stopped: bool,
}

/// The ratio is looked at whenever so many more bytes were unpacked: at the same places however the bytes are cut.
const RATIO_STEP: u64 = 1 << 20;

impl Meter {
    /// Bytes that may be unpacked before the next look.
    fn room(&self) -> usize {
        // At most a MiB.
        (RATIO_STEP - self.given % RATIO_STEP) as usize
    }

    /// Gives a piece of at most [`Meter::room`] bytes on, as far as the size allows it.
    fn give(&mut self, piece: &[u8], out: Out<'_>) -> Result<(), Damaged> {
        let left = self.limits.size.saturating_sub(self.given);
        let fits = &piece[..piece.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        self.given += fits.len() as u64;
        if let out = out
            && !fits.is_empty()
            && !out(fits)
        {
            self.stopped = true;
            return Ok(());
        }
        if fits.len() < piece.len() {
            return Err(self.too_large());
        }
        if self.given.is_multiple_of(RATIO_STEP) && self.given / self.limits.ratio.max(1) > self.taken {
            return Err(Damaged::new(
                "ratio",
                format!(
                    "the packed file grows to more than {} times its size, which no real extract does: check its content, or send it unpacked",
                    self.limits.ratio
                ),
            ));
        }
        Ok(())
    }

    fn too_large(&self) -> Damaged {
        Damaged::new(
            "size",
            format!(
                "unpacked, the file is larger than {}, the most that this dataset takes: split it, or ask for a higher limit",
                bytes_in_words(self.limits.size)
            ),
        )
    }
}

#[cfg(test)]
mod tests;
