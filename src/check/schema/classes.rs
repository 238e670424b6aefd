//! Character classes of XML Schema patterns: escapes, ranges, subtraction, categories, blocks; as Rust classes.
//!
//! Called by `pattern`.

use regex::Regex;

use super::pattern::{Parser, PatternFault};

/// Parses what stands for one character outside of a repetition: a literal, `.`, an escape, a class.
pub(super) fn single(parser: &mut Parser<'_>) -> Result<String, PatternFault> {
    match parser.peek() {
        Some('[') => class(parser, 0),
        Some('\\') => Ok(match escape(parser)? {
            Escape::Character(c) => literal(c),
            Escape::Class(class) => class,
        }),
        Some('.') => {
            parser.at += 1;
            Ok(r"[^\n\r]".into())
        }
        _ => match parser.next() {
            Some(c) => Ok(literal(c)),
            None => Err(parser.fault(0, "a character is missing at the end", "finish the pattern")),
        },
    }
}

/// Which ASCII characters a class holds, a bit each.
pub(super) fn ascii(rust: &str) -> u128 {
    let Ok(regex) = Regex::new(&format!(r"\A{rust}\z")) else { return 0 };
    let mut bytes = [0; 4];
    (0..128u8)
        .filter(|byte| regex.is_match(char::from(*byte).encode_utf8(&mut bytes)))
        .fold(0, |set, byte| set | 1 << byte)
}

fn literal(c: char) -> String {
    format!("\\x{{{:x}}}", u32::from(c))
}

enum Escape {
    Character(char),
    Class(String),
}

fn escape(parser: &mut Parser<'_>) -> Result<Escape, PatternFault> {
    let begin = parser.at;
    parser.at += 1;
    let Some(letter) = parser.next() else {
        parser.at = begin;
        return Err(parser.fault(1, "a \\ that nothing follows", "write \\\\ for the character"));
    };
    Ok(match letter {
        'n' => Escape::Character('\n'),
        'r' => Escape::Character('\r'),
        't' => Escape::Character('\t'),
        's' => Escape::Class(r"[\x20\t\n\r]".into()),
        'S' => Escape::Class(r"[^\x20\t\n\r]".into()),
        'd' => Escape::Class(r"\p{Nd}".into()),
        'D' => Escape::Class(r"\P{Nd}".into()),
        'w' => Escape::Class(r"[^\p{P}\p{Z}\p{C}]".into()),
        'W' => Escape::Class(r"[\p{P}\p{Z}\p{C}]".into()),
        'i' => Escape::Class(format!("[{NAME_START}]")),
        'I' => Escape::Class(format!("[^{NAME_START}]")),
        'c' => Escape::Class(format!("[{NAME_START}{NAME_MORE}]")),
        'C' => Escape::Class(format!("[^{NAME_START}{NAME_MORE}]")),
        'p' | 'P' => {
            let name =
                parser.rest().strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(name, _)| name.to_owned());
            let found = name.as_deref().and_then(|name| property(name, letter == 'P'));
            let length = name.as_ref().map_or(0, |name| name.len() + 2);
            let Some(found) = found else {
                parser.at = begin;
                let help = "known are the general categories (L, Lu, Nd, ...) and the common blocks (IsBasicLatin, ...): write the characters as a class instead";
                return Err(parser.fault(length + 2, "this category or block is not supported", help));
            };
            parser.at += length;
            Escape::Class(found)
        }
        c if !c.is_alphanumeric() => Escape::Character(c),
        other => {
            parser.at = begin;
            let what = if other.is_ascii_digit() { "a backreference" } else { "this escape" };
            return Err(parser.fault(
                1 + other.len_utf8(),
                format!("{what} is not supported"),
                "XML Schema has \\n \\r \\t \\s \\S \\i \\I \\c \\C \\d \\D \\w \\W \\p \\P",
            ));
        }
    })
}

/// `[...]`, with ranges, escapes and a class subtracted at its end.
fn class(parser: &mut Parser<'_>, depth: usize) -> Result<String, PatternFault> {
    let begin = parser.at;
    let open = |parser: &mut Parser<'_>| {
        let length = parser.text.len() - begin;
        parser.at = begin;
        parser.fault(length, "a [ that is not closed", "write \\[ for the character")
    };
    if depth > 16 {
        return Err(parser.fault(1, "classes are nested too deep", "subtract fewer classes"));
    }
    parser.at += 1;
    let negative = parser.take("^");
    let mut items = String::new();
    loop {
        if parser.rest().starts_with("-[") {
            parser.at += 1;
            let less = class(parser, depth + 1)?;
            if items.is_empty() || !parser.take("]") {
                return Err(open(parser));
            }
            let sign = if negative { "^" } else { "" };
            return Ok(format!("[[{sign}{items}]--{less}]"));
        }
        match parser.peek() {
            None => return Err(open(parser)),
            Some(']') => break,
            Some('[') => return Err(parser.fault(1, "a [ inside of a class", "write \\[ for the character")),
            Some(_) => item(parser, &mut items)?,
        }
    }
    parser.at += 1;
    if items.is_empty() {
        let length = parser.at - begin;
        parser.at = begin;
        return Err(parser.fault(length, "a class without characters", "write \\[\\] for the characters"));
    }
    let sign = if negative { "^" } else { "" };
    Ok(format!("[{sign}{items}]"))
}

/// One character, range or escape of a class.
fn item(parser: &mut Parser<'_>, into: &mut String) -> Result<(), PatternFault> {
    let begin = parser.at;
    let Some(first) = member(parser)? else { return Ok(()) };
    let first = match first {
        Escape::Character(c) => c,
        Escape::Class(class) => {
            into.push_str(&class);
            return Ok(());
        }
    };
    let mut ahead = parser.rest().chars();
    let is_range = ahead.next() == Some('-') && !matches!(ahead.next(), None | Some(']' | '['));
    if !is_range {
        into.push_str(&literal(first));
        return Ok(());
    }
    parser.at += 1;
    match member(parser)? {
        Some(Escape::Character(last)) if first <= last => {
            into.push_str(&format!("{}-{}", literal(first), literal(last)));
            Ok(())
        }
        _ => {
            let length = parser.at - begin;
            parser.at = begin;
            Err(parser.fault(
                length,
                "this range has no order",
                "write it from the lower to the higher character, or \\- for a hyphen",
            ))
        }
    }
}

fn member(parser: &mut Parser<'_>) -> Result<Option<Escape>, PatternFault> {
    match parser.peek() {
        Some('\\') => escape(parser).map(Some),
        _ => Ok(parser.next().map(Escape::Character)),
    }
}

/// A general category or a block, as a Rust class.
fn property(name: &str, negative: bool) -> Option<String> {
    const CATEGORIES: &[&str] = &[
        "L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N", "Nd", "Nl", "No", "P", "Pc", "Pd", "Ps", "Pe",
        "Pi", "Pf", "Po", "Z", "Zs", "Zl", "Zp", "S", "Sm", "Sc", "Sk", "So", "C", "Cc", "Cf", "Co", "Cn",
    ];
    if CATEGORIES.contains(&name) {
        return Some(format!("\\{}{{{name}}}", if negative { 'P' } else { 'p' }));
    }
    let block = name.strip_prefix("Is")?;
    let (_, first, last) = BLOCKS.iter().find(|(known, _, _)| *known == block)?;
    let sign = if negative { "^" } else { "" };
    Some(format!("[{sign}\\x{{{first:x}}}-\\x{{{last:x}}}]"))
}

/// `NameStartChar` of XML 1.0, fifth edition; and what `NameChar` adds.
const NAME_START: &str = r":A-Z_a-z\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{2FF}\x{370}-\x{37D}\x{37F}-\x{1FFF}\x{200C}-\x{200D}\x{2070}-\x{218F}\x{2C00}-\x{2FEF}\x{3001}-\x{D7FF}\x{F900}-\x{FDCF}\x{FDF0}-\x{FFFD}\x{10000}-\x{EFFFF}";
const NAME_MORE: &str = r"\-.0-9\x{B7}\x{300}-\x{36F}\x{203F}-\x{2040}";

/// Blocks of the Unicode character database that European extracts could ask for.
const BLOCKS: &[(&str, u32, u32)] = &[
    ("BasicLatin", 0x0, 0x7F),
    ("Latin-1Supplement", 0x80, 0xFF),
    ("LatinExtended-A", 0x100, 0x17F),
    ("LatinExtended-B", 0x180, 0x24F),
    ("IPAExtensions", 0x250, 0x2AF),
    ("SpacingModifierLetters", 0x2B0, 0x2FF),
    ("CombiningDiacriticalMarks", 0x300, 0x36F),
    ("Greek", 0x370, 0x3FF),
    ("GreekandCoptic", 0x370, 0x3FF),
    ("Cyrillic", 0x400, 0x4FF),
    ("Armenian", 0x530, 0x58F),
    ("Hebrew", 0x590, 0x5FF),
    ("Arabic", 0x600, 0x6FF),
    ("Devanagari", 0x900, 0x97F),
    ("Bengali", 0x980, 0x9FF),
    ("Gurmukhi", 0xA00, 0xA7F),
    ("Gujarati", 0xA80, 0xAFF),
    ("Tamil", 0xB80, 0xBFF),
    ("Thai", 0xE00, 0xE7F),
    ("LatinExtendedAdditional", 0x1E00, 0x1EFF),
    ("GreekExtended", 0x1F00, 0x1FFF),
    ("GeneralPunctuation", 0x2000, 0x206F),
    ("SuperscriptsandSubscripts", 0x2070, 0x209F),
    ("CurrencySymbols", 0x20A0, 0x20CF),
    ("LetterlikeSymbols", 0x2100, 0x214F),
    ("NumberForms", 0x2150, 0x218F),
    ("Arrows", 0x2190, 0x21FF),
    ("MathematicalOperators", 0x2200, 0x22FF),
    ("CJKSymbolsandPunctuation", 0x3000, 0x303F),
    ("Hiragana", 0x3040, 0x309F),
    ("Katakana", 0x30A0, 0x30FF),
    ("CJKUnifiedIdeographs", 0x4E00, 0x9FFF),
    ("HangulSyllables", 0xAC00, 0xD7AF),
];
