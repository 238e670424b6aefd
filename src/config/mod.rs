//! Configuration: TOML and key files to one validated [`Config`], errors with file:line:column, reload on change.
//!
//! Must never hand out a configuration that is only partly valid. Called by `daemon` and `cli`; everyone reads the model.

mod model;

use std::path::Path;
use std::sync::Arc;

pub use model::*;

use crate::types::Clock;

/// One thing wrong with the configuration, ready to show: `file:line:column`, the line with a caret, what to write instead.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    pub file: std::path::PathBuf,
    /// From 1; 0 when the fault has no place in the file (it is missing, say).
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub message: String,
    /// What to write instead.
    pub help: String,
    /// The line itself; empty when there is none.
    pub source: String,
    /// How many characters the caret covers.
    pub width: usize,
}

/// Reads and validates everything that FILE leads to.
///
/// # Errors
/// Every fault at once, never only the first.
pub fn load(_file: &Path) -> Result<Config, Vec<Diagnostic>> {
    unimplemented!()
}

/// The configuration in force, and the way to learn of a new one.
pub type Live = tokio::sync::watch::Receiver<Arc<Config>>;

/// What a reload came to, for the audit log.
pub enum Reload {
    Swapped(Arc<Config>),
    Refused(Vec<Diagnostic>),
}

/// Watches the files of `config` (notify; `poke` for SIGHUP), and swaps a changed configuration in whole.
/// `report` hears of each reload before the swap is visible. Runs until `stop`.
pub async fn watch(
    _current: tokio::sync::watch::Sender<Arc<Config>>,
    _poke: Arc<tokio::sync::Notify>,
    _clock: Clock,
    _report: impl AsyncFn(&Reload),
    _stop: tokio_util::sync::CancellationToken,
) -> anyhow::Result<()> {
    unimplemented!()
}
