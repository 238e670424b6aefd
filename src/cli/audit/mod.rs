//! `nightsafe audit`: the audit log, read, exported, proven and checked.
//!
//! Changes nothing but that `key --new`, `export --out` and `prove --out` make files. Called by `cli`.

mod export;
pub mod key;
mod list;
mod prove;
mod tiles;
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
    /// Recompute the whole log from its leaves and compare it with what was signed; exit status 1 if anything differs
    ///
    /// Every leaf, private part, tree node, checkpoint and signature is computed anew, and the facts in the ledger are
    /// held against the log. By itself this finds whoever can write the ledger's file but has not the signing key. With a
    /// checkpoint or a copy of the tiles that was kept elsewhere it also finds a log that was cut off, restored from an
    /// older copy, forked or signed anew. The objects in the vault are looked at when the daemon starts.
    Verify(verify::Verify),
    /// All that there is of one upload, with proofs, for whoever has to judge a dispute
    ///
    /// Makes a folder or a ZIP file: receipt or report, every event of the upload with its proof, the facts of the session
    /// that sent it, its deliveries, the log's verifier keys, and a README on how to check all that without this gateway.
    Prove(prove::Prove),
    /// Print the newest signed checkpoint, to be kept elsewhere
    Checkpoint(verify::Newest),
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
            over_ledger::read(&args.config, async |ledger, config| verify.run(ledger, config).await)?;
        }
        AuditCommand::Prove(prove) => {
            over_ledger::read(&args.config, async |ledger, config| prove.run(ledger, config).await)?;
        }
        AuditCommand::Checkpoint(newest) => {
            over_ledger::read(&args.config, async |ledger, _| newest.run(ledger).await)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
