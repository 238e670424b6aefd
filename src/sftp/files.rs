//! Files by handle: OPEN, WRITE, READ, CLOSE, FSTAT, FSETSTAT, fsync (draft-ietf-secsh-filexfer-02, sections 6.3 to 6.9).
//!
//! Must never answer OK to a WRITE that intake did not take, nor to a CLOSE before intake said what the upload came to.
//! Called by `dispatch`, and by `session` for the parts of a WRITE.

use std::sync::Arc;

use russh_sftp::protocol::OpenFlags;

use super::dispatch::Request;
use super::handles::{File, HandleId, Incoming, Open, fits_size, unknown};
use super::loader;
use super::provider::{self, Found};
use super::reply::Answer;
use super::session::Core;
use super::shared::{DEADLINE, Shared};
use super::status::No;
use super::tree::{self, Node, is_a_directory, missing};
use super::wire::Part;
use crate::intake::{self, Closed, Upload};
use crate::types::{FileName, Refusal, RefusalKind, Role};

pub(super) async fn open(core: &mut Core, mut request: Request<'_>) -> Result<Answer, No> {
    let path = request.path(core)?;
    let flags = OpenFlags::from_bits_truncate(request.fields.u32()?);
    core.handles.room(core.shared.config().limits.handles_per_session)?;
    // APPEND, CREAT and TRUNC mean writing too, whatever else a client forgot to say.
    let writing = OpenFlags::WRITE | OpenFlags::APPEND | OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let open = if flags.intersects(writing) {
        open_upload(core, path, flags).await?
    } else if flags.contains(OpenFlags::READ) {
        let node = tree::locate(&core.shared, path)?;
        if let Node::Provider(provider::Node::Upload(spot)) = &node {
            core.turns.settled(spot).await;
        }
        let file = tree::read(&core.shared, &node).await?;
        core.handles.memory(&file)?;
        Open::File(file)
    } else {
        return Err(Refusal::rejected("the file is to be opened neither for reading nor for writing").into());
    };
    Ok(Answer::Handle(core.handles.insert(open)))
}

async fn open_upload(core: &mut Core, path: &[u8], flags: OpenFlags) -> Result<Open, Refusal> {
    if core.shared.principal.role() != Role::Provider {
        return Err(Refusal::denied("this account takes deliveries: it cannot send files"));
    }
    let spot = match tree::locate(&core.shared, path) {
        // `put FILE outbox/`: the client means a directory, and there is none.
        Ok(Node::Provider(provider::Node::Upload(_))) if path.ends_with(b"/") => return Err(no_directory(core)),
        Ok(Node::Provider(provider::Node::Upload(spot))) => spot,
        Ok(Node::Provider(node)) if node.is_directory() => return Err(is_a_directory()),
        Ok(Node::Provider(_) | Node::Loader(_)) => return Err(read_only()),
        Err(refusal) if refusal == missing() => return Err(no_directory(core)),
        Err(refusal) => return Err(refusal),
    };
    core.turns.settled(&spot).await;
    let shared = &core.shared;
    let found = provider::find(shared, &spot).await?;
    let opened = how(found.as_ref(), flags)?;
    shared.lines.begin(&spot.name);
    shared.rejections.begin(&spot);
    let (intake, principal) = (&shared.services.intake, &shared.principal);
    let begin = async |how| match how {
        How::Anew { over } => intake.begin(principal, &spot.place, &spot.name, over).await,
        How::GoOn { append } => intake.resume(principal, &spot.place, &spot.name, append).await,
    };
    let upload = match begin(opened).await {
        // Another session had it, and left too little to go on with, or completed it: what stands there now counts.
        Err(refusal) if refusal.kind == RefusalKind::NotFound => {
            begin(how(provider::find(shared, &spot).await?.as_ref(), flags)?).await?
        }
        upload => upload?,
    };
    Ok(Open::Upload(Box::new(Incoming { upload: Some(upload), spot, failed: None, modified: None })))
}

/// For a file that was to go where no files go.
fn no_directory(core: &Core) -> Refusal {
    match provider::org(&core.shared.config(), &core.shared) {
        Ok(org) => Refusal::not_found(format!("files cannot be put there: {}", intake::directories(org))),
        Err(refusal) => refusal,
    }
}

pub(super) fn read_only() -> Refusal {
    Refusal::denied("what is there is made by the gateway, and can only be read: see /help.txt for where files are put")
}

/// How a file is opened for writing.
#[derive(Debug, PartialEq, Eq)]
enum How {
    /// A new upload; `over`: of an accepted file's size, which the client did not ask to empty.
    Anew { over: u64 },
    /// The draft that stands there.
    GoOn { append: bool },
}

/// What the flags of an OPEN mean where `found` stands.
fn how(found: Option<&Found>, flags: OpenFlags) -> Result<How, Refusal> {
    let Some(found) = found else {
        // A client that does not say CREAT means a file that is there already.
        return if flags.contains(OpenFlags::CREATE) { Ok(How::Anew { over: 0 }) } else { Err(missing()) };
    };
    if flags.contains(OpenFlags::EXCLUDE) {
        return Err(Refusal::rejected("a file of this name is there already: choose another name, or overwrite it"));
    }
    let append = flags.contains(OpenFlags::APPEND);
    match found {
        _ if flags.contains(OpenFlags::TRUNCATE) => Ok(How::Anew { over: 0 }),
        Found::Draft(_) => Ok(How::GoOn { append }),
        Found::Accepted(listed) if append && listed.size > 0 => Err(Refusal::denied(
            "this file was accepted, and is not added to: send the whole file again, from its beginning",
        )),
        Found::Accepted(listed) => Ok(How::Anew { over: listed.size }),
    }
}

/// Takes the next bytes of a WRITE. The outcome of its last part is the WRITE's.
pub(super) async fn write(core: &mut Core, part: Part<'_>) -> Result<(), Refusal> {
    let incoming = match core.handles.find(part.handle) {
        Some(Open::Upload(incoming)) => incoming,
        Some(_) => return Err(Refusal::denied("this handle is open for reading only")),
        None => return Err(unknown()),
    };
    if let Some(failed) = &incoming.failed {
        return Err(failed.clone());
    }
    let Some(upload) = &mut incoming.upload else { return Err(given_up()) };
    match tokio::time::timeout(DEADLINE, upload.write(part.offset, part.data)).await {
        Ok(Ok(())) => {
            if part.last {
                upload.end_write();
            }
            Ok(())
        }
        Ok(Err(refusal)) => {
            incoming.failed = Some(refusal.clone());
            Err(refusal)
        }
        Err(_) => {
            // How much of the part was taken is unknown: nothing good can come of a new upload; a draft is left as it is.
            if let Some(upload) = incoming.upload.take() {
                tokio::spawn(upload.leave("the gateway's disk did not keep up"));
            }
            incoming.failed = Some(given_up());
            Err(given_up())
        }
    }
}

/// The name of the upload that a handle is for.
pub(super) fn name_of(core: &mut Core, handle: HandleId) -> Option<FileName> {
    match core.handles.find(handle) {
        Some(Open::Upload(incoming)) => Some(incoming.spot.name.clone()),
        _ => None,
    }
}

fn given_up() -> Refusal {
    Refusal::failure("the gateway's disk did not keep up: upload the file again later")
}

pub(super) async fn read(core: &mut Core, mut request: Request<'_>) -> Result<Answer, No> {
    let (handle, offset, length) = (request.fields.handle()?, request.fields.u64()?, request.fields.u32()?);
    match core.handles.find(handle) {
        Some(Open::File(file)) => {
            if let Some(lease) = &mut file.lease {
                loader::renew(&core.shared, lease).await?;
            }
            core.reads.push(&file.source, request.id, offset, length).map_err(No::Broken)?;
            Ok(Answer::Later)
        }
        Some(Open::Upload(_)) => {
            Err(Refusal::denied("an upload cannot be read back: it is sealed as it arrives").into())
        }
        Some(Open::Directory(_)) => Err(is_a_directory().into()),
        None => Err(unknown().into()),
    }
}

pub(super) async fn close(core: &mut Core, mut request: Request<'_>) -> Result<Answer, No> {
    match core.handles.remove(request.fields.handle()?).ok_or_else(unknown)? {
        Open::File(_) | Open::Directory(_) => Ok(Answer::Done),
        Open::Upload(mut incoming) => {
            let (spot, failed) = (incoming.spot.clone(), incoming.failed.clone());
            core.about.upload = Some(spot.name.clone());
            let Some(upload) = incoming.upload.take() else { return Err(failed.unwrap_or_else(given_up).into()) };
            let shared = core.shared.clone();
            let ending = async move {
                let ended = end(upload, failed).await;
                ended.inspect_err(|refusal| shared.rejections.note(&incoming.spot, refusal))
            };
            core.later(&request, [spot], ending).await
        }
    }
}

/// Closes an upload, and makes what it came to an answer.
async fn end(upload: Upload, failed: Option<Refusal>) -> Result<Answer, Refusal> {
    let closed = upload.close().await;
    match (closed, failed) {
        (Ok(closed), None) => Ok(done(closed)),
        (Err(refusal), _) => Err(refusal),
        // Not every byte was taken, and the client was told so: it must not read OK now.
        (Ok(_), Some(failed)) => Err(failed),
    }
}

/// The answer to what completed an upload, or made it a draft.
pub(super) fn done(closed: Closed) -> Answer {
    match closed {
        Closed::Accepted(receipt) => Answer::Accepted(Box::new(receipt)),
        Closed::Draft { .. } | Closed::Companion => Answer::Done,
    }
}

pub(super) async fn fstat(core: &mut Core, mut request: Request<'_>) -> Result<Answer, No> {
    let now = core.shared.now();
    let stat = match core.handles.find(request.fields.handle()?).ok_or_else(unknown)? {
        Open::Upload(incoming) => incoming.stat(now),
        Open::File(File { stat, .. }) => *stat,
        Open::Directory(listing) => listing.stat,
    };
    Ok(Answer::Stat(stat))
}

pub(super) async fn fsetstat(core: &mut Core, mut request: Request<'_>) -> Result<Answer, No> {
    let (handle, wanted) = (request.fields.handle()?, request.fields.attrs()?);
    match core.handles.find(handle).ok_or_else(unknown)? {
        Open::Upload(incoming) => {
            let name = incoming.spot.name.clone();
            let set = incoming.set(wanted).await;
            core.about.upload = Some(name);
            set?;
        }
        Open::File(_) => return Err(read_only().into()),
        Open::Directory(listing) => fits_size(wanted, listing.stat.size)?,
    }
    Ok(Answer::Done)
}

pub(super) async fn fsync(core: &mut Core, mut request: Request<'_>) -> Result<Answer, No> {
    let incoming = match core.handles.find(request.fields.handle()?).ok_or_else(unknown)? {
        Open::Upload(incoming) => incoming,
        Open::File(_) | Open::Directory(_) => return Ok(Answer::Done),
    };
    if let Some(failed) = &incoming.failed {
        return Err(failed.clone().into());
    }
    let Some(upload) = &mut incoming.upload else { return Err(given_up().into()) };
    let syncing = upload.sync();
    core.later(&request, [], async move { syncing.await.map(|()| Answer::Done) }).await
}

/// Ends what a client left open, when it will send no more.
pub(super) fn abandon(core: &mut Core) {
    for open in core.handles.drain() {
        if let Open::Upload(mut incoming) = open
            && !incoming.is_rejected()
            && let Some(upload) = incoming.upload.take()
        {
            // Holding the session's shared part keeps the channel open until the audit log was told.
            let shared: Arc<Shared> = core.shared.clone();
            tokio::spawn(async move {
                upload.leave("the client ended the session without closing the file").await;
                drop(shared);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::DraftView;
    use crate::ledger::Listed;
    use crate::types::{Timestamp, UploadId};

    fn draft(size: u64) -> Found {
        let at = Timestamp::UNIX_EPOCH;
        Found::Draft(DraftView {
            upload: UploadId::new(at),
            name: "a".parse().unwrap(),
            size,
            modified: at,
            closed: true,
            digests: None,
        })
    }

    fn accepted(size: u64) -> Found {
        let at = Timestamp::UNIX_EPOCH;
        let dataset = "d".parse().unwrap();
        Found::Accepted(Listed { upload: UploadId::new(at), name: "a".parse().unwrap(), dataset, size, modified: at })
    }

    fn opened(found: Option<Found>, flags: u32) -> Option<How> {
        how(found.as_ref(), OpenFlags::from_bits_truncate(flags)).ok()
    }

    const WRITE: u32 = 0x2;
    const APPEND: u32 = 0x4;
    const CREAT: u32 = 0x8;
    const TRUNC: u32 = 0x10;
    const EXCL: u32 = 0x20;
    const ANEW: Option<How> = Some(How::Anew { over: 0 });

    #[test]
    fn a_whole_new_file_may_begin_wherever_one_stands() {
        for flags in [WRITE | CREAT | TRUNC, 1 | WRITE | CREAT | TRUNC, WRITE | TRUNC, WRITE | APPEND | CREAT | TRUNC] {
            assert_eq!(opened(Some(draft(9)), flags), ANEW);
            assert_eq!(opened(Some(accepted(9)), flags), ANEW);
        }
        assert_eq!(opened(None, WRITE | CREAT | EXCL), ANEW);
        assert_eq!(opened(None, APPEND | CREAT), ANEW);
        // Without TRUNC over an accepted file: it must be written from its beginning to its end.
        for flags in [WRITE, WRITE | CREAT] {
            assert_eq!(opened(Some(accepted(9)), flags), Some(How::Anew { over: 9 }));
        }
    }

    #[test]
    fn a_draft_is_gone_on_with_unless_it_is_emptied() {
        for flags in [WRITE, WRITE | CREAT] {
            assert_eq!(opened(Some(draft(9)), flags), Some(How::GoOn { append: false }));
        }
        assert_eq!(opened(Some(draft(0)), WRITE | APPEND | CREAT), Some(How::GoOn { append: true }));
        assert_eq!(opened(Some(accepted(9)), WRITE | APPEND), None, "nothing is added to an accepted file");
    }

    #[test]
    fn exclusive_and_missing_are_respected() {
        assert_eq!(opened(Some(draft(0)), WRITE | CREAT | EXCL), None);
        assert_eq!(opened(Some(accepted(9)), WRITE | CREAT | TRUNC | EXCL), None);
        assert_eq!(opened(None, WRITE), None);
    }
}
