//! What a command came to: told on standard error, and as its exit status.
//!
//! The only place that knows which error is which status. Called by `main`; commands return a [`Stop`] for what is no
//! failure.

use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::config::SigningKeyError;
use crate::daemon::InvalidConfig;

/// Why a command stops without having failed.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The answer is no: no such thing, or there is one already. Exit status 1.
    #[error("{0}")]
    No(String),
    /// As `No`, and all was said on standard output. Exit status 1.
    #[error("the answer is no")]
    Told,
    /// Usage or configuration. Exit status 2.
    #[error("{0}")]
    Usage(String),
}

/// Tells the error, and says which exit status it is. A reader that went away (`| head`) is no failure.
pub fn told(error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    if let Some(InvalidConfig(faults)) = error.downcast_ref() {
        for fault in faults {
            say(&format!("{fault}\n"));
        }
        // Its own words again behind a context would be the count of what was just shown.
        say(&format!("nightsafe: {error}"));
        return ExitCode::from(2);
    }
    if error.downcast_ref::<SigningKeyError>().is_some() {
        say(&format!("nightsafe: {error:#}"));
        return ExitCode::from(2);
    }
    let status = match error.downcast_ref::<Stop>() {
        Some(Stop::Told) => return ExitCode::from(1),
        Some(Stop::No(_)) => 1,
        Some(Stop::Usage(_)) => 2,
        None => 3,
    };
    say(&format!("nightsafe: {error:#}"));
    ExitCode::from(status)
}

/// A line on standard error. Nobody can be told that it is gone.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn each_kind_of_end_has_its_exit_status() {
        let status = |error: anyhow::Error| format!("{:?}", told(&error));
        let code = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(status(io::Error::from(io::ErrorKind::BrokenPipe).into()), code(0));
        assert_eq!(status(Stop::No("no".into()).into()), code(1));
        assert_eq!(status(Stop::Told.into()), code(1));
        assert_eq!(status(Stop::Usage("so".into()).into()), code(2));
        assert_eq!(status(InvalidConfig(vec![]).into()), code(2));
        let behind: Result<(), _> = Err(InvalidConfig(vec![]));
        assert_eq!(status(behind.context("the change was not made").unwrap_err()), code(2));
        assert_eq!(status(anyhow!("broken")), code(3));
    }
}
