//! Tickets: a small file beside each draft's own, replaced whole. What is in it is the caller's, and opaque here.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Vault;
use super::durable::context;
use crate::types::UploadId;

const SUFFIX: &str = ".ticket";
/// One that was being written; it never counts.
const NEW: &str = ".ticket.new";
/// No ticket of ours is larger.
const LARGEST: u64 = 16 << 20;

impl Vault {
    /// Replaces an upload's ticket. A reader, and a killed writer's successor, see the old one or the new one. Blocking.
    ///
    /// # Errors
    /// The disk's; the old ticket stays then.
    pub fn write_ticket(&self, upload: UploadId, ticket: &[u8]) -> io::Result<()> {
        let (new, path) = (self.0.spool.join(format!("{upload}{NEW}")), self.ticket_path(upload));
        let write = || {
            let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
            file.write_all(ticket)?;
            fs::rename(&new, &path)
        };
        write().map_err(context(&path))
    }

    /// Removes an upload's ticket; none is fine. Blocking.
    ///
    /// # Errors
    /// It is there and stays.
    pub fn remove_ticket(&self, upload: UploadId) -> io::Result<()> {
        let path = self.ticket_path(upload);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(context(&path)(error)),
            _ => Ok(()),
        }
    }

    /// All tickets, by upload, or why one cannot be read. One that goes meanwhile is left out; half-written ones never
    /// count. Blocking.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn tickets(&self) -> io::Result<Vec<(UploadId, io::Result<Vec<u8>>)>> {
        let mut tickets = Vec::new();
        for entry in fs::read_dir(&self.0.spool).map_err(context(&self.0.spool))? {
            let path = entry.map_err(context(&self.0.spool))?.path();
            let Some(upload) = upload_of(&path, SUFFIX) else { continue };
            match read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                ticket => tickets.push((upload, ticket.map_err(context(&path)))),
            }
        }
        tickets.sort_unstable_by_key(|(upload, _)| *upload);
        Ok(tickets)
    }

    /// Removes what a killed writer left of tickets; for recovery. Blocking.
    ///
    /// # Errors
    /// The disk's.
    pub fn clear_half_tickets(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.0.spool).map_err(context(&self.0.spool))? {
            let path = entry.map_err(context(&self.0.spool))?.path();
            if upload_of(&path, NEW).is_some() {
                fs::remove_file(&path).map_err(context(&path))?;
            }
        }
        Ok(())
    }

    fn ticket_path(&self, upload: UploadId) -> PathBuf {
        self.0.spool.join(format!("{upload}{SUFFIX}"))
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > LARGEST {
        return Err(io::Error::other("it is no ticket: it is too large"));
    }
    fs::read(path)
}

pub(super) fn is_ticket(path: &Path) -> bool {
    upload_of(path, SUFFIX).or_else(|| upload_of(path, NEW)).is_some()
}

fn upload_of(path: &Path, suffix: &str) -> Option<UploadId> {
    path.file_name()?.to_str()?.strip_suffix(suffix)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Timestamp;

    #[test]
    fn a_ticket_is_replaced_whole_read_back_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        let upload = UploadId::new(Timestamp::UNIX_EPOCH);
        vault.write_ticket(upload, b"first").unwrap();
        vault.write_ticket(upload, b"next").unwrap();
        fs::write(dir.path().join(format!("spool/{upload}.ticket.new")), b"half").unwrap();
        let mut tickets = vault.tickets().unwrap();
        let (of, ticket) = tickets.pop().unwrap();
        assert_eq!((of, ticket.unwrap().as_slice(), tickets.len()), (upload, b"next".as_slice(), 0));
        assert!(vault.spooled().unwrap().is_empty());
        vault.clear_half_tickets().unwrap();
        assert_eq!(fs::read_dir(dir.path().join("spool")).unwrap().count(), 1);
        vault.remove_ticket(upload).unwrap();
        vault.remove_ticket(upload).unwrap();
        assert!(vault.tickets().unwrap().is_empty());
    }
}
