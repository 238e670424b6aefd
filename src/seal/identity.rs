//! The opening half: identities, which only loaders hold, and the stream that they open.

use std::io::{BufReader, Read};

use age::secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::{Recipient, SealError};

/// Bytes read at once from what is being opened: one sealed chunk and then some.
const READ: usize = 128 * 1024;

/// Identities that can open: an age identity file or an SSH private key. Only loaders hold any.
pub struct Identities {
    keys: Vec<Key>,
}

/// One of them, and whom a file must be sealed to for it.
struct Key {
    identity: Box<dyn age::Identity + Send + Sync>,
    recipient: Recipient,
}

impl std::fmt::Debug for Identities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} identities", self.keys.len())
    }
}

impl Identities {
    /// Parses the text of an age identity file or an unencrypted SSH private key. `name` is for error messages.
    ///
    /// # Errors
    /// Says what the text is instead, and what to do; never repeats any of it.
    pub fn parse(text: &str, name: &str) -> Result<Self, SealError> {
        let start = text.trim_start();
        if start.starts_with("age-encryption.org/") || start.starts_with("-----BEGIN AGE ENCRYPTED FILE-----") {
            return Err(SealError(format!(
                "{name} is encrypted, and a loader runs unattended: decrypt it (age -d) to a file that only the loader can read"
            )));
        }
        let keys = if start.starts_with("-----BEGIN ") { vec![ssh(start, name)?] } else { native(text, name)? };
        Ok(Self { keys })
    }

    /// Whom a file must be sealed to for these to open it.
    pub fn recipients(&self) -> impl Iterator<Item = &Recipient> {
        self.keys.iter().map(|key| &key.recipient)
    }

    /// Opens an age file: what is read from the result is authentic up to that byte; an error means tampering or a cut.
    /// Only the end of the stream says that nothing is missing.
    ///
    /// # Errors
    /// It is no age file, or none of these identities opens it.
    pub fn open<R: Read + Send + 'static>(&self, sealed: R) -> Result<Box<dyn Read + Send>, SealError> {
        let decryptor = age::Decryptor::new_buffered(BufReader::with_capacity(READ, sealed))
            .map_err(|error| SealError(format!("this is not an age file, or its header is damaged: {error}")))?;
        let keys = self.keys.iter().map(|key| key.identity.as_ref() as &dyn age::Identity);
        match decryptor.decrypt(keys) {
            Ok(plain) => Ok(Box::new(plain)),
            Err(age::DecryptError::NoMatchingKeys) => Err(SealError(
                "none of the given identities can open it: it was sealed to other recipients; use an identity that matches a \
                 line of the organisation's recipients.txt"
                    .into(),
            )),
            Err(error) => Err(SealError(format!("it cannot be opened: {error}"))),
        }
    }
}

/// A file as age-keygen writes it: identities one a line, `#` comments.
fn native(text: &str, name: &str) -> Result<Vec<Key>, SealError> {
    let mut keys = vec![];
    for (index, line) in text.lines().enumerate() {
        let (line, place) = (line.trim(), format!("{name}:{}", index + 1));
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Ok(key) = line.parse::<age::x25519::Identity>() {
            keys.push(Key { recipient: Recipient::from(&key), identity: Box::new(key) });
            continue;
        }
        let why = if line.to_ascii_uppercase().starts_with("AGE-PLUGIN-") {
            "an identity that needs a plugin is not supported: use one made by age-keygen, or an SSH key"
        } else if line.starts_with("age1") || line.starts_with("ssh-") {
            "this is a recipient, a public key: opening needs the identity, which begins with AGE-SECRET-KEY-1"
        } else {
            "this is not an age identity: each line is AGE-SECRET-KEY-1... as age-keygen wrote it, or a # comment"
        };
        return Err(SealError(format!("{place}: {why}")));
    }
    if keys.is_empty() {
        return Err(SealError(format!("{name} holds no identity: make one with age-keygen -o FILE")));
    }
    Ok(keys)
}

fn ssh(text: &str, name: &str) -> Result<Key, SealError> {
    use age::ssh::{Identity, UnsupportedKey};
    let convert = format!("convert a copy of it: ssh-keygen -p -N '' -f {name}");
    match Identity::from_buffer(text.as_bytes(), None) {
        Ok(key @ Identity::Unencrypted(_)) => {
            let recipient = Recipient::try_from(key.clone())
                .map_err(|_| SealError(format!("{name} is an SSH key that age cannot seal to: use ed25519 or rsa")))?;
            Ok(Key { recipient, identity: Box::new(key) })
        }
        Ok(Identity::Encrypted(_))
        | Ok(Identity::Unsupported(UnsupportedKey::EncryptedPem | UnsupportedKey::EncryptedSsh(_))) => {
            Err(SealError(format!(
                "{name} is protected by a passphrase, and a loader runs unattended: take the passphrase off a copy that only the \
                 loader can read (ssh-keygen -p -N '' -f COPY), or use an identity made by age-keygen"
            )))
        }
        Ok(Identity::Unsupported(_)) => Err(SealError(format!(
            "{name} is an SSH key of a type that age cannot use: use ed25519 or rsa, or an identity made by age-keygen"
        ))),
        Err(_) => Err(SealError(format!(
            "{name} does not parse as an SSH private key, it may be cut or in another format; {convert}"
        ))),
    }
}

/// A new X25519 identity and its recipient, as age-keygen writes them: (`AGE-SECRET-KEY-1...`, `age1...`).
pub fn generate_identity() -> (Zeroizing<String>, String) {
    let identity = age::x25519::Identity::generate();
    let secret = Zeroizing::new(identity.to_string().expose_secret().to_owned());
    (secret, identity.to_public().to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::process::Command;

    use super::super::{Recipient, Sealer};
    use super::*;

    fn why(text: &str) -> String {
        Identities::parse(text, "key.txt").unwrap_err().0
    }

    fn one_chunk(public: &str) -> Vec<u8> {
        let (mut file, mut sealer) = Sealer::begin(&[public.parse::<Recipient>().unwrap()]).unwrap();
        let mut chunk = b"a,b\n1,2\n".to_vec();
        sealer.seal(&mut chunk, true).unwrap();
        file.extend(chunk);
        file
    }

    #[test]
    fn a_file_of_comments_and_several_identities_opens_with_any_of_them() {
        let (other, other_public) = generate_identity();
        let (secret, public) = generate_identity();
        let text = format!("# created: today\n# public key: {public}\n\n{}\r\n{}\n", *other, *secret);
        let identities = Identities::parse(&text, "key.txt").unwrap();
        let mut plain = String::new();
        identities.open(Cursor::new(one_chunk(&public))).unwrap().read_to_string(&mut plain).unwrap();
        assert_eq!(plain, "a,b\n1,2\n");
        let recipients: Vec<String> = identities.recipients().map(ToString::to_string).collect();
        assert_eq!(recipients, [other_public, public]);
    }

    #[test]
    fn what_is_no_identity_is_refused_with_its_line_and_without_its_text() {
        let (secret, public) = generate_identity();
        assert!(why("# nothing\n").contains("holds no identity"));
        assert!(why(&format!("# x\n{public}")).starts_with("key.txt:2: this is a recipient"));
        assert!(why("AGE-PLUGIN-YUBIKEY-1QQQ").contains("plugin"));
        assert!(why("age-encryption.org/v1\n-> X25519 abc").contains("encrypted"));
        let broken = &secret[..70];
        assert!(why(broken).contains("not an age identity") && !why(broken).contains(broken));
        assert!(why("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n").contains("does not parse"));
    }

    #[test]
    fn ssh_keys_with_a_passphrase_or_of_another_type_are_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        for (kind, passphrase, words) in
            [("ed25519", "secret words", "passphrase"), ("ecdsa", "", "type that age cannot")]
        {
            let file = dir.path().join(kind);
            let mut command = Command::new("ssh-keygen");
            assert!(command.args(["-q", "-t", kind, "-N", passphrase, "-f"]).arg(&file).status().unwrap().success());
            let why = why(&std::fs::read_to_string(&file).unwrap());
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn a_changed_cut_or_foreign_file_does_not_open_to_its_end() {
        let (secret, public) = generate_identity();
        let identities = Identities::parse(&secret, "key.txt").unwrap();
        let whole = one_chunk(&public);
        let read = |file: Vec<u8>| {
            let mut plain = vec![];
            identities
                .open(Cursor::new(file))
                .and_then(|mut r| r.read_to_end(&mut plain).map_err(|error| SealError(error.to_string())))
        };
        assert!(read(whole.clone()).is_ok());
        assert!(read(whole[..whole.len() - 1].to_vec()).is_err());
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(read(changed).is_err());
        assert!(read(b"a,b\n".to_vec()).unwrap_err().0.contains("not an age file"));
        let (stranger, _) = generate_identity();
        let stranger = Identities::parse(&stranger, "key.txt").unwrap();
        assert!(stranger.open(Cursor::new(whole)).err().unwrap().0.contains("none of the given identities"));
    }
}
