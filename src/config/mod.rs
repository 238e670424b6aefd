//! Configuration: TOML and key files to one validated [`Config`], errors with file:line:column, reload on change.
//!
//! Must never hand out a configuration that is only partly valid. Called by `daemon` and `cli`; everyone reads the model.
//! `load` puts the files together; `server` (with `audit` and `scan`), `orgs`, `datasets` and `keys` read one kind of file each, with the means of
//! `source`, `section` and `value`; `reload` watches.

mod audit;
mod datasets;
mod diagnostic;
mod key_options;
mod keys;
mod load;
mod model;
mod orgs;
mod reload;
mod scan;
mod section;
mod server;
mod signing_key;
mod source;
#[cfg(test)]
mod tests;
pub mod units;
mod value;
mod watched;

pub use diagnostic::{Diagnostic, Warning};
pub use load::{Loaded, dataset_file, load, load_with_warnings};
pub use model::*;
pub use reload::{Live, Reload, watch};
pub use signing_key::{SigningKeyError, log_keys, signing_key, signing_key_mode, verifier_key};

/// Where the configuration is when nobody says otherwise.
pub const DEFAULT_FILE: &str = "/etc/nightsafe/nightsafe.toml";
