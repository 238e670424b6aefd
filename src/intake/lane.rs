//! From the session's task to the blocking thread: recycled buffers, a short queue, one worker at a time.
//!
//! A worker holds a thread only while there is something to do, so that uploads that idle cost none. Must never let
//! the queue grow past its slots, nor a panic of the worker hang the session. Called by `upload`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::pieces::Pieces;
use super::pipeline::{Broken, Pipeline, Seed, Stop, Want};
use super::segments::Segments;
use super::work::{Ended, Work};

/// Bytes of one buffer between session and worker.
pub(super) const BUFFER: usize = 256 * 1024;
/// Full buffers that wait for the worker or are in its hands.
pub(super) const SLOTS: usize = 3;
/// fsync requests that may wait at once.
const SYNCS: usize = 16;

/// The session's end. Dropping it does not stop the worker: see [`Lane::abort`].
pub(super) struct Lane {
    filling: Vec<u8>,
    /// Bytes taken so far: what must have reached the worker at the end.
    pushed: u64,
    shared: Arc<Shared>,
}

/// What an abort from elsewhere needs.
#[derive(Clone)]
pub(super) struct Handle(Arc<Shared>);

struct Shared {
    slots: Arc<Semaphore>,
    /// The first reason to stop.
    stop: OnceLock<Stop>,
    state: Mutex<State>,
}

struct State {
    queue: VecDeque<Job>,
    /// Empty buffers, to be filled again.
    spare: Vec<Vec<u8>>,
    engine: Engine,
    aborted: bool,
}

enum Engine {
    /// Nothing was handed over yet.
    Seed(Box<Seed>),
    Ready(Work),
    /// With the worker.
    Away,
    /// Finished, aborted or failed.
    Gone,
}

enum Job {
    Data(Vec<u8>, Option<OwnedSemaphorePermit>),
    /// The next bytes belong there.
    Jump(u64, oneshot::Sender<()>),
    /// What lies behind is gone.
    Truncate(u64, oneshot::Sender<()>),
    /// The ticket is to be written anew.
    Note(oneshot::Sender<()>),
    Sync(oneshot::Sender<Result<(), Broken>>),
    /// The bytes that there must be by then.
    Finish(Want, u64, oneshot::Sender<Result<Ended, Broken>>),
    /// The session is lost: what can be kept for a draft, if anything.
    Cut(oneshot::Sender<Option<Segments>>),
}

fn gone() -> Broken {
    Broken::store("the upload's worker is gone")
}

impl Lane {
    pub(super) fn new(seed: Seed) -> Self {
        Self::with(Engine::Seed(Box::new(seed)))
    }

    /// Goes on with a draft.
    pub(super) fn resume(pieces: Pieces) -> Self {
        Self::with(Engine::Ready(Work::Pieces(Box::new(pieces))))
    }

    fn with(engine: Engine) -> Self {
        let state = State { queue: VecDeque::new(), spare: vec![], engine, aborted: false };
        let shared = Shared { slots: Arc::new(Semaphore::new(SLOTS)), stop: OnceLock::new(), state: Mutex::new(state) };
        Self { filling: Vec::new(), pushed: 0, shared: Arc::new(shared) }
    }

    pub(super) fn handle(&self) -> Handle {
        Handle(self.shared.clone())
    }

    /// Why more bytes make no sense, once the worker has found out.
    pub(super) fn stop(&self) -> Option<&Stop> {
        self.shared.stop.get()
    }

    /// Takes the next bytes of the file; waits while all slots are taken.
    pub(super) async fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(BUFFER - self.filling.len()));
            self.make_room(now.len());
            self.filling.extend_from_slice(now);
            self.pushed += now.len() as u64;
            bytes = rest;
            if self.filling.len() == BUFFER {
                self.hand_over().await;
            }
        }
    }

    /// Gives what is buffered to the worker; waits while all slots are taken.
    async fn hand_over(&mut self) {
        // The semaphore is never closed.
        let Ok(slot) = self.shared.slots.clone().acquire_owned().await else { return };
        let full = std::mem::take(&mut self.filling);
        let mut state = self.shared.state();
        state.queue.push_back(Job::Data(full, Some(slot)));
        self.filling = state.spare.pop().unwrap_or_default();
        self.shared.run(state);
    }

    /// Gives the worker all that came so far.
    pub(super) async fn flush(&mut self) {
        if !self.filling.is_empty() {
            self.hand_over().await;
        }
    }

    /// The next bytes belong at `at`. Waits until the ticket says so.
    pub(super) async fn jump(&mut self, at: u64) {
        self.tell(|told| Job::Jump(at, told)).await;
    }

    /// What lies behind `size` is gone, and the next bytes belong there. Waits until the ticket says so.
    pub(super) async fn truncate(&mut self, size: u64) {
        self.tell(|told| Job::Truncate(size, told)).await;
    }

    /// What a ticket says of the upload has changed. Waits until the ticket, if it has one, says so.
    pub(super) async fn note(&mut self) {
        if !matches!(self.shared.state().engine, Engine::Seed(_)) {
            self.tell(Job::Note).await;
        }
    }

    /// A worker that is gone answers, too; [`Lane::stop`] knows why.
    async fn tell(&mut self, job: impl FnOnce(oneshot::Sender<()>) -> Job) {
        self.flush().await;
        let (told, answer) = oneshot::channel();
        {
            let mut state = self.shared.state();
            state.queue.push_back(job(told));
            self.shared.run(state);
        }
        let _ = answer.await;
    }

    /// Doubles from the first write's size to [`BUFFER`]: an upload that sends little holds little.
    fn make_room(&mut self, more: usize) {
        let needed = self.filling.len() + more;
        if needed > self.filling.capacity() {
            let size = needed.max(BUFFER.min(self.filling.capacity() * 2));
            self.filling.reserve_exact(size - self.filling.len());
        }
    }

    /// Brings what was handed to the worker to the disk, as far as whole chunks go. None when there is nothing yet.
    pub(super) fn sync(&self) -> Option<oneshot::Receiver<Result<(), Broken>>> {
        let mut state = self.shared.state();
        let waiting = state.queue.iter().filter(|job| matches!(job, Job::Sync(_))).count();
        if matches!(state.engine, Engine::Seed(_) | Engine::Gone) || waiting >= SYNCS {
            return None;
        }
        let (told, answer) = oneshot::channel();
        state.queue.push_back(Job::Sync(told));
        self.shared.run(state);
        Some(answer)
    }

    /// Ends the pass. A file that fits into one buffer is done wholly in this one visit to a blocking thread.
    pub(super) async fn finish(mut self, want: Want) -> Result<Ended, Broken> {
        let (told, answer) = oneshot::channel();
        {
            let mut state = self.shared.state();
            state.queue.push_back(Job::Data(std::mem::take(&mut self.filling), None));
            state.queue.push_back(Job::Finish(want, self.pushed, told));
            self.shared.run(state);
        }
        answer.await.unwrap_or_else(|_| match self.shared.stop.get() {
            Some(Stop::Broken(broken)) => Err(broken.clone()),
            _ => Err(gone()),
        })
    }

    /// The session is over without an end: what it still holds goes to the worker. Does not wait.
    pub(super) fn leave(&mut self) -> Handle {
        let mut state = self.shared.state();
        state.queue.push_back(Job::Data(std::mem::take(&mut self.filling), None));
        self.shared.run(state);
        self.handle()
    }
}

impl Handle {
    /// Ends it where the worker has come to: what can be kept for a draft, if anything. What the session hands over
    /// later is dropped.
    pub(super) async fn cut(&self) -> Option<Segments> {
        let (told, answer) = oneshot::channel();
        {
            let mut state = self.0.state();
            state.queue.push_back(Job::Cut(told));
            self.0.run(state);
        }
        answer.await.ok().flatten()
    }

    /// Waits until its worker has done all that it was given.
    #[cfg(test)]
    pub(super) async fn rests(&self) {
        let busy = || {
            let state = self.0.state();
            matches!(state.engine, Engine::Away) || !state.queue.is_empty()
        };
        while busy() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// Stops the worker soon, and removes the spool. What was queued is dropped. Does not wait.
    pub(super) fn abort(&self) {
        let mut state = self.0.state();
        state.aborted = true;
        state.queue.clear();
        // A worker with nothing to do but drop the engine: that removes a file, which is for a blocking thread.
        self.0.run(state);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a worker, unless one runs (it looks again before it ends) or there is nothing left to work with.
    fn run(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let engine = match std::mem::replace(&mut state.engine, Engine::Away) {
            Engine::Away => return,
            Engine::Gone => {
                state.engine = Engine::Gone;
                state.queue.clear();
                return;
            }
            engine => engine,
        };
        // A runtime that shuts down drops the worker at once, and that takes the lock.
        drop(state);
        let worker = Worker { shared: self.clone(), engine: Some(engine), left: false };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn_blocking(move || worker.work()));
        }
    }
}

/// The engine in the worker's hands. However it ends, also by a panic, nobody waits for it in vain.
struct Worker {
    shared: Arc<Shared>,
    /// None once it was given back.
    engine: Option<Engine>,
    /// The engine was given back: from then on it may be another worker's, and so is the queue.
    left: bool,
}

impl Worker {
    fn work(mut self) {
        loop {
            let job = {
                let mut state = self.shared.state();
                if state.aborted {
                    drop(state);
                    if let Some(Engine::Ready(work)) = &self.engine {
                        work.forget();
                    }
                    return;
                }
                match state.queue.pop_front() {
                    Some(job) => job,
                    None => {
                        state.engine = self.engine.take().unwrap_or(Engine::Gone);
                        self.left = true;
                        return;
                    }
                }
            };
            self.engine = self.one(job).map(Engine::Ready);
            if self.engine.is_none() {
                return;
            }
        }
    }

    /// None when this was the last job.
    fn one(&mut self, job: Job) -> Option<Work> {
        let work = match (self.engine.take()?, job) {
            (Engine::Away | Engine::Gone, _) => return None,
            (Engine::Seed(_), Job::Cut(told)) => {
                let _ = told.send(None);
                return None;
            }
            (Engine::Ready(work), job) => (work, job),
            (Engine::Seed(seed), job) => match Pipeline::new(*seed) {
                Ok(pipeline) => (Work::Pass(Box::new(pipeline)), job),
                Err(broken) => {
                    let _ = self.shared.stop.set(Stop::Broken(broken));
                    return None;
                }
            },
        };
        match work {
            (mut work, Job::Data(mut buffer, slot)) => {
                if let Err(stop) = work.push(&buffer) {
                    let _ = self.shared.stop.set(stop);
                }
                buffer.clear();
                let mut state = self.shared.state();
                if slot.is_some() && state.spare.len() < SLOTS {
                    state.spare.push(buffer);
                }
                Some(work)
            }
            (work, Job::Jump(at, _told)) => self.in_pieces(work, |pieces| pieces.jump(at)),
            (work, Job::Truncate(size, _told)) => self.in_pieces(work, |pieces| pieces.truncate(size)),
            (mut work, Job::Note(_told)) => {
                if let Err(broken) = work.note() {
                    let _ = self.shared.stop.set(Stop::Broken(broken));
                }
                Some(work)
            }
            (mut work, Job::Sync(told)) => {
                let _ = told.send(work.sync());
                Some(work)
            }
            (work, Job::Finish(want, pushed, told)) => {
                let ended = match work.received() {
                    size if size == pushed => work.finish(want),
                    size => Err(Broken::store(format!("{size} of {pushed} bytes reached the worker"))),
                };
                // If nobody waits any more (the runtime is being torn down), a draft's spool is dropped here, and an
                // object that nobody recorded is removed by the next start.
                let _ = told.send(ended);
                None
            }
            (work, Job::Cut(told)) => {
                let _ = told.send(work.cut());
                None
            }
        }
    }

    /// The sequence breaks off: from now on in pieces. What was found faulty before stays with its pass, for the verdict.
    fn in_pieces(&self, work: Work, then: impl FnOnce(&mut Pieces) -> Result<(), Broken>) -> Option<Work> {
        let mut pieces = match work {
            Work::Pieces(pieces) => pieces,
            Work::Pass(pipeline) if pipeline.is_stopped() => return Some(Work::Pass(pipeline)),
            Work::Pass(pipeline) => match Pieces::of(*pipeline) {
                Ok(pieces) => Box::new(pieces),
                Err(stop) => {
                    let _ = self.shared.stop.set(stop);
                    return None;
                }
            },
        };
        if let Err(broken) = then(&mut pieces) {
            let _ = self.shared.stop.set(Stop::Broken(broken));
        }
        Some(Work::Pieces(pieces))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // `Away` would now mean the next worker, whose queue must not be touched.
        if self.left {
            return;
        }
        // Outside the lock: it may remove a file.
        drop(self.engine.take());
        if std::thread::panicking() {
            let _ = self.shared.stop.set(Stop::Broken(gone()));
        }
        let mut state = self.shared.state();
        if matches!(state.engine, Engine::Away) {
            state.engine = Engine::Gone;
            state.queue.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pipeline::Stored;
    use super::super::pipeline::tests::{Bench, plaintext};
    use super::*;
    use crate::check::Format;
    use crate::types::Sha256;

    impl Ended {
        pub(in super::super) fn whole(self) -> super::super::pipeline::Finished {
            match self {
                Ended::Whole(finished) => finished,
                Ended::Pieces(_) => panic!("it came in pieces"),
            }
        }
    }

    async fn until(what: &str, mut condition: impl FnMut() -> bool) {
        for _ in 0..5000 {
            if condition() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        panic!("{what} did not come true");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn bytes_pushed_in_any_pieces_arrive_whole_and_in_order() {
        let bench = Bench::new();
        for (size, cut) in [(1, 1), (5000, 700), (BUFFER, BUFFER), (BUFFER + 1, 32_000), (5_000_000, 261_120)] {
            let (upload, seed) = bench.seed(Format::Csv, u64::MAX);
            let plain = plaintext(size);
            let mut lane = Lane::new(seed);
            for piece in plain.chunks(cut) {
                lane.push(piece).await;
            }
            let finished = lane.finish(Want::Object).await.unwrap().whole();
            assert_eq!((finished.size, finished.sha256), (size as u64, Sha256::of(&plain)));
            assert!(bench.opened(upload) == plain);
        }
    }

    #[tokio::test]
    async fn an_upload_that_sends_little_holds_little_and_no_file() {
        let bench = Bench::new();
        let mut lane = Lane::new(bench.seed(Format::Csv, u64::MAX).1);
        assert_eq!(lane.filling.capacity(), 0);
        lane.push(&plaintext(1000)).await;
        assert!(lane.filling.capacity() <= 2000);
        assert_eq!(bench.spooled(), 0);
        assert!(lane.sync().is_none());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn buffers_are_recycled_and_never_more_than_the_slots() {
        let bench = Bench::new();
        let mut lane = Lane::new(bench.seed(Format::Csv, u64::MAX).1);
        let piece = plaintext(BUFFER);
        for _ in 0..40 {
            lane.push(&piece).await;
            let state = lane.shared.state();
            assert!(state.queue.len() + state.spare.len() <= SLOTS && lane.filling.capacity() <= BUFFER);
        }
        assert_eq!(lane.finish(Want::Nothing).await.unwrap().whole().size, 40 * BUFFER as u64);
    }

    #[tokio::test]
    async fn a_fault_is_told_before_the_end() {
        let bench = Bench::new();
        let mut lane = Lane::new(bench.seed(Format::Csv, 1000).1);
        lane.push(&plaintext(BUFFER)).await;
        until("the fault", || matches!(lane.stop(), Some(Stop::Fault(_)))).await;
        let finished = lane.finish(Want::Object).await.unwrap().whole();
        assert_eq!(finished.outcome.report.errors, 1);
        assert!(matches!(finished.stored, Stored::Nothing));
        assert_eq!((bench.spooled(), bench.vault.objects().unwrap().len()), (0, 0));
    }

    #[tokio::test]
    async fn for_the_quarantine_sealing_goes_on_after_a_fault() {
        let bench = Bench::new();
        let (upload, mut seed) = bench.seed(Format::Csv, u64::MAX);
        seed.quarantine = Some(u64::MAX);
        let plain = [b"%PDF-1.7 ".as_slice(), &plaintext(3 * BUFFER)].concat();
        let mut lane = Lane::new(seed);
        lane.push(&plain).await;
        until("the fault", || matches!(lane.stop(), Some(Stop::Fault(_)))).await;
        let finished = lane.finish(Want::Object).await.unwrap().whole();
        assert!(!finished.outcome.report.complete && matches!(finished.stored, Stored::Object { .. }));
        assert!(bench.opened(upload) == plain);
    }

    #[tokio::test]
    async fn an_abort_removes_the_spool_and_an_end_after_it_fails() {
        let bench = Bench::new();
        let mut lane = Lane::new(bench.seed(Format::Csv, u64::MAX).1);
        lane.push(&plaintext(4 * BUFFER)).await;
        lane.sync().unwrap().await.unwrap().unwrap();
        assert_eq!(bench.spooled(), 1);
        lane.handle().abort();
        until("the removal", || bench.spooled() == 0).await;
        lane.push(&plaintext(4 * BUFFER)).await;
        assert!(lane.finish(Want::Object).await.is_err());
        assert_eq!(bench.vault.objects().unwrap(), []);
    }

    #[tokio::test]
    async fn a_broken_disk_is_told_to_the_end_with_its_reason() {
        let bench = Bench::new();
        let mut lane = Lane::new(bench.seed(Format::Csv, u64::MAX).1);
        std::fs::remove_dir(bench.dir.path().join("spool")).unwrap();
        lane.push(&plaintext(3 * BUFFER)).await;
        until("the stop", || matches!(lane.stop(), Some(Stop::Broken(_)))).await;
        assert!(lane.finish(Want::Object).await.unwrap_err().detail.contains("spool"));
    }

    #[test]
    fn without_a_runtime_an_abort_still_removes_the_spool() {
        let bench = Bench::new();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let lane = runtime.block_on(async {
            let mut lane = Lane::new(bench.seed(Format::Csv, u64::MAX).1);
            lane.push(&plaintext(4 * BUFFER)).await;
            lane.sync().unwrap().await.unwrap().unwrap();
            lane
        });
        drop(runtime);
        assert_eq!(bench.spooled(), 1);
        lane.handle().abort();
        assert_eq!(bench.spooled(), 0);
    }
}
