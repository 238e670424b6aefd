//! What a provider's programs ask over exec: digests as coreutils prints them, the latest uploads, a receipt, help.
//!
//! Reads the same tree as SFTP does, and must never change anything, nor run anything: there is no shell behind it. Called
//! by `ssh`.
//!
//! Exit status: 0 done, 1 the answer is no (as coreutils), 2 usage.

mod sums;
mod told;
mod words;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::Services;
use super::shared::Shared;
use crate::access::Principal;
use crate::types::{DigestKind, Role};

/// How long a command waits for its standard input to end.
const INPUT_WAIT: Duration = Duration::from_secs(60);

/// A line for the client, without line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Line(String),
    Error(String),
}

/// What came on a command's standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    Nothing,
    Bytes,
    /// It ended, and nothing had come.
    Empty,
}

/// What rclone asks to learn which shell it speaks to (and saves for ever), and what a Unix shell would answer.
const SHELL_PROBE: (&str, &str) = ("echo ${ShellId}%ComSpec%", "%ComSpec%");

const HELP: &str = "\
Commands of this gateway, for scripts:
  sha256sum FILE...         the digest of each file as it was received, as sha256sum prints it
  sha1sum, md5sum FILE...   the same, where your organisation's set-up allows them
  status [-n N] [--json]    the latest uploads and what came of them, the newest last (20, at most 100)
  receipt ID [--json]       the receipt of an upload, or the report on a rejected one; the beginning of the id will do
  help                      this text
Files are sent with SFTP: see /help.txt there for what may be sent, and how to name it.";

/// What a command line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command<'c> {
    Help,
    ShellProbe,
    Sums(sums::Program, &'c str),
    Status(&'c str),
    Receipt(&'c str),
}

impl<'c> Command<'c> {
    /// By the first word, or the whole line where that is a known program's probe.
    fn find(line: &'c str) -> Option<Self> {
        let line = line.trim();
        if line == SHELL_PROBE.0 {
            return Some(Self::ShellProbe);
        }
        if let Some((program, rest)) = sums::Program::find(line) {
            return Some(Self::Sums(program, rest));
        }
        let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match first {
            "help" => Some(Self::Help),
            "status" => Some(Self::Status(rest)),
            "receipt" => Some(Self::Receipt(rest)),
            _ => None,
        }
    }
}

/// Whether `command` is one of these, and the account a provider's.
pub fn knows(principal: &Principal, command: &str) -> bool {
    principal.role() == Role::Provider && Command::find(command).is_some()
}

/// Runs one command line; gives all that it says (bounded by the line's length, or by 100 uploads) and its exit status.
/// `input` is heard only by a command that reads its standard input.
pub async fn run(
    command: &str,
    principal: &Principal,
    services: &Arc<Services>,
    input: watch::Receiver<Input>,
) -> (Vec<Said>, u32) {
    // Answers come at once: nothing is ever sent late to an SFTP client, and nothing said on its standard error.
    let (late, _) = mpsc::channel(1);
    let shared = Shared::new(principal.clone(), services.clone(), late, false);
    let mut answer = Answer::default();
    match Command::find(command) {
        Some(Command::Help) => answer.text(HELP),
        Some(Command::ShellProbe) => answer.line(SHELL_PROBE.1),
        Some(Command::Sums(program, rest)) => sums::run(program, rest, &shared, input, &mut answer).await,
        Some(Command::Status(rest)) => told::status(rest, &shared, &mut answer).await,
        Some(Command::Receipt(rest)) => told::receipt(rest, &shared, &mut answer).await,
        None => answer.error(2, "there is no such command here: 'help' lists them"),
    }
    (answer.said, answer.status)
}

/// What a command says, as it goes.
#[derive(Debug, Default)]
struct Answer {
    said: Vec<Said>,
    status: u32,
}

impl Answer {
    fn line(&mut self, line: impl Into<String>) {
        self.said.push(Said::Line(line.into()));
    }
    fn text(&mut self, text: &str) {
        self.said.extend(text.lines().map(|line| Said::Line(line.to_owned())));
    }
    /// The command goes on; its exit status will be the first that is not 0.
    fn error(&mut self, status: u32, line: impl Into<String>) {
        self.said.push(Said::Error(line.into()));
        if self.status == 0 {
            self.status = status;
        }
    }
}

/// Whether standard input ended without a byte.
///
/// # Errors
/// Bytes came, or no end within [`INPUT_WAIT`].
async fn empty(mut input: watch::Receiver<Input>) -> Result<(), &'static str> {
    match tokio::time::timeout(INPUT_WAIT, input.wait_for(|heard| *heard != Input::Nothing)).await {
        Ok(Ok(heard)) if *heard == Input::Empty => Ok(()),
        Ok(Ok(_)) => Err("standard input is not read here: name the uploaded file"),
        // Nobody is there any more to send any.
        Ok(Err(_)) => Ok(()),
        Err(_) => Err("nothing came on standard input: name the uploaded file"),
    }
}

/// The digests by the names of coreutils' programs.
fn program_of(name: &str) -> Option<DigestKind> {
    DigestKind::ALL.into_iter().find(|kind| name.strip_suffix("sum") == Some(kind.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_known_by_their_first_word() {
        for line in [
            "help",
            "status",
            "status -n 5",
            " receipt 0190 ",
            "sha256sum 'a b'",
            "md5sum",
            "sha1sum -- x",
            "echo ${ShellId}%ComSpec%",
            "echo 'abc' | md5sum",
            "rclone hashsum sha256 a",
            "rclone md5sum",
        ] {
            assert!(Command::find(line).is_some(), "{line}");
        }
        for line in ["", "ls", "sha512sum a", "sum a", "echo hello", "echo 'abc' | sh", "statuses", "rclone ls", "md5"]
        {
            assert!(Command::find(line).is_none(), "{line}");
        }
    }

    #[tokio::test]
    async fn input_that_ends_at_once_is_empty_and_any_other_is_not() {
        let (heard, input) = watch::channel(Input::Nothing);
        let asked = tokio::spawn(empty(input.clone()));
        heard.send(Input::Empty).unwrap();
        assert_eq!(asked.await.unwrap(), Ok(()));
        heard.send(Input::Bytes).unwrap();
        assert!(empty(input).await.is_err());
    }
}
