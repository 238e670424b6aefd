//! DEFLATE (RFC 1951) and stored bytes: the content of one member, counted, digested and given on.
//!
//! Knows no container. Called by `gzip` and `zip`.

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::{Damaged, Meter, Out};

/// The largest piece that is given on.
const PIECE: usize = 64 << 10;

/// One member's content under way. Reused from member to member.
pub(super) struct Content {
    engine: Decompress,
    piece: Box<[u8]>,
    crc: Crc,
    size: u64,
}

impl Default for Content {
    fn default() -> Self {
        Self { engine: Decompress::new(false), piece: vec![0; PIECE].into_boxed_slice(), crc: Crc::new(), size: 0 }
    }
}

/// How far a call came.
pub(super) struct Taken {
    /// Packed bytes that were used.
    pub bytes: usize,
    /// The content ended with the last of them.
    pub ended: bool,
}

impl Content {
    /// Makes ready for the next member.
    pub(super) fn reset(&mut self) {
        self.engine.reset(false);
        self.crc.reset();
        self.size = 0;
    }

    /// CRC-32 of what came out so far.
    pub(super) fn crc(&self) -> u32 {
        self.crc.sum()
    }

    /// Bytes that came out so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Unpacks; ends early when the content ends, or `out` wants no more.
    pub(super) fn inflate(&mut self, bytes: &[u8], meter: &mut Meter, out: Out<'_>) -> Result<Taken, Damaged> {
        let mut used = 0;
        loop {
            let room = meter.room().min(PIECE);
            let (before_in, before_out) = (self.engine.total_in(), self.engine.total_out());
            let status = self.engine.decompress(&bytes[used..], &mut self.piece[..room], FlushDecompress::None);
            // Neither can be more than the lengths of the slices.
            let took = (self.engine.total_in() - before_in) as usize;
            let gave = (self.engine.total_out() - before_out) as usize;
            used += took;
            meter.taken += took as u64;
            self.give(gave, meter, &mut *out)?;
            if meter.stopped {
                return Ok(Taken { bytes: used, ended: false });
            }
            match status {
                Ok(Status::StreamEnd) => return Ok(Taken { bytes: used, ended: true }),
                // More may wait inside as long as a piece was filled.
                Ok(_) if used == bytes.len() && gave < room => return Ok(Taken { bytes: used, ended: false }),
                Ok(_) if took > 0 || gave > 0 => {}
                Ok(_) | Err(_) => return Err(Damaged::structure("its compressed data breaks off in nonsense")),
            }
        }
    }

    /// Passes on bytes that are not compressed.
    pub(super) fn stored(&mut self, bytes: &[u8], meter: &mut Meter, out: Out<'_>) -> Result<(), Damaged> {
        let mut rest = bytes;
        while !rest.is_empty() && !meter.stopped {
            let (piece, after) = rest.split_at(rest.len().min(meter.room()).min(PIECE));
            meter.taken += piece.len() as u64;
            self.crc.update(piece);
            self.size += piece.len() as u64;
            meter.give(piece, &mut *out)?;
            rest = after;
        }
        Ok(())
    }

    fn give(&mut self, gave: usize, meter: &mut Meter, out: Out<'_>) -> Result<(), Damaged> {
        let piece = &self.piece[..gave];
        self.crc.update(piece);
        self.size += gave as u64;
        if gave == 0 { Ok(()) } else { meter.give(piece, out) }
    }
}
