//! The round of `quickstart --once`: put, read the receipt, have a broken file refused, load back, compare, each step through the real door.
//!
//! Every step says what it proves; the first one that does not hold ends the round with an error. Called by `quickstart`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use russh_sftp::client::SftpSession;
use russh_sftp::client::error::Error as SftpError;
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

use super::folder::{BROKEN_CONTENT, DATASET, Folder, SAMPLE, SAMPLE_CONTENT};
use crate::audit::{ProofFile, Receipt, Verdict, evidence};
use crate::cli::output;
use crate::loader::gateway::{Address, Door, Gateway};
use crate::loader::login::KeyRing;
use crate::loader::{self, Demand, Event, HandOver, Keys, Observer, Options, Outcome, Sealed};
use crate::seal::{Identities, Recipient};
use crate::types::{Clock, DeliveryId, Sha256, UploadId};

pub async fn run(folder: &Folder, address: SocketAddr) -> anyhow::Result<()> {
    step(&format!("a gateway listens on {address}"), "configuration, keys and state are good");

    let door = door(folder, address, "demo-provider", &folder.provider_key())?;
    let provider = Gateway::connect(&door).await.context("the provider cannot log in")?;
    let sftp = provider.sftp().await.context("the provider gets no SFTP session")?;
    step("demo-provider logged in with its SSH key", "the host key is the one in known_hosts");

    let before = receipts(&sftp, ".receipt.json").await?;
    let path = format!("/{DATASET}/{SAMPLE}");
    put(&sftp, &path, SAMPLE_CONTENT).await.with_context(|| format!("{path} was not accepted"))?;
    step(
        &format!("put {SAMPLE}, {} bytes: OK", SAMPLE_CONTENT.len()),
        "it is checked, sealed, on disk, in the audit log and in the queue: that is what OK means",
    );

    let receipt = new_receipt(&sftp, &before).await?;
    step(
        &format!("read its receipt: {:?}, SHA-256 {}...", receipt.verdict, &receipt.sha256.to_string()[..16]),
        "the digest is that of the file on the provider's side",
    );

    let key = folder.verifier_key()?;
    let name = receipt.proof_name(ProofFile::End);
    let proof = sftp.read(format!("/receipts/{name}")).await.with_context(|| format!("cannot read {name}"))?;
    let verified = evidence::verify(&proof, std::slice::from_ref(&key), &[]).context("the proof does not hold")?;
    ensure!(verified.event.upload == Some(receipt.upload), "the proof is of another upload");
    step(
        &format!("verified its proof: entry {} of the log {}", verified.sequence, key.name()),
        "whoever has the proof and the log's public key can show, offline and for ever, that it was accepted",
    );

    let report = reject(&sftp, &path).await?;
    step(
        &format!("put broken.csv in its place: refused, {} reasons", report.reasons.len()),
        &report.reasons.join("\n    "),
    );

    refused(&sftp, &path).await?;
    step("reading the upload back is refused", "the door opens one way");
    let _ = sftp.close().await;
    provider.close().await;

    let files = search(&folder.gateway())?;
    step(
        &format!("no row of it in any of the gateway's {files} files"),
        "what lies there is sealed, and the gateway has no key for it",
    );

    let delivery = load(folder, address, receipt.upload).await?;
    step(
        &format!("demo-loader loaded delivery {delivery}"),
        "claimed, fetched, opened with the data team's identity, verified whole, acknowledged",
    );

    let file = folder.loaded().join(delivery.to_string()).join(SAMPLE);
    let loaded = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    ensure!(loaded == SAMPLE_CONTENT, "{} differs from what was put", file.display());
    step(&format!("{} is what was put, byte for byte", file.display()), "the round is whole");
    Ok(())
}

/// After the gateway ended.
pub fn last_step() {
    step("the gateway stopped cleanly", "nothing was left open");
}

fn step(what: &str, proves: &str) {
    // Whether the round holds does not depend on who reads of it.
    let _ = output::line(format!("\u{2713} {what}\n    {proves}"));
}

fn door(folder: &Folder, address: SocketAddr, account: &str, key: &Path) -> anyhow::Result<Door> {
    Ok(Door {
        address: Address { account: account.parse()?, host: address.ip().to_string(), port: address.port() },
        known_hosts: folder.known_hosts(),
        accept_new: false,
        keys: KeyRing::named(key, None).map_err(anyhow::Error::msg)?,
        patience: Duration::from_secs(15),
    })
}

async fn put(sftp: &SftpSession, path: &str, content: &[u8]) -> anyhow::Result<()> {
    let mut file = sftp.create(path).await?;
    file.write_all(content).await?;
    // CLOSE: its answer is the promise.
    file.close().await?;
    Ok(())
}

/// A file with errors: it must not be taken, and its report says why.
async fn reject(sftp: &SftpSession, path: &str) -> anyhow::Result<Receipt> {
    let before = receipts(sftp, ".report.json").await?;
    ensure!(put(sftp, path, BROKEN_CONTENT).await.is_err(), "a broken file was accepted");
    let report = fresh(sftp, &before, ".report.json").await?;
    ensure!(report.verdict == Verdict::Rejected && !report.reasons.is_empty(), "the report gives no reason");
    Ok(report)
}

/// The names of the sample's receipts, or reports.
async fn receipts(sftp: &SftpSession, suffix: &str) -> anyhow::Result<BTreeSet<String>> {
    let entries = sftp.read_dir("/receipts").await.context("cannot list /receipts")?;
    Ok(entries.map(|entry| entry.file_name()).filter(|n| n.starts_with(SAMPLE) && n.ends_with(suffix)).collect())
}

async fn fresh(sftp: &SftpSession, before: &BTreeSet<String>, suffix: &str) -> anyhow::Result<Receipt> {
    let now = receipts(sftp, suffix).await?;
    let name = now.difference(before).next().context("there is none for the upload under /receipts")?;
    let content = sftp.read(format!("/receipts/{name}")).await.with_context(|| format!("cannot read {name}"))?;
    // A receipt may say more than this version knows of.
    let json: serde_json::Value = serde_json::from_slice(&content).with_context(|| format!("{name} is not JSON"))?;
    Receipt::deserialize(&json).with_context(|| format!("{name} is not a receipt"))
}

async fn new_receipt(sftp: &SftpSession, before: &BTreeSet<String>) -> anyhow::Result<Receipt> {
    let receipt = fresh(sftp, before, ".receipt.json").await?;
    ensure!(receipt.verdict == Verdict::Accepted, "the receipt does not say accepted");
    ensure!(
        receipt.sha256 == Sha256::of(SAMPLE_CONTENT) && receipt.size == SAMPLE_CONTENT.len() as u64,
        "the receipt is for another content"
    );
    Ok(receipt)
}

async fn refused(sftp: &SftpSession, path: &str) -> anyhow::Result<()> {
    match sftp.open(path).await {
        Err(SftpError::Status(_)) => Ok(()),
        Err(error) => Err(error).context("reading the upload back failed, but was not refused"),
        Ok(_) => bail!("the upload can be read back through the door"),
    }
}

/// Looks for the rows of both files in every file under `folder`; returns how many files there are.
fn search(folder: &Path) -> anyhow::Result<usize> {
    let contents = [SAMPLE_CONTENT, BROKEN_CONTENT].into_iter();
    let rows = contents.flat_map(|content| content.split(|&byte| byte == b'\n').skip(1));
    let rows: Vec<&[u8]> = rows.filter(|row| !row.is_empty()).collect();
    let mut files = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
                continue;
            }
            if !kind.is_file() {
                continue;
            }
            // A file may go while we look: then nothing is in it.
            let Ok(content) = std::fs::read(entry.path()) else { continue };
            files += 1;
            let found = rows.iter().any(|row| content.windows(row.len()).any(|window| window == *row));
            ensure!(!found, "a row of the extract stands in plain text in {}", entry.path().display());
        }
    }
    Ok(files)
}

async fn load(folder: &Folder, address: SocketAddr, upload: UploadId) -> anyhow::Result<DeliveryId> {
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(folder.identity())?);
    let identities = Identities::parse(&text, "the demo loader's identity")?;
    let recipients = Sealed::ToOneOf(identities.recipients().map(Recipient::digest).collect());
    let options = Options {
        door: Arc::new(door(folder, address, "demo-loader", &folder.loader_key())?),
        keys: Keys::new(vec![identities]),
        hand_over: HandOver::Into(folder.loaded()),
        demand: Some(Demand { keys: vec![folder.verifier_key()?], witnesses: Vec::new(), recipients }),
        orgs: Vec::new(),
        datasets: Vec::new(),
        lease: Duration::from_secs(120),
        jobs: 1,
        once: true,
        work: folder.work(),
        grace: Duration::ZERO,
        hard_stop: CancellationToken::new(),
        clock: Clock::system(),
    };
    let ends: Arc<Mutex<Vec<(UploadId, DeliveryId, Outcome)>>> = Arc::default();
    let heard = Arc::clone(&ends);
    let observer: Observer = Arc::new(move |event: Event<'_>| {
        if let Event::Ended(ended) = event {
            let m = &ended.claimed.manifest;
            let end = (m.upload, m.delivery, ended.outcome.clone());
            heard.lock().unwrap_or_else(PoisonError::into_inner).push(end);
        }
    });
    loader::run(options, observer, CancellationToken::new()).await.context("the loader failed")?;
    let ends = ends.lock().unwrap_or_else(PoisonError::into_inner);
    match ends.iter().find(|(of, _, _)| *of == upload) {
        Some((_, delivery, Outcome::Loaded)) => Ok(*delivery),
        Some((_, delivery, Outcome::GivenBack { reason, .. } | Outcome::Abandoned { reason })) => {
            bail!("delivery {delivery} was not loaded: {reason}")
        }
        None => bail!("upload {upload} was not in the queue"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_in_plain_text_is_found_wherever_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("deep")).unwrap();
        std::fs::write(folder.path().join("deep/sealed"), b"age-encryption.org/v1 ...").unwrap();
        assert_eq!(search(folder.path()).unwrap(), 1);
        let row = SAMPLE_CONTENT.split(|&b| b == b'\n').nth(2).unwrap();
        std::fs::write(folder.path().join("deep/leak"), [b"x", row, b"y"].concat()).unwrap();
        assert!(search(folder.path()).unwrap_err().to_string().contains("deep/leak"));
    }
}
