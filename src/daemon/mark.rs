//! How far the ledger is known to have come: a number beside it, `<state>/ledger.mark`, that an old copy falls short of.
//!
//! Recovery takes an object that the ledger does not know for half an upload, and removes it. Under an older ledger, put
//! back from a backup say, that would be uploads that were answered OK: so a ledger behind its mark is refused. Must
//! never be ahead of what the ledger has on the disk. Called by the composition root and by housekeeping.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::ledger::Ledger;

#[derive(Debug, Clone)]
pub struct Mark(PathBuf);

impl Mark {
    pub fn new(state: &Path) -> Self {
        Self(state.join("ledger.mark"))
    }

    /// Compares the ledger with its mark, before anything is removed that it does not know.
    ///
    /// # Errors
    /// It ends before the mark: it is not the one that was in use here last. Or one of them cannot be read.
    pub async fn check(&self, ledger: &Ledger) -> anyhow::Result<()> {
        let path = self.0.display();
        let text = match std::fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {path}")),
        };
        let mark: u64 =
            text.trim().parse().with_context(|| format!("{path} holds no number: see OPERATING.md, Backup"))?;
        let last = ledger.last_event().await?;
        if last < mark {
            bail!(
                "the ledger ends with event {last}, and the one that was in use here had {mark} at least: it is an old \
                 copy, or a new file. Objects in the vault that it does not know would be removed. Bring back the right \
                 ledger; or, if there is none, move the vault away for safety, remove {path}, and start again"
            );
        }
        Ok(())
    }

    /// Notes how far the ledger has come. Durable on return.
    ///
    /// # Errors
    /// Those of [`Mark::check`]; or the file cannot be written. The old mark stays then.
    pub async fn set(&self, ledger: &Ledger) -> anyhow::Result<()> {
        // The ledger may have been replaced while it is open: a mark never goes back.
        self.check(ledger).await?;
        let (last, path) = (ledger.last_event().await?, self.0.clone());
        let written = tokio::task::spawn_blocking(move || write(&path, last)).await?;
        written.with_context(|| format!("cannot write {}", self.0.display()))
    }
}

fn write(path: &Path, sequence: u64) -> std::io::Result<()> {
    let new = path.with_extension("mark.new");
    let mut file = std::fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    writeln!(file, "{sequence}")?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Event, Kind};
    use crate::types::{Actor, Timestamp};

    async fn tell(ledger: &Ledger) {
        ledger.record(Event::new(Timestamp::UNIX_EPOCH, Kind::DaemonStarted, Actor::gateway())).await.unwrap();
    }

    #[tokio::test]
    async fn a_ledger_that_falls_short_of_its_mark_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let mark = Mark::new(dir.path());
        let ledger = Ledger::open(&dir.path().join("ledger.sqlite"), crate::ledger::testing::signer()).unwrap();
        mark.check(&ledger).await.unwrap();
        tell(&ledger).await;
        mark.set(&ledger).await.unwrap();
        mark.check(&ledger).await.unwrap();
        tell(&ledger).await;
        mark.check(&ledger).await.unwrap();

        let new = Ledger::open(&dir.path().join("new.sqlite"), crate::ledger::testing::signer()).unwrap();
        let refused = mark.check(&new).await.unwrap_err().to_string();
        assert!(refused.contains("ends with event 0") && refused.contains("Bring back the right"), "{refused}");
        tell(&new).await;
        mark.check(&new).await.unwrap();
        mark.set(&ledger).await.unwrap();
        assert!(mark.check(&new).await.is_err(), "one event behind is behind");
        assert!(mark.set(&new).await.is_err() && mark.check(&new).await.is_err(), "it does not go back");
        mark.set(&ledger).await.unwrap();
    }
}
