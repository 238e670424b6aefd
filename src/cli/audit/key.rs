//! `nightsafe audit key`: the key that signs the log. Its public half for whoever is to check, or a new one.
//!
//! Must never write over a key, nor show a private one. Called by `audit`; `init` and `quickstart` make theirs by [`make`].

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;

use super::super::config_file::ConfigFile;
use super::super::edit::files;
use super::super::outcome::Stop;
use super::super::output;
use crate::audit::{Signer, VerifierKey};
use crate::config;

#[derive(Debug, clap::Args)]
pub struct Key {
    /// Make a new private key in FILE (mode 0600) instead, and print the verifier key that belongs to it
    #[arg(long, value_name = "FILE")]
    new: Option<PathBuf>,
    /// For a new key: the log's name, such as sftp.example.org/audit [default: the configured one]
    #[arg(long, value_name = "ORIGIN", requires = "new")]
    name: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// # Errors
/// The key cannot be read or made.
pub fn run(config: &ConfigFile, key: &Key) -> anyhow::Result<()> {
    let Some(file) = &key.new else { return show(config, key.json) };
    let (name, former) = match &key.name {
        Some(name) => (name.clone(), None),
        None => {
            let config = config.load().context("--name ORIGIN makes a key without a configuration")?;
            let former = config::signing_key(&config.audit).ok().map(|signer| signer.verifier_key().clone());
            (config.audit.origin, former)
        }
    };
    let made = make(file, &name)?;
    if key.json {
        return Ok(output::json(&json!({ "file": file, "origin": name, "key": made.to_string() }))?);
    }
    output::line(made.to_string())?;
    // What a program reads is the one line above.
    super::super::outcome::say(&format!(
        "nightsafe: written: {} (private: keep it as you keep the host keys, with a copy off this machine) and {}",
        file.display(),
        public_file(file).display(),
    ));
    if let Some(former) = former {
        super::super::outcome::say(&format!(
            "nightsafe: to let it take over: set key under [audit] to it, add the former key to former_keys, restart, and give \
             the new verifier key to everybody who checks\n  former_keys = [\"{former}\"]"
        ));
    }
    Ok(())
}

fn show(config: &ConfigFile, as_json: bool) -> anyhow::Result<()> {
    let config = config.load()?;
    let key = config::verifier_key(&config.audit)?;
    if as_json {
        let former: Vec<String> = config.audit.former_keys.iter().map(ToString::to_string).collect();
        let shown = json!({ "origin": config.audit.origin, "key": key.to_string(), "former_keys": former });
        return Ok(output::json(&shown)?);
    }
    Ok(output::line(key.to_string())?)
}

/// Draws a key for the log called `name`, and writes both halves: `file`, of mode 0600, and `file.pub`.
///
/// # Errors
/// There is a file already, the name is none for a log, or the disk fails.
pub fn make(file: &Path, name: &str) -> anyhow::Result<VerifierKey> {
    let (signer, secret) = Signer::generate(name).map_err(|error| Stop::Usage(error.to_string()))?;
    let failed = || format!("the signing key {} cannot be written", file.display());
    let mut out = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let what = format!("{} is there already, and was left alone: name another file", file.display());
            return Err(Stop::No(what).into());
        }
        opened => opened.with_context(failed)?,
    };
    let written = out.write_all(secret.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.sync_all());
    written.with_context(failed)?;
    let public = public_file(file);
    let key = signer.verifier_key().clone();
    files::write(&public, &format!("{key}\n")).with_context(|| format!("{} cannot be written", public.display()))?;
    Ok(key)
}

/// The key in `file`, or a new one for the log called `name` when there is none.
///
/// # Errors
/// As [`make`]; what is there is no signing key.
pub fn make_unless_there(file: &Path, name: &str) -> anyhow::Result<VerifierKey> {
    if std::fs::symlink_metadata(file).is_err() {
        return make(file, name);
    }
    let audit =
        config::AuditSettings { key: file.to_owned(), origin: name.to_owned(), ..config::AuditSettings::default() };
    let signer = config::signing_key(&audit).map_err(|error| Stop::Usage(error.to_string()))?;
    Ok(signer.verifier_key().clone())
}

fn public_file(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NAME: &str = "sftp.example.org/audit";

    #[test]
    fn a_key_is_private_and_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("signing.key");
        let key = make(&file, NAME).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(folder.path().join("signing.key.pub")).unwrap(), format!("{key}\n"));
        let first = std::fs::read(&file).unwrap();
        let again = make(&file, NAME).unwrap_err();
        assert!(matches!(again.downcast_ref(), Some(Stop::No(_))), "{again:#}");
        assert_eq!(make_unless_there(&file, NAME).unwrap(), key);
        assert_eq!(std::fs::read(&file).unwrap(), first);
        assert!(make_unless_there(&file, "other.example/audit").is_err(), "a key of another log");
    }

    #[test]
    fn a_name_that_cannot_stand_in_a_checkpoint_makes_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("signing.key");
        for name in ["", "two words", "a+b"] {
            assert!(make(&file, name).is_err() && !file.exists(), "{name:?}");
        }
    }
}
