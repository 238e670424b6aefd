//! A set of texts that is asked for each cell: missing values, enum members, boolean words.
//!
//! Words are grouped by length and compared as numbers made of their first and last bytes, so that most cells are told
//! apart without touching a word. Called by `constraints`, `kind` and the judge.

/// The set; what it was made of, in that order, is kept elsewhere.
#[derive(Debug, Clone, Default)]
pub(super) struct Words {
    /// Whether the empty text is one of them.
    empty: bool,
    /// A bit for each length below 64 that a word has: most texts are told apart by it alone.
    lengths: u64,
    /// Where the words of each length begin in `keys`; one more at the end.
    begins: Vec<u32>,
    keys: Vec<u64>,
    words: Vec<Box<str>>,
}

impl Words {
    /// At most 2^32 words.
    pub fn new<'w>(words: impl IntoIterator<Item = &'w str>) -> Self {
        let mut words: Vec<Box<str>> = words.into_iter().map(Box::from).collect();
        words.sort_by_key(|word| (word.len(), key(word.as_bytes())));
        words.dedup();
        let longest = words.last().map_or(0, |word| word.len());
        let mut begins = Vec::new();
        if !words.is_empty() && longest < 1 << 16 {
            begins = (0..=longest + 1).map(|length| words.partition_point(|word| word.len() < length) as u32).collect();
        }
        let empty = words.first().is_some_and(|word| word.is_empty());
        let keys = words.iter().map(|word| key(word.as_bytes())).collect();
        let lengths = words.iter().filter(|word| word.len() < 64).fold(0, |bits, word| bits | 1 << word.len());
        Self { empty, lengths, begins, keys, words }
    }

    /// In no order that means anything, each once.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(AsRef::as_ref)
    }

    #[inline]
    pub fn has(&self, text: &str) -> bool {
        let length = text.len();
        if length < 64 && self.lengths >> length & 1 == 0 {
            return false;
        }
        if length == 0 {
            return self.empty;
        }
        self.has_of_length(text, length)
    }

    fn has_of_length(&self, text: &str, length: usize) -> bool {
        let Some([begin, end]) = self.begins.get(length..length + 2) else {
            // Sets with words past 64 KiB have no index; they are searched as a whole.
            return self.begins.is_empty() && self.words.iter().any(|word| **word == *text);
        };
        if begin == end {
            return false;
        }
        self.has_among(text, *begin as usize, *end as usize)
    }

    fn has_among(&self, text: &str, begin: usize, end: usize) -> bool {
        let wanted = key(text.as_bytes());
        let Some(keys) = self.keys.get(begin..end) else { return false };
        let first = match keys.len() {
            0..=16 => keys.iter().position(|key| *key == wanted),
            _ => keys
                .binary_search(&wanted)
                .ok()
                .map(|at| keys.get(..at).map_or(at, |k| k.partition_point(|k| *k < wanted))),
        };
        let Some(first) = first else { return false };
        let same = keys.iter().skip(first).take_while(|key| **key == wanted).count();
        // Up to eight bytes the key is the word.
        text.len() <= 8
            || self.words.iter().skip(begin + first).take(same).any(|word| word.as_bytes() == text.as_bytes())
    }
}

/// Equal for equal texts; different for different texts of one length up to eight bytes.
#[inline]
fn key(text: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        return if text.len() == 8 { first } else { first ^ last.rotate_left(29) };
    }
    if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        return u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32;
    }
    text.iter().fold(0, |key, byte| key << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_set_is_found_and_nothing_else() {
        let words: Vec<String> =
            (0..500).map(|n| "ab".repeat(n % 23) + &n.to_string()).chain([String::new()]).collect();
        let set = Words::new(words.iter().map(String::as_str));
        for word in &words {
            assert!(set.has(word), "{word:?}");
            assert!(!set.has(&format!("{word} ")) && !set.has(&format!("x{word}")), "{word:?}");
        }
        assert!(!Words::new(["a"]).has("") && !Words::new([]).has("") && !Words::new([]).has("a"));
    }

    #[test]
    fn words_with_equal_ends_are_told_apart() {
        let set = Words::new(["12345678-a-12345678", "12345678-b-12345678"]);
        assert!(set.has("12345678-a-12345678") && !set.has("12345678-c-12345678"));
        let long = "x".repeat(70_000);
        let set = Words::new([long.as_str(), "y"]);
        assert!(set.has(&long) && set.has("y") && !set.has("z"));
    }
}
