//! The private key that the audit log is signed with: read by whoever writes the log, checked for who else can read it.
//!
//! Must never put key material into a message. Called by `daemon` and `cli` before they open the ledger.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::model::AuditSettings;
use crate::audit::{LogKeys, Signer, VerifierKey};

/// A signing key's line has a name of at most 255 bytes and some 70 more.
const FILE_MAX: u64 = 4096;

/// Why there is no signing key.
#[derive(Debug, thiserror::Error)]
#[error("the audit log's signing key {}: {why}", .file.display())]
pub struct SigningKeyError {
    pub file: PathBuf,
    pub why: String,
    /// No file is there: it was not made yet, or (a credential) the service does not run.
    pub missing: bool,
    /// It is there, but not for this user.
    pub forbidden: bool,
    /// It is one that systemd hands over.
    pub credential: bool,
}

/// Reads the key that `[audit]` names; its name must be the log's.
///
/// # Errors
/// It is not there, others can read it, it is no signing key, or one of another log; what to do.
pub fn signing_key(audit: &AuditSettings) -> Result<Signer, SigningKeyError> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    read(&audit.key, &audit.origin, credentials.as_deref().map(Path::new))
}

/// The key that `[audit]` names, with those that signed the log before it.
///
/// # Errors
/// As [`signing_key`].
pub fn log_keys(audit: &AuditSettings) -> Result<LogKeys, SigningKeyError> {
    Ok(LogKeys { signer: signing_key(audit)?, former: audit.former_keys.clone() })
}

/// The public half of the key that `[audit]` names: from the file beside it, `KEY.pub`, or from the private key itself.
///
/// # Errors
/// As [`signing_key`].
pub fn verifier_key(audit: &AuditSettings) -> Result<VerifierKey, SigningKeyError> {
    let mut public = audit.key.as_os_str().to_owned();
    public.push(".pub");
    let beside = std::fs::read_to_string(&public).ok().and_then(|text| text.trim().parse::<VerifierKey>().ok());
    match beside.filter(|key| key.name() == audit.origin) {
        Some(key) => Ok(key),
        None => signing_key(audit).map(|signer| signer.verifier_key().clone()),
    }
}

/// Whether users other than the owner can read the file: a mode that [`signing_key`] refuses. None when it cannot be told.
pub fn signing_key_mode(audit: &AuditSettings) -> Option<u32> {
    let facts = std::fs::metadata(&audit.key).ok()?;
    let loose = !is_credential(&audit.key, std::env::var_os("CREDENTIALS_DIRECTORY").as_deref().map(Path::new));
    (loose && facts.mode() & 0o077 != 0).then_some(facts.mode() & 0o7777)
}

/// systemd guards the directory of credentials itself, and shows its files as readable by the group.
fn is_credential(file: &Path, credentials: Option<&Path>) -> bool {
    let usual = Path::new(super::server::CREDENTIALS);
    file.starts_with(usual) || credentials.is_some_and(|directory| file.starts_with(directory))
}

fn read(file: &Path, origin: &str, credentials: Option<&Path>) -> Result<Signer, SigningKeyError> {
    let credential = is_credential(file, credentials);
    let fault =
        |why: String| SigningKeyError { file: file.to_owned(), why, missing: false, forbidden: false, credential };
    let mut opened = File::open(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => SigningKeyError { missing: true, ..fault(absent(file, credential)) },
        std::io::ErrorKind::PermissionDenied => {
            let why = "may not be read by this user: run this as root or as the gateway's user";
            SigningKeyError { forbidden: true, ..fault(why.into()) }
        }
        _ => fault(format!("cannot be opened: {error}")),
    })?;
    let facts = opened.metadata().map_err(|error| fault(format!("cannot be examined: {error}")))?;
    if !facts.is_file() || facts.len() > FILE_MAX {
        return Err(fault("is no file with one line, as `nightsafe audit key --new` makes it".into()));
    }
    if !credential && facts.mode() & 0o077 != 0 {
        let mode = facts.mode() & 0o7777;
        return Err(fault(format!("can be read by others (mode {mode:04o}): chmod 600 {}", file.display())));
    }
    let mut text = Zeroizing::new(String::new());
    let read = opened.by_ref().take(FILE_MAX).read_to_string(&mut text);
    read.map_err(|error| fault(format!("cannot be read as text: {error}")))?;
    let signer: Signer = text.trim().parse().map_err(|error| fault(format!("{error}")))?;
    if signer.name() != origin {
        return Err(fault(format!(
            "is the key of {:?}, and this log is {origin:?}: set origin = {:?} under [audit], or name this log's key",
            signer.name(),
            signer.name(),
        )));
    }
    Ok(signer)
}

fn absent(file: &Path, credential: bool) -> String {
    if credential {
        return "is not there: systemd hands it over while the service runs (LoadCredential= in its unit); for a command while \
                it is stopped, set CREDENTIALS_DIRECTORY to the folder that has the file"
            .into();
    }
    format!("is not there: if this log has none yet, make one with `nightsafe audit key --new {}`", file.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const ORIGIN: &str = "sftp.example.org/audit";

    fn key_file(folder: &Path, mode: u32) -> PathBuf {
        let file = folder.join("signing.key");
        let (_, secret) = Signer::generate(ORIGIN).unwrap();
        std::fs::write(&file, format!("{}\n", *secret)).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    fn told(file: &Path, origin: &str, credentials: Option<&Path>) -> String {
        read(file, origin, credentials).map(|signer| signer.name().to_owned()).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn a_key_of_its_owner_alone_is_read_and_others_are_refused_unless_systemd_guards_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = key_file(folder.path(), 0o600);
        assert_eq!(told(&file, ORIGIN, None), ORIGIN);
        let file = key_file(folder.path(), 0o640);
        let refused = told(&file, ORIGIN, Some(Path::new("/elsewhere")));
        assert!(refused.contains("0640") && refused.contains("chmod 600"), "{refused}");
        assert_eq!(told(&file, ORIGIN, Some(folder.path())), ORIGIN);
    }

    #[test]
    fn what_is_no_key_of_this_log_is_told_with_what_to_do_and_never_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let file = key_file(folder.path(), 0o600);
        let other = told(&file, "other.example/audit", None);
        assert!(other.contains("origin = \"sftp.example.org/audit\""), "{other}");
        let secret = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, &secret[..secret.len() - 9]).unwrap();
        let broken = told(&file, ORIGIN, None);
        assert!(!broken.contains(&secret[50..70]) && broken.contains("signing key"), "{broken}");
        let absent = told(&folder.path().join("no"), ORIGIN, None);
        assert!(absent.contains("audit key --new"), "{absent}");
        let absent = told(&folder.path().join("no"), ORIGIN, Some(folder.path()));
        assert!(absent.contains("LoadCredential"), "{absent}");
    }
}
