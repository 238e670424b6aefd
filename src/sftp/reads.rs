//! READs that wait for the client's room, and are served in the order in which they came (an answer may still overtake
//! another on its way: clients tell them apart by their ids, section 6.1 of the draft).
//!
//! Must never read ahead of the room, nor let waiting requests grow: a client that asks for a whole file in a hundred
//! thousand READs at once (paramiko does) costs one entry. Called by `session`; fed by `files`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::reply::{self, Answer, DATA_HEAD, Replies};
use super::shared::Shared;
use super::wire::MAX_DATA;
use super::{Broken, Out};
use crate::types::Refusal;
use crate::vault::Object;

/// Most runs of waiting READs.
const RUNS: usize = 1024;
/// Bytes of answers read in one go.
const BATCH: usize = 1024 * 1024;

/// What READs come from.
#[derive(Clone)]
pub(super) enum Source {
    /// Made when it was opened: a receipt, a manifest, the help.
    Bytes(Arc<[u8]>),
    Object(Arc<Object>),
}

impl Source {
    fn size(&self) -> u64 {
        match self {
            Source::Bytes(bytes) => bytes.len() as u64,
            Source::Object(object) => object.size(),
        }
    }
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Source::Bytes(a), Source::Bytes(b)) => Arc::ptr_eq(a, b),
            (Source::Object(a), Source::Object(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
    /// Fills `buffer` from `offset`; short only at the end. Blocking for an object.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Source::Object(object) => object.read_at(offset, buffer),
            Source::Bytes(bytes) => {
                let rest = usize::try_from(offset).ok().and_then(|start| bytes.get(start..)).unwrap_or_default();
                let size = rest.len().min(buffer.len());
                buffer[..size].copy_from_slice(&rest[..size]);
                Ok(size)
            }
        }
    }
}

/// One READ.
struct Read {
    source: Source,
    id: u32,
    offset: u64,
    length: usize,
}

impl Read {
    /// Bytes of data that it will be answered with.
    fn size(&self) -> usize {
        usize::try_from(self.source.size().saturating_sub(self.offset)).unwrap_or(usize::MAX).min(self.length)
    }

    /// The packet that answers it. Blocking for an object.
    fn answer(&self) -> Vec<u8> {
        if self.offset >= self.source.size() {
            return status(self.id, Ok(Answer::End));
        }
        let mut packet = vec![0; DATA_HEAD + self.size()];
        match self.source.read_at(self.offset, &mut packet[DATA_HEAD..]) {
            Ok(size) => {
                packet.truncate(DATA_HEAD + size);
                if let Some(head) = packet.first_chunk_mut() {
                    reply::data_head(head, self.id, size as u32);
                }
                packet
            }
            Err(error) => {
                tracing::error!(error = %error, "an object could not be read from the vault");
                status(self.id, Err(failed()))
            }
        }
    }
}

fn failed() -> Refusal {
    Refusal::failure("the gateway could not read this file from its disk: try again later")
}

fn status(id: u32, outcome: Result<Answer, Refusal>) -> Vec<u8> {
    let mut packet = Vec::new();
    match outcome {
        Ok(answer) => reply::answer(&mut packet, id, &answer),
        Err(refusal) => reply::refusal(&mut packet, id, &refusal),
    }
    packet
}

/// READs in a row: each with the next id, at the next offset.
struct Run {
    source: Source,
    id: u32,
    offset: u64,
    length: usize,
    count: u32,
}

#[derive(Default)]
pub(super) struct Reads(Mutex<State>);

#[derive(Default)]
struct State {
    runs: VecDeque<Run>,
    /// While a task serves them: the room it may use.
    room: usize,
    pumping: bool,
}

impl State {
    fn next(&mut self) -> Option<Read> {
        let run = self.runs.front_mut()?;
        let read = Read { source: run.source.clone(), id: run.id, offset: run.offset, length: run.length };
        run.id = run.id.wrapping_add(1);
        run.offset = run.offset.saturating_add(run.length as u64);
        run.count -= 1;
        if run.count == 0 {
            self.runs.pop_front();
        }
        Some(read)
    }

    /// READs for one go: as long as there is any room, up to a batch. The last one may go past the room by its length:
    /// a client that never makes room for a whole answer would wait for ever else.
    fn batch(&mut self, room: &mut usize) -> Vec<Read> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while *room > 0
            && bytes < BATCH
            && let Some(read) = self.next()
        {
            // What has no data is answered with a status, somewhat longer than a head.
            let size = read.size().max(32) + DATA_HEAD;
            *room = room.saturating_sub(size);
            bytes += size;
            batch.push(read);
        }
        batch
    }
}

impl Reads {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a READ of at most `length` bytes; more than 255 KiB are answered short, as the draft allows.
    ///
    /// # Errors
    /// Too many wait already.
    pub fn push(&self, source: &Source, id: u32, offset: u64, length: u32) -> Result<(), Broken> {
        let length = (length as usize).min(MAX_DATA);
        let mut state = self.state();
        if let Some(last) = state.runs.back_mut()
            && last.length == length
            && last.source.is(source)
            && last.id.wrapping_add(last.count) == id
            && last.offset.checked_add(u64::from(last.count) * length as u64) == Some(offset)
            && last.count < u32::MAX
        {
            last.count += 1;
            return Ok(());
        }
        if state.runs.len() >= RUNS {
            return Err(Broken(format!("the client has more than {RUNS} READs waiting and reads no answers")));
        }
        state.runs.push_back(Run { source: source.clone(), id, offset, length, count: 1 });
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.state().runs.is_empty()
    }

    /// Serves what the room allows: at once up to the room of `replies`, and the rest of `room` by a task that sends
    /// late, so that a client with an enormous window never makes one call hold much memory.
    pub async fn serve(self: &Arc<Self>, shared: &Arc<Shared>, replies: &mut Replies<'_>, room: usize) {
        let (at_once, mut left) = (replies.room(), replies.room());
        loop {
            let batch = {
                let mut state = self.state();
                if state.pumping {
                    // The larger: what is on its way counts in neither for sure, and the task must not stop short.
                    state.room = state.room.max(room);
                    return;
                }
                state.batch(&mut left)
            };
            if batch.is_empty() {
                break;
            }
            for packet in read(batch).await {
                replies.read(packet);
            }
        }
        let mut state = self.state();
        state.room = room.saturating_sub(at_once);
        if state.room > 0 && !state.runs.is_empty() {
            state.pumping = true;
            tokio::spawn(pump(self.clone(), shared.clone()));
        }
    }
}

/// Serves late, until the room or the READs are used up.
async fn pump(reads: Arc<Reads>, shared: Arc<Shared>) {
    loop {
        let batch = {
            let mut state = reads.state();
            let mut room = state.room;
            let batch = state.batch(&mut room);
            state.room = room;
            state.pumping = !batch.is_empty();
            batch
        };
        if batch.is_empty() {
            return;
        }
        for packet in read(batch).await {
            shared.send_late(Out::Data(packet)).await;
        }
    }
}

/// Answers a batch, off the async threads when it comes from the disk.
async fn read(batch: Vec<Read>) -> Vec<Vec<u8>> {
    if batch.iter().all(|read| matches!(read.source, Source::Bytes(_))) {
        return batch.iter().map(Read::answer).collect();
    }
    let ids: Vec<u32> = batch.iter().map(|read| read.id).collect();
    match tokio::task::spawn_blocking(move || batch.iter().map(Read::answer).collect()).await {
        Ok(packets) => packets,
        Err(_) => ids.into_iter().map(|id| status(id, Err(failed()))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(size: usize) -> Source {
        Source::Bytes((0..size).map(|i| i as u8).collect())
    }

    #[test]
    fn a_whole_file_asked_for_at_once_is_one_entry() {
        let (reads, source) = (Reads::default(), bytes(10));
        for n in 0..100_000u32 {
            reads.push(&source, n, u64::from(n) * 32_768, 32_768).unwrap();
        }
        assert_eq!(reads.state().runs.len(), 1);
        let mut state = reads.state();
        let (first, second) = (state.next().unwrap(), state.next().unwrap());
        assert_eq!((first.id, first.offset, second.id, second.offset), (0, 0, 1, 32_768));
        assert_eq!(state.runs[0].count, 99_998);
    }

    #[test]
    fn reads_in_no_order_are_bounded() {
        let (reads, source) = (Reads::default(), bytes(10));
        for n in 0..RUNS as u32 {
            reads.push(&source, n * 2, 0, 1).unwrap();
        }
        assert!(reads.push(&source, 1, 0, 1).is_err());
    }

    #[test]
    fn a_batch_stops_where_the_room_ends_and_goes_on_with_new_room() {
        let (reads, source) = (Reads::default(), bytes(1000));
        for n in 0..10 {
            reads.push(&source, n, u64::from(n) * 100, 100).unwrap();
        }
        let mut room = 250;
        assert_eq!(reads.state().batch(&mut room).len(), 3, "the third goes past the room, no fourth");
        assert_eq!(room, 0);
        assert!(reads.state().batch(&mut room).is_empty());
        room = usize::MAX;
        assert_eq!(
            reads.state().batch(&mut room).iter().map(|read| read.id).collect::<Vec<_>>(),
            [3, 4, 5, 6, 7, 8, 9]
        );
        assert!(reads.is_empty());
    }

    #[tokio::test]
    async fn reads_are_answered_with_data_short_data_and_the_end() {
        let source = bytes(100);
        let at = |id, offset, length| Read { source: source.clone(), id, offset, length };
        let packets = read(vec![at(1, 0, 60), at(2, 60, 60), at(3, 100, 60), at(4, u64::MAX, 60)]).await;
        assert_eq!(packets[0][..DATA_HEAD], [0, 0, 0, 69, 103, 0, 0, 0, 1, 0, 0, 0, 60]);
        assert_eq!(packets[0][DATA_HEAD..], (0..60).collect::<Vec<u8>>());
        assert_eq!(packets[1][DATA_HEAD..], (60..100).collect::<Vec<u8>>());
        for end in &packets[2..] {
            assert_eq!((end[4], end[12]), (101, 1), "{end:?}");
        }
    }
}
