//! The quickstart's folder: what a gateway, a provider and a data team each have, side by side.
//!
//! Must never write over what is there: a second start takes everything as it finds it, a person's edits too, but for the
//! port and known_hosts. Called by `quickstart`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, ensure};
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey};

use crate::audit::VerifierKey;
use crate::cli::audit;
use crate::daemon;
use crate::loader::gateway::host_label;
use crate::seal;

pub const DATASET: &str = "ims-interventions";
pub const SAMPLE: &str = "LIV9814_2024-06.csv";
pub const SAMPLE_CONTENT: &[u8] = include_bytes!("LIV9814_2024-06.csv");
/// The same with a date in another form, and an identifier twice.
pub const BROKEN_CONTENT: &[u8] = include_bytes!("broken.csv");

/// Its presence says that the folder is ours.
const MARKER: &str = "QUICKSTART.txt";
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// A prepared quickstart folder; paths are as short as the folder was named.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error(
        "{0} is not empty, and not from an earlier quickstart: nothing was changed; name an empty or absent folder with --dir"
    )]
    NotOurs(String),
    #[error("{0}")]
    Failed(#[from] anyhow::Error),
}

impl Folder {
    /// Makes what is missing.
    ///
    /// # Errors
    /// The folder is somebody else's, or the disk fails.
    pub fn prepare(root: &Path) -> Result<Self, FolderError> {
        let shown = root.display();
        make_folder(root)?;
        let marker = root.join(MARKER);
        if !marker.is_file() {
            let mut entries = std::fs::read_dir(root).with_context(|| format!("cannot read {shown}"))?;
            if entries.next().is_some() {
                return Err(FolderError::NotOurs(shown.to_string()));
            }
            // First of all: a start that is interrupted can be repeated.
            make(&marker, PUBLIC, include_bytes!("QUICKSTART.txt"))?;
        }
        let folder = Self { root: root.to_owned() };
        folder.fill()?;
        Ok(folder)
    }

    fn fill(&self) -> anyhow::Result<()> {
        let gateway = self.root.join("gateway");
        let config = gateway.join("config");
        make(&self.config(), PUBLIC, include_bytes!("nightsafe.toml"))?;
        make(&config.join("orgs/demo.toml"), PUBLIC, include_bytes!("demo.toml"))?;
        make(&config.join("orgs/datateam.toml"), PUBLIC, include_bytes!("datateam.toml"))?;
        make(&config.join("datasets/ims-interventions.toml"), PUBLIC, include_bytes!("ims-interventions.toml"))?;
        let schema = include_bytes!("ims-interventions.schema.json");
        make(&config.join("datasets/ims-interventions.schema.json"), PUBLIC, schema)?;
        make_folder(&gateway.join("state"))?;
        make_folder(&gateway.join("run"))?;

        let keys = gateway.join("keys");
        ssh_key(&self.host_key(), "host")?;
        make_folder(&keys.join("audit"))?;
        audit::key::make_unless_there(&self.signing_key(), "localhost/audit")?;
        let provider = ssh_key(&self.provider_key(), "demo-provider")?;
        let line = format!("account=\"demo-provider\" {provider}\n");
        make(&keys.join("demo/authorized_keys"), PUBLIC, line.as_bytes())?;
        let loader = ssh_key(&self.loader_key(), "demo-loader")?;
        let line = format!("account=\"demo-loader\" {loader}\n");
        make(&keys.join("datateam/authorized_keys"), PUBLIC, line.as_bytes())?;

        let recipient = self.recipient()?;
        let line = format!("# the data team's\n{recipient}\n");
        make(&keys.join("demo/recipients.txt"), PUBLIC, line.as_bytes())?;
        make(&self.sample(), PUBLIC, SAMPLE_CONTENT)?;
        make(&self.broken(), PUBLIC, BROKEN_CONTENT)
    }

    /// The loader's recipient: from the comment in its identity, as age-keygen writes it, or of a new identity.
    fn recipient(&self) -> anyhow::Result<String> {
        const COMMENT: &str = "# public key: ";
        let file = self.identity();
        if !file.exists() {
            let (identity, recipient) = seal::generate_identity();
            let content = zeroize::Zeroizing::new(format!("{COMMENT}{recipient}\n{}\n", identity.as_str()));
            make(&file, PRIVATE, content.as_bytes())?;
        }
        let content = zeroize::Zeroizing::new(read(&file)?);
        let recipient = content.lines().find_map(|line| line.strip_prefix(COMMENT));
        recipient.map(str::to_owned).with_context(|| format!("{} has no line {COMMENT:?}", file.display()))
    }

    pub fn root(&self) -> &Path {
        &self.root
    }
    pub fn gateway(&self) -> PathBuf {
        self.root.join("gateway")
    }
    pub fn config(&self) -> PathBuf {
        self.root.join("gateway/config/nightsafe.toml")
    }
    fn host_key(&self) -> PathBuf {
        self.root.join("gateway/keys/host/ssh_host_ed25519_key")
    }
    fn signing_key(&self) -> PathBuf {
        self.root.join("gateway/keys/audit/signing.key")
    }
    /// The verifier key of the gateway's log.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub fn verifier_key(&self) -> anyhow::Result<VerifierKey> {
        let file = self.signing_key().with_extension("key.pub");
        read(&file)?.trim().parse().map_err(|error| anyhow!("{}: {error}", file.display()))
    }
    pub fn known_hosts(&self) -> PathBuf {
        self.root.join("known_hosts")
    }
    pub fn provider_key(&self) -> PathBuf {
        self.root.join("provider/id_ed25519")
    }
    pub fn sample(&self) -> PathBuf {
        self.root.join("provider").join(SAMPLE)
    }
    pub fn broken(&self) -> PathBuf {
        self.root.join("provider/broken.csv")
    }
    pub fn loader_key(&self) -> PathBuf {
        self.root.join("loader/id_ed25519")
    }
    pub fn identity(&self) -> PathBuf {
        self.root.join("loader/identity.txt")
    }
    pub fn work(&self) -> PathBuf {
        self.root.join("loader/work")
    }
    pub fn loaded(&self) -> PathBuf {
        self.root.join("loader/loaded")
    }

    /// Looks whether another gateway runs on this folder: its configuration is not to be changed under it.
    ///
    /// # Errors
    /// One does.
    pub fn unlocked(&self) -> anyhow::Result<()> {
        ensure!(
            !daemon::runs_on(&self.gateway().join("state")).unwrap_or(false),
            "a gateway already runs on {}: stop it first, or name another folder with --dir",
            self.root.display()
        );
        Ok(())
    }

    /// The port in the configuration.
    ///
    /// # Errors
    /// Its first listener has no address.
    pub fn port(&self) -> anyhow::Result<u16> {
        Ok(self.address(&self.document()?)?.port())
    }

    /// Writes the port into the configuration, unless it stands there.
    ///
    /// # Errors
    /// As [`Folder::port`], or the disk fails.
    pub fn set_port(&self, port: u16) -> anyhow::Result<()> {
        let mut document = self.document()?;
        let mut address = self.address(&document)?;
        if address.port() == port {
            return Ok(());
        }
        address.set_port(port);
        let listener = document.get_mut("server").and_then(|server| server.get_mut("listeners"));
        let listener = listener.and_then(|listeners| listeners.get_mut(0)).and_then(|l| l.get_mut("address"));
        *listener.with_context(|| self.no_address())? = toml_edit::value(address.to_string());
        replace(&self.config(), PUBLIC, document.to_string().as_bytes())
    }

    fn document(&self) -> anyhow::Result<toml_edit::DocumentMut> {
        let file = self.config();
        read(&file)?.parse().with_context(|| format!("{} is not TOML", file.display()))
    }

    fn address(&self, document: &toml_edit::DocumentMut) -> anyhow::Result<SocketAddr> {
        let listener = document.get("server").and_then(|server| server.get("listeners")).and_then(|l| l.get(0));
        let address = listener.and_then(|l| l.get("address")).and_then(|a| a.as_str());
        address.and_then(|a| a.parse().ok()).with_context(|| self.no_address())
    }

    fn no_address(&self) -> String {
        format!("{} has no address in its first [[server.listeners]]", self.config().display())
    }

    /// Records the gateway's host key under where it listens.
    ///
    /// # Errors
    /// The host key cannot be read, or the disk fails.
    pub fn write_known_hosts(&self, address: SocketAddr) -> anyhow::Result<()> {
        let public = public(&self.host_key())?;
        let place = |host: &str| host_label(host, address.port());
        let line = format!("{},{} {public}\n", place(&address.ip().to_string()), place("localhost"));
        replace(&self.known_hosts(), PUBLIC, line.as_bytes())
    }
}

/// The public line of the key in `file`, which is made if it is not there; with its `.pub` beside it.
fn ssh_key(file: &Path, comment: &str) -> anyhow::Result<String> {
    if !file.exists() {
        let mut key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)
            .map_err(|e| anyhow!("cannot make an SSH key: {e}"))?;
        key.set_comment(comment);
        let text = key.to_openssh(LineEnding::LF).map_err(|e| anyhow!("cannot write an SSH key: {e}"))?;
        make(file, PRIVATE, text.as_bytes())?;
    }
    let public = public(file)?;
    make(&file.with_extension("pub"), PUBLIC, format!("{public}\n").as_bytes())?;
    Ok(public)
}

fn public(file: &Path) -> anyhow::Result<String> {
    let text = zeroize::Zeroizing::new(read(file)?);
    let wrong = |e| anyhow!("{} is not an SSH private key: {e}", file.display());
    let key = PrivateKey::from_openssh(text.as_bytes()).map_err(wrong)?;
    key.public_key().to_openssh().map_err(wrong)
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

fn make_folder(folder: &Path) -> anyhow::Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("cannot make the folder {}", folder.display()))
}

/// Writes `file` whole, unless it is there.
fn make(file: &Path, mode: u32, content: &[u8]) -> anyhow::Result<()> {
    if file.exists() { Ok(()) } else { replace(file, mode, content) }
}

/// Writes `file` whole or not at all.
fn replace(file: &Path, mode: u32, content: &[u8]) -> anyhow::Result<()> {
    if let Some(folder) = file.parent() {
        make_folder(folder)?;
    }
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        let mut out = options.write(true).create(true).truncate(true).mode(mode).open(&name)?;
        out.write_all(content)?;
        std::fs::rename(&name, file)
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}

/// A word for a shell, quoted if it needs it.
pub fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@,%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_folder_is_made_once_and_then_taken_as_it_is() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("q");
        let folder = Folder::prepare(&root).unwrap();
        let key = std::fs::read(folder.provider_key()).unwrap();
        let team = root.join("gateway/config/orgs/datateam.toml");
        std::fs::write(&team, "# edited\n").unwrap();
        // An earlier start that was interrupted.
        std::fs::remove_file(folder.sample()).unwrap();
        Folder::prepare(&root).unwrap();
        folder.unlocked().unwrap();
        assert_eq!(std::fs::read(folder.provider_key()).unwrap(), key);
        assert_eq!(std::fs::read_to_string(team).unwrap(), "# edited\n");
        assert_eq!(std::fs::read(folder.sample()).unwrap(), SAMPLE_CONTENT);
    }

    #[test]
    fn a_folder_with_other_things_in_it_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("thesis.txt"), "years").unwrap();
        assert!(matches!(Folder::prepare(root.path()), Err(FolderError::NotOurs(_))));
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_identity_is_private_and_not_the_gateways() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::prepare(root.path()).unwrap();
        for file in
            [folder.identity(), folder.provider_key(), folder.loader_key(), folder.host_key(), folder.signing_key()]
        {
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
        }
        assert!(!folder.identity().starts_with(folder.gateway()));
        let recipients = read(&folder.gateway().join("keys/demo/recipients.txt")).unwrap();
        assert!(recipients.contains(&folder.recipient().unwrap()) && recipients.contains("age1"));
    }

    #[test]
    fn the_port_is_changed_and_comments_stay() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::prepare(root.path()).unwrap();
        assert_eq!(folder.port().unwrap(), 2222);
        folder.set_port(2345).unwrap();
        assert_eq!(folder.port().unwrap(), 2345);
        let text = read(&folder.config()).unwrap();
        assert!(text.contains("127.0.0.1:2345") && text.contains("# A gateway to try"), "{text}");
    }

    #[test]
    fn known_hosts_records_the_host_key_for_the_port() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::prepare(root.path()).unwrap();
        folder.write_known_hosts("127.0.0.1:2345".parse().unwrap()).unwrap();
        let known = crate::loader::known_hosts::KnownHosts::read(&folder.known_hosts()).unwrap();
        let key = PrivateKey::from_openssh(read(&folder.host_key()).unwrap()).unwrap().public_key().clone();
        use crate::loader::known_hosts::Standing;
        assert_eq!(known.standing("127.0.0.1", 2345, &key), Standing::Known);
        assert_eq!(known.standing("localhost", 2345, &key), Standing::Known);
        assert_eq!(known.standing("127.0.0.1", 2222, &key), Standing::Unknown);
    }

    #[test]
    fn words_for_the_shell_are_quoted_when_they_need_it() {
        assert_eq!(shell("a/b.c"), "a/b.c");
        assert_eq!(shell("a b"), "'a b'");
        assert_eq!(shell("it's"), r"'it'\''s'");
        assert_eq!(shell("$(x)"), "'$(x)'");
    }
}
