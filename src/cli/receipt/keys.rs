//! Verifier keys on the command line: themselves, or files that have them.

use super::super::outcome::Stop;
use crate::audit::VerifierKey;
use crate::types::Invalid;

/// More than any list of keys has.
const FILE_MAX: u64 = 1 << 20;

/// The keys that these words name, in order: `NAME+HASH+KEY`, or a file with one a line and `#` comments.
///
/// # Errors
/// A word is neither.
pub fn keys(words: &[String]) -> Result<Vec<VerifierKey>, Stop> {
    let mut all = Vec::new();
    for word in words {
        match word.parse::<VerifierKey>() {
            Ok(key) => all.push(key),
            Err(Invalid(why)) => match std::fs::metadata(word) {
                Ok(facts) if facts.is_file() && facts.len() <= FILE_MAX => all.extend(in_file(word)?),
                _ => return Err(Stop::Usage(format!("{why}; nor is there a file of that name"))),
            },
        }
    }
    Ok(all)
}

fn in_file(file: &str) -> Result<Vec<VerifierKey>, Stop> {
    let text = std::fs::read_to_string(file).map_err(|error| Stop::Usage(format!("{file} cannot be read: {error}")))?;
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = line.parse().map_err(|Invalid(why)| Stop::Usage(format!("{file}:{}: {why}", number + 1)))?;
        keys.push(key);
    }
    match keys.is_empty() {
        true => Err(Stop::Usage(format!("{file} has no verifier key: `nightsafe audit key` on the gateway prints it"))),
        false => Ok(keys),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Signer;

    #[test]
    fn a_key_is_itself_or_stands_in_a_file() {
        let key = Signer::generate("sftp.example.org/audit").unwrap().0.verifier_key().clone();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys").display().to_string();
        std::fs::write(&file, format!("# ours\n\n{key}\n")).unwrap();
        assert_eq!(keys(&[key.to_string(), file.clone()]).unwrap(), [key.clone(), key]);
        std::fs::write(&file, "# none\n").unwrap();
        assert!(keys(std::slice::from_ref(&file)).unwrap_err().to_string().contains("no verifier key"));
        std::fs::write(&file, "# one\nnot a key\n").unwrap();
        assert!(keys(std::slice::from_ref(&file)).unwrap_err().to_string().starts_with(&format!("{file}:2: ")));
        assert!(keys(&["nowhere".into()]).unwrap_err().to_string().contains("nor is there a file"));
    }
}
