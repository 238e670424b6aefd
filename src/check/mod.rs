//! What makes an extract acceptable: name, size, type. Push-style: bytes go in as they come, a verdict comes out.
//!
//! Does no input or output and holds a bounded amount of memory, whatever the bytes: it can be fuzzed, and runs the same
//! in the daemon and on a provider's machine. Called by `intake`; `config` compiles its [`Rules`].

use crate::types::FileName;

/// What content a dataset takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text in rows; a spreadsheet, archive, document or program is refused for what it is.
    Csv,
    /// Anything.
    Opaque,
}

/// A dataset's demands, compiled.
#[derive(Debug, Clone)]
pub struct Rules {
    pub format: Format,
    /// Whole-name pattern; none takes `*.csv` for csv, any name for opaque.
    pub name: Option<regex::Regex>,
    /// The pattern in words for people, such as "AGENCY_YYYY-MM.csv".
    pub name_hint: Option<String>,
    /// Bytes; 1 unless the dataset allows empty files.
    pub min_size: u64,
    /// Bytes.
    pub max_size: u64,
}

/// A demand that is not met, in words for a person; final: more bytes cannot mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(pub String);

/// The check of one extract under way.
pub struct Check {}

impl Rules {
    /// Whether a file of this name may be sent as this dataset.
    pub fn name_fits(&self, _name: &FileName) -> Result<(), Fault> {
        unimplemented!()
    }

    pub fn begin(&self) -> Check {
        unimplemented!()
    }
}

impl Check {
    /// Takes the next bytes, in order, cut anywhere.
    ///
    /// # Errors
    /// The first final fault; later calls give it again.
    pub fn push(&mut self, _bytes: &[u8]) -> Result<(), Fault> {
        unimplemented!()
    }

    /// The verdict over all bytes pushed: faults, empty when acceptable.
    pub fn finish(self) -> Vec<Fault> {
        unimplemented!()
    }
}
