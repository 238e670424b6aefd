//! Files replaced all together or not at all, each one atomically, with its mode and owner kept.
//!
//! Order of system calls for each file: create beside it, write, fsync, rename over it, fsync the folder. A crash
//! between two files of a change leaves the first ones changed, which is why callers order them so that each step is
//! valid. Called by [`super::Editor`] and `init`.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cli::outcome::Stop;

/// One file of a change: its text before and after; none is no file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    pub path: PathBuf,
    pub before: Option<String>,
    pub after: Option<String>,
}

impl FileChange {
    /// Reads the file as it is now, to be changed.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(path: PathBuf) -> anyhow::Result<Self> {
        let before = read(&path)?;
        Ok(Self { path, after: before.clone(), before })
    }
    /// The text to be edited; empty when there is no file.
    pub fn text(&self) -> &str {
        self.after.as_deref().unwrap_or("")
    }
}

/// The file's text, or none when there is no such file.
pub fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}

/// Writes all files in order, then asks `verdict`; if that or a write fails, all are put back as they were.
///
/// # Errors
/// What the verdict said or which file failed; and, should putting back fail too, which file is now different.
pub fn replace(files: &[FileChange], verdict: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    for file in files {
        if read(&file.path)? != file.before {
            let path = file.path.display();
            return Err(Stop::No(format!("{path} was changed by somebody else just now: try again")).into());
        }
    }
    let mut done: Vec<(&FileChange, Option<PathBuf>)> = Vec::new();
    let mut result = Ok(());
    for file in files {
        match put(&file.path, file.after.as_deref()) {
            Ok(made) => done.push((file, made)),
            Err(error) => {
                // It may have got as far as its new name.
                done.push((file, None));
                result = Err(error).with_context(|| format!("{} cannot be written", file.path.display()));
                break;
            }
        }
    }
    let Err(error) = result.and_then(|()| verdict()) else { return Ok(()) };
    for (file, made) in done.into_iter().rev() {
        if let Err(worse) = put(&file.path, file.before.as_deref()) {
            let path = file.path.display();
            return Err(error.context(format!(
                "{path} could not be put back as it was ({worse}): look at it before anything else"
            )));
        }
        if let Some(folder) = made {
            let _ = fs::remove_dir(folder);
        }
    }
    Err(error)
}

/// Puts one file in place, or removes it. Returns the folder that had to be made for it, if any.
fn put(path: &Path, text: Option<&str>) -> io::Result<Option<PathBuf>> {
    let Some(text) = text else {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        sync_folder(path)?;
        return Ok(None);
    };
    let folder = parent(path);
    let made = if folder.is_dir() {
        None
    } else {
        make_folder_like_parent(folder)?;
        Some(folder.to_owned())
    };
    write(path, text)?;
    Ok(made)
}

/// Replaces or creates a file atomically and durably. Through a symbolic link, what it points to is replaced.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let old = fs::metadata(&path).ok();
    let mode = old.as_ref().map_or(0o644, |old| old.permissions().mode() & 0o7777);
    let owner = match &old {
        Some(old) => owner_of(old),
        None => owner_of(&fs::metadata(parent(&path))?),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = parent(&path).join(format!(".{name}.nightsafe-{}", std::process::id()));
    let written = write_beside(&beside, text, mode, owner).and_then(|()| fs::rename(&beside, &path));
    if let Err(error) = written {
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    sync_folder(&path)
}

fn write_beside(beside: &Path, text: &str, mode: u32, owner: (u32, u32)) -> io::Result<()> {
    // Left by a killed command with the same process id.
    let _ = fs::remove_file(beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    file.write_all(text.as_bytes())?;
    // Only root can give a file away; for others the file is theirs anyway.
    let _ = std::os::unix::fs::fchown(&file, Some(owner.0), Some(owner.1));
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

/// Makes a folder for its owner alone, if it is not there.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn make_folder_like_parent(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o755).recursive(true).create(folder)?;
    let (user, group) = owner_of(&fs::metadata(parent(folder))?);
    let _ = std::os::unix::fs::chown(folder, Some(user), Some(group));
    sync_folder(folder)
}

/// Gives the named files of `folder` to the folder's owner, as far as they are not. Only root can; others need not.
pub fn hand_over(folder: &Path, names: &[&str]) {
    let Ok(owner) = fs::metadata(folder).map(|own| owner_of(&own)) else { return };
    for name in names {
        let path = folder.join(name);
        if fs::symlink_metadata(&path).is_ok_and(|own| own.is_file() && owner_of(&own) != owner) {
            let _ = std::os::unix::fs::lchown(&path, Some(owner.0), Some(owner.1));
        }
    }
}

fn owner_of(file: &Metadata) -> (u32, u32) {
    (file.uid(), file.gid())
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the names in the file's folder durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    match File::open(parent(path)) {
        Ok(folder) => folder.sync_all(),
        // Removed with its last file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &Path, after: Option<&str>) -> FileChange {
        FileChange { after: after.map(str::to_owned), ..FileChange::read(path.to_owned()).unwrap() }
    }

    #[test]
    fn a_refused_change_leaves_every_file_and_folder_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new, gone) = (folder.path().join("a"), folder.path().join("keys/org/b"), folder.path().join("c"));
        fs::write(&old, "one").unwrap();
        fs::write(&gone, "three").unwrap();
        fs::create_dir(folder.path().join("keys")).unwrap();
        let files = [change(&old, Some("two")), change(&new, Some("new")), change(&gone, None)];
        let verdict = || {
            assert_eq!(fs::read_to_string(&old).unwrap(), "two");
            assert!(new.exists() && !gone.exists());
            anyhow::bail!("no")
        };
        assert_eq!(replace(&files, verdict).unwrap_err().to_string(), "no");
        assert_eq!(fs::read_to_string(&old).unwrap(), "one");
        assert_eq!(fs::read_to_string(&gone).unwrap(), "three");
        assert!(!new.parent().unwrap().exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "nothing is left beside");
    }

    #[test]
    fn an_accepted_change_keeps_the_mode_and_a_symbolic_link() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&real, "one").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        replace(&[change(&link, Some("two"))], || Ok(())).unwrap();
        assert_eq!(fs::read_to_string(&real).unwrap(), "two");
        assert_eq!(fs::metadata(&real).unwrap().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_file_that_changed_meanwhile_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "one").unwrap();
        let mine = change(&path, Some("mine"));
        fs::write(&path, "theirs").unwrap();
        assert!(replace(&[mine], || Ok(())).unwrap_err().to_string().contains("somebody else"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
    }
}
