//! `nightsafe audit`: the audit log, read, exported, proven and checked.
//!
//! Changes nothing but that `key --new`, `export --out` and `prove --out` make files. Called by `cli`.

mod export;
pub mod key;
mod list;
mod verify;
mod which;

use std::process::ExitCode;

use clap::Subcommand;

use super::config_file::ConfigFile;
use super::over_ledger;
pub(super) use list::event_line;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// List events, in the order of the log
    List(list::List),
    /// Write events for other programs: JSON Lines, CSV for spreadsheets, OCSF for a SIEM
    Export(export::Export),
    /// Check that the log and the ledger are complete and agree with each other; exit status 1 if they do not
    ///
    /// Checks completeness and consistency: no event is missing from the sequence, every upload has its event and its
    /// delivery and the record of its object, and the ledger's file is not damaged. The objects themselves are looked
    /// at when the daemon starts. Nothing in the log is signed: it does not prove that nobody who can write the file
    /// has rewritten it as a whole.
    Verify(verify::Verify),
    /// Print the verifier key of the log, for providers and auditors; or make a new key
    Key(key::Key),
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        AuditCommand::Key(key) => key::run(&args.config, key)?,
        AuditCommand::List(list) => over_ledger::read(&args.config, async |ledger, _| list.run(ledger).await)?,
        AuditCommand::Export(export) => {
            over_ledger::read(&args.config, async |ledger, config| export.run(ledger, config).await)?;
        }
        AuditCommand::Verify(verify) => {
            over_ledger::read(&args.config, async |ledger, config| verify.run(ledger, config).await)?
        }
    }
    Ok(ExitCode::SUCCESS)
}
