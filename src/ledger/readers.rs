//! Reading: a few connections that cannot write, used on the runtime's blocking threads.
//!
//! Must never hold a connection across an await, nor a read transaction longer than one verb: an old snapshot keeps the
//! write-ahead log from being taken in. Called by the facade.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::{LedgerError, Result, file};

/// Most connections that read at the same time; further readers wait.
const READERS: usize = 4;

#[derive(Debug, Clone)]
pub(super) struct Readers {
    file: PathBuf,
    places: Arc<Semaphore>,
    /// Open and unused.
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), places: Arc::new(Semaphore::new(READERS)), idle: Arc::default() }
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    pub async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| LedgerError::Closed)?;
        let readers = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            // Moved in: a caller that goes away does not make room for a fifth connection.
            let place = place;
            let idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match idle {
                Some(connection) => connection,
                None => file::open_reader(&readers.file)?,
            };
            let done = work(&connection);
            readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            drop(place);
            done
        });
        task.await
            .unwrap_or_else(|_| Err(LedgerError::Storage("a fault of the gateway itself; its log tells more".into())))
    }

    /// No more readers from now on; waits for those at work and closes their connections.
    pub async fn close(&self) {
        let all = self.places.acquire_many(READERS as u32).await;
        self.places.close();
        drop(all);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
