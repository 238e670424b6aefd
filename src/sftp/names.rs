//! Paths as clients write them, cut into components. What comes out are labels to compare and parse.
//!
//! Must never hand a component to the file system. Called by `tree` and REALPATH.

use crate::types::{Refusal, deceives};

/// Longest path in a request, in bytes.
pub(super) const PATH_MAX: usize = 4096;

/// The components of a path, absolute or relative to `/` alike: empty ones and `.` left out.
///
/// # Errors
/// A path that is too long, or climbs with `..`: a client that means another directory says so by its name.
pub(super) fn components(path: &[u8]) -> Result<Vec<&[u8]>, Refusal> {
    let components = split(path)?;
    if components.contains(&b"..".as_slice()) {
        return Err(Refusal::rejected("'..' is not followed in paths here: give the whole path, from '/'"));
    }
    Ok(components)
}

/// The absolute path that `path` comes to, for REALPATH: here `..` goes up, though never past `/`.
///
/// # Errors
/// A path that is too long, or that nothing here could ever have.
pub(super) fn absolute(path: &[u8]) -> Result<String, Refusal> {
    let mut kept = Vec::new();
    for component in split(path)? {
        if component == b".." {
            kept.pop();
            continue;
        }
        let text = std::str::from_utf8(component)
            .map_err(|_| Refusal::rejected("the path is not UTF-8: set your client's file name encoding to UTF-8"))?;
        if text.chars().any(|c| c.is_control() || deceives(c)) {
            return Err(Refusal::rejected(
                "the path contains a character that cannot be seen: nothing here has such a name",
            ));
        }
        kept.push(text);
    }
    Ok(format!("/{}", kept.join("/")))
}

fn split(path: &[u8]) -> Result<Vec<&[u8]>, Refusal> {
    if path.len() > PATH_MAX {
        return Err(Refusal::rejected("the path is longer than 4096 bytes: no file here has such a path"));
    }
    Ok(path.split(|&byte| byte == b'/').filter(|component| !component.is_empty() && *component != b".").collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_path_has_the_same_components() {
        for path in ["/a/b", "a/b", "//a///b/", "./a/./b/.", "/./a/b"] {
            assert_eq!(components(path.as_bytes()).unwrap(), [b"a", b"b"], "{path}");
        }
        for root in ["", "/", ".", "./", "//"] {
            assert!(components(root.as_bytes()).unwrap().is_empty(), "{root:?}");
        }
        assert_eq!(components(b"/...").unwrap(), [b"..."]);
    }

    #[test]
    fn climbing_is_refused_but_where_it_is_only_resolved() {
        for path in ["..", "/a/../b", "../../etc/passwd", "/a/.."] {
            assert!(components(path.as_bytes()).is_err(), "{path}");
        }
        for (path, resolved) in [
            ("..", "/"),
            ("/a/../b", "/b"),
            ("../../etc", "/etc"),
            ("/a/b/..", "/a"),
            (".", "/"),
            ("", "/"),
            ("x", "/x"),
        ] {
            assert_eq!(absolute(path.as_bytes()).unwrap(), resolved, "{path}");
        }
    }

    #[test]
    fn paths_that_nothing_has_are_not_resolved() {
        for path in [&b"/\xff"[..], b"/a\n", b"/a\x00b", "/\u{202e}txt.exe".as_bytes(), &[b'a'; PATH_MAX + 1]] {
            assert!(absolute(path).is_err(), "{path:?}");
        }
        assert!(absolute(&[b'a'; PATH_MAX]).is_ok());
        assert!(components(&[b'a'; PATH_MAX + 1]).is_err());
    }
}
