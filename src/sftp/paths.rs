//! Files by path: STAT, SETSTAT, REMOVE, RENAME, and what is not offered (draft-ietf-secsh-filexfer-02, sections 6.5 to
//! 6.10).
//!
//! Must never change an accepted upload, but for its listing: the time that its client wants kept, and whether it is
//! listed at all. Called by `dispatch`.

use super::attrs::Wanted;
use super::dispatch::Request;
use super::files::{done, read_only};
use super::handles::fits_size;
use super::provider::{self, Found, Node, Spot};
use super::reply::Answer;
use super::session::Core;
use super::shared::{Shared, ledger_failed};
use super::status::No;
use super::tree::{self, missing};
use crate::types::Refusal;

pub(super) async fn stat(core: &mut Core, mut request: Request<'_>) -> Result<Answer, No> {
    let path = request.path(core)?;
    let node = tree::locate(&core.shared, path)?;
    if let tree::Node::Provider(Node::Upload(spot)) = &node
        && let Some(incoming) = core.handles.upload_at(spot)
    {
        return Ok(Answer::Stat(incoming.stat(core.shared.now())));
    }
    if let tree::Node::Provider(Node::Upload(spot)) = &node
        && core.turns.is_busy(spot)
    {
        let (shared, spots) = (core.shared.clone(), [spot.clone()]);
        return core.later(&request, spots, async move { tree::stat(&shared, &node).await.map(Answer::Stat) }).await;
    }
    Ok(Answer::Stat(tree::stat(&core.shared, &node).await?))
}

/// There are no links, so it is the same as STAT.
pub(super) async fn lstat(core: &mut Core, request: Request<'_>) -> Result<Answer, No> {
    stat(core, request).await
}

/// Times are kept; owners and modes mean nothing here, and clients that set them by habit are told OK.
pub(super) async fn setstat(core: &mut Core, mut request: Request<'_>) -> Result<Answer, No> {
    let path = request.path(core)?;
    let wanted = request.fields.attrs()?;
    let spot = match node(&core.shared, path)? {
        Node::Upload(spot) => spot,
        node if node.is_directory() => {
            fits_size(wanted, 0)?;
            return Ok(Answer::Done);
        }
        _ => return Err(read_only().into()),
    };
    if let Some(incoming) = core.handles.upload_at(&spot) {
        incoming.set(wanted).await?;
        return Ok(Answer::Done);
    }
    let shared = core.shared.clone();
    core.later(&request, [spot.clone()], async move { set(&shared, &spot, wanted).await }).await
}

async fn set(shared: &Shared, spot: &Spot, wanted: Wanted) -> Result<Answer, Refusal> {
    let mut found = provider::find(shared, spot).await?.ok_or_else(|| shared.rejections.missing(spot))?;
    let (intake, principal) = (&shared.services.intake, &shared.principal);
    match (&found, wanted.size) {
        (Found::Draft(_), Some(size)) => intake.cut(principal, &spot.place, &spot.name, size).await?,
        // A client that writes over a file in place empties it first: what was accepted stays, a draft stands before it.
        (Found::Accepted(listed), Some(0)) if listed.size > 0 => {
            intake.empty(principal, &spot.place, &spot.name).await?;
            found = provider::find(shared, spot).await?.ok_or_else(missing)?;
        }
        (Found::Accepted(listed), _) => fits_size(wanted, listed.size)?,
        (Found::Draft(_), None) => {}
    }
    let Some(modified) = wanted.modified_at() else { return Ok(Answer::Done) };
    match found {
        Found::Accepted(listed) => {
            shared.services.ledger.touch(listed.upload, modified).await.map_err(ledger_failed)?;
        }
        // Kept for what it becomes: rclone sets the time before the rename, and compares it the next night.
        Found::Draft(draft) => intake.set_modified(principal.org(), draft.upload, modified),
    }
    Ok(Answer::Done)
}

/// A draft is gone. An accepted file is listed no more, and nothing else changes: it stays stored, queued and recorded.
pub(super) async fn remove(core: &mut Core, mut request: Request<'_>) -> Result<Answer, No> {
    let path = request.path(core)?;
    let spot = match node(&core.shared, path)? {
        Node::Upload(spot) => spot,
        node if node.is_directory() => return Err(fixed().into()),
        _ => return Err(read_only().into()),
    };
    let shared = core.shared.clone();
    core.later(&request, [spot.clone()], async move {
        match provider::find(&shared, &spot).await? {
            Some(Found::Draft(_)) => {
                shared.services.intake.remove(&shared.principal, &spot.place, &spot.name).await?;
                Ok(Answer::Done)
            }
            Some(Found::Accepted(listed)) => {
                let (ledger, actor) = (&shared.services.ledger, shared.principal.actor().clone());
                let unlisted = ledger.unlist(listed.upload, actor, shared.now()).await.map_err(ledger_failed)?;
                if unlisted { Ok(Answer::Done) } else { Err(missing()) }
            }
            None => Err(missing()),
        }
    })
    .await
}

/// RENAME and posix-rename alike: a draft takes its final name even where an upload of that name stands, which it
/// supersedes.
pub(super) async fn rename(core: &mut Core, mut request: Request<'_>) -> Result<Answer, No> {
    let (from, to) = (request.path(core)?, request.path(core)?);
    let from = movable(node(&core.shared, from)?)?;
    let to = movable(node(&core.shared, to)?)?;
    let shared = core.shared.clone();
    core.later(&request, [from.clone(), to.clone()], async move {
        match provider::find(&shared, &from).await? {
            Some(Found::Draft(_)) => {}
            Some(Found::Accepted(_)) => {
                return Err(Refusal::denied("an accepted upload cannot be renamed: upload it under the new name"));
            }
            None => return Err(shared.rejections.missing(&from)),
        }
        let intake = &shared.services.intake;
        let closed = intake.rename(&shared.principal, (&from.place, &from.name), (&to.place, &to.name)).await;
        let closed = closed.inspect_err(|refusal| shared.rejections.note(&to, refusal))?;
        Ok(done(closed))
    })
    .await
}

fn movable(node: Node) -> Result<Spot, Refusal> {
    match node {
        Node::Upload(spot) => Ok(spot),
        node if node.is_directory() => Err(fixed()),
        _ => Err(read_only()),
    }
}

pub(super) async fn mkdir(core: &mut Core, mut request: Request<'_>) -> Result<Answer, No> {
    let path = request.path(core)?;
    if node(&core.shared, path).is_ok_and(|node| node.is_directory()) {
        return Err(Refusal::rejected("the directory exists already").into());
    }
    Err(Refusal::denied(
        "directories cannot be made here: put files into / or into a dataset's directory, see /help.txt",
    )
    .into())
}

pub(super) async fn rmdir(core: &mut Core, mut request: Request<'_>) -> Result<Answer, No> {
    request.path(core)?;
    Err(fixed().into())
}

fn fixed() -> Refusal {
    Refusal::denied("the directories here are given by the gateway: they cannot be moved or removed")
}

/// SYMLINK, READLINK and hardlink.
pub(super) async fn link(core: &mut Core, mut request: Request<'_>) -> Result<Answer, No> {
    request.path(core)?;
    Err(Refusal::unsupported("there are no links here: upload the file itself").into())
}

/// What a provider's path leads to.
fn node(shared: &Shared, path: &[u8]) -> Result<Node, Refusal> {
    match tree::locate(shared, path)? {
        tree::Node::Provider(node) => Ok(node),
        tree::Node::Loader(_) => Err(read_only()),
    }
}
