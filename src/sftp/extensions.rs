//! What OpenSSH's PROTOCOL (section 4) adds and is nowhere else: limits, statvfs, expand-path, home-directory.
//!
//! statvfs tells the organisation's quota, and must never tell the disk: its free space would tell of others. Called by
//! `dispatch`.

use super::dispatch::Request;
use super::handles::unknown;
use super::names;
use super::provider;
use super::reply::{Answer, Names};
use super::session::Core;
use super::shared::{Shared, ledger_failed};
use super::status::No;
use super::tree;
use super::wire::{MAX_DATA, MAX_TOLD};
use crate::types::{FILE_NAME_MAX, Refusal, Role};

/// Bytes of a block in statvfs.
const BLOCK: u64 = 4096;
/// `f_flag`: nothing can be written, nothing is executed.
const READ_ONLY: u64 = 1;
const NO_SETUID: u64 = 2;

pub(super) async fn limits(core: &mut Core, _: Request<'_>) -> Result<Answer, No> {
    let handles = core.shared.config().limits.handles_per_session as u64;
    Ok(Answer::Extended(numbers(&[MAX_TOLD as u64, MAX_DATA as u64, MAX_DATA as u64, handles])))
}

pub(super) async fn statvfs(core: &mut Core, mut request: Request<'_>) -> Result<Answer, No> {
    let path = request.path(core)?;
    let node = tree::locate(&core.shared, path)?;
    tree::stat(&core.shared, &node).await?;
    space(&core.shared).await
}

pub(super) async fn fstatvfs(core: &mut Core, mut request: Request<'_>) -> Result<Answer, No> {
    core.handles.find(request.fields.handle()?).ok_or_else(unknown)?;
    space(&core.shared).await
}

async fn space(shared: &Shared) -> Result<Answer, No> {
    let (total, free, flags) = match shared.principal.role() {
        Role::Loader => (0, 0, READ_ONLY | NO_SETUID),
        Role::Provider => {
            let org = shared.principal.org();
            let quota = provider::org(&shared.config(), shared)?.quota;
            let stored = shared.services.ledger.stored_bytes(org).await.map_err(ledger_failed)?;
            let used = stored.saturating_add(shared.services.intake.bytes_under_way(org));
            (quota / BLOCK, quota.saturating_sub(used) / BLOCK, NO_SETUID)
        }
    };
    // f_bsize, f_frsize, f_blocks, f_bfree, f_bavail, f_files, f_ffree, f_favail, f_fsid, f_flag, f_namemax. A file for
    // each block: their number has no limit of its own.
    let name_max = FILE_NAME_MAX as u64;
    Ok(Answer::Extended(numbers(&[BLOCK, BLOCK, total, free, free, total, free, free, 0, flags, name_max])))
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// `~` and `~/...` are from `/`, everyone's home.
pub(super) async fn expand_path(core: &mut Core, mut request: Request<'_>) -> Result<Answer, No> {
    let path = request.path(core)?;
    let path = match path.strip_prefix(b"~") {
        None => path,
        Some(rest) if rest.is_empty() || rest.starts_with(b"/") => rest,
        Some(_) => return Err(Refusal::rejected("other accounts have no home here: use '~' or '/'").into()),
    };
    Ok(Answer::Names(Names::path(&names::absolute(path)?)))
}

/// Whoever's home is asked for: there is one, so nothing is told about the name.
pub(super) async fn home_directory(_: &mut Core, _: Request<'_>) -> Result<Answer, No> {
    Ok(Answer::Names(Names::path("/")))
}
