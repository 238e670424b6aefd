//! Directories: OPENDIR, READDIR, REALPATH (draft-ietf-secsh-filexfer-02, sections 6.7 and 6.11).
//!
//! Must never hold more than a page of names at once. Called by `dispatch`.

use super::dispatch::Request;
use super::handles::{Open, unknown};
use super::names;
use super::reply::{Answer, Names};
use super::session::Core;
use super::status::No;
use super::tree::{self, not_a_directory};

pub(super) async fn opendir(core: &mut Core, mut request: Request<'_>) -> Result<Answer, No> {
    let path = request.path(core)?;
    core.handles.room(core.shared.config().limits.handles_per_session)?;
    let node = tree::locate(&core.shared, path)?;
    let listing = match tree::list(&core.shared, &node).await {
        Ok(listing) => listing,
        // A file where a directory was meant, or nothing at all.
        Err(refusal) => return Err(tree::stat(&core.shared, &node).await.err().unwrap_or(refusal).into()),
    };
    Ok(Answer::Handle(core.handles.insert(Open::Directory(Box::new(listing)))))
}

pub(super) async fn readdir(core: &mut Core, mut request: Request<'_>) -> Result<Answer, No> {
    let listing = match core.handles.find(request.fields.handle()?).ok_or_else(unknown)? {
        Open::Directory(listing) => listing,
        Open::Upload(_) | Open::File(_) => return Err(not_a_directory().into()),
    };
    let page = listing.page(&core.shared).await?;
    if page.is_empty() {
        return Ok(Answer::End);
    }
    let (owner, now) = (core.shared.principal.org().as_str(), core.shared.now());
    let mut names = Names::default();
    for entry in &page {
        names.add(&entry.name, &entry.stat.long(&entry.name, owner, now), &entry.stat);
    }
    Ok(Answer::Names(names))
}

pub(super) async fn realpath(core: &mut Core, mut request: Request<'_>) -> Result<Answer, No> {
    let path = request.path(core)?;
    Ok(Answer::Names(Names::path(&names::absolute(path)?)))
}
