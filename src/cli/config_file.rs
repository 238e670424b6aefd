//! `--config`: which configuration a command works with.
//!
//! Called by every command that reads one.

use std::path::{Path, PathBuf};

use crate::config::{self, Config};
use crate::daemon::InvalidConfig;

/// `--config`, as every command takes it.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfigFile {
    /// The configuration to use
    #[arg(
        long = "config",
        value_name = "FILE",
        global = true,
        env = "NIGHTSAFE_CONFIG",
        hide_env_values = true,
        default_value = config::DEFAULT_FILE
    )]
    pub path: PathBuf,
}

impl ConfigFile {
    /// # Errors
    /// All that is wrong with it, each fault with its place.
    pub fn load(&self) -> Result<Config, InvalidConfig> {
        config::load(&self.path).map_err(InvalidConfig)
    }
}

/// ` --config FILE` for a person to copy; empty where the command finds the file without it.
pub fn option(config: &Config) -> String {
    let named = std::env::var_os("NIGHTSAFE_CONFIG").filter(|named| !named.is_empty());
    let usual = named.as_deref().map_or(Path::new(config::DEFAULT_FILE), Path::new);
    let same = std::path::absolute(usual).is_ok_and(|usual| usual == config.file);
    if same { String::new() } else { format!(" --config {}", config.file.display()) }
}
