//! XML Schema regular expressions (https://www.w3.org/TR/xmlschema-2/#regexs), which match a whole value or not at all.
//!
//! A pattern is parsed, then written as a Rust regular expression, whose engine takes linear time; what XML Schema does not
//! have is refused with its place. A `^` before or `$` behind, common in practice, is taken as the anchor that it means
//! there. Called by the readers (to compile) and `constraints` (to match).

use std::ops::Range;

use regex::Regex;

use super::classes;
use super::steps::Steps;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    /// As the schema writes it.
    pub text: String,
    steps: Option<Steps>,
    engine: Regex,
}

/// Something that cannot be used, at bytes of the pattern.
#[derive(Debug)]
pub(super) struct PatternFault {
    pub at: Range<usize>,
    pub message: String,
    pub help: &'static str,
}

/// Alternatives, each a row of pieces.
pub(super) type Branches = Vec<Vec<Piece>>;

#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub atom: Atom,
    pub least: u32,
    pub most: Option<u32>,
}

#[derive(Debug, Clone)]
pub(super) enum Atom {
    /// One character: as a Rust class, and which of ASCII are in it (a bit each).
    Class {
        rust: String,
        ascii: u128,
    },
    Group(Branches),
}

/// Bytes of a pattern.
const MOST_TEXT: usize = 16 << 10;
/// Groups in groups.
const MOST_DEPTH: usize = 32;
/// Bytes of a compiled pattern; the time for each byte of a cell is bounded by it.
const MOST_COMPILED: usize = 1 << 20;

impl Pattern {
    /// The pattern, and the places of anchors that are not needed.
    ///
    /// # Errors
    /// The first thing in it that cannot be used.
    pub fn compile(text: &str) -> Result<(Self, Vec<Range<usize>>), PatternFault> {
        let whole = |message: String, help| PatternFault { at: 0..text.len(), message, help };
        if text.len() > MOST_TEXT {
            return Err(whole(format!("the pattern is longer than {MOST_TEXT} bytes"), "use an enum or a code list"));
        }
        let mut parser = Parser { text, at: 0, depth: 0, anchors: Vec::new() };
        let branches = parser.branches()?;
        if parser.at < text.len() {
            return Err(parser.fault(1, "a ) that closes nothing", "write \\) for the character"));
        }
        let mut rust = String::from(r"\A(?:");
        write(&branches, &mut rust);
        rust.push_str(r")\z");
        let built = regex::RegexBuilder::new(&rust).size_limit(MOST_COMPILED).dfa_size_limit(MOST_COMPILED).build();
        let engine = built.map_err(|_| {
            whole("the pattern is too large when it is compiled".into(), "use smaller numbers in its {}, or maxLength")
        })?;
        Ok((Self { text: text.to_owned(), steps: Steps::of(&branches), engine }, parser.anchors))
    }

    /// What decides for ASCII, when the pattern is that simple.
    pub fn steps(&self) -> Option<&Steps> {
        self.steps.as_ref()
    }

    #[inline]
    pub fn matches(&self, cell: &str) -> bool {
        match &self.steps {
            Some(steps) => steps.matches(cell.as_bytes()) || (!cell.is_ascii() && self.engine.is_match(cell)),
            None => self.engine.is_match(cell),
        }
    }
}

fn write(branches: &Branches, into: &mut String) {
    for (index, branch) in branches.iter().enumerate() {
        if index > 0 {
            into.push('|');
        }
        for piece in branch {
            match &piece.atom {
                Atom::Class { rust, .. } => into.push_str(rust),
                Atom::Group(inner) => {
                    into.push_str("(?:");
                    write(inner, into);
                    into.push(')');
                }
            }
            match (piece.least, piece.most) {
                (1, Some(1)) => {}
                (least, Some(most)) => into.push_str(&format!("{{{least},{most}}}")),
                (least, None) => into.push_str(&format!("{{{least},}}")),
            }
        }
    }
}

pub(super) struct Parser<'p> {
    pub text: &'p str,
    pub at: usize,
    depth: usize,
    anchors: Vec<Range<usize>>,
}

impl Parser<'_> {
    pub fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    pub fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Passes over the text if it comes next.
    pub fn take(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    pub fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// A fault at the next bytes.
    pub fn fault(&self, length: usize, message: impl Into<String>, help: &'static str) -> PatternFault {
        let end = (self.at + length).min(self.text.len());
        PatternFault { at: self.at.min(end)..end, message: message.into(), help }
    }

    fn branches(&mut self) -> Result<Branches, PatternFault> {
        let mut branches = Vec::new();
        loop {
            branches.push(self.branch()?);
            if !self.take("|") {
                return Ok(branches);
            }
        }
    }

    fn branch(&mut self) -> Result<Vec<Piece>, PatternFault> {
        let mut pieces = Vec::new();
        let begin = self.at;
        while let Some(next) = self.peek() {
            if next == '|' || next == ')' {
                break;
            }
            if next == '^' || next == '$' {
                let last = matches!(self.rest().get(1..2), None | Some("" | "|"));
                let anchors = if next == '^' { self.at == begin } else { last };
                if self.depth > 0 || !anchors {
                    let help =
                        "a pattern always matches the whole value: leave it out, or write \\^ or \\$ for the character";
                    return Err(self.fault(1, format!("a {next} inside the pattern"), help));
                }
                self.anchors.push(self.at..self.at + 1);
                self.at += 1;
                continue;
            }
            let atom = self.atom()?;
            let (least, most) = self.quantifier()?;
            pieces.push(Piece { atom, least, most });
        }
        Ok(pieces)
    }

    fn atom(&mut self) -> Result<Atom, PatternFault> {
        match self.peek() {
            Some('(') => return self.group(),
            Some('*' | '+' | '?' | '{') => {
                return Err(self.fault(1, "there is nothing here to repeat", "write a \\ before it for the character"));
            }
            Some(lone @ ('}' | ']')) => {
                return Err(self.fault(
                    1,
                    format!("a {lone} that closes nothing"),
                    "write a \\ before it for the character",
                ));
            }
            _ => {}
        }
        let rust = classes::single(self)?;
        let ascii = classes::ascii(&rust);
        Ok(Atom::Class { rust, ascii })
    }

    fn group(&mut self) -> Result<Atom, PatternFault> {
        if self.depth >= MOST_DEPTH {
            return Err(self.fault(1, "groups are nested too deep", "at most 32 groups stand in each other"));
        }
        let begin = self.at;
        self.at += 1;
        if self.rest().starts_with('?') && !self.take("?:") {
            self.at = begin;
            return Err(self.fault(
                3,
                "a lookaround, flag or named group is not supported",
                "XML Schema patterns have plain groups ( ) alone",
            ));
        }
        self.depth += 1;
        let branches = self.branches()?;
        self.depth -= 1;
        if !self.take(")") {
            self.at = begin;
            return Err(self.fault(1, "a ( that is not closed", "write \\( for the character"));
        }
        Ok(Atom::Group(branches))
    }

    fn quantifier(&mut self) -> Result<(u32, Option<u32>), PatternFault> {
        let begin = self.at;
        let found = match self.peek() {
            Some('?') => (0, Some(1)),
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('{') => {
                let Some((inside, _)) = self.rest().get(1..).and_then(|rest| rest.split_once('}')) else {
                    return Err(self.fault(1, "a { that is not closed", "write \\{ for the character"));
                };
                let length = inside.len();
                let number = |text: &str| text.parse::<u32>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
                let range = match inside.split_once(',') {
                    None => number(inside).map(|times| (times, Some(times))),
                    Some((least, "")) => number(least).map(|least| (least, None)),
                    Some((least, most)) => number(least).zip(number(most)).map(|(least, most)| (least, Some(most))),
                };
                let range = range.filter(|(least, most)| most.is_none_or(|most| *least <= most));
                let Some(range) = range else {
                    return Err(self.fault(
                        length + 2,
                        "this is not {n}, {n,} or {n,m}",
                        "write \\{ for the character",
                    ));
                };
                self.at += length + 1;
                range
            }
            _ => return Ok((1, Some(1))),
        };
        self.at += 1;
        if matches!(self.peek(), Some('?' | '*' | '+' | '{')) {
            let length = self.at - begin + 1;
            self.at = begin;
            return Err(self.fault(
                length,
                "a lazy, possessive or double repetition is not supported",
                "repeat a group instead: (a+)?",
            ));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(text: &str) -> Pattern {
        Pattern::compile(text).map_err(|fault| format!("{text}: {fault:?}")).unwrap().0
    }

    fn judge(text: &str, fast: bool, good: &[&str], bad: &[&str]) {
        let pattern = compiled(text);
        assert_eq!(pattern.steps.is_some(), fast, "{text}");
        for cell in good {
            assert!(pattern.matches(cell) && pattern.engine.is_match(cell), "{text} {cell:?}");
        }
        for cell in bad {
            assert!(!pattern.matches(cell) && !pattern.engine.is_match(cell), "{text} {cell:?}");
        }
    }

    #[test]
    fn a_pattern_matches_the_whole_value() {
        judge(
            "[A-Z]{3}[0-9]{4}",
            true,
            &["LIV0123"],
            &["LIV0123\n", "xLIV0123", "LIV012", "LIV01234", "liv0123", "", "LIV٠١٢٣"],
        );
        judge(
            "[0-9]{10}|[A-Z]{2}[0-9]{6}",
            true,
            &["0123456789", "AB123456"],
            &["0123456789AB123456", "AB12345", "01234567890"],
        );
        judge(
            "[A-Z]{1,2}[0-9][A-Z0-9]? [0-9][A-Z]{2}",
            true,
            &["L1 8JQ", "ZZ99 3VZ", "W1A 1AA"],
            &["L18JQ", "L1 8JQ ", "LLL1 8JQ"],
        );
        judge("[1-9][0-9]+", true, &["10", "999999"], &["1", "01"]);
        judge("", true, &[""], &["a"]);
        judge("a|", true, &["a", ""], &["b"]);
    }

    #[test]
    fn what_needs_looking_back_goes_to_the_engine() {
        judge("[A-Z0-9]+[0-9]", false, &["A1", "11"], &["A", "1A"]);
        judge("(ab|c)*d", false, &["d", "abcabd"], &["abab", "acd"]);
        judge("(a|b)(c|d)?e{2}", true, &["aee", "bdee"], &["ae", "cdee"]);
        judge("(ab){3}", true, &["ababab"], &["abab"]);
    }

    #[test]
    fn classes_and_escapes_mean_what_xml_schema_says() {
        judge(r"\d+", true, &["12", "१२"], &["a", ""]);
        judge(r"[a-z-[aeiou]]+", true, &["xyz"], &["xay"]);
        judge(r"[^a-z-[X]]+", true, &["12É"], &["X", "a"]);
        judge(r"\i\c*", true, &["_a-1", "é.b"], &["1a", ""]);
        judge(r"\p{Lu}\P{Lu}", true, &["Éa", "Aa"], &["aa", "AA"]);
        judge(r"\p{IsBasicLatin}*", true, &["abc", ""], &["é"]);
        judge(r"\w+\s\S", true, &["ab c", "é x"], &["a-b c", "ab\u{a0}c"]);
        judge(r"a.c", true, &["abc", "aéc"], &["a\nc", "ac"]);
        judge(r"[\-+.&&~|\]\\]+", true, &["-+.&~|]\\"], &["a"]);
        judge(r"[-a][b-]", true, &["-b", "a-"], &["b-"]);
        judge(r"\$\^\.\/\(", true, &["$^./("], &["x"]);
        judge("é?", true, &["é", ""], &["e"]);
    }

    #[test]
    fn anchors_at_the_ends_are_taken_with_a_warning_and_others_refused() {
        let (pattern, anchors) = Pattern::compile("^[A-Z]+$").unwrap();
        assert!(pattern.matches("AB") && !pattern.matches("AB\n") && anchors == [0..1, 7..8]);
        assert!(Pattern::compile("^a$|^b$").unwrap().0.matches("b"));
        for text in ["a^b", "a$b", "(^a)", "(a$)", "$a"] {
            assert!(Pattern::compile(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_xml_schema_does_not_have_is_refused_with_its_place() {
        for (text, at) in [
            ("a(?=b)", "(?="),
            ("a(?<x>b)", "(?<"),
            (r"(a)\1", r"\1"),
            (r"a\b", r"\b"),
            ("a*?", "*?"),
            ("a++", "++"),
            ("*a", "*"),
            ("a(b", "("),
            ("a)b", ")"),
            ("[a", "[a"),
            ("a{2,1}", "{2,1}"),
            ("a{x}", "{x}"),
            ("[z-a]", "z-a"),
            (r"\p{IsNothing}", r"\p{IsNothing}"),
            (r"\p{Xx}", r"\p{Xx}"),
            (r"\u0041", r"\u"),
            ("[]", "[]"),
            ("[a[b]]", "["),
            ("a]", "]"),
            (r"a\", r"\"),
        ] {
            let fault = Pattern::compile(text).map(|_| text).unwrap_err();
            assert_eq!(&text[fault.at.clone()], at, "{text} {fault:?}");
        }
        assert!(Pattern::compile(&"(".repeat(5000)).is_err());
        assert!(Pattern::compile("((a{1000}){1000}){1000}").is_err());
    }

    #[test]
    fn an_endless_cell_takes_one_pass() {
        let cell = "a".repeat(1 << 20);
        assert!(!compiled("(a|aa)+b").matches(&cell));
        assert!(!compiled("(a*)*b").matches(&cell));
    }
}
