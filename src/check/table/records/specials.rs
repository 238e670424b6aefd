//! Where in 64 bytes something stands that a record's structure could turn on.
//!
//! Plain integer arithmetic on eight bytes at a time: most bytes of a table are content and are never looked at one by
//! one. Called by `records`.

/// Bytes looked at in one go.
pub(super) const BLOCK: usize = 64;

const LOW: u64 = 0x7F7F_7F7F_7F7F_7F7F;
const HIGH: u64 = 0x8080_8080_8080_8080;
const ONES: u64 = 0x0101_0101_0101_0101;

/// The bytes that matter besides controls: the delimiter and the quote, each repeated in eight places.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    delimiter: u64,
    quote: u64,
}

impl Wanted {
    pub(super) fn new(delimiter: u8, quote: Option<u8>) -> Self {
        let spread = |byte: u8| ONES * u64::from(byte);
        Self { delimiter: spread(delimiter), quote: spread(quote.unwrap_or(delimiter)) }
    }

    /// A bit for each byte that is the delimiter, the quote or an ASCII control (line ends, NUL, tab, DEL among them);
    /// the lowest bit is the first byte.
    #[inline]
    pub(super) fn find(self, block: &[u8; BLOCK]) -> u64 {
        let (words, _) = block.as_chunks::<8>();
        let mut found = 0;
        for (place, word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            found |= gather(self.marks(word)) << (place * 8);
        }
        found
    }

    /// The high bit of each byte that matters. No carry crosses bytes, since each has its high bit cleared first.
    #[inline]
    fn marks(self, word: u64) -> u64 {
        let low = word & LOW;
        // 0x20 and above reach the high bit; so do 0x7F and one.
        let printable = low + 0x6060_6060_6060_6060;
        let delete = low + ONES;
        let control = !printable | delete;
        // The same seven bits as the wanted byte, which is ASCII, leave nothing; anything else reaches the high bit.
        let delimiter = !((low ^ self.delimiter) + LOW);
        let quote = !((low ^ self.quote) + LOW);
        (control | delimiter | quote) & !word & HIGH
    }
}

/// The eight high bits side by side.
#[inline]
fn gather(marks: u64) -> u64 {
    marks.wrapping_mul(0x0002_0408_1020_4081) >> 56
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_found_at_each_place_exactly_when_it_matters() {
        for (delimiter, quote) in [(b',', Some(b'"')), (b';', Some(b'\'')), (b'\t', None), (b'|', Some(b'"'))] {
            let wanted = Wanted::new(delimiter, quote);
            for byte in 0..=255u8 {
                for place in 0..BLOCK {
                    let mut block = [0xC3; BLOCK];
                    block[(place + 1) % BLOCK] = b'~';
                    block[place] = byte;
                    let matters = byte == delimiter || Some(byte) == quote || byte < 0x20 || byte == 0x7F;
                    assert_eq!(wanted.find(&block), u64::from(matters) << place, "{byte:#x} at {place}");
                }
            }
        }
    }

    #[test]
    fn neighbours_do_not_hide_each_other() {
        let mut block = [b','; BLOCK];
        assert_eq!(Wanted::new(b',', Some(b'"')).find(&block), u64::MAX);
        block[7] = 0xAC;
        assert_eq!(Wanted::new(b',', Some(b'"')).find(&block), !(1 << 7));
    }
}
