//! The command line: a file for each noun. The only place that prints.
//!
//! Must never do itself what a module behind it owns. Called by `main`.

pub mod account;
pub mod audit;
pub mod check;
mod config_file;
pub mod dataset;
mod edit;
pub mod init;
pub mod key;
pub mod load;
pub mod logging;
mod operator;
pub mod org;
mod outcome;
mod output;
mod over_ledger;
pub mod precheck;
mod progress;
pub mod queue;
pub mod quickstart;
pub mod receipt;
pub mod serve;
pub mod upload;

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
    /// A working gateway with a demo organisation; --once makes the whole round and exits
    Quickstart(quickstart::Args),
    /// Write a commented configuration to edit, with fresh host keys
    Init(init::Args),
    /// Run the gateway until SIGTERM or Ctrl-C
    Serve(serve::Args),
    /// Say everything that the configuration says, or all that is wrong with it
    Check(check::Args),
    /// Judge extracts as the gateway would, on this machine, without sending them
    Precheck(precheck::Args),
    /// Datasets: list, show, and new, which drafts one from a sample extract
    Dataset(dataset::Args),
    /// Organisations: add, list, show, disable, enable, remove
    Org(org::Args),
    /// Accounts: add, list, show, disable, enable, remove
    Account(account::Args),
    /// Keys that accounts log in with: add, list, show, disable, enable, remove
    Key(key::Args),
    /// Uploads that were accepted or rejected: list, show, discard, erase
    Upload(upload::Args),
    /// Deliveries: list, retry, release
    Queue(queue::Args),
    /// The audit log: list, export, verify, prove, checkpoint, key
    Audit(audit::Args),
    /// Receipts: verify, which needs the proof and a key, and nothing else
    Receipt(receipt::Args),
    /// Take deliveries through the door and hand them over, verified and opened
    Load(load::Args),
}

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Quickstart(args) => quickstart::run(args),
        Command::Init(args) => init::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Check(args) => check::run(args),
        Command::Precheck(args) => precheck::run(args),
        Command::Dataset(args) => dataset::run(args),
        Command::Org(args) => org::run(args),
        Command::Account(args) => account::run(args),
        Command::Key(args) => key::run(args),
        Command::Upload(args) => upload::run(args),
        Command::Queue(args) => queue::run(args),
        Command::Audit(args) => audit::run(args),
        Command::Receipt(args) => receipt::run(args),
        Command::Load(args) => load::run(args),
    };
    done.unwrap_or_else(|error| outcome::told(&error))
}

/// Memory of a process that holds plaintext or identities goes to no core file, and is for no debugger of the same user.
fn no_core_dumps() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(reason = %error, "core dumps could not be turned off for this process");
    }
}
