//! What OpenSSH's PROTOCOL (section 4) adds and is nowhere else: limits, statvfs, expand-path, home-directory; and
//! check-file.
//!
//! statvfs tells the organisation's quota, and must never tell the disk: its free space would tell of others. Called by
//! `dispatch`.

use super::digests;
use super::dispatch::Request;
use super::handles::{File, Open, is_under_way, unknown};
use super::names;
use super::provider;
use super::reads::Source;
use super::reply::{self, Answer, Names};
use super::session::Core;
use super::shared::{Shared, ledger_failed};
use super::status::No;
use super::tree::{self, is_a_directory};
use super::wire::{MAX_DATA, MAX_TOLD, Malformed, Reader};
use crate::types::{DigestKind, FILE_NAME_MAX, Refusal, Role};

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

/// Smallest block that a client may have hashed by itself (draft-ietf-secsh-filexfer-extensions-00, section 3).
const BLOCK_MIN: u64 = 256;

/// What check-file asks for, after the file.
struct Check {
    /// The first of the client's list that its organisation may use.
    kind: DigestKind,
    start: u64,
    /// 0 is to the end.
    length: u64,
    /// 0 is one block.
    block: u32,
}

impl Check {
    fn read(fields: &mut Reader<'_>, shared: &Shared) -> Result<Result<Self, Refusal>, Malformed> {
        let list = fields.string()?;
        let (start, length, block) = (fields.u64()?, fields.u64()?, fields.u32()?);
        Ok(choose(list, shared).map(|kind| Self { kind, start, length, block }))
    }

    /// # Errors
    /// A part of the file, or several blocks: only the digest of the whole was recorded.
    fn whole(&self, size: u64) -> Result<(), Refusal> {
        if self.block != 0 && u64::from(self.block) < BLOCK_MIN {
            return Err(Refusal::rejected("check-file: a block must be 256 bytes or more, or 0 for one block"));
        }
        let one_block = self.block == 0 || u64::from(self.block) >= size;
        if self.start != 0 || (self.length != 0 && self.length < size) || !one_block {
            return Err(Refusal::unsupported(
                "check-file: only the digest of the whole file is known here, for uploads are sealed: ask with offset 0, \
                 length 0 and block size 0",
            ));
        }
        Ok(())
    }

    /// The draft's reply: the algorithm, then the digest as bytes. `echo` stands before it where a client wants that.
    fn answer(&self, hex: &str, echo: Option<&[u8]>) -> Result<Answer, No> {
        let digest = data_encoding::HEXLOWER.decode(hex.as_bytes()).map_err(|_| {
            Refusal::failure("the recorded digest cannot be read: tell the people who run this gateway")
        })?;
        let mut body = Vec::new();
        if let Some(echo) = echo {
            reply::string(&mut body, echo);
        }
        reply::string(&mut body, self.kind.as_str().as_bytes());
        body.extend_from_slice(&digest);
        Ok(Answer::Extended(body))
    }
}

/// # Errors
/// Of the listed algorithms none is known, or none is offered to the organisation.
fn choose(list: &[u8], shared: &Shared) -> Result<DigestKind, Refusal> {
    let listed = list
        .split(|&byte| byte == b',')
        .filter_map(|name| DigestKind::ALL.into_iter().find(|kind| kind.as_str().as_bytes() == name.trim_ascii()));
    let mut no = Refusal::unsupported("check-file: of the algorithms in the list none is known here: use sha256");
    for kind in listed {
        match digests::allowed(shared, kind) {
            Ok(()) => return Ok(kind),
            Err(refusal) => no = refusal,
        }
    }
    Err(no)
}

pub(super) async fn check_file_name(core: &mut Core, mut request: Request<'_>) -> Result<Answer, No> {
    let path = request.path(core)?;
    let check = Check::read(&mut request.fields, &core.shared)??;
    let node = tree::locate(&core.shared, path)?;
    if let tree::Node::Provider(provider::Node::Upload(spot)) = &node {
        core.turns.settled(spot).await;
    }
    let stat = tree::stat(&core.shared, &node).await?;
    if stat.is_directory() {
        return Err(is_a_directory().into());
    }
    check.whole(stat.size)?;
    check.answer(&digests::of(&core.shared, &node, check.kind).await?, None)
}

pub(super) async fn check_file_handle(core: &mut Core, request: Request<'_>) -> Result<Answer, No> {
    by_handle(core, request, None)
}

/// The same as paramiko asks for it (`SFTPFile.check`): under the extension's own name, which it wants to read again.
pub(super) async fn check_file(core: &mut Core, request: Request<'_>) -> Result<Answer, No> {
    by_handle(core, request, Some(b"check-file"))
}

fn by_handle(core: &mut Core, mut request: Request<'_>, echo: Option<&[u8]>) -> Result<Answer, No> {
    let handle = request.fields.handle()?;
    let check = Check::read(&mut request.fields, &core.shared)??;
    let bytes: &Source = match core.handles.find(handle).ok_or_else(unknown)? {
        Open::File(File { source, stat, .. }) => {
            check.whole(stat.size)?;
            source
        }
        Open::Upload(_) => return Err(is_under_way().into()),
        Open::Directory(_) => return Err(is_a_directory().into()),
    };
    check.answer(&digests::of_source(bytes, check.kind)?, echo)
}
