//! Logging in with a key: from a file, or held by an SSH agent.
//!
//! Must never sign with SHA-1, and never asks for a passphrase: an encrypted key is used through the agent. Called by
//! `gateway`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, decode_secret_key};

use super::gateway::{GatewayError, HostKey};
use crate::types::AccountName;

/// The keys that a login offers, in this order.
#[derive(Debug, Default)]
pub struct KeyRing {
    keys: Vec<Key>,
    /// Found, but of no use, and why; for the message when nothing else gets in.
    passed_over: Vec<String>,
}

#[derive(Debug)]
enum Key {
    File(PathBuf, Arc<PrivateKey>),
    /// Held by the agent at this socket; all of its keys, or just this one.
    Agent(PathBuf, Option<PublicKey>),
}

/// What a key file holds.
enum Content {
    Private(Box<PrivateKey>),
    /// Encrypted; its public half is readable.
    Locked(Option<PublicKey>),
}

impl KeyRing {
    /// The one key that was named. An encrypted one is used through the agent, if that holds it.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub fn named(file: &Path, agent: Option<&Path>) -> Result<Self, String> {
        let text = std::fs::read_to_string(file).map_err(|e| format!("cannot read the key {}: {e}", file.display()))?;
        match content(&text).map_err(|e| format!("{} is not an SSH private key: {e}", file.display()))? {
            Content::Private(key) => Ok(Self::one(Key::File(file.to_owned(), Arc::new(*key)))),
            Content::Locked(public) => match (agent, public) {
                (Some(agent), Some(public)) => Ok(Self::one(Key::Agent(agent.to_owned(), Some(public)))),
                _ => Err(locked(file)),
            },
        }
    }

    /// The keys that are there without being named: identities that are SSH keys, then the agent's, then the usual files
    /// of `home`.
    pub fn usual(identities: &[PathBuf], home: Option<&Path>, agent: Option<&Path>) -> Self {
        let mut ring = Self::default();
        for file in identities {
            // An age identity is no SSH key: that is not worth a word.
            ring.add(file);
        }
        if let Some(agent) = agent {
            ring.keys.push(Key::Agent(agent.to_owned(), None));
        }
        for name in ["id_ed25519", "id_ecdsa", "id_rsa"] {
            if let Some(home) = home {
                ring.add(&home.join(".ssh").join(name));
            }
        }
        ring
    }

    fn one(key: Key) -> Self {
        Self { keys: vec![key], passed_over: Vec::new() }
    }

    fn add(&mut self, file: &Path) {
        let Ok(text) = std::fs::read_to_string(file) else { return };
        match content(&text) {
            Ok(Content::Private(key)) => self.keys.push(Key::File(file.to_owned(), Arc::new(*key))),
            Ok(Content::Locked(_)) => self.passed_over.push(locked(file)),
            Err(_) => {}
        }
    }
}

fn locked(file: &Path) -> String {
    let file = file.display();
    format!("the key {file} is encrypted: start ssh-agent and run `ssh-add {file}`, or name another with --key")
}

fn content(text: &str) -> Result<Content, russh::keys::Error> {
    if let Ok(key) = PrivateKey::from_openssh(text) {
        let public = key.public_key().clone();
        return Ok(if key.is_encrypted() { Content::Locked(Some(public)) } else { Content::Private(Box::new(key)) });
    }
    match decode_secret_key(text, None) {
        Ok(key) => Ok(Content::Private(Box::new(key))),
        Err(russh::keys::Error::KeyIsEncrypted) => Ok(Content::Locked(None)),
        Err(_) if text.contains("ENCRYPTED") => Ok(Content::Locked(None)),
        Err(error) => Err(error),
    }
}

/// Offers the keys one after the other until one is taken.
pub(super) async fn log_in(
    handle: &mut Handle<HostKey>,
    account: &AccountName,
    ring: &KeyRing,
) -> Result<(), GatewayError> {
    let mut offered = Vec::new();
    let mut troubles = ring.passed_over.clone();
    for key in &ring.keys {
        let admitted = match key {
            Key::File(file, key) => {
                offered.push(format!("{} ({})", key.fingerprint(HashAlg::Sha256), file.display()));
                with_file(handle, account, key).await?
            }
            Key::Agent(socket, only) => {
                with_agent(handle, account, socket, only.as_ref(), &mut offered, &mut troubles).await?
            }
        };
        if admitted {
            return Ok(());
        }
        if handle.is_closed() {
            break;
        }
    }
    let troubles = troubles.iter().map(|t| format!("; {t}")).collect::<String>();
    if offered.is_empty() {
        return Err(GatewayError::Setup(format!("there is no key to log in with: name one with --key{troubles}")));
    }
    Err(GatewayError::Setup(format!(
        "the gateway does not let {account} in with {}: ask its operator whether that key is the account's, and not \
         expired or disabled, and whether it may come from here{troubles}",
        offered.join(", ")
    )))
}

async fn with_file(
    handle: &mut Handle<HostKey>,
    account: &AccountName,
    key: &Arc<PrivateKey>,
) -> Result<bool, GatewayError> {
    let hash = hash_for(handle, &key.algorithm()).await?;
    let key = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
    Ok(matches!(handle.authenticate_publickey(account.as_str(), key).await?, AuthResult::Success))
}

async fn with_agent(
    handle: &mut Handle<HostKey>,
    account: &AccountName,
    socket: &Path,
    only: Option<&PublicKey>,
    offered: &mut Vec<String>,
    troubles: &mut Vec<String>,
) -> Result<bool, GatewayError> {
    let mut agent = match AgentClient::connect_uds(socket).await {
        Ok(agent) => agent,
        Err(e) => {
            troubles.push(format!("the SSH agent at {} does not answer: {e}", socket.display()));
            return Ok(false);
        }
    };
    let identities = match agent.request_identities().await {
        Ok(identities) => identities,
        Err(e) => {
            troubles.push(format!("the SSH agent does not list its keys: {e}"));
            return Ok(false);
        }
    };
    let mut held = false;
    for identity in identities {
        let AgentIdentity::PublicKey { key, comment } = identity else { continue };
        if only.is_some_and(|only| only.key_data() != key.key_data()) {
            continue;
        }
        held = true;
        let fingerprint = key.fingerprint(HashAlg::Sha256);
        let hash = hash_for(handle, &key.algorithm()).await?;
        match handle.authenticate_publickey_with(account.as_str(), key, hash, &mut agent).await {
            Ok(AuthResult::Success) => return Ok(true),
            Ok(_) => offered.push(format!("{fingerprint} ({comment}, in the agent)")),
            Err(e) => troubles.push(format!("the SSH agent would not sign with {fingerprint}: {e}")),
        }
        if handle.is_closed() {
            break;
        }
    }
    if !held && only.is_some() {
        troubles.push("the named key is encrypted and not in the agent: run `ssh-add` with it".into());
    }
    Ok(false)
}

/// RSA keys sign with SHA-2 (RFC 8332): the best that the gateway names, SHA-512 when it names none. Never SHA-1.
async fn hash_for(handle: &Handle<HostKey>, algorithm: &Algorithm) -> Result<Option<HashAlg>, GatewayError> {
    if !matches!(algorithm, Algorithm::Rsa { .. }) {
        return Ok(None);
    }
    let named = handle.best_supported_rsa_hash().await?.flatten();
    Ok(Some(named.unwrap_or(HashAlg::Sha512)))
}

#[cfg(test)]
mod tests {
    use russh::keys::ssh_key::LineEnding;

    use super::*;

    fn key_file(folder: &Path, name: &str) -> PathBuf {
        let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).unwrap();
        let file = folder.join(name);
        std::fs::write(&file, key.to_openssh(LineEnding::LF).unwrap().as_bytes()).unwrap();
        file
    }

    #[test]
    fn an_identity_that_is_an_ssh_key_comes_before_the_usual_files() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(".ssh")).unwrap();
        let usual = key_file(folder.path(), ".ssh/id_ed25519");
        let identity = key_file(folder.path(), "identity");
        let age = folder.path().join("age.txt");
        std::fs::write(&age, "# created by hand\nAGE-SECRET-KEY-1QQQ\n").unwrap();
        let ring = KeyRing::usual(&[age, identity.clone()], Some(folder.path()), None);
        let files: Vec<_> =
            ring.keys.iter().map(|k| matches!(k, Key::File(f, _) if *f == identity || *f == usual)).collect();
        assert_eq!(files, [true, true]);
        assert!(matches!(&ring.keys[0], Key::File(f, _) if *f == identity));
    }

    #[test]
    fn a_named_file_that_is_no_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x");
        std::fs::write(&file, "AGE-SECRET-KEY-1QQQ\n").unwrap();
        assert!(KeyRing::named(&file, None).unwrap_err().contains("is not an SSH private key"));
        assert!(KeyRing::named(&folder.path().join("absent"), None).unwrap_err().contains("cannot read the key"));
    }

    #[test]
    fn an_encrypted_key_points_to_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("id");
        let made = std::process::Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "a passphrase", "-f"])
            .arg(&file)
            .status()
            .unwrap();
        assert!(made.success());
        let error = KeyRing::named(&file, None).unwrap_err();
        assert!(error.contains("ssh-add"), "{error}");
        let ring = KeyRing::named(&file, Some(Path::new("/run/agent"))).unwrap();
        assert!(matches!(&ring.keys[0], Key::Agent(_, Some(_))));
        assert_eq!(KeyRing::usual(&[file], None, None).passed_over.len(), 1);
    }
}
