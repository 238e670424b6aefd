//! Fetching a sealed object to the loader's disk, going on from what is there; the list of restricted rows, and the proof.
//!
//! Must never write a byte at another offset than it has in the object. Broken connections are made anew for as long as the
//! lease lives; the caller drops the future when it does not. Called by `deliver`.

use std::io::SeekFrom;
use std::sync::Arc;
use std::time::Duration;

use russh_sftp::client::error::Error as SftpError;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use super::disk::Part;
use super::gateway::{Gateway, GatewayError};
use super::link::{Backoff, Link};
use super::queue::Claimed;
use super::restricted::{LIST_MAX, Rows};
use crate::audit::PROOF_MAX;

const BUFFER: usize = 256 * 1024;

/// Fetches until the part has the manifest's sealed size. `progress` hears how many bytes are there. Returns how many
/// were there already.
///
/// # Errors
/// What is no use to try again under this lease, in words for the delivery's history.
pub async fn fetch(
    link: &Link,
    claimed: &Claimed,
    part: &Part,
    mut progress: impl FnMut(u64),
    mut trouble: impl FnMut(&str, Duration),
) -> Result<u64, String> {
    let disk = |e: std::io::Error| format!("the loader's disk failed: {}: {e}", part.path().display());
    let size = claimed.manifest.sealed_size;
    if part.len().map_err(disk)? > size {
        part.restart().map_err(disk)?;
    }
    let resumed = part.len().map_err(disk)?;
    let mut backoff = Backoff::new();
    loop {
        let have = part.len().map_err(disk)?;
        if have == size {
            return Ok(resumed);
        }
        let broken = match link.gateway().await {
            Ok(gateway) => match fetch_on(&gateway, claimed, part, have, &mut progress).await {
                Ok(()) => continue,
                Err(Trouble::Final(why)) => return Err(why),
                Err(Trouble::Broken(why)) => {
                    link.drop_broken(&gateway).await;
                    why
                }
            },
            Err(GatewayError::Setup(why)) => return Err(why),
            Err(GatewayError::Broken(why)) => why,
        };
        // Progress was made: the network is moody, not gone.
        if part.len().map_err(disk)? > have {
            backoff = Backoff::new();
        }
        let wait = backoff.next();
        trouble(&broken, wait);
        tokio::time::sleep(wait).await;
    }
}

enum Trouble {
    Broken(String),
    Final(String),
}

impl From<GatewayError> for Trouble {
    fn from(error: GatewayError) -> Self {
        match error {
            GatewayError::Setup(why) => Self::Final(why),
            GatewayError::Broken(why) => Self::Broken(why),
        }
    }
}

async fn fetch_on(
    gateway: &Arc<Gateway>,
    claimed: &Claimed,
    part: &Part,
    have: u64,
    progress: &mut impl FnMut(u64),
) -> Result<(), Trouble> {
    let disk = |e: std::io::Error| Trouble::Final(format!("the loader's disk failed: {}: {e}", part.path().display()));
    let size = claimed.manifest.sealed_size;
    let sftp = gateway.sftp().await?;
    let mut remote = match sftp.open(claimed.object.as_str()).await {
        Ok(remote) => remote,
        Err(SftpError::Status(status)) => {
            return Err(Trouble::Final(format!("the gateway does not give the object: {}", status.error_message)));
        }
        Err(error) => return Err(Trouble::Broken(format!("the fetch broke: {error}"))),
    };
    remote.seek(SeekFrom::Start(have)).await.map_err(|e| read_trouble(&e))?;
    let mut local = tokio::fs::File::from_std(part.handle(have).map_err(disk)?);
    let mut buffer = vec![0; BUFFER];
    let mut at = have;
    progress(at);
    while at < size {
        // Filled before it is written: a write to disk is a trip to another thread.
        let mut filled = 0;
        let room = usize::try_from(size - at).unwrap_or(BUFFER).min(BUFFER);
        let mut end = None;
        while filled < room && end.is_none() {
            match remote.read(&mut buffer[filled..room]).await {
                Ok(0) => {
                    let short = format!("the gateway's object ends at byte {}, not {size}", at + filled as u64);
                    end = Some(Trouble::Final(short));
                }
                Ok(read) => filled += read,
                Err(error) => end = Some(read_trouble(&error)),
            }
        }
        local.write_all(&buffer[..filled]).await.map_err(disk)?;
        local.flush().await.map_err(disk)?;
        at += filled as u64;
        progress(at);
        if let Some(trouble) = end {
            return Err(trouble);
        }
    }
    // The handle is closed with the session; its answer tells nothing that the bytes do not.
    let _ = sftp.close().await;
    Ok(())
}

/// Fetches the list of restricted rows, and compares it with the manifest. Without restricted rows it is empty, and the
/// gateway is not asked.
///
/// # Errors
/// What is no use to try again under this lease: the rows to leave out are not known for certain.
pub async fn restricted(
    link: &Link,
    claimed: &Claimed,
    mut trouble: impl FnMut(&str, Duration),
) -> Result<Rows, String> {
    let manifest = &claimed.manifest;
    let path = match (&claimed.restricted_rows, manifest.restricted) {
        (_, 0) => return Ok(Rows::default()),
        (Some(path), _) => path,
        (None, count) => {
            return Err(format!("the manifest counts {count} restricted rows, and the gateway gives no list of them"));
        }
    };
    let list = small(link, path, "list of restricted rows", LIST_MAX, &mut trouble).await?;
    Rows::read(list, manifest)
}

/// Fetches the proof that the delivery stands in the gateway's log.
///
/// # Errors
/// What is no use to try again under this lease: there is none.
pub async fn proof(link: &Link, claimed: &Claimed, mut trouble: impl FnMut(&str, Duration)) -> Result<Vec<u8>, String> {
    let none = || "the gateway gives no proof that it stands in a log: it may be an older one".to_owned();
    let path = claimed.proof.as_ref().ok_or_else(none)?;
    small(link, path, "proof", PROOF_MAX as u64, &mut trouble).await
}

/// Fetches a file of at most `most` bytes, whole.
async fn small(
    link: &Link,
    path: &str,
    what: &str,
    most: u64,
    trouble: &mut impl FnMut(&str, Duration),
) -> Result<Vec<u8>, String> {
    let mut backoff = Backoff::new();
    loop {
        let broken = match link.gateway().await {
            Ok(gateway) => match small_on(&gateway, path, what, most).await {
                Ok(bytes) => return Ok(bytes),
                Err(Trouble::Final(why)) => return Err(why),
                Err(Trouble::Broken(why)) => {
                    link.drop_broken(&gateway).await;
                    why
                }
            },
            Err(GatewayError::Setup(why)) => return Err(why),
            Err(GatewayError::Broken(why)) => why,
        };
        let wait = backoff.next();
        trouble(&broken, wait);
        tokio::time::sleep(wait).await;
    }
}

async fn small_on(gateway: &Arc<Gateway>, path: &str, what: &str, most: u64) -> Result<Vec<u8>, Trouble> {
    let sftp = gateway.sftp().await?;
    let remote = match sftp.open(path).await {
        Ok(remote) => remote,
        Err(SftpError::Status(status)) => {
            return Err(Trouble::Final(format!("the gateway does not give the {what}: {}", status.error_message)));
        }
        Err(error) => return Err(Trouble::Broken(format!("the fetch broke: {error}"))),
    };
    let mut bytes = Vec::new();
    remote.take(most + 1).read_to_end(&mut bytes).await.map_err(|e| read_trouble(&e))?;
    if bytes.len() as u64 > most {
        return Err(Trouble::Final(format!("the gateway's {what} has more than {most} bytes")));
    }
    let _ = sftp.close().await;
    Ok(bytes)
}

/// The client wraps its own errors; what is left are the gateway's refusals, in its words.
fn read_trouble(error: &std::io::Error) -> Trouble {
    match error.get_ref().is_some_and(|inner| inner.is::<SftpError>()) {
        true => Trouble::Broken(format!("the fetch broke: {error}")),
        false => Trouble::Final(format!("the gateway does not give the object: {error}")),
    }
}
