//! The one table of operations, and the way of a request through it: fields checked whole, role, function, answer.
//!
//! Must never run an operation before INIT, nor one whose packet is not exactly its fields. Called by `session`.

use std::pin::Pin;

use super::Broken;
use super::directories::{opendir, readdir, realpath};
use super::extensions::{
    check_file, check_file_handle, check_file_name, expand_path, fstatvfs, home_directory, limits, statvfs,
};
use super::files::{close, fsetstat, fstat, fsync, open, read};
use super::paths::{link, lstat, mkdir, remove, rename, rmdir, setstat, stat};
use super::reply::{self, Answer, Replies};
use super::session::Core;
use super::shared::{About, DEADLINE, SUBJECT_MAX};
use super::status::No;
use super::wire::{Malformed, Reader, WRITE};
use crate::types::{Refusal, Role};

const INIT: u8 = 1;
const EXTENDED: u8 = 200;

/// The kinds of fields that packets are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// A path, or another string.
    Text,
    Handle,
    U32,
    U64,
    Attrs,
}

/// Whose operation it is. Who looks is shown its own tree; who changes something must be a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Everyone,
    Providers,
}

/// Which refusals of an operation are told to the audit log and in a line to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Always,
    /// Clients ask for files that do not exist all the time, to learn just that.
    UnlessMissing,
    /// Intake records how an upload ends; the client gets its line.
    ByIntake,
}

/// One row of the table.
pub(super) struct Operation {
    code: u8,
    /// For [`EXTENDED`] the extension's name.
    pub name: &'static str,
    /// The extension's version as VERSION tells it; none for what is not advertised.
    version: Option<&'static str>,
    /// What follows the id (and the extension's name).
    fields: &'static [Field],
    whose: Whose,
    pub told: Told,
    run: Run,
}

/// One request on its way.
pub(super) struct Request<'a> {
    pub id: u32,
    pub operation: &'static Operation,
    /// Known to hold exactly the operation's fields.
    pub fields: Reader<'a>,
}

pub(super) type Answering<'a> = Pin<Box<dyn Future<Output = Result<Answer, No>> + Send + 'a>>;
type Run = for<'a> fn(&'a mut Core, Request<'a>) -> Answering<'a>;

const fn op(code: u8, name: &'static str, fields: &'static [Field], whose: Whose, told: Told, run: Run) -> Operation {
    Operation { code, name, version: None, fields, whose, told, run }
}

const fn ext(
    name: &'static str,
    version: Option<&'static str>,
    fields: &'static [Field],
    whose: Whose,
    told: Told,
    run: Run,
) -> Operation {
    Operation { code: EXTENDED, name, version, fields, whose, told, run }
}

use Field::{Attrs, Handle, Text, U32, U64};
use Told::{Always, ByIntake, UnlessMissing};
use Whose::{Everyone, Providers};

/// draft-ietf-secsh-filexfer-02, sections 6.2 to 6.11, then the extensions of OpenSSH's PROTOCOL, section 4, and
/// `home-directory` and `check-file` of draft-ietf-secsh-filexfer-extensions-00. That draft announces `check-file` for both
/// forms; clients of version 3 look for any of the three names.
#[rustfmt::skip]
static TABLE: &[Operation] = &[
    op(3, "OPEN", &[Text, U32, Attrs], Everyone, Always, |core, request| Box::pin(open(core, request))),
    op(4, "CLOSE", &[Handle], Everyone, ByIntake, |core, request| Box::pin(close(core, request))),
    op(5, "READ", &[Handle, U64, U32], Everyone, Always, |core, request| Box::pin(read(core, request))),
    op(7, "LSTAT", &[Text], Everyone, UnlessMissing, |core, request| Box::pin(lstat(core, request))),
    op(8, "FSTAT", &[Handle], Everyone, Always, |core, request| Box::pin(fstat(core, request))),
    op(9, "SETSTAT", &[Text, Attrs], Providers, Always, |core, request| Box::pin(setstat(core, request))),
    op(10, "FSETSTAT", &[Handle, Attrs], Providers, Always, |core, request| Box::pin(fsetstat(core, request))),
    op(11, "OPENDIR", &[Text], Everyone, UnlessMissing, |core, request| Box::pin(opendir(core, request))),
    op(12, "READDIR", &[Handle], Everyone, Always, |core, request| Box::pin(readdir(core, request))),
    op(13, "REMOVE", &[Text], Providers, Always, |core, request| Box::pin(remove(core, request))),
    op(14, "MKDIR", &[Text, Attrs], Providers, Always, |core, request| Box::pin(mkdir(core, request))),
    op(15, "RMDIR", &[Text], Providers, Always, |core, request| Box::pin(rmdir(core, request))),
    op(16, "REALPATH", &[Text], Everyone, UnlessMissing, |core, request| Box::pin(realpath(core, request))),
    op(17, "STAT", &[Text], Everyone, UnlessMissing, |core, request| Box::pin(stat(core, request))),
    op(18, "RENAME", &[Text, Text], Providers, Always, |core, request| Box::pin(rename(core, request))),
    op(19, "READLINK", &[Text], Everyone, Always, |core, request| Box::pin(link(core, request))),
    op(20, "SYMLINK", &[Text, Text], Providers, Always, |core, request| Box::pin(link(core, request))),
    ext("posix-rename@openssh.com", Some("1"), &[Text, Text], Providers, Always, |core, request| Box::pin(rename(core, request))),
    ext("fsync@openssh.com", Some("1"), &[Handle], Providers, ByIntake, |core, request| Box::pin(fsync(core, request))),
    ext("statvfs@openssh.com", Some("2"), &[Text], Everyone, UnlessMissing, |core, request| Box::pin(statvfs(core, request))),
    ext("fstatvfs@openssh.com", Some("2"), &[Handle], Everyone, Always, |core, request| Box::pin(fstatvfs(core, request))),
    ext("lsetstat@openssh.com", Some("1"), &[Text, Attrs], Providers, Always, |core, request| Box::pin(setstat(core, request))),
    ext("limits@openssh.com", Some("1"), &[], Everyone, Always, |core, request| Box::pin(limits(core, request))),
    ext("expand-path@openssh.com", Some("1"), &[Text], Everyone, Always, |core, request| Box::pin(expand_path(core, request))),
    ext("home-directory", Some("1"), &[Text], Everyone, Always, |core, request| Box::pin(home_directory(core, request))),
    ext("check-file-name", Some("1"), &[Text, Text, U64, U64, U32], Everyone, UnlessMissing, |core, request| Box::pin(check_file_name(core, request))),
    ext("check-file-handle", Some("1"), &[Handle, Text, U64, U64, U32], Everyone, Always, |core, request| Box::pin(check_file_handle(core, request))),
    ext("check-file", Some("1"), &[Handle, Text, U64, U64, U32], Everyone, Always, |core, request| Box::pin(check_file(core, request))),
    ext("hardlink@openssh.com", None, &[Text, Text], Providers, Always, |core, request| Box::pin(link(core, request))),
];

/// WRITE is no row of the table's functions: the wire hands its data on as it comes, to `files::write`.
pub(super) static STREAMED: Operation =
    op(WRITE, "WRITE", &[Handle, U64, Text], Providers, ByIntake, |_, _| Box::pin(async { Ok(Answer::Later) }));

/// Stands for what is not in the table.
static UNKNOWN: Operation = op(0, "an operation unknown here", &[], Everyone, Always, |_, _| {
    Box::pin(async {
        Err(Refusal::unsupported("this gateway does not know that request: it speaks version 3 of SFTP").into())
    })
});

/// Answers the first packet, which must be INIT, with VERSION.
///
/// # Errors
/// Anything else: nothing may come before INIT.
pub(super) fn hello(kind: u8, body: &[u8]) -> Result<Vec<u8>, Broken> {
    if kind != INIT {
        return Err(Broken("the client sent a request before INIT".into()));
    }
    let mut fields = Reader::new(body);
    // Whatever version the client asks for: there is only one here, and it decides whether it can go on with that.
    fields.u32()?;
    while !fields.is_empty() {
        fields.string()?;
        fields.string()?;
    }
    Ok(reply::version(TABLE.iter().filter_map(|operation| Some((operation.name, operation.version?)))))
}

/// Runs one request and answers it, or leaves it to who answers late.
///
/// # Errors
/// A malformed packet, or more unread answers than the session may have.
pub(super) async fn request(core: &mut Core, kind: u8, body: &[u8], replies: &mut Replies<'_>) -> Result<(), Broken> {
    if kind == INIT {
        return Err(Broken("the client sent INIT twice".into()));
    }
    let mut fields = Reader::new(body);
    let id = fields.u32()?;
    let (operation, fields) = find(kind, fields)?;
    core.about = About::default();
    let request = Request { id, operation, fields };
    let outcome = if operation.whose == Whose::Providers && core.shared.principal.role() != Role::Provider {
        Err(Refusal::denied("this account takes deliveries: it cannot send or change anything").into())
    } else {
        let running = tokio::time::timeout(DEADLINE, (operation.run)(core, request));
        let late = |_| Err(Refusal::failure("the gateway took too long over this request: try again later").into());
        running.await.unwrap_or_else(late)
    };
    match outcome {
        Ok(answer) => replies.answer(id, &answer),
        Err(No::Refused(refusal)) => {
            replies.lines(core.shared.refused(operation, &core.about, &refusal).await)?;
            replies.refusal(id, &refusal)
        }
        Err(No::Broken(broken)) => Err(broken),
    }
}

/// The row for a packet, and its fields, which are exactly those of the row.
fn find(kind: u8, mut fields: Reader<'_>) -> Result<(&'static Operation, Reader<'_>), Malformed> {
    let row = if kind == EXTENDED {
        let name = fields.string()?;
        TABLE.iter().find(|operation| operation.code == EXTENDED && operation.name.as_bytes() == name)
    } else {
        TABLE.iter().find(|operation| operation.code == kind)
    };
    let Some(operation) = row else { return Ok((&UNKNOWN, fields)) };
    let mut check = fields;
    for field in operation.fields {
        match field {
            Field::Text => drop(check.string()?),
            Field::Handle => drop(check.handle()?),
            Field::U32 => drop(check.u32()?),
            Field::U64 => drop(check.u64()?),
            Field::Attrs => drop(check.attrs()?),
        }
    }
    check.end()?;
    Ok((operation, fields))
}

impl<'a> Request<'a> {
    /// The next path, kept as what the request is about.
    pub fn path(&mut self, core: &mut Core) -> Result<&'a [u8], Malformed> {
        let path = self.fields.string()?;
        let about = &mut core.about.path;
        if !about.is_empty() {
            about.extend_from_slice(b" -> ");
        }
        about.extend_from_slice(&path[..path.len().min(SUBJECT_MAX)]);
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        reply::string(&mut bytes, text);
        bytes
    }

    #[test]
    fn each_code_and_extension_stands_once_in_the_table() {
        for (n, a) in TABLE.iter().enumerate() {
            for b in &TABLE[n + 1..] {
                assert!(a.code != b.code || (a.code == EXTENDED && a.name != b.name), "{} and {}", a.name, b.name);
            }
            assert!(a.code != WRITE && a.code != INIT);
        }
    }

    #[test]
    fn whatever_changes_something_is_for_providers() {
        for operation in TABLE {
            let looks =
                ["OPEN", "CLOSE", "READ", "LSTAT", "FSTAT", "OPENDIR", "READDIR", "REALPATH", "STAT", "READLINK"];
            let looks = looks.contains(&operation.name) || operation.name.contains("statvfs");
            let tells = ["limits@openssh.com", "expand-path@openssh.com", "home-directory"].contains(&operation.name)
                || operation.name.starts_with("check-file");
            assert_eq!(operation.whose == Whose::Everyone, looks || tells, "{}", operation.name);
        }
    }

    #[test]
    fn init_is_answered_with_version_3_and_the_extensions() {
        for hello_body in
            [&[0, 0, 0, 3][..], &[0, 0, 0, 6], &[[0, 0, 0, 3].as_slice(), &string(b"x"), &string(b"1")].concat()]
        {
            let version = hello(INIT, hello_body).unwrap();
            assert_eq!(version[4..9], [2, 0, 0, 0, 3]);
            let mut fields = Reader::new(&version[9..]);
            let mut names = Vec::new();
            while !fields.is_empty() {
                names.push(String::from_utf8(fields.string().unwrap().to_vec()).unwrap());
                fields.string().unwrap();
            }
            for name in [
                "posix-rename@openssh.com",
                "fsync@openssh.com",
                "statvfs@openssh.com",
                "fstatvfs@openssh.com",
                "limits@openssh.com",
                "home-directory",
                "expand-path@openssh.com",
                "check-file",
                "check-file-name",
                "check-file-handle",
            ] {
                assert!(names.iter().any(|known| known == name), "{name}");
            }
            assert!(!names.iter().any(|name| name == "hardlink@openssh.com"));
        }
    }

    #[test]
    fn nothing_comes_before_init_and_a_malformed_init_is_none() {
        assert!(hello(17, &[0, 0, 0, 1]).is_err());
        for body in [&[][..], &[0, 0, 3], &[0, 0, 0, 3, 0], &[0, 0, 0, 3, 0, 0, 0, 0]] {
            assert!(hello(INIT, body).is_err(), "{body:?}");
        }
    }

    #[test]
    fn a_request_that_is_not_exactly_its_fields_is_malformed() {
        let stat = string(b"/a");
        assert_eq!(find(17, Reader::new(&stat)).unwrap().0.name, "STAT");
        for end in 0..stat.len() {
            assert!(find(17, Reader::new(&stat[..end])).is_err(), "cut at {end}");
        }
        assert!(find(17, Reader::new(&[stat.as_slice(), b"x"].concat())).is_err(), "a byte too many");
        let rename = [string(b"posix-rename@openssh.com"), string(b"a"), string(b"b")].concat();
        assert_eq!(find(EXTENDED, Reader::new(&rename)).unwrap().0.name, "posix-rename@openssh.com");
        assert!(find(EXTENDED, Reader::new(&rename[..rename.len() - 1])).is_err());
        assert!(find(EXTENDED, Reader::new(&[0, 0, 0, 9])).is_err());
    }

    #[test]
    fn unknown_types_and_extensions_are_told_apart_from_malformed_ones() {
        let copy = [string(b"copy-data"), vec![1, 2, 3]].concat();
        assert_eq!(find(EXTENDED, Reader::new(&copy)).unwrap().0.name, UNKNOWN.name);
        for kind in [0, 2, 21, 101, 199, 201, 255] {
            assert_eq!(find(kind, Reader::new(&[1])).unwrap().0.name, UNKNOWN.name, "{kind}");
        }
    }
}
