//! Keys as people make them: by `ssh-keygen` and `age-keygen`, once for each build tree, since the tests never keep them secret.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::PATIENCE;
use super::process::run;

/// Every private key of the tests; the public half lies beside each SSH key as `.pub`.
pub struct Keys {
    dir: PathBuf,
}

/// SSH keys by name. `stranger` is nobody's.
const SSH: &[&str] =
    &["host", "harbour", "harbour-spare", "meadow", "loader-all", "loader-harbour", "stranger", "age-over-ssh"];
const SSH_ECDSA: &str = "harbour-ecdsa";
const SSH_RSA: &str = "harbour-rsa";
const AGE: &[&str] = &["harbour", "meadow"];

pub fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("keys-2");
        if !dir.exists() {
            let making = super::fresh_dir("making-keys");
            make(making.path());
            // Another process may have been faster: its keys are as good.
            std::fs::rename(making.path(), &dir).ok();
        }
        Keys { dir }
    })
}

fn make(dir: &Path) {
    let kinds = [(SSH_ECDSA, "ecdsa"), (SSH_RSA, "rsa")];
    for (name, kind) in SSH.iter().map(|name| (*name, "ed25519")).chain(kinds) {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", kind, "-N", "", "-C", name, "-f"]).arg(dir.join(name));
        run(keygen, b"", PATIENCE).ok();
    }
    for name in AGE {
        let mut keygen = Command::new("age-keygen");
        keygen.arg("-o").arg(dir.join(format!("{name}.age-identity")));
        run(keygen, b"", PATIENCE).ok();
    }
    let mut keygen = Command::new(super::NIGHTSAFE);
    keygen.args(["audit", "key", "--name", "sftp.example.org/audit", "--new"]).arg(dir.join("signing.key"));
    let public = run(keygen, b"", PATIENCE).ok().stdout;
    std::fs::write(dir.join("signing.pub"), public.trim()).unwrap();
    let read = |org| std::fs::read_to_string(dir.join(format!("{org}.age-identity"))).unwrap();
    let all = dir.join("all.age-identity");
    std::fs::write(&all, AGE.iter().map(read).collect::<String>()).unwrap();
    std::fs::set_permissions(&all, std::fs::Permissions::from_mode(0o600)).unwrap();
}

impl Keys {
    /// A private SSH key's file.
    pub fn ssh(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A public SSH key: type, base64 and comment, one line without its end.
    pub fn public(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.join(format!("{name}.pub"))).unwrap().trim().to_owned()
    }

    /// As `ssh-keygen -l` shows it: `SHA256:...`.
    pub fn fingerprint(&self, name: &str) -> String {
        let mut keygen = Command::new("ssh-keygen");
        keygen.arg("-lf").arg(self.dir.join(format!("{name}.pub")));
        run(keygen, b"", PATIENCE).ok().stdout.split_whitespace().nth(1).unwrap().to_owned()
    }

    /// The audit log's private signing key.
    pub fn signing(&self) -> PathBuf {
        self.dir.join("signing.key")
    }

    /// The verifier key that belongs to it.
    pub fn verifier(&self) -> String {
        std::fs::read_to_string(self.dir.join("signing.pub")).unwrap()
    }

    /// An organisation's age identity file.
    pub fn identity(&self, org: &str) -> PathBuf {
        self.dir.join(format!("{org}.age-identity"))
    }

    /// The recipient (`age1...`) of an organisation's identity.
    pub fn recipient(&self, org: &str) -> String {
        let mut keygen = Command::new("age-keygen");
        keygen.arg("-y").arg(self.identity(org));
        run(keygen, b"", PATIENCE).ok().stdout.trim().to_owned()
    }

    /// Identities of every organisation in one file, as a data team would hold them.
    pub fn all_identities(&self) -> PathBuf {
        self.identity("all")
    }
}
