//! One SFTP channel: bytes in, answers out, in a bounded amount of memory.
//!
//! What a session holds at most: one cut packet (257 KiB), its handles (`limits.handles_per_session`), a page of names for
//! each open directory, 64 operations that wait for the disk, 1,024 runs of waiting READs, 2 MiB of READ answers on their
//! way to the connection, and `limits.reply_debt` of other answers. Called by `ssh`.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::dispatch::{self, STREAMED};
use super::files;
use super::handles::Handles;
use super::later::Turns;
use super::reads::Reads;
use super::reply::{Answer, Replies};
use super::shared::{About, Shared};
use super::wire::{Framer, Part, Piece};
use super::{Broken, Out, Services};
use crate::access::Principal;

/// The most room that one call makes use of, however large the client's window: what is answered in a call stands in
/// memory until the call returns.
const ROOM_MAX: usize = 2 * 1024 * 1024;

/// One SFTP channel.
pub struct Session {
    framer: Framer,
    core: Core,
    /// INIT was answered.
    ready: bool,
    /// Bytes of answers that the client has not made room for.
    debt: usize,
    debt_max: usize,
    broken: Option<Broken>,
}

/// What the operations work on.
pub(super) struct Core {
    pub shared: Arc<Shared>,
    pub handles: Handles,
    pub reads: Arc<Reads>,
    pub turns: Turns,
    /// What the request at hand is about.
    pub about: About,
}

impl Session {
    /// `late` carries answers to operations that wait for the disk. The session and each such operation hold a sender:
    /// when all are gone, every answer was sent, and the channel can be ended.
    /// `shown` says whether the client shows lines on standard error.
    pub fn new(principal: Principal, services: Arc<Services>, late: mpsc::Sender<Out>, shown: bool) -> Self {
        let debt_max = services.config.borrow().limits.reply_debt;
        let shared = Arc::new(Shared::new(principal, services, late, shown));
        let core = Core {
            shared,
            handles: Handles::default(),
            reads: Arc::default(),
            turns: Turns::default(),
            about: About::default(),
        };
        Self { framer: Framer::default(), core, ready: false, debt: 0, debt_max, broken: None }
    }

    /// Takes the channel's next bytes, cut anywhere; pushes what can be answered at once to `out`. `room` is how many
    /// bytes the client's window can take now: READs wait for it, other replies count as debt past it.
    ///
    /// # Errors
    /// A malformed packet, or a client that does not read its answers. What `out` holds by then is still to be sent; every
    /// later call fails alike.
    pub async fn data(&mut self, bytes: &[u8], room: usize, out: &mut Vec<Out>) -> Result<(), Broken> {
        self.work(bytes, room, out).await
    }

    /// The client made room: serves waiting READs.
    ///
    /// # Errors
    /// As for [`Session::data`].
    pub async fn writable(&mut self, room: usize, out: &mut Vec<Out>) -> Result<(), Broken> {
        self.work(&[], room, out).await
    }

    /// The client will send no more: waiting READs are served as room comes, open uploads are aborted. True when
    /// nothing waits here any more and the session may be dropped.
    ///
    /// # Errors
    /// As for [`Session::data`]; and a stream that ended inside a packet.
    pub async fn eof(&mut self, room: usize, out: &mut Vec<Out>) -> Result<bool, Broken> {
        files::abandon(&mut self.core);
        if !self.framer.is_whole() {
            self.broken.get_or_insert_with(|| Broken("the client stopped inside a packet".into()));
        }
        self.work(&[], room, out).await?;
        Ok(self.core.reads.is_empty())
    }

    async fn work(&mut self, bytes: &[u8], room: usize, out: &mut Vec<Out>) -> Result<(), Broken> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        // A window with room has taken everything that waited before.
        let earlier = if room > 0 { 0 } else { self.debt };
        let late = self.core.shared.late_debt(room);
        let mut replies = Replies::new(out, room.min(ROOM_MAX), earlier + late, self.debt_max);
        let outcome = match replies.solvent() {
            Ok(()) => take(&mut self.framer, &mut self.core, &mut self.ready, bytes, &mut replies).await,
            broken => broken,
        };
        if outcome.is_ok() {
            let used = room.min(ROOM_MAX) - replies.room();
            self.core.reads.serve(&self.core.shared, &mut replies, room - used).await;
        }
        self.debt = replies.debt().saturating_sub(late);
        outcome.inspect_err(|broken| {
            // What is open ends here; intake tells the audit log of each upload.
            drop(self.core.handles.drain().collect::<Vec<_>>());
            self.broken = Some(broken.clone());
        })
    }
}

/// Takes `bytes` apart, and runs what they ask for.
async fn take(
    framer: &mut Framer,
    core: &mut Core,
    ready: &mut bool,
    mut bytes: &[u8],
    replies: &mut Replies<'_>,
) -> Result<(), Broken> {
    while let Some(piece) = framer.next(&mut bytes)? {
        match piece {
            Piece::Write(part) if *ready => write(core, part, replies).await?,
            Piece::Write(_) => return Err(Broken("the client sent a request before INIT".into())),
            Piece::Packet { kind, body } if *ready => dispatch::request(core, kind, body, replies).await?,
            Piece::Packet { kind, body } => {
                let version = dispatch::hello(kind, body)?;
                *ready = true;
                replies.packet(|bytes| bytes.extend_from_slice(&version))?;
            }
        }
    }
    Ok(())
}

/// The way of most bytes: no allocation but for what intake does with them.
async fn write(core: &mut Core, part: Part<'_>, replies: &mut Replies<'_>) -> Result<(), Broken> {
    let outcome = files::write(core, part).await;
    if !part.last {
        // The handle remembers a failure; the packet's end tells it.
        return Ok(());
    }
    match outcome {
        Ok(()) => replies.answer(part.id, &Answer::Done),
        Err(refusal) => {
            let about = About { path: Vec::new(), upload: files::name_of(core, part.handle) };
            replies.lines(core.shared.refused(&STREAMED, &about, &refusal).await)?;
            replies.refusal(part.id, &refusal)
        }
    }
}
