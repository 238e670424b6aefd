//! Where a dispute pack goes: a folder, or one ZIP file with everything stored as it is (APPNOTE.TXT 6.3, "stored").
//!
//! Must never write over what is there; what it makes is for its owner alone.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use flate2::Crc;

/// The files of a pack, by name, in order.
pub(super) type Files = Vec<(String, Vec<u8>)>;

/// Writes the pack: a ZIP file where the name ends in `.zip`, else a folder.
///
/// # Errors
/// Something is there already, or the disk fails.
pub(super) fn write(out: &Path, files: &Files) -> io::Result<()> {
    if out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zip")) {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(out)?;
        file.write_all(&zip(files)?)?;
        return file.sync_all();
    }
    DirBuilder::new().mode(0o700).create(out)?;
    for (name, content) in files {
        let path = out.join(name);
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(content)?;
    }
    Ok(())
}

/// 1 January 1980, the first day that the format knows: packs of the same files are the same.
const DAY: u16 = 0x0021;
/// Names are UTF-8 (general purpose bit 11).
const UTF_8: u16 = 1 << 11;

fn zip(files: &Files) -> io::Result<Vec<u8>> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    let small = |size: usize| u32::try_from(size).map_err(|_| io::Error::other("the pack is larger than 4 GiB"));
    for (name, content) in files {
        let mut crc = Crc::new();
        crc.update(content);
        let (offset, size) = (small(out.len())?, small(content.len())?);
        let mut common = Vec::new();
        for number in [10, UTF_8, 0, 0, DAY] {
            common.extend_from_slice(&u16::to_le_bytes(number));
        }
        for number in [crc.sum(), size, size] {
            common.extend_from_slice(&number.to_le_bytes());
        }
        // Names here are short.
        common.extend_from_slice(&(name.len() as u16).to_le_bytes());
        common.extend_from_slice(&[0, 0]);
        out.extend_from_slice(b"PK\x03\x04");
        out.extend_from_slice(&common);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(content);

        directory.extend_from_slice(b"PK\x01\x02\x14\x03");
        directory.extend_from_slice(&common);
        // No comment, disk 0, no internal attributes; a file that its owner may read and write.
        directory.extend_from_slice(&[0; 6]);
        directory.extend_from_slice(&(0o100_600_u32 << 16).to_le_bytes());
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let (start, size, count) = (small(out.len())?, small(directory.len())?, files.len() as u16);
    out.append(&mut directory);
    out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&size.to_le_bytes());
    out.extend_from_slice(&start.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn files() -> Files {
        vec![
            ("README.txt".into(), b"read\n".to_vec()),
            ("proofs/1.tlog-proof".into(), vec![7; 70_000]),
            ("ü".into(), vec![]),
        ]
    }

    #[test]
    fn a_folder_is_private_and_never_written_into() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("pack");
        write(&out, &files()).unwrap();
        assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read(out.join("proofs/1.tlog-proof")).unwrap(), vec![7; 70_000]);
        assert!(write(&out, &files()).is_err());
    }

    #[test]
    fn a_zip_is_read_by_another_implementation() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("pack.zip");
        write(&out, &files()).unwrap();
        let script = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; \
                      print([(i.filename, i.file_size) for i in z.infolist()])";
        let done = std::process::Command::new("python3").args(["-c", script]).arg(&out).output().unwrap();
        let told = String::from_utf8_lossy(&done.stdout).into_owned();
        assert_eq!(told.trim(), "[('README.txt', 5), ('proofs/1.tlog-proof', 70000), ('ü', 0)]", "{done:?}");
        assert!(write(&out, &files()).is_err(), "it is there already");
    }
}
