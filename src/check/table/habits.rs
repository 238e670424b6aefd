//! What a dataset may accept, flag or reject in a cell whatever its type: formulas, hidden characters, text encoded twice,
//! controls.
//!
//! Looks at one cell and says yes or no; linear in its length. Called by `body`.

use crate::check::schema::Cells;

/// Whether a spreadsheet would execute the cell: it begins with `=`, `+`, `-`, `@` or a tab, or a full-width form of
/// them, and is no number (https://owasp.org/www-community/attacks/CSV_Injection).
#[inline]
pub(super) fn is_formula(cell: &str) -> bool {
    match cell.as_bytes().first() {
        Some(b'=' | b'@' | b'\t') => true,
        Some(b'+' | b'-') => !is_number(&cell[1..]),
        // U+FF1D, U+FF0B, U+FF0D and U+FF20 begin with this byte.
        Some(0xEF) => cell.starts_with(['＝', '＋', '－', '＠']),
        _ => false,
    }
}

/// A bit for each cell that [`is_formula`] holds for.
pub(super) fn formulas(cells: Cells<'_>) -> u64 {
    const FIRST: [bool; 256] = {
        let mut first = [false; 256];
        let mut bytes: &[u8] = b"=@\t+-\xEF";
        while let [byte, rest @ ..] = bytes {
            first[*byte as usize] = true;
            bytes = rest;
        }
        first
    };
    let text = cells.text.as_bytes();
    let mut found = 0;
    for (place, span) in cells.spans.iter().enumerate() {
        let first = text.get(span.start as usize).copied().unwrap_or_default();
        found |= u64::from(FIRST[usize::from(first)] & (span.end > span.start)) << place;
    }
    let mut rest = found;
    while rest != 0 {
        let place = rest.trailing_zeros() as usize;
        rest &= rest - 1;
        if !is_formula(cells.cell(place)) {
            found &= !(1 << place);
        }
    }
    found
}

/// Digits with at most one point and grouping commas; a lone sign (a dash for "nothing") counts as one too.
fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b','))
        && text.bytes().filter(|byte| *byte == b'.').count() <= 1
}

/// What a cell beyond ASCII holds of note.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Oddities {
    pub(super) hidden: bool,
    pub(super) mojibake: bool,
    /// A C1 control other than NEL, which is a line end.
    pub(super) control: bool,
}

/// Looks at a cell that is not ASCII.
pub(super) fn oddities(cell: &str) -> Oddities {
    let mut odd = Oddities::default();
    for (place, c) in cell.char_indices() {
        match c {
            '\0'..='\x7F' => {}
            '\u{80}'..='\u{9F}' => odd.control |= c != '\u{85}',
            'Â' | 'Ã' | 'â' | 'ï' | 'ð' => odd.mojibake |= encoded_twice(&cell[place..]),
            c => odd.hidden |= hides(c),
        }
    }
    odd
}

/// Characters that cannot be seen, or that change the order in which others are (Unicode Technical Report 36).
pub(super) fn hides(c: char) -> bool {
    matches!(c,
        '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2064}'
        | '\u{2066}'..='\u{2069}' | '\u{FEFF}' | '\u{E0000}'..='\u{E007F}')
}

/// Whether the text begins with characters whose windows-1252 bytes are one character of UTF-8.
fn encoded_twice(text: &str) -> bool {
    let mut bytes = text.chars().map(windows_1252);
    let (first, rest) = match bytes.next().flatten() {
        Some(first @ 0xC2..=0xC3) => (first, 1),
        Some(first @ 0xE2..=0xEF) => (first, 2),
        Some(first @ 0xF0) => (first, 3),
        _ => return false,
    };
    let mut sequence = [first; 4];
    for place in &mut sequence[1..=rest] {
        match bytes.next().flatten() {
            Some(byte @ 0x80..=0xBF) => *place = byte,
            _ => return false,
        }
    }
    // "Â " with a no-break space is French as often as it is a mistake; a letter or sign is not.
    sequence[..2] != [0xC2, 0xA0] && std::str::from_utf8(&sequence[..=rest]).is_ok()
}

/// The character's byte in windows-1252.
fn windows_1252(c: char) -> Option<u8> {
    // 0x80 to 0x9F; the five that are not assigned stand for themselves.
    const UPPER: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8D}', 'Ž', '\u{8F}', '\u{90}', '‘',
        '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9D}', 'ž', 'Ÿ',
    ];
    match u32::from(c) {
        code @ (0..=0x7F | 0xA0..=0xFF) => u8::try_from(code).ok(),
        // An index below 32 added to 0x80 fits.
        _ => UPPER.iter().position(|upper| *upper == c).map(|index| 0x80 + index as u8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_told_from_numbers_and_text() {
        for cell in ["=1+1", "+CMD|' /C calc'!A0", "-2+3", "@SUM(A1)", "\tx", "＝1", "＠x", "-1.2.3"] {
            assert!(is_formula(cell), "{cell:?}");
        }
        for cell in ["", "a=1", "-5", "+44.10", "-1,000.50", "-", "ﬁ", "é", "1-2"] {
            assert!(!is_formula(cell), "{cell:?}");
        }
    }

    #[test]
    fn text_encoded_twice_is_told_from_accents() {
        for cell in ["Â£5", "cafÃ©", "donâ€™t", "Ã\u{A0} la", "ï»¿id", "ðŸ˜€"] {
            assert!(oddities(cell).mojibake, "{cell:?}");
        }
        for cell in ["£5", "café", "don’t", "PÃO", "Âge", "âge", "naïve", "São", "Ã", "ð"] {
            assert!(!oddities(cell).mojibake, "{cell:?}");
        }
    }

    #[test]
    fn what_hides_or_reorders_text_is_seen() {
        for cell in ["a\u{202E}b", "\u{200D}", "x\u{FEFF}", "\u{2066}"] {
            assert!(oddities(cell).hidden, "{cell:?}");
        }
        assert_eq!(oddities("é\u{2028}\u{85}\u{AD}日本語"), Oddities::default());
        assert!(oddities("a\u{9B}31m").control);
    }
}
