//! What is wrong with a configuration and where: one fault, ready to show to a person.
//!
//! Never shows a control character of the file, nor a line that holds a secret (whoever makes the diagnostic leaves it
//! out). Made by the readers of this module; shown by `cli`, logged and audited by `daemon`.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::types::deceives;

/// Most characters of a source line that are shown; a longer one is cut around the caret.
const SHOWN: usize = 110;

/// One thing wrong with the configuration, ready to show: `file:line:column`, the line with a caret, what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub file: PathBuf,
    /// From 1; 0 when the fault has no place in the file (it is missing, say).
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub message: String,
    /// What to write instead.
    pub help: String,
    /// The line itself; empty when there is none.
    pub source: String,
    /// How many characters the caret covers.
    pub width: usize,
}

/// A [`Diagnostic`] that does not keep the configuration from being used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning(pub Diagnostic);

impl Diagnostic {
    /// A fault of a file as a whole, without a place in it.
    pub fn of_file(file: &Path, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            message: message.into(),
            help: help.into(),
            source: String::new(),
            width: 0,
        }
    }

    /// `file:line:column`, or the file alone when there is no line.
    pub fn place(&self) -> String {
        match self.line {
            0 => self.file.display().to_string(),
            line => format!("{}:{line}:{}", self.file.display(), self.column),
        }
    }

    fn render(&self, f: &mut fmt::Formatter<'_>, severity: &str) -> fmt::Result {
        let number = self.line.to_string();
        let gutter = " ".repeat(if self.line == 0 { 1 } else { number.len() });
        writeln!(f, "{severity}: {}", clean(&self.message))?;
        write!(f, "{gutter}--> {}", clean(&self.place()))?;
        if self.line > 0 && !self.source.is_empty() {
            let (shown, column) = self.excerpt();
            let room = (shown.chars().count() + 1).saturating_sub(column);
            let carets = "^".repeat(self.width.clamp(1, room.max(1)));
            write!(f, "\n{gutter} |\n{number} | {shown}\n{gutter} | {}{carets}", " ".repeat(column))?;
        }
        if !self.help.is_empty() {
            write!(f, "\n{gutter} = help: {}", clean(&self.help))?;
        }
        Ok(())
    }

    /// The line as shown, and how many characters stand before the caret.
    fn excerpt(&self) -> (String, usize) {
        let line: Vec<char> = clean(&self.source).chars().collect();
        let at = self.column.saturating_sub(1).min(line.len());
        if line.len() <= SHOWN {
            return (line.iter().collect(), at);
        }
        // A third of the window goes before the caret, so that its text has room.
        let start = at.saturating_sub(SHOWN / 3).min(line.len() - SHOWN);
        let before = if start > 0 { "…" } else { "" };
        let after = if start + SHOWN < line.len() { "…" } else { "" };
        let window: String = line.iter().skip(start).take(SHOWN).collect();
        (format!("{before}{window}{after}"), at - start + before.chars().count())
    }
}

/// Leaves one printable character for each character: a tab is a space, what could disturb a terminal is U+FFFD.
fn clean(text: &str) -> String {
    let one = |c: char| match c {
        '\t' | '\n' => ' ',
        c if c.is_control() || deceives(c) => '\u{FFFD}',
        c => c,
    };
    text.chars().map(one).collect()
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.render(f, "error")
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.render(f, "warning")
    }
}

/// Where the readers put what they find, so that one fault never hides the next.
#[derive(Default)]
pub(super) struct Findings {
    errors: RefCell<Vec<Diagnostic>>,
    warnings: RefCell<Vec<Diagnostic>>,
}

impl Findings {
    pub fn error(&self, diagnostic: Diagnostic) {
        self.errors.borrow_mut().push(diagnostic);
    }

    pub fn warning(&self, diagnostic: Diagnostic) {
        self.warnings.borrow_mut().push(diagnostic);
    }

    /// Errors so far: a reader compares two counts to learn whether what it read in between was good.
    pub fn errors(&self) -> usize {
        self.errors.borrow().len()
    }

    /// Everything found, `first`'s file at the front, then by file and place.
    pub fn sorted(self, first: &Path) -> (Vec<Diagnostic>, Vec<Warning>) {
        let sort = |mut list: Vec<Diagnostic>| {
            let key = |d: &Diagnostic| (d.file != first, d.file.clone(), d.line, d.column);
            list.sort_by_cached_key(key);
            list
        };
        let warnings = sort(self.warnings.into_inner()).into_iter().map(Warning).collect();
        (sort(self.errors.into_inner()), warnings)
    }
}

/// "did you mean ..." when a known word is near enough to `wrong`; else the known words.
pub(super) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let distance = |word: &str| strsim::damerau_levenshtein(&wrong.to_lowercase(), &word.to_lowercase());
    let best = known.iter().map(|word| (distance(word), *word)).min();
    match best {
        // A third of the word wrong is a slip; more is another word.
        Some((distance, word)) if distance <= (wrong.chars().count().max(word.chars().count()) / 3).max(1) => {
            format!("did you mean {word:?}?")
        }
        Some(_) if known.len() <= 24 => {
            let list: Vec<String> = known.iter().map(|word| format!("{word:?}")).collect();
            format!("known: {}", list.join(", "))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(source: &str, column: usize, width: usize) -> Diagnostic {
        Diagnostic {
            file: "orgs/harbour.toml".into(),
            line: 12,
            column,
            message: "unknown dataset \"ims\"".into(),
            help: "did you mean \"ims-interventions\"?".into(),
            source: source.into(),
            width,
        }
    }

    #[test]
    fn shows_place_line_caret_and_help() {
        let shown = fault("datasets = [\"ims\"]", 13, 5).to_string();
        let wanted = "error: unknown dataset \"ims\"\n  --> orgs/harbour.toml:12:13\n   |\n12 | datasets = [\"ims\"]\n   | \
                      \u{20}           ^^^^^\n   = help: did you mean \"ims-interventions\"?";
        assert_eq!(shown, wanted);
    }

    #[test]
    fn a_fault_without_a_place_shows_the_file_alone() {
        let shown = Diagnostic::of_file(Path::new("nightsafe.toml"), "cannot be read", "write one").to_string();
        assert_eq!(shown, "error: cannot be read\n --> nightsafe.toml\n  = help: write one");
    }

    #[test]
    fn control_characters_of_the_line_never_reach_the_terminal() {
        let shown = fault("name\t= \"\u{1b}[31m\u{202e}x\"", 1, 4).to_string();
        assert!(!shown.contains(['\u{1b}', '\u{202e}', '\t']), "{shown:?}");
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let source = format!("{}!{}", "a".repeat(500), "b".repeat(500));
        let shown = fault(&source, 501, 1).to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[3].chars().count() < 130);
        let at = lines[4].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[3].chars().nth(at), Some('!'));
    }

    #[test]
    fn the_nearest_word_is_offered_and_a_far_one_is_not() {
        assert_eq!(nearest("lease_mx", ["lease", "lease_max"]), "did you mean \"lease_max\"?");
        assert_eq!(nearest("banana", ["lease", "attempts"]), "known: \"lease\", \"attempts\"");
        assert_eq!(nearest("x", []), "");
    }
}
