//! The log as static files in the configured directory, following the ledger about a second behind.
//!
//! Tiles first, then the checkpoint that needs them. What stands in the directory is not trusted: at the start, and after
//! each fault, all of it is compared with the ledger; what is missing is written, and what contradicts the ledger is told
//! and left alone. Nor is the ledger: what it says now must continue what was published. Called by `daemon`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::directory::{Directory, Put};
use super::trouble::Trouble;
use super::{CONTRADICTION, Seen, Source};
use crate::audit::tiles::{Content, Tile, encode_entries, encode_hashes};
use crate::audit::{Checkpoint, VerifierKey};

/// How often the ledger is looked at: at most one checkpoint is published in that time.
const EVERY: Duration = Duration::from_secs(1);
/// How long the end of the daemon waits for the last look.
const LAST: Duration = Duration::from_secs(2);
/// The longest pause after a fault, or a contradiction.
const LONGEST: Duration = Duration::from_secs(60);

/// Publishes until told to quit; while no directory is configured, waits for one.
///
/// # Errors
/// None: what fails is told, and tried again.
pub async fn run(source: Source, quit: CancellationToken) -> anyhow::Result<()> {
    let mut publisher = None;
    loop {
        let pause = look(&source, &mut publisher).await;
        tokio::select! {
            () = quit.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    // What came since the last look. The daemon's own end comes with its next start.
    let _ = tokio::time::timeout(LAST, look(&source, &mut publisher)).await;
    Ok(())
}

/// One look at the configuration and the ledger; returns how long to wait before the next.
async fn look(source: &Source, publisher: &mut Option<Publisher>) -> Duration {
    let audit = source.config.borrow().audit.clone();
    let Some(path) = audit.tiles else {
        *publisher = None;
        return EVERY;
    };
    if publisher.as_ref().is_some_and(|publisher| publisher.path != path) {
        *publisher = None;
    }
    let keys = [vec![source.key.clone()], audit.former_keys].concat();
    publisher.get_or_insert_with(|| Publisher::new(path)).follow(source, &keys).await
}

/// Why the directory is not up to date.
#[derive(Debug)]
enum Fault {
    /// It holds another log than the ledger.
    Contradiction(String),
    /// The disk, or the ledger, cannot be used just now.
    Failure(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Fault::Failure(error.into())
    }
}

struct Publisher {
    path: PathBuf,
    /// What stands in the directory; none until it was looked at.
    published: Option<Published>,
    /// What was published from here: it stays through every fault, and if the directory is emptied.
    seen: Option<Seen>,
    trouble: Trouble,
}

struct Published {
    directory: Arc<Directory>,
    size: u64,
    /// The checkpoint, word for word; empty before the first.
    note: String,
}

impl Publisher {
    fn new(path: PathBuf) -> Self {
        Self { path, published: None, seen: None, trouble: Trouble::new(LONGEST) }
    }

    /// Brings the directory up to date; returns how long to wait before the next time.
    async fn follow(&mut self, source: &Source, keys: &[VerifierKey]) -> Duration {
        let fault = match self.bring_up_to_date(source, keys).await {
            Ok(()) => {
                if self.trouble.is_over() {
                    tracing::info!(path = %self.path.display(), "the log is published again");
                }
                return EVERY;
            }
            Err(fault) => fault,
        };
        // All of it is looked at again: whoever mended it may have mended more.
        self.published = None;
        let path = self.path.display().to_string();
        match fault {
            Fault::Contradiction(why) => {
                // Once, whatever it is: the event makes the ledger longer, and the reason another one.
                if self.trouble.is_news(CONTRADICTION) {
                    source.contradicted(&path, &why).await;
                }
            }
            Fault::Failure(error) => {
                let why = format!("{error:#}");
                if self.trouble.is_news(&why) {
                    tracing::warn!(path, error = why, "the log is not published; it is tried again");
                }
            }
        }
        self.trouble.pause()
    }

    async fn bring_up_to_date(&mut self, source: &Source, keys: &[VerifierKey]) -> Result<(), Fault> {
        if let Some(seen) = self.seen
            && let Some(why) = source.contradicts(seen, "published").await?
        {
            return Err(Fault::Contradiction(why));
        }
        let path = self.path.clone();
        let published = match &mut self.published {
            Some(published) => published,
            None => self.published.insert(examine(&path, source, keys).await?),
        };
        let Some(note) = source.ledger.checkpoint().await? else { return Ok(()) };
        let size = Checkpoint::read(&note)?.0.size;
        let note = with_cosignatures(source, note, size).await?;
        if note == published.note {
            return Ok(());
        }
        let checkpoint = Checkpoint::verify_by_any(&note, keys)
            .with_context(|| format!("the ledger's own checkpoint of {size} events is not signed by the log's key"))?;
        if source.ledger.root(size).await? != checkpoint.root {
            return Err(anyhow::anyhow!(
                "the ledger's own checkpoint of {size} events is of others: see `nightsafe audit verify`"
            )
            .into());
        }
        let directory = published.directory.clone();
        let at = directory.clone();
        if blocking(move || at.checkpoint()).await?.unwrap_or_default() != published.note {
            // Another hand was here: the folder was emptied, or somebody else publishes to it.
            *published = examine(&path, source, keys).await?;
        }
        let full = make_sure(source, &directory, published.size, size).await?;
        let text = note.clone();
        blocking(move || {
            directory.publish(&text)?;
            full.into_iter().try_for_each(|tile| directory.prune(tile))
        })
        .await?;
        (published.size, published.note) = (size, note);
        self.seen = Some(Seen { size, root: checkpoint.root });
        Ok(())
    }
}

/// Looks at what is in the directory: its checkpoint must be one of this log, and its tiles those of the ledger.
async fn examine(path: &Path, source: &Source, keys: &[VerifierKey]) -> Result<Published, Fault> {
    let path = path.to_owned();
    let (directory, note) = blocking(move || {
        let directory = Directory::open(&path)?;
        let note = directory.checkpoint()?;
        Ok((Arc::new(directory), note))
    })
    .await?;
    let Some(note) = note else {
        return Ok(Published { directory, size: 0, note: String::new() });
    };
    let contradiction = |why: String| Err(Fault::Contradiction(why));
    let checkpoint = match Checkpoint::verify_by_any(&note, keys) {
        Ok(checkpoint) => checkpoint,
        Err(why) => return contradiction(format!("the checkpoint there is none of this log: {why}")),
    };
    let seen = Seen { size: checkpoint.size, root: checkpoint.root };
    if let Some(why) = source.contradicts(seen, "published").await? {
        return contradiction(why);
    }
    let full = make_sure(source, &directory, 0, seen.size).await?;
    compare_partial(source, &directory, seen.size).await?;
    let at = directory.clone();
    blocking(move || full.into_iter().try_for_each(|tile| at.prune(tile))).await?;
    Ok(Published { directory, size: seen.size, note })
}

/// Compares what stands at the right edge of a tree of `size`: the partial tiles of this checkpoint's time, of earlier ones,
/// and of one that was never published, or was taken away. Others are pruned.
async fn compare_partial(source: &Source, directory: &Arc<Directory>, size: u64) -> Result<(), Fault> {
    let here = source.ledger.last_event().await?;
    for edge in Tile::at_edge(size) {
        let at = directory.clone();
        for width in blocking(move || at.widths(edge)).await? {
            let tile = Tile { width, ..edge };
            if tile.leaves() > here {
                return Err(Fault::Contradiction(format!(
                    "{} was published, and the ledger has {here} events: it is an older copy, or its end was cut off",
                    tile.path()
                )));
            }
            let content = content(source, tile).await?;
            let at = directory.clone();
            if blocking(move || at.put(tile, &content)).await? == Put::Differs {
                return Err(differs(tile));
            }
        }
    }
    Ok(())
}

/// The checkpoint with what witnesses have said of it by now.
async fn with_cosignatures(source: &Source, mut note: String, size: u64) -> Result<String, Fault> {
    for cosignature in source.ledger.cosignatures().await? {
        if cosignature.size == size {
            note = note + &cosignature.signature + "\n";
        }
    }
    Ok(note)
}

/// Makes sure of the tiles that a tree of `size` has and one of `old` has not; durable on return. Returns the full ones.
async fn make_sure(source: &Source, directory: &Arc<Directory>, old: u64, size: u64) -> Result<Vec<Tile>, Fault> {
    let (mut sure, mut full) = (Vec::new(), Vec::new());
    for tile in Tile::between(old, size) {
        let content = content(source, tile).await?;
        let at = directory.clone();
        match blocking(move || at.put(tile, &content)).await? {
            // One that stood may be of a process that was killed before it made the name durable.
            Put::Stood | Put::Written => sure.push(tile),
            Put::Differs => return Err(differs(tile)),
        }
        if tile.is_full() {
            full.push(tile);
        }
    }
    let at = directory.clone();
    blocking(move || at.sync(&sure)).await?;
    Ok(full)
}

fn differs(tile: Tile) -> Fault {
    let (first, path) = (tile.first() + 1, tile.path());
    Fault::Contradiction(match tile.content {
        Content::Hashes { level: 1.. } => format!("{path} is another one than the ledger's"),
        _ => {
            let last = tile.first() + u64::from(tile.width);
            format!("{path}, of events {first} to {last}, is another one than the ledger's")
        }
    })
}

/// What stands in a tile, out of the ledger.
async fn content(source: &Source, tile: Tile) -> Result<Vec<u8>, Fault> {
    let width = usize::from(tile.width);
    let (found, content) = match tile.content {
        Content::Entries => {
            let leaves = source.ledger.leaves(tile.first() + 1, width).await?;
            (leaves.len(), encode_entries(leaves.iter().map(|row| row.leaf.as_bytes()))?)
        }
        Content::Hashes { level } => {
            let hashes = source.ledger.nodes(u32::from(level) * 8, tile.first(), width).await?;
            (hashes.len(), encode_hashes(&hashes))
        }
    };
    match found == width {
        true => Ok(content),
        false => Err(anyhow::anyhow!(
            "the ledger has {found} of the {width} parts of {}: see `nightsafe audit verify`",
            tile.path()
        )
        .into()),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<T, Fault> {
    Ok(tokio::task::spawn_blocking(work).await??)
}

#[cfg(test)]
mod tests;
