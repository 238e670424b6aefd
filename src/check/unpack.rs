//! gzip and zip, opened in the stream: packed bytes in, the one table out, with limits on size, ratio and number.
//!
//! Knows nothing of what is inside. Called by `check`.

/// What is opened, by the ending of the file's name: `.gz`, `.zip`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compression {
    Gzip,
    Zip,
}

/// `[limits]` of a dataset that has to do with packed files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Unpacked bytes.
    pub size: u64,
    /// Unpacked bytes for each packed one, once the first MiB is unpacked. 200.
    pub ratio: u64,
}

/// Why it cannot be unpacked: the rule's name and words for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// `checksum`, `truncated`, `ratio`, `size`, `members`, `encrypted`, `method`, `structure`, `trailing-bytes`
    pub rule: &'static str,
    pub message: String,
}

/// One packed file under way.
pub struct Unpack {}

impl Unpack {
    pub fn begin(compression: Compression, limits: Limits) -> Self {
        let _ = (compression, limits);
        unimplemented!()
    }

    /// Takes packed bytes, cut anywhere; gives unpacked ones to `out` in pieces of at most 64 KiB. When `out` says stop
    /// (false), nothing more is unpacked.
    ///
    /// # Errors
    /// The first damage; the caller pushes no more then.
    pub fn push(&mut self, bytes: &[u8], out: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), Damaged> {
        let _ = (bytes, out);
        unimplemented!()
    }

    /// # Errors
    /// It ends too early, or what its end says does not agree with what came.
    pub fn finish(self) -> Result<(), Damaged> {
        unimplemented!()
    }
}
