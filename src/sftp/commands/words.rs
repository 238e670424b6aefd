//! The words of a command line, as a shell would split them: `'...'`, `"..."` and backslashes, as clients quote paths.
//!
//! Must never expand anything: what a shell would act on (variables, wildcards, pipes) is refused. Called by the commands.

/// What a shell acts on, outside of quotation marks.
const ACTIVE: &str = "|&;<>()$`*?[]{}!#\n";

/// # Errors
/// A quotation mark that is not closed, or something that only a shell could do, in words that end in what to do.
pub(super) fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match c {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next().ok_or_else(|| open('\''))? {
                        '\'' => break,
                        inside => word.push(inside),
                    }
                }
            }
            '"' => double(&mut characters, word.get_or_insert_default())?,
            '\\' => match characters.next() {
                // A line that goes on: nothing.
                Some('\n') => {}
                Some(escaped) => word.get_or_insert_default().push(escaped),
                None => return Err("the line ends in a backslash: escape what follows it, or leave it away".into()),
            },
            ' ' | '\t' => words.extend(word.take()),
            active if ACTIVE.contains(active) => return Err(no_shell(active)),
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Inside of `"`: POSIX shell, section 2.2.3.
fn double(characters: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), String> {
    loop {
        match characters.next().ok_or_else(|| open('"'))? {
            '"' => return Ok(()),
            '\\' => match characters.next().ok_or_else(|| open('"'))? {
                escaped @ ('$' | '`' | '"' | '\\') => word.push(escaped),
                '\n' => {}
                other => word.extend(['\\', other]),
            },
            active @ ('$' | '`') => return Err(no_shell(active)),
            inside => word.push(inside),
        }
    }
}

fn open(mark: char) -> String {
    format!("a quotation mark ({mark}) is not closed")
}

fn no_shell(active: char) -> String {
    format!("there is no shell here that could follow {active:?}: put names in '...', and name each file")
}

/// A name in an error message, as coreutils quotes it: only where a person could misread it.
pub(super) fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "%+,-./:=@_^".contains(c);
    if !name.is_empty() && name.chars().all(plain) {
        return name.to_owned();
    }
    let shown: String = name.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    format!("'{}'", shown.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_a_shell_makes_of_them() {
        for (line, words) in [
            ("a b", vec!["a", "b"]),
            ("  a\t b ", vec!["a", "b"]),
            ("'a b' c", vec!["a b", "c"]),
            (r"/bulk/a\ b\'c", vec!["/bulk/a b'c"]),
            (r#""a \"b\" \n" x"#, vec![r#"a "b" \n"#, "x"]),
            (r"'a'\''b'", vec!["a'b"]),
            ("'' a", vec!["", "a"]),
            (r#"'$HOME' '*.csv' "a*b""#, vec!["$HOME", "*.csv", "a*b"]),
            ("Übergabe\\ März.csv", vec!["Übergabe März.csv"]),
            ("", vec![]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
    }

    #[test]
    fn what_only_a_shell_can_do_is_refused() {
        for line in ["a; b", "a | b", "a > b", "$HOME", "`a`", "*.csv", "a&", "\"$x\"", "\"`x`\"", "(a)", "a\nb"] {
            assert!(split(line).unwrap_err().contains("no shell"), "{line}");
        }
        for line in ["'a", "\"a", "\"a\\", "a\\"] {
            assert!(split(line).is_err(), "{line}");
        }
    }

    /// The oracle: what a real shell makes of the same lines.
    #[test]
    fn a_real_shell_splits_them_alike() {
        for line in [r"a\ b 'c d' e", r#""a \"b\" \n \$" x"#, r"'a'\''b' ''", r"Übergabe\ März.csv", r"a\\b"] {
            let script = format!("for word in {line}; do printf '%s\\n' \"$word\"; done");
            let shell = std::process::Command::new("sh").arg("-c").arg(&script).output().unwrap();
            let printed = String::from_utf8(shell.stdout).unwrap();
            assert_eq!(split(line).unwrap(), printed.lines().collect::<Vec<_>>(), "{line}");
        }
    }

    #[test]
    fn odd_names_are_quoted_in_messages() {
        for (name, shown) in
            [("a.csv", "a.csv"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("", "''"), ("a\nb", "'a?b'")]
        {
            assert_eq!(quoted(name), shown);
        }
    }
}
