//! known_hosts: which host keys are trusted, as OpenSSH records them (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
//!
//! Must never trust a key that differs from a recorded one. Reads plain, hashed and pattern entries and `@revoked`;
//! `@cert-authority` lines do not count, host certificates are not used. Called by `gateway`.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use ring::hmac;
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, Marker};
use russh::keys::{Algorithm, HashAlg, PublicKey};

use super::gateway::host_label;

/// The entries of one known_hosts file, with their line numbers.
#[derive(Debug, Default)]
pub struct KnownHosts {
    entries: Vec<(usize, Entry)>,
}

/// What the file says about a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Standing {
    Known,
    /// Nothing is recorded for this host.
    Unknown,
    /// Other keys are recorded for this host: the first one's line and fingerprint, one of the same type if there is any.
    Changed {
        line: usize,
        recorded: String,
    },
    Revoked {
        line: usize,
    },
}

/// Why a host key is not trusted, with what to do.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    #[error(
        "the host key of {host} is not known: {offered}. Ask the gateway's operator for its fingerprint; if it is the \
         same, record it with\n  {advice}\nand try again"
    )]
    Unknown { host: String, offered: String, advice: String },
    #[error(
        "THE HOST KEY OF {host} HAS CHANGED. It now shows {offered}, but {file}:{line} records {recorded}. Someone may be \
         listening in. Ask the gateway's operator; if the change is theirs, remove the old key with\n  \
         ssh-keygen -f {file} -R '{host}'"
    )]
    Changed { host: String, offered: String, recorded: String, file: String, line: usize },
    #[error(
        "the host key of {host}, {offered}, is revoked by {file}:{line}: do not connect, ask the gateway's operator"
    )]
    Revoked { host: String, offered: String, file: String, line: usize },
    #[error("cannot record the host key of {host} in {file}: {error}")]
    NotRecorded { host: String, file: String, error: std::io::Error },
}

impl KnownHosts {
    /// Reads `file`; one that is not there knows nobody.
    ///
    /// # Errors
    /// Says which file cannot be read, and why.
    pub fn read(file: &Path) -> Result<Self, String> {
        match std::fs::read(file) {
            Ok(bytes) => Ok(Self::parse(&String::from_utf8_lossy(&bytes))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(format!("cannot read {}: {e}", file.display())),
        }
    }

    /// Lines that do not parse are passed over, as OpenSSH does.
    pub fn parse(text: &str) -> Self {
        let line = |(number, line): (usize, &str)| {
            let line = line.split('#').next().unwrap_or_default().trim();
            Some((number + 1, line.replace('\t', " ").parse::<Entry>().ok()?))
        };
        Self { entries: text.lines().enumerate().filter_map(line).collect() }
    }

    pub fn standing(&self, host: &str, port: u16, key: &PublicKey) -> Standing {
        let mut known = false;
        let mut other: Option<(usize, &PublicKey)> = None;
        for (line, entry) in self.of(host, port) {
            let same = entry.public_key().key_data() == key.key_data();
            match entry.marker() {
                Some(Marker::Revoked) if same => return Standing::Revoked { line },
                Some(_) => {}
                None if same => known = true,
                None => {
                    let nearer = |old: &PublicKey| {
                        old.algorithm() != key.algorithm() && entry.public_key().algorithm() == key.algorithm()
                    };
                    if other.is_none_or(|(_, old)| nearer(old)) {
                        other = Some((line, entry.public_key()));
                    }
                }
            }
        }
        match other {
            _ if known => Standing::Known,
            Some((line, recorded)) => Standing::Changed { line, recorded: describe(recorded) },
            None => Standing::Unknown,
        }
    }

    /// Types of the keys recorded for this host, so that the host is asked for one of them.
    pub fn algorithms(&self, host: &str, port: u16) -> Vec<Algorithm> {
        self.of(host, port).filter(|(_, e)| e.marker().is_none()).map(|(_, e)| e.public_key().algorithm()).collect()
    }

    /// Trusts `key`, or says why not. With `accept_new` a host of which nothing is recorded is recorded in `file`.
    ///
    /// # Errors
    /// Each is final: trying again is no use before a person acts.
    pub fn admit(
        &self,
        host: &str,
        port: u16,
        key: &PublicKey,
        file: &Path,
        accept_new: bool,
    ) -> Result<(), Untrusted> {
        let label = host_label(host, port);
        let offered = describe(key);
        let shown = file.display().to_string();
        match self.standing(host, port, key) {
            Standing::Known => Ok(()),
            Standing::Changed { line, recorded } => {
                Err(Untrusted::Changed { host: label, offered, recorded, file: shown, line })
            }
            Standing::Revoked { line } => Err(Untrusted::Revoked { host: label, offered, file: shown, line }),
            Standing::Unknown if accept_new => remember(host, port, key, file)
                .map_err(|error| Untrusted::NotRecorded { host: label, file: shown, error }),
            Standing::Unknown => {
                let kind = match key.algorithm() {
                    Algorithm::Ed25519 => "ed25519",
                    Algorithm::Ecdsa { .. } => "ecdsa",
                    _ => "rsa",
                };
                let advice = format!("ssh-keyscan -p {port} -t {kind} {host} >> {shown}");
                Err(Untrusted::Unknown { host: label, offered, advice })
            }
        }
    }

    fn of<'a>(&'a self, host: &str, port: u16) -> impl Iterator<Item = (usize, &'a Entry)> {
        let label = host_label(&host.to_ascii_lowercase(), port);
        self.entries.iter().filter(move |(_, e)| covers(e.host_patterns(), &label)).map(|(line, e)| (*line, e))
    }
}

/// A key as people compare it: `SHA256:... (ssh-ed25519)`.
fn describe(key: &PublicKey) -> String {
    format!("{} ({})", key.fingerprint(HashAlg::Sha256), key.algorithm())
}

fn covers(patterns: &HostPatterns, label: &str) -> bool {
    match patterns {
        HostPatterns::HashedName { salt, hash } => {
            let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
            hmac::verify(&key, label.as_bytes(), hash).is_ok()
        }
        HostPatterns::Patterns(patterns) => {
            let mut covered = false;
            for pattern in patterns {
                let pattern = pattern.to_ascii_lowercase();
                match pattern.strip_prefix('!') {
                    Some(not) if glob(not.as_bytes(), label.as_bytes()) => return false,
                    Some(_) => {}
                    None => covered |= glob(pattern.as_bytes(), label.as_bytes()),
                }
            }
            covered
        }
    }
}

/// `*` and `?` as in ssh_config(5), "PATTERNS". In time proportional to the product of the lengths at most.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    p = at + 1;
                    t = from + 1;
                    star = Some((at, t));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

/// Appends one entry. A file whose last line has no end gets one first.
fn remember(host: &str, port: u16, key: &PublicKey, file: &Path) -> std::io::Result<()> {
    if let Some(folder) = file.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut out = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(file)?;
    let mut last = [b'\n'];
    if out.seek(SeekFrom::End(-1)).is_ok() {
        out.read_exact(&mut last)?;
    }
    let openssh = key.to_openssh().map_err(std::io::Error::other)?;
    let ending = if last == *b"\n" { "" } else { "\n" };
    // One write: two loaders that start at once must not mix their lines.
    out.write_all(format!("{ending}{} {openssh}\n", host_label(host, port)).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";
    const HASHED: &str = "|1|O33ESRMWPVkMYIwJ1Uw+n877jTo=|nuuC5vEqXlEZ/8BXQR7m619W6Ak= ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILIG2T/B0l0gaqj3puu510tu9N1OkQ4znY3LYuEm5zCF";

    fn key(text: &str) -> PublicKey {
        PublicKey::from_openssh(text).unwrap()
    }
    fn standing(file: &str, host: &str, port: u16, offered: &str) -> Standing {
        KnownHosts::parse(file).standing(host, port, &key(offered))
    }

    #[test]
    fn a_recorded_key_is_known_under_its_host_and_port_only() {
        let file = format!("# a comment\n\n[gate.example]:2222 {A} some comment\n");
        assert_eq!(standing(&file, "gate.example", 2222, A), Standing::Known);
        assert_eq!(standing(&file, "Gate.Example", 2222, A), Standing::Known);
        assert_eq!(standing(&file, "gate.example", 22, A), Standing::Unknown);
        assert_eq!(standing(&file, "other.example", 2222, A), Standing::Unknown);
    }

    #[test]
    fn hashed_hosts_are_recognised() {
        let offered = HASHED.split_once(' ').unwrap().1;
        assert_eq!(standing(HASHED, "example.com", 22, offered), Standing::Known);
        assert_eq!(standing(HASHED, "example.org", 22, offered), Standing::Unknown);
        assert!(matches!(standing(HASHED, "example.com", 22, A), Standing::Changed { line: 1, .. }));
    }

    #[test]
    fn a_changed_key_shows_both_fingerprints_and_the_line() {
        let known = KnownHosts::parse(&format!("other {A}\ngate {A}\n"));
        let refusal = known.admit("gate", 22, &key(B), Path::new("/home/x/known_hosts"), true).unwrap_err().to_string();
        for part in [
            key(A).fingerprint(HashAlg::Sha256).to_string(),
            key(B).fingerprint(HashAlg::Sha256).to_string(),
            "/home/x/known_hosts:2".into(),
        ] {
            assert!(refusal.contains(&part), "{refusal}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_command_that_records_it() {
        let refusal = KnownHosts::default().admit("gate", 2222, &key(A), Path::new("kh"), false).unwrap_err();
        assert!(refusal.to_string().contains("ssh-keyscan -p 2222 -t ed25519 gate >> kh"), "{refusal}");
    }

    #[test]
    fn accept_new_records_a_new_host_once_and_never_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ssh/known_hosts");
        KnownHosts::read(&file).unwrap().admit("gate", 2222, &key(A), &file, true).unwrap();
        let known = KnownHosts::read(&file).unwrap();
        known.admit("gate", 2222, &key(A), &file, false).unwrap();
        assert!(known.admit("gate", 2222, &key(B), &file, true).is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 1);
    }

    #[test]
    fn a_file_without_a_last_line_end_stays_readable() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        std::fs::write(&file, format!("old {A}")).unwrap();
        remember("new", 22, &key(B), &file).unwrap();
        let known = KnownHosts::read(&file).unwrap();
        assert_eq!(known.standing("old", 22, &key(A)), Standing::Known);
        assert_eq!(known.standing("new", 22, &key(B)), Standing::Known);
    }

    #[test]
    fn a_revoked_key_is_refused_even_where_it_is_also_recorded() {
        let file = format!("gate {A}\n@revoked * {A}\n");
        assert_eq!(standing(&file, "gate", 22, A), Standing::Revoked { line: 2 });
    }

    #[test]
    fn patterns_and_negations_count() {
        let file = format!("*.example,!bad.example {A}\n");
        assert_eq!(standing(&file, "a.example", 22, A), Standing::Known);
        assert_eq!(standing(&file, "bad.example", 22, A), Standing::Unknown);
        assert!(glob(b"a*c?e", b"abbcde") && !glob(b"a*c?", b"abbcde") && glob(b"**", b""));
    }

    #[test]
    fn one_of_several_recorded_keys_is_enough() {
        let file = format!("gate {B}\ngate {A}\nrubbish\n");
        assert_eq!(standing(&file, "gate", 22, A), Standing::Known);
    }
}
