//! `nightsafe receipt verify`: what a proof proves, on any machine, with nothing but the file and the log's key.
//!
//! Reads no configuration and no ledger. Must never say that something is proven unless every part of the file was held
//! against the key. Called by `cli`.

mod keys;
mod told;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use ring::digest;

use super::outcome::Stop;
use super::output::{self, line};
use super::progress::Progress;
use crate::audit::evidence::{self, Verified};
use crate::audit::{Kind, PROOF_MAX, Receipt, VerifierKey, Wrong};
use crate::types::Sha256;
pub(super) use keys::keys;
use told::strange;
pub(super) use told::{differences, story};

/// A receipt is small; its report lists at most some thousand errors.
const RECEIPT_MAX: u64 = 16 << 20;
const PIECE: usize = 256 * 1024;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: ReceiptCommand,
}

#[derive(Debug, Subcommand)]
enum ReceiptCommand {
    /// Check a receipt's proof (.tlog-proof), offline: exit status 0 when it holds, 1 when it does not
    ///
    /// Needs no configuration and no network: the proof, and the verifier key of the gateway's log, which its operator
    /// gives out (`nightsafe audit key`). With --extract it says as well whether a file is the one that was meant, with
    /// --receipt whether a receipt or report (.json) says what stands in the log. A proof that the file was rejected is
    /// exit status 1 too, unless --rejected says that this is what is to be proven.
    Verify(Verify),
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// The proof, such as NAME.ID.tlog-proof from /receipts; - for standard input
    file: PathBuf,
    /// A verifier key of the log, NAME+HASH+KEY, or a file that has it; may be given more than once
    #[arg(long, value_name = "VKEY", required = true)]
    key: Vec<String>,
    /// A file that must be the one that the proof is about
    #[arg(long, value_name = "FILE")]
    extract: Option<PathBuf>,
    /// A receipt or report in JSON that must say what the proof says
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// What is to be proven is that the file was rejected: exit status 0 for a rejection, and for nothing else
    #[arg(long)]
    rejected: bool,
    /// A witness's verifier key, or a file that has it: it must have cosigned; may be given more than once
    #[arg(long, value_name = "VKEY")]
    witness: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Exit status 0 when everything holds and is what was asked for, 1 when not, 2 when a key or a file cannot be used.
///
/// # Errors
/// As the exit status.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let ReceiptCommand::Verify(verify) = &args.command;
    match verify.run() {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // A program reads one JSON object in every case but that of wrong usage.
        Err(error) if verify.json => match error.downcast_ref::<Stop>() {
            Some(Stop::No(why)) => {
                output::json(&serde_json::json!({ "proven": false, "why": why }))?;
                Err(Stop::Told.into())
            }
            _ => Err(error),
        },
        Err(error) => Err(error),
    }
}

impl Verify {
    fn run(&self) -> anyhow::Result<()> {
        let log = keys(&self.key)?;
        let witnesses = keys(&self.witness)?;
        let evidence = held(&proof_bytes(&self.file)?, &log, &witnesses)
            .map_err(|wrong| Stop::No(format!("NOT PROVEN: {wrong}")))?;
        let mut further = Vec::new();
        if let Some(file) = &self.extract {
            extract(&evidence, file)?;
            further.push((
                "Extract",
                format!("{} is the file that is meant: size and SHA-256 are the same", file.display()),
            ));
        }
        if let Some(file) = &self.receipt {
            receipt(&evidence, file)?;
            further.push(("Receipt", format!("{} says what stands in the log", file.display())));
        }
        match self.json {
            true => {
                let mut shown = told::json(&evidence);
                shown["extract"] = self.extract.is_some().into();
                shown["receipt"] = self.receipt.is_some().into();
                output::json(&shown)?;
            }
            false => line(story(&evidence, &further).trim_end())?,
        }
        // All of it holds, and it may still not be what was asked for. A program has its JSON object already.
        match otherwise(evidence.event.kind, self.rejected) {
            None => Ok(()),
            Some(_) if self.json => Err(Stop::Told.into()),
            Some(why) => Err(Stop::No(why).into()),
        }
    }
}

/// Why the answer is no though the proof holds: who asks by the exit status asks whether the file was accepted, or, with
/// `rejected`, whether it was not.
fn otherwise(kind: Kind, rejected: bool) -> Option<String> {
    match (kind, rejected) {
        (Kind::UploadRejected, false) => Some(
            "it is proven that this file was REJECTED: with --rejected that is what is asked for, and the exit status is 0"
                .into(),
        ),
        (Kind::UploadRejected, true) | (_, false) => None,
        (Kind::UploadAccepted, true) => Some("it is proven that this file was ACCEPTED, and --rejected was asked".into()),
        (other, true) => Some(format!("this is a proof of {}, and --rejected was asked", other.as_str())),
    }
}

/// The evidence of a proof, once all of it holds; every witness must have cosigned.
///
/// # Errors
/// Says what does not hold.
pub(super) fn held(file: &[u8], log: &[VerifierKey], witnesses: &[VerifierKey]) -> Result<Verified, Wrong> {
    let evidence = evidence::verify(file, log, witnesses)?;
    for witness in witnesses {
        if !evidence.witnessed.iter().any(|witnessed| witnessed.key == *witness) {
            return Err(Wrong(format!("the witness {} has not cosigned this checkpoint", witness.name())));
        }
    }
    Ok(evidence)
}

fn proof_bytes(file: &Path) -> anyhow::Result<Vec<u8>> {
    let unreadable = |error: io::Error| Stop::Usage(format!("{} cannot be read: {error}", file.display()));
    let mut bytes = Vec::new();
    let most = PROOF_MAX as u64 + 1;
    let read = match file.to_str() {
        Some("-") => io::stdin().take(most).read_to_end(&mut bytes),
        _ => File::open(file).map_err(unreadable)?.take(most).read_to_end(&mut bytes),
    };
    read.map_err(unreadable)?;
    match bytes.len() > PROOF_MAX {
        true => Err(Stop::No(format!("NOT PROVEN: {} is larger than any proof", file.display())).into()),
        false => Ok(bytes),
    }
}

/// Holds a file against the evidence.
fn extract(evidence: &Verified, file: &Path) -> anyhow::Result<()> {
    let (kind, detail) = (evidence.event.kind, &evidence.event.detail);
    let end = matches!(kind, Kind::UploadAccepted | Kind::UploadRejected);
    let size = detail.get("size").and_then(|value| value.as_u64()).filter(|_| end);
    let (Some(size), Some(sha256)) = (size, detail.get("sha256")) else {
        return Err(Stop::No(format!(
            "this proof ({}) names no extract: use the one of the acceptance or rejection",
            kind.as_str()
        ))
        .into());
    };
    let unreadable = |error: io::Error| Stop::Usage(format!("{} cannot be read: {error}", file.display()));
    let opened = File::open(file).map_err(unreadable)?;
    let length = opened.metadata().map_err(unreadable)?.len();
    let (found, digest) = digest_of(opened, length).map_err(unreadable)?;
    let differs = |what: String| Stop::No(format!("NOT THIS FILE: {} {what}", file.display())).into();
    if found != size {
        return Err(differs(format!("has {found} bytes, and the log says {size}")));
    }
    if *sha256 != digest.to_string() {
        return Err(differs(format!(
            "has the SHA-256 {digest}, and the log says {}",
            sha256.as_str().unwrap_or_default()
        )));
    }
    Ok(())
}

fn digest_of(mut file: File, length: u64) -> io::Result<(u64, Sha256)> {
    let progress = Progress::of_bytes("reading", length);
    let mut context = digest::Context::new(&digest::SHA256);
    let mut piece = vec![0; PIECE];
    let mut size = 0;
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => {
                context.update(&piece[..read]);
                size += read as u64;
                progress.at(size);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(context.finish().as_ref());
    Ok((size, Sha256(sha256)))
}

/// Holds a receipt's JSON against the evidence.
fn receipt(evidence: &Verified, file: &Path) -> anyhow::Result<()> {
    let unreadable = |error: io::Error| Stop::Usage(format!("{} cannot be read: {error}", file.display()));
    let mut text = String::new();
    File::open(file).map_err(unreadable)?.take(RECEIPT_MAX).read_to_string(&mut text).map_err(unreadable)?;
    let no_receipt = |error: serde_json::Error| {
        Stop::No(format!("NOT THIS RECEIPT: {} is no receipt in JSON: {error}", file.display()))
    };
    let receipt: Receipt = serde_json::from_str(&text).map_err(no_receipt)?;
    // What a receipt does not have would not be compared at all: first, the file must say nothing but what was read.
    let mut differing = strange(&serde_json::from_str(&text).map_err(no_receipt)?, &receipt);
    differing.extend(differences(&receipt, evidence));
    match differing.is_empty() {
        true => Ok(()),
        false => {
            let all = differing.join("; ");
            Err(Stop::No(format!("NOT THIS RECEIPT: {} differs from the log: {all}", file.display())).into())
        }
    }
}
