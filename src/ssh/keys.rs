//! The gateway's host keys: read once, checked for who else can read them.
//!
//! Must never put key material into a message. Called by `daemon` before the first listener is bound.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use russh::keys::{Algorithm, PrivateKey};
use zeroize::Zeroizing;

use crate::config::Config;

/// No private key in OpenSSH or PEM form is larger.
const FILE_MAX: u64 = 64 * 1024;

/// The private host keys of a configuration, read and parsed.
pub struct HostKeys {
    pub(super) keys: Vec<PrivateKey>,
}

impl HostKeys {
    /// # Errors
    /// Which file cannot be read or parsed, or is readable by others, and what to do.
    pub fn read(config: &Config) -> anyhow::Result<Self> {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
        Self::read_files(config.server.host_keys.iter().map(|path| path.as_path()), credentials.as_ref().map(Path::new))
    }

    fn read_files<'p>(paths: impl Iterator<Item = &'p Path>, credentials: Option<&Path>) -> anyhow::Result<Self> {
        let keys = paths
            .map(|path| read_key(path, credentials).with_context(|| format!("host key {}", path.display())))
            .collect::<anyhow::Result<Vec<_>>>()?;
        ensure!(
            !keys.is_empty(),
            "there is no host key: make one with 'ssh-keygen -t ed25519 -N \"\" -f FILE' and name it in host_keys"
        );
        Ok(Self { keys })
    }

    /// Public halves in OpenSSH form, for known_hosts lines.
    pub fn public(&self) -> Vec<String> {
        let openssh = |key: &PrivateKey| {
            let mut public = key.public_key().clone();
            public.set_comment("");
            public.to_openssh().ok()
        };
        self.keys.iter().filter_map(openssh).collect()
    }
}

fn read_key(path: &Path, credentials: Option<&Path>) -> anyhow::Result<PrivateKey> {
    let file = File::open(path).context("cannot be opened: check the path in host_keys and the file's owner")?;
    let facts = file.metadata().context("cannot be examined")?;
    ensure!(facts.is_file(), "is not a file");
    ensure!(facts.len() <= FILE_MAX, "is larger than any private key");
    // systemd guards the directory of credentials itself, and shows its files as readable by the group.
    let guarded = credentials.is_some_and(|directory| path.starts_with(directory));
    if !guarded && facts.mode() & 0o077 != 0 {
        bail!("can be read by others (mode {:04o}): chmod 600 {}", facts.mode() & 0o7777, path.display());
    }
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_MAX).read_to_string(&mut text).context("cannot be read as text")?;
    if text.contains("BEGIN PUBLIC KEY") || text.starts_with("ssh-") || text.starts_with("ecdsa-") {
        bail!("is a public key: name the private one, without .pub");
    }
    // Of the ECDSA keys that ssh-keygen makes, one in 256 begins with a zero byte, which OpenSSH's form leaves out and ssh-key
    // (0.7.0-rc.11, private/ecdsa.rs: MIN_SIZE) then refuses; PEM keeps it.
    let key = russh::keys::decode_secret_key(&text, None)
        .context("cannot be parsed as an unencrypted private key in OpenSSH or PEM form: make one with 'ssh-keygen -t ed25519 -N \"\" -f FILE' (an ECDSA key can be written anew with 'ssh-keygen -p -m PEM -P \"\" -N \"\" -f FILE')")?;
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::Rsa { .. } => Ok(key),
        other => bail!("is of the type {other}: use ed25519, ecdsa or rsa"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::fixture;
    use russh::keys::ssh_key::LineEnding;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    fn key_file(directory: &Path, mode: u32) -> PathBuf {
        let path = directory.join("host");
        std::fs::write(&path, fixture::key().to_openssh(LineEnding::LF).unwrap().as_bytes()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn read(path: &Path, credentials: Option<&Path>) -> Result<HostKeys, String> {
        HostKeys::read_files([path].into_iter(), credentials).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_private_key_of_its_owner_alone_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let keys = read(&key_file(directory.path(), 0o600), None).ok().unwrap();
        let public = keys.public();
        assert!(public[0].starts_with("ssh-ed25519 AAAA") && public[0].split(' ').count() == 2, "{public:?}");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_unless_it_is_a_credential() {
        let directory = tempfile::tempdir().unwrap();
        let path = key_file(directory.path(), 0o640);
        let error = read(&path, None).err().unwrap();
        assert!(error.contains("0640") && error.contains("chmod 600"), "{error}");
        assert!(read(&path, Some(Path::new("/elsewhere"))).is_err());
        assert!(read(&path, Some(directory.path())).is_ok());
    }

    #[test]
    fn what_is_no_private_key_is_named_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let path = key_file(directory.path(), 0o600);
        std::fs::write(&path, fixture::key().public_key().to_openssh().unwrap()).unwrap();
        assert!(read(&path, None).err().unwrap().contains("without .pub"));
        std::fs::write(&path, "nonsense").unwrap();
        assert!(read(&path, None).err().unwrap().contains("ssh-keygen"));
        assert!(read(&directory.path().join("missing"), None).err().unwrap().contains("missing"));
    }
}
