//! Handing over to a folder: `DIR/<delivery>/` with the file, its manifest, its restricted rows and its proof, there whole or
//! not at all.
//!
//! Must never leave a half-written delivery under its final name, nor touch one that is already there, but for its proof: the
//! one that was verified last is kept. Called by `deliver`.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tokio_util::sync::CancellationToken;

use super::Enclosed;
use super::disk::Part;
use super::open::{Keys, OpenError, PIECE, digest_of};
use super::queue::{Claimed, Manifest};
use super::restricted::Rows;

const MANIFEST: &str = "manifest.json";
/// There when rows are restricted.
const RESTRICTED: &str = "restricted.txt";
/// There when a proof was demanded; called as the gateway calls it.
const PROOF: &str = "receipt.tlog-proof";

/// Writes the delivery under `folder`, durable on return. One that is there already, identical, is left as it is.
///
/// # Errors
/// [`OpenError::Sink`] with the path when the disk fails, or when something else is in the way.
pub fn hand_over(
    folder: &Path,
    keys: &Keys,
    part: &Part,
    claimed: &Claimed,
    enclosed: &Enclosed,
    cancel: &CancellationToken,
) -> Result<PathBuf, OpenError> {
    let manifest = &claimed.manifest;
    let name = file_name(manifest);
    let target = folder.join(manifest.delivery.to_string());
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at(folder))?;
    let partial = folder.join(format!("{}.partial", manifest.delivery));
    let _held = hold(&partial)?;
    if is_there(&target, &name, manifest, &enclosed.restricted)? {
        keep_proof(&partial, &target, enclosed)?;
        let _ = std::fs::remove_dir(&partial);
        return Ok(target);
    }
    let written = write(&partial, &name, keys, part, claimed, enclosed, cancel);
    if written.is_err() {
        // Plaintext of a delivery that was not handed over does not stay.
        let _ = std::fs::remove_dir_all(&partial);
    }
    written?;
    std::fs::rename(&partial, &target).map_err(at(&target))?;
    sync(folder)?;
    Ok(target)
}

/// Makes `partial`, empty and locked until the result is dropped: a loader whose lease ran out may still be at work on the
/// same delivery, with a work folder of its own.
fn hold(partial: &Path) -> Result<File, OpenError> {
    // Between making and lock the former holder may move or remove it: then what we hold is no longer it.
    for _ in 0..3 {
        match DirBuilder::new().mode(0o700).create(partial) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(at(partial)(e)),
            _ => {}
        }
        let Ok(held) = File::open(partial) else { continue };
        if flock(&held, FlockOperation::NonBlockingLockExclusive) == Err(rustix::io::Errno::WOULDBLOCK) {
            return Err(at(partial)(std::io::Error::other("another loader is still writing this delivery")));
        }
        let there = std::fs::metadata(partial).ok().map(|there| there.ino());
        if there != Some(held.metadata().map_err(at(partial))?.ino()) {
            continue;
        }
        // What a killed loader left.
        for entry in std::fs::read_dir(partial).map_err(at(partial))? {
            let left = entry.map_err(at(partial))?.path();
            std::fs::remove_file(&left).map_err(at(&left))?;
        }
        return Ok(held);
    }
    Err(at(partial)(std::io::Error::other("it keeps vanishing")))
}

/// The file's name in the delivery's folder. A file called like the manifest, the list of rows or the proof steps aside.
fn file_name(manifest: &Manifest) -> String {
    let name = manifest.name.as_str();
    match [MANIFEST, RESTRICTED, PROOF].iter().any(|taken| name.eq_ignore_ascii_case(taken)) {
        true => format!("_{name}"),
        false => name.to_owned(),
    }
}

fn is_there(target: &Path, name: &str, manifest: &Manifest, restricted: &Rows) -> Result<bool, OpenError> {
    if !target.try_exists().map_err(at(target))? {
        return Ok(false);
    }
    let file = target.join(name);
    let found = File::open(&file).and_then(|f| digest_of(f, manifest.size.saturating_add(1)));
    let whole = found.is_ok_and(|found| found == (manifest.size, manifest.sha256));
    let listed = match restricted.is_empty() {
        true => !target.join(RESTRICTED).exists(),
        false => std::fs::read_to_string(target.join(RESTRICTED)).is_ok_and(|list| list == restricted.text()),
    };
    if whole && listed && target.join(MANIFEST).is_file() {
        return Ok(true);
    }
    let differs = "it is there already and is not this delivery: move it away, then retry the delivery";
    Err(at(target)(std::io::Error::other(differs)))
}

/// Puts the proof into the folder of a delivery that was written before: without it, or with one that fewer have cosigned.
fn keep_proof(partial: &Path, target: &Path, enclosed: &Enclosed) -> Result<(), OpenError> {
    let Some(proof) = &enclosed.proof else { return Ok(()) };
    let (new, kept) = (partial.join(PROOF), target.join(PROOF));
    if std::fs::read(&kept).is_ok_and(|there| there == *proof) {
        return Ok(());
    }
    bytes(&new, proof)?;
    std::fs::rename(&new, &kept).map_err(at(&kept))?;
    sync(target)
}

fn write(
    partial: &Path,
    name: &str,
    keys: &Keys,
    part: &Part,
    claimed: &Claimed,
    enclosed: &Enclosed,
    cancel: &CancellationToken,
) -> Result<(), OpenError> {
    if !enclosed.restricted.is_empty() {
        bytes(&partial.join(RESTRICTED), enclosed.restricted.text().as_bytes())?;
    }
    if let Some(proof) = &enclosed.proof {
        bytes(&partial.join(PROOF), proof)?;
    }
    let file = partial.join(name);
    let mut out = BufWriter::with_capacity(4 * PIECE, create(&file)?);
    keys.stream(part, &claimed.manifest, cancel, |piece| out.write_all(piece)).map_err(|error| match error {
        OpenError::Sink(e) => at(&file)(e),
        other => other,
    })?;
    out.into_inner().map_err(|e| at(&file)(e.into_error()))?.sync_all().map_err(at(&file))?;

    bytes(&partial.join(MANIFEST), claimed.manifest_file().as_bytes())?;
    sync(partial)
}

fn bytes(file: &Path, content: &[u8]) -> Result<(), OpenError> {
    let mut out = create(file)?;
    out.write_all(content).map_err(at(file))?;
    out.sync_all().map_err(at(file))
}

fn create(file: &Path) -> Result<File, OpenError> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(at(file))
}

/// Makes a folder's entries durable.
fn sync(folder: &Path) -> Result<(), OpenError> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(at(folder))
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> OpenError + use<> {
    let path = path.display().to_string();
    move |e| OpenError::Sink(std::io::Error::new(e.kind(), format!("{path}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::super::open::tests::{Fixture, fixture};
    use super::super::restricted::tests::rows;
    use super::*;

    fn over(f: &Fixture) -> Result<PathBuf, OpenError> {
        let folder = f.folder.path().join("in/box");
        hand_over(&folder, &f.keys, &f.part, &f.claimed, &Enclosed::default(), &CancellationToken::new())
    }

    #[test]
    fn file_and_manifest_appear_together_under_the_delivery() {
        let f = fixture("a b.csv", b"one,two\n");
        let target = over(&f).unwrap();
        assert_eq!(target.file_name().unwrap().to_str().unwrap(), f.claimed.manifest.delivery.to_string());
        assert_eq!(std::fs::read(target.join("a b.csv")).unwrap(), b"one,two\n");
        assert_eq!(std::fs::read_to_string(target.join("manifest.json")).unwrap(), f.claimed.manifest_file());
        assert_eq!(std::fs::read_dir(target.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn restricted_rows_lie_beside_the_manifest_and_belong_to_the_delivery() {
        let mut f = fixture("restricted.txt", b"one,two\n");
        let enclosed = Enclosed { restricted: rows(&mut f.claimed, "17\n20-24\n", 6), proof: None };
        let folder = f.folder.path().join("in");
        let over = |f: &Fixture| hand_over(&folder, &f.keys, &f.part, &f.claimed, &enclosed, &CancellationToken::new());
        let target = over(&f).unwrap();
        assert_eq!(std::fs::read_to_string(target.join("restricted.txt")).unwrap(), "17\n20-24\n");
        assert_eq!(std::fs::read(target.join("_restricted.txt")).unwrap(), b"one,two\n");
        assert_eq!(over(&f).unwrap(), target);
        // Without its list it is not this delivery any more.
        std::fs::remove_file(target.join("restricted.txt")).unwrap();
        assert!(over(&f).unwrap_err().to_string().contains("move it away"));
    }

    #[test]
    fn the_proof_that_was_verified_lies_beside_the_file_and_comes_to_one_that_is_there() {
        let f = fixture("receipt.tlog-proof", b"one,two\n");
        let folder = f.folder.path().join("in");
        let with = |proof: Option<&[u8]>| {
            let enclosed = Enclosed { proof: proof.map(<[u8]>::to_vec), ..Enclosed::default() };
            hand_over(&folder, &f.keys, &f.part, &f.claimed, &enclosed, &CancellationToken::new()).unwrap()
        };
        let target = with(None);
        let kept = || std::fs::read(target.join("receipt.tlog-proof")).ok();
        assert_eq!(kept(), None);
        for (proof, then) in [(Some(&b"first"[..]), "first"), (None, "first"), (Some(b"second"), "second")] {
            assert_eq!(with(proof), target);
            assert_eq!(kept().as_deref(), Some(then.as_bytes()));
            assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        }
        assert_eq!(std::fs::read(target.join("_receipt.tlog-proof")).unwrap(), b"one,two\n");
        // With the rest, when all of it is new.
        std::fs::remove_dir_all(&target).unwrap();
        with(Some(b"third"));
        assert_eq!(kept().as_deref(), Some(&b"third"[..]));
    }

    #[test]
    fn a_repeated_delivery_finds_itself_and_changes_nothing() {
        let f = fixture("a.csv", b"one,two\n");
        let target = over(&f).unwrap();
        let before = std::fs::metadata(target.join("a.csv")).unwrap().modified().unwrap();
        assert_eq!(over(&f).unwrap(), target);
        assert_eq!(std::fs::metadata(target.join("a.csv")).unwrap().modified().unwrap(), before);
    }

    #[test]
    fn something_else_in_its_place_is_not_touched() {
        let f = fixture("a.csv", b"one,two\n");
        let target = over(&f).unwrap();
        std::fs::write(target.join("a.csv"), b"edited\n").unwrap();
        assert!(over(&f).unwrap_err().to_string().contains("move it away"));
        assert_eq!(std::fs::read(target.join("a.csv")).unwrap(), b"edited\n");
    }

    #[test]
    fn leftovers_of_a_killed_loader_are_replaced() {
        let f = fixture("a.csv", b"one,two\n");
        let partial = f.folder.path().join("in/box").join(format!("{}.partial", f.claimed.manifest.delivery));
        std::fs::create_dir_all(&partial).unwrap();
        std::fs::write(partial.join("a.csv"), b"one,").unwrap();
        let target = over(&f).unwrap();
        assert_eq!(std::fs::read(target.join("a.csv")).unwrap(), b"one,two\n");
        assert!(!partial.exists());
    }

    #[test]
    fn two_loaders_do_not_write_one_delivery_over_each_other() {
        let f = fixture("a.csv", b"one,two\n");
        let folder = f.folder.path().join("in/box");
        std::fs::create_dir_all(&folder).unwrap();
        let partial = folder.join(format!("{}.partial", f.claimed.manifest.delivery));
        let other = hold(&partial).unwrap();
        std::fs::write(partial.join("a.csv"), b"one,").unwrap();
        assert!(over(&f).unwrap_err().to_string().contains("another loader"));
        assert_eq!(std::fs::read(partial.join("a.csv")).unwrap(), b"one,", "the other's work is left alone");
        drop(other);
        over(&f).unwrap();
    }

    #[test]
    fn a_damaged_object_leaves_nothing_behind() {
        let f = fixture("a.csv", &vec![b'x'; 3 * PIECE]);
        f.part.handle(f.part.len().unwrap() - 1).unwrap().write_all(b"\0\0").unwrap();
        assert!(over(&f).is_err());
        assert_eq!(std::fs::read_dir(f.folder.path().join("in/box")).map(Iterator::count).unwrap_or(0), 0);
    }

    #[test]
    fn a_file_named_like_the_manifest_steps_aside() {
        let f = fixture("manifest.json", b"{}");
        let target = over(&f).unwrap();
        assert_eq!(std::fs::read(target.join("_manifest.json")).unwrap(), b"{}");
        assert_eq!(std::fs::read_to_string(target.join("manifest.json")).unwrap(), f.claimed.manifest_file());
    }
}
