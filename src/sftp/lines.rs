//! What a person reads on standard error: the verdicts and refusals of one session, in a few short lines.
//!
//! OpenSSH's `sftp` and PuTTY's `psftp` print nothing of a status message, but everything that comes on the channel's
//! standard error; other clients do the opposite, so only those that call themselves so are told. Must never let a session flood a
//! terminal, nor say the same thing again. Does no input or output. Called by `shared`.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::help::size;
use super::status::cut;
use crate::audit::Receipt;
use crate::types::{FileName, Refusal, RefusalKind};

/// Lines in one session, and how many acceptances without remarks may have one each.
const LINES: u32 = 64;
const ACCEPTANCES: u32 = 10;
/// Lines of one refusal or rejection.
const LINES_EACH: usize = 5;
/// Bytes of a line after its mark. A word that is longer (a report's path) has a line for itself, as far as [`WORD_MAX`].
const WIDTH: usize = 180;
const WORD_MAX: usize = 320;
/// Texts that are remembered, so as not to be said again.
const RECENT: usize = 16;

const MARK: &str = "nightsafe: ";
const LAST: &str = "nightsafe: further messages are left out; /receipts/ has a report for each rejected file";

pub(super) struct Lines {
    /// The client shows what comes on standard error.
    shown: bool,
    said: Mutex<Said>,
}

#[derive(Default)]
struct Said {
    lines: u32,
    acceptances: u32,
    recent: VecDeque<String>,
}

impl Lines {
    pub fn new(shown: bool) -> Self {
        Self { shown, said: Mutex::default() }
    }

    /// An upload of this name begins: what was said of an earlier one may be said again.
    pub fn begin(&self, name: &FileName) {
        let (about, rejected) = (format!("{name}: "), format!("rejected {name}: "));
        self.with(|said| said.recent.retain(|text| !text.starts_with(&about) && !text.starts_with(&rejected)));
    }

    /// What a client reads when its upload is safe: one line, with the kinds of remarks if there are any.
    pub fn accepted(&self, receipt: &Receipt) -> Vec<String> {
        let mut text = format!("accepted {} ({}), upload {}", receipt.name, size(receipt.size), receipt.upload);
        let flags = receipt.report.flag_names();
        if !flags.is_empty() {
            text.push_str(&format!("; remarks, see its receipt: {}", flags.join(", ")));
        }
        self.with(|said| {
            if flags.is_empty() {
                said.acceptances += 1;
                if said.acceptances > ACCEPTANCES {
                    return Vec::new();
                }
            }
            said.say(&text, 1)
        })
    }

    /// What a client reads of a refusal. `name`: the upload that it is about.
    pub fn refused(&self, name: Option<&FileName>, refusal: &Refusal) -> Vec<String> {
        let about = match (name, refusal.kind) {
            (Some(name), RefusalKind::Rejected) => format!("rejected {name}: "),
            (Some(name), _) => format!("{name}: "),
            (None, _) => String::new(),
        };
        self.with(|said| {
            let whole = format!("{about}{}", refusal.reason);
            if said.recent.contains(&whole) {
                return Vec::new();
            }
            // A WRITE was refused with this reason already: its CLOSE adds where the report is.
            let told =
                |earlier: &String| earlier.strip_prefix(&about).is_some_and(|told| refusal.reason.contains(told));
            let text = match refusal.reason.rsplit_once("; see /") {
                Some((_, report)) if name.is_some() && said.recent.iter().any(told) => format!("{about}see /{report}"),
                _ => whole.clone(),
            };
            said.recent.push_front(whole);
            said.recent.truncate(RECENT);
            said.say(&text, LINES_EACH)
        })
    }

    fn with<T: Default>(&self, speak: impl FnOnce(&mut Said) -> T) -> T {
        if !self.shown {
            return T::default();
        }
        speak(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Said {
    fn say(&mut self, text: &str, most: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for line in wrapped(text, most) {
            match self.lines {
                n if n < LINES => lines.push(format!("{MARK}{line}")),
                LINES => lines.push(LAST.to_owned()),
                _ => break,
            }
            self.lines += 1;
        }
        lines
    }
}

/// The text in lines of at most [`WIDTH`] bytes, broken between words; at most `most`. What does not fit is left out of
/// the middle: the last line is the end of the text, where the report's path is.
fn wrapped(text: &str, most: usize) -> Vec<String> {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut lines = vec![String::new()];
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let word = cut(word, WORD_MAX);
        // There is always a last line: it began as one, and each break adds one.
        let fits = lines.last().is_some_and(|line| line.is_empty() || line.len() + 1 + word.len() <= WIDTH);
        if !fits {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    if lines.len() > most {
        let last = if most > 1 { lines.pop() } else { None };
        lines.truncate(most - usize::from(last.is_some()));
        if let Some(line) = lines.last_mut() {
            line.push_str(" ...");
        }
        lines.extend(last);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> FileName {
        text.parse().unwrap()
    }

    #[test]
    fn a_rejection_names_its_file_and_ends_with_the_reports_path() {
        let lines = Lines::new(true);
        let path = format!("/receipts/{}.0190a6a2-7b2c-7def-8abc-0123456789ab.report.txt", "x".repeat(200));
        let reason = format!("{} ... and 9 more; see {path}", "row 4, \"Date of Birth\": is not a date; ".repeat(40));
        let said = lines.refused(Some(&name("a.csv")), &Refusal::rejected(reason));
        assert_eq!(said.len(), LINES_EACH, "{said:#?}");
        assert!(said[0].starts_with("nightsafe: rejected a.csv: row 4, \"Date of Birth\""), "{said:#?}");
        assert!(said[3].ends_with(" ..."), "{said:#?}");
        assert!(said[4].ends_with(&path), "{said:#?}");
        assert!(said.iter().all(|line| line.len() < 350 && line.starts_with(MARK)), "{said:#?}");
    }

    #[test]
    fn the_same_words_are_said_once_for_each_upload() {
        let lines = Lines::new(true);
        let refusal = Refusal::rejected("the file is empty");
        for (file, expected) in [("a.csv", 1), ("a.csv", 0), ("b.csv", 1), ("a.csv", 0)] {
            assert_eq!(lines.refused(Some(&name(file)), &refusal).len(), expected);
        }
        lines.begin(&name("a.csv"));
        assert_eq!(lines.refused(Some(&name("b.csv")), &refusal).len(), 0);
        assert_eq!(lines.refused(Some(&name("a.csv")), &refusal), ["nightsafe: rejected a.csv: the file is empty"]);
    }

    #[test]
    fn what_a_write_was_told_is_not_said_again_at_close() {
        let lines = Lines::new(true);
        let write = Refusal::rejected("this is a ZIP archive, not CSV");
        assert_eq!(
            lines.refused(Some(&name("a.csv")), &write),
            ["nightsafe: rejected a.csv: this is a ZIP archive, not CSV"]
        );
        let close = Refusal::rejected("row 1: this is a ZIP archive, not CSV; see /receipts/a.csv.report.txt");
        assert_eq!(
            lines.refused(Some(&name("a.csv")), &close),
            ["nightsafe: rejected a.csv: see /receipts/a.csv.report.txt"]
        );
        assert_eq!(lines.refused(Some(&name("b.csv")), &close).len(), 1);
        let other = Refusal::rejected("row 1: it is empty; see /receipts/a.csv.report.txt");
        assert!(lines.refused(Some(&name("a.csv")), &other)[0].contains("it is empty"));
    }

    #[test]
    fn a_session_says_64_lines_and_one_more() {
        let lines = Lines::new(true);
        let said: Vec<_> = (0..200)
            .flat_map(|n| lines.refused(None, &Refusal::denied(format!("{n}: {}", "word ".repeat(60)))))
            .collect();
        assert_eq!(said.len(), LINES as usize + 1);
        assert_eq!(said[64], LAST);
    }

    #[test]
    fn a_client_that_does_not_show_them_gets_none() {
        let lines = Lines::new(false);
        assert!(lines.refused(None, &Refusal::denied("no")).is_empty());
    }

    #[test]
    fn what_a_line_quotes_moves_no_cursor_and_breaks_no_line() {
        let lines = Lines::new(true);
        let said = lines.refused(None, &Refusal::denied("a\u{1b}[2J\nb\r\tc"));
        assert_eq!(said, ["nightsafe: a [2J b c"]);
        assert_eq!(wrapped(&"ä".repeat(1000), 5)[0].len(), WORD_MAX);
        assert_eq!(wrapped("", 5), [""]);
    }
}
