//! Refusals as the wire tells them: status codes and messages (draft-ietf-secsh-filexfer-02, section 7).
//!
//! Does no input or output. Called by `reply` and `dispatch`.

use russh_sftp::protocol::StatusCode;

use super::Broken;
use super::wire::Malformed;
use crate::types::{Refusal, RefusalKind};

/// Most bytes of a message in a status.
const MESSAGE_MAX: usize = 1024;

/// Why an operation was not done.
#[derive(Debug)]
pub(super) enum No {
    /// The client is told, and goes on.
    Refused(Refusal),
    /// The session ends.
    Broken(Broken),
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        No::Refused(refusal)
    }
}
impl From<Malformed> for No {
    fn from(malformed: Malformed) -> Self {
        No::Broken(malformed.into())
    }
}
impl From<Malformed> for Broken {
    fn from(malformed: Malformed) -> Self {
        Broken(format!("the client sent {}", malformed.0))
    }
}

pub(super) fn code(kind: RefusalKind) -> StatusCode {
    match kind {
        RefusalKind::NotFound => StatusCode::NoSuchFile,
        RefusalKind::Denied => StatusCode::PermissionDenied,
        RefusalKind::Unsupported => StatusCode::OpUnsupported,
        // Version 3 has no finer code for either; the message tells them apart.
        RefusalKind::Rejected | RefusalKind::Failure => StatusCode::Failure,
    }
}

/// The reason as a status message: whole characters, bounded.
pub(super) fn message(refusal: &Refusal) -> &str {
    cut(&refusal.reason, MESSAGE_MAX)
}

/// The beginning of `text`, at most `max` bytes, whole characters.
pub(super) fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let refusal = Refusal::denied("ä".repeat(1000));
        assert_eq!(message(&refusal).len(), MESSAGE_MAX);
        assert_eq!(cut("aä", 2), "a");
        assert_eq!(cut("aä", 9), "aä");
    }

    #[test]
    fn every_kind_of_refusal_has_its_code() {
        let codes = [
            (RefusalKind::NotFound, 2),
            (RefusalKind::Denied, 3),
            (RefusalKind::Rejected, 4),
            (RefusalKind::Failure, 4),
            (RefusalKind::Unsupported, 8),
        ];
        for (kind, number) in codes {
            assert_eq!(code(kind) as u32, number);
        }
    }
}
