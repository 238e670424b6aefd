//! The command line: a file for each noun. The only place that prints.
//!
//! Must never do itself what a module behind it owns. Called by `main`.

pub mod account;
mod edit;
pub mod init;
pub mod key;
pub mod logging;
pub mod org;
pub mod serve;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A night safe for data: takes extract files over SFTP, seals and audits each, and queues it for loaders.
#[derive(Parser)]
#[command(name = "nightsafe", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "Exit status: 0 done, 1 the answer is no, 2 usage or configuration, 3 the system failed.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM or Ctrl-C
    Serve(serve::Args),
}

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Serve(args) => serve::run(args),
    };
    done.unwrap_or_else(|error| failed(&error))
}

#[allow(clippy::print_stderr, reason = "this is where errors are shown")]
fn failed(error: &anyhow::Error) -> ExitCode {
    if let Some(crate::daemon::InvalidConfig(diagnostics)) = error.downcast_ref() {
        for diagnostic in diagnostics {
            eprintln!("{diagnostic}\n");
        }
        eprintln!("nightsafe: {error}");
        return ExitCode::from(2);
    }
    eprintln!("nightsafe: {error:#}");
    ExitCode::from(3)
}
