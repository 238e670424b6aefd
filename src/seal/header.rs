//! The header of an age file, found and digested without opening it.

use std::io::Read;

use ring::digest;

use crate::types::Sha256;

/// Bytes of a header that are looked at; one with a thousand recipients has some 200 KB.
const HEADER_MAX: u64 = 4 << 20;

/// SHA-256 of an age file's header: from its first byte to the newline that ends the MAC's line (age v1, "File format").
/// None when the file has no such line within 4 MiB.
///
/// # Errors
/// Those of reading.
pub fn header_digest(file: impl Read) -> std::io::Result<Option<Sha256>> {
    let mut file = file.take(HEADER_MAX);
    let mut context = digest::Context::new(&digest::SHA256);
    let (mut piece, mut line) = ([0; 4096], Vec::new());
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(None);
        }
        let mut rest = &piece[..read];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            context.update(&rest[..=end]);
            line.extend_from_slice(&rest[..end]);
            if line.starts_with(b"---") {
                let mut sha256 = [0; 32];
                sha256.copy_from_slice(context.finish().as_ref());
                return Ok(Some(Sha256(sha256)));
            }
            line.clear();
            rest = &rest[end + 1..];
        }
        context.update(rest);
        line.extend_from_slice(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Recipient, Sealer, envelope, generate_identity};
    use super::*;

    #[test]
    fn the_header_of_a_sealed_file_has_the_digest_that_its_sealer_told() {
        for count in [1, 3, 40] {
            let recipients: Vec<Recipient> = (0..count).map(|_| generate_identity().1.parse().unwrap()).collect();
            let (mut file, mut sealer) = Sealer::begin(&recipients).unwrap();
            let told = envelope(&file, &recipients).header;
            let mut chunk = b"a,b\n--- x\n".to_vec();
            sealer.seal(&mut chunk, true).unwrap();
            file.extend(chunk);
            assert_eq!(header_digest(file.as_slice()).unwrap(), Some(told));
            let mut changed = file.clone();
            changed[30] ^= 1;
            assert_ne!(header_digest(changed.as_slice()).unwrap(), Some(told));
        }
        assert_eq!(header_digest(&b"no age file\n"[..]).unwrap(), None);
        assert_eq!(header_digest(&b""[..]).unwrap(), None);
    }
}
