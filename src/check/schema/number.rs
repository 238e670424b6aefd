//! Numbers and integers: how they are written (decimalChar, groupChar, bareNumber, exponent, INF, NaN) and how they compare.
//!
//! Exact, never through floating point: a mantissa of up to 38 digits and a scale; longer ones are compared digit by
//! digit. Linear in the cell. Called by `kind`, `constraints` and `canonical`.

use std::cmp::Ordering;

use super::Value;

/// How a field writes its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NumberForm {
    pub decimal: char,
    pub group: Option<char>,
    /// False: text before and after the digits is dropped.
    pub bare: bool,
}

impl Default for NumberForm {
    fn default() -> Self {
        Self { decimal: '.', group: None, bare: true }
    }
}

/// Digits that an `i128` always holds.
const MOST_DIGITS: usize = 38;

impl NumberForm {
    /// A number (https://datapackage.org/standard/table-schema/#number).
    #[inline]
    pub fn number(&self, cell: &str) -> Option<Value> {
        if self.decimal == '.'
            && self.group.is_none()
            && let Some(value) = quick_number(cell.as_bytes())
        {
            return Some(value);
        }
        match self.parse(cell, false)? {
            Parsed::Digits(lexed) => Some(lexed.value()),
            Parsed::Nan | Parsed::Infinite { .. } => Some(Value::Wide),
        }
    }

    #[inline]
    pub fn integer(&self, cell: &str) -> Option<Value> {
        if let Some(value) = quick_integer(cell.as_bytes()) {
            return Some(Value::Integer(value));
        }
        let Parsed::Digits(lexed) = self.parse(cell, true)? else { return None };
        Some(match lexed.value() {
            Value::Number { mantissa, scale: 0 } => match i64::try_from(mantissa) {
                Ok(value) => Value::Integer(value),
                Err(_) => Value::Number { mantissa, scale: 0 },
            },
            other => other,
        })
    }

    /// Compares a cell that is too wide for a [`Value`] with a decimal. None for NaN.
    pub fn compare_wide(&self, cell: &str, mantissa: i128, scale: u8) -> Option<Ordering> {
        match self.parse(cell, false)? {
            Parsed::Nan => None,
            Parsed::Infinite { negative } => Some(if negative { Ordering::Less } else { Ordering::Greater }),
            Parsed::Digits(lexed) => Some(lexed.compare(mantissa, scale)),
        }
    }

    /// Reads a cell in full, slowly.
    pub fn parse<'c>(&self, cell: &'c str, integer: bool) -> Option<Parsed<'c>> {
        if !integer {
            // "Case need not be respected."
            match cell {
                text if text.eq_ignore_ascii_case("nan") => return Some(Parsed::Nan),
                text if text.eq_ignore_ascii_case("inf") => return Some(Parsed::Infinite { negative: false }),
                text if text.eq_ignore_ascii_case("-inf") => return Some(Parsed::Infinite { negative: true }),
                _ => {}
            }
        }
        if !self.bare {
            return self.parse_dressed(cell, integer);
        }
        let (negative, text) = match cell.as_bytes().first()? {
            b'-' => (true, cell.get(1..)?),
            b'+' => (false, cell.get(1..)?),
            _ => (false, cell),
        };
        let (lexed, rest) = self.scan(text, negative, integer)?;
        rest.is_empty().then_some(Parsed::Digits(lexed))
    }

    /// A number with text around it, such as `£1,006.00`, `-€5`, `95%`. Refused where dropping the text would change the
    /// value: accounting negatives `(5.00)`, a sign behind, a second number.
    fn parse_dressed<'c>(&self, cell: &'c str, integer: bool) -> Option<Parsed<'c>> {
        let mut before = None;
        let begin = cell.char_indices().find(|(at, c)| {
            let after_letter = before.is_some_and(char::is_alphabetic);
            before = Some(*c);
            let digit_follows = || cell.as_bytes().get(at + c.len_utf8()).is_some_and(u8::is_ascii_digit);
            // The point of an abbreviation ("Rs.500") is no decimal point.
            c.is_ascii_digit() || (!integer && *c == self.decimal && !after_letter && digit_follows())
        });
        let begin = begin?.0;
        let prefix = cell.get(..begin)?.trim();
        if prefix.contains(['(', '\u{2212}']) {
            return None;
        }
        let negative = match prefix.matches('-').count() {
            0 => false,
            1 if prefix.starts_with('-') || prefix.ends_with('-') => true,
            _ => return None,
        };
        let (lexed, rest) = self.scan(cell.get(begin..)?, negative, integer)?;
        let suffix = rest.trim();
        let sign = ['-', '\u{2212}'];
        let closes = suffix.contains(')') && !suffix.contains('(');
        if closes || suffix.starts_with(sign) || suffix.ends_with(sign) || suffix.bytes().any(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(Parsed::Digits(lexed))
    }

    /// The number that a text (after its sign) begins with, and the rest.
    fn scan<'c>(&self, text: &'c str, negative: bool, integer: bool) -> Option<(Lexed<'c>, &'c str)> {
        let end = text.find(|c: char| !c.is_ascii_digit() && Some(c) != self.group).unwrap_or(text.len());
        let (mut whole, _) = text.split_at_checked(end)?;
        if let Some(group) = self.group {
            whole = whole.trim_end_matches(group);
            if !well_grouped(whole, group) {
                return None;
            }
        }
        let mut rest = text.get(whole.len()..)?;
        let (mut fraction, mut exponent) = ("", 0);
        if !integer {
            if let Some(after) = rest.strip_prefix(self.decimal) {
                let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
                (fraction, rest) = after.split_at_checked(end)?;
            }
            if !(whole.is_empty() && fraction.is_empty())
                && let Some((found, after)) = exponent_of(rest)
            {
                (exponent, rest) = (found, after);
            }
        }
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        Some((Lexed { negative, whole, fraction, exponent }, rest))
    }
}

/// Groups of three digits, as far as they are grouped at all; the leading ones may be shorter (1,00,000). `10,06` is no
/// number: whoever wrote it meant a decimal comma.
fn well_grouped(whole: &str, group: char) -> bool {
    let mut groups = whole.split(group);
    let first = groups.next().unwrap_or_default();
    let Some(last) = groups.next_back() else { return true };
    (1..=3).contains(&first.len()) && last.len() == 3 && groups.all(|group| (2..=3).contains(&group.len()))
}

/// `E`, a sign, digits: the exponent (past 10^18 that large) and what follows.
fn exponent_of(text: &str) -> Option<(i64, &str)> {
    let text = text.strip_prefix(['e', 'E'])?;
    let (negative, text) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    if digits.is_empty() {
        return None;
    }
    const MOST: i64 = 1_000_000_000_000_000_000;
    let size =
        digits.bytes().fold(0i64, |size, b| (size.saturating_mul(10)).saturating_add(i64::from(b - b'0')).min(MOST));
    Some((if negative { -size } else { size }, rest))
}

/// Up to 18 digits with a sign.
#[inline]
fn quick_integer(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut value = 0i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

/// Up to 18 digits with a sign and a point.
#[inline]
fn quick_number(bytes: &[u8]) -> Option<Value> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    if digits.len() > 18 {
        return None;
    }
    let (mut value, mut point, mut seen) = (0i64, None, 0u8);
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            value = value * 10 + i64::from(digit);
            seen += 1;
        } else if *byte == b'.' && point.is_none() {
            point = Some(seen);
        } else {
            return None;
        }
    }
    if seen == 0 {
        return None;
    }
    let mut scale = point.map_or(0, |point| seen - point);
    while scale > 0 && value % 10 == 0 {
        value /= 10;
        scale -= 1;
    }
    Some(Value::Number { mantissa: i128::from(if negative { -value } else { value }), scale })
}

pub(super) enum Parsed<'c> {
    Nan,
    Infinite { negative: bool },
    Digits(Lexed<'c>),
}

/// A number's parts: (whole).(fraction) x 10^exponent. `whole` may hold group characters.
pub(super) struct Lexed<'c> {
    negative: bool,
    whole: &'c str,
    fraction: &'c str,
    exponent: i64,
}

impl Lexed<'_> {
    fn digits(&self) -> impl DoubleEndedIterator<Item = u8> {
        self.whole.bytes().chain(self.fraction.bytes()).filter(u8::is_ascii_digit)
    }

    /// The digits without zeros at either end, and where the first of them stands: 1 for the ones, 2 for the tens. None for
    /// zero.
    fn significant(&self) -> Option<(usize, usize, i64)> {
        let total = self.digits().count();
        let leading = self.digits().take_while(|digit| *digit == b'0').count();
        if leading == total {
            return None;
        }
        let trailing = self.digits().rev().take_while(|digit| *digit == b'0').count();
        let position = (total - leading) as i64 - self.fraction.len() as i64 + self.exponent;
        Some((leading, total - leading - trailing, position))
    }

    fn value(&self) -> Value {
        let Some((leading, count, position)) = self.significant() else {
            return Value::Number { mantissa: 0, scale: 0 };
        };
        if count > MOST_DIGITS {
            return Value::Wide;
        }
        let digits = self.digits().skip(leading).take(count);
        let mantissa = digits.fold(0i128, |value, digit| value * 10 + i128::from(digit - b'0'));
        let mantissa = if self.negative { -mantissa } else { mantissa };
        // mantissa x 10^power
        let power = position - count as i64;
        match u32::try_from(power.unsigned_abs()) {
            Ok(power_size) if power >= 0 => {
                let larger = 10i128.checked_pow(power_size).and_then(|factor| mantissa.checked_mul(factor));
                larger.map_or(Value::Wide, |mantissa| Value::Number { mantissa, scale: 0 })
            }
            Ok(scale) if scale as usize <= MOST_DIGITS => Value::Number { mantissa, scale: scale as u8 },
            _ => Value::Wide,
        }
    }

    fn compare(&self, mantissa: i128, scale: u8) -> Ordering {
        let sign = |ordering: Ordering| if self.negative { ordering.reverse() } else { ordering };
        let Some((leading, count, position)) = self.significant() else { return 0.cmp(&mantissa) };
        if mantissa == 0 || (mantissa < 0) != self.negative {
            return sign(Ordering::Greater);
        }
        let other = mantissa.unsigned_abs().to_string();
        let other_position = other.len() as i64 - i64::from(scale);
        let mine = self.digits().skip(leading).take(count);
        let theirs = other.trim_end_matches('0').bytes();
        sign(position.cmp(&other_position).then_with(|| mine.cmp(theirs)))
    }

    /// Bytes that are equal exactly for equal numbers.
    pub fn canonical(&self, into: &mut Vec<u8>) {
        if let Some((leading, count, position)) = self.significant() {
            into.push(if self.negative { b'-' } else { b'+' });
            into.extend(position.to_le_bytes());
            into.extend(self.digits().skip(leading).take(count));
        }
    }
}

/// Compares a x 10^-a_scale with b x 10^-b_scale; scales up to 38.
pub(super) fn compare(a: i128, a_scale: u8, b: i128, b_scale: u8) -> Ordering {
    if a_scale == b_scale {
        return a.cmp(&b);
    }
    if a_scale > b_scale {
        return compare(b, b_scale, a, a_scale).reverse();
    }
    let factor = 10i128.checked_pow(u32::from(b_scale - a_scale));
    if let Some(a) = factor.and_then(|factor| a.checked_mul(factor)) {
        return a.cmp(&b);
    }
    // a has so many digits that it would not hold the other's scale: then whole parts tell, and parts below one fit.
    let one = |scale: u8| 10i128.checked_pow(u32::from(scale)).unwrap_or(i128::MAX);
    let (a_one, b_one) = (one(a_scale), one(b_scale));
    let rest = (a % a_one).saturating_mul(factor.unwrap_or(i128::MAX));
    (a / a_one).cmp(&(b / b_one)).then_with(|| rest.cmp(&(b % b_one)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Option<(i128, u8)> {
        match NumberForm::default().number(text)? {
            Value::Number { mantissa, scale } => Some((mantissa, scale)),
            other => panic!("{text}: {other:?}"),
        }
    }

    fn money() -> NumberForm {
        NumberForm { decimal: '.', group: Some(','), bare: false }
    }

    #[test]
    fn numbers_are_read_as_decimals() {
        for (text, mantissa, scale) in [
            ("0", 0, 0),
            ("-0.0", 0, 0),
            ("+12.50", 125, 1),
            (".5", 5, 1),
            ("-.5", -5, 1),
            ("5.", 5, 0),
            ("007", 7, 0),
            ("1e3", 1000, 0),
            ("1.5E-2", 15, 3),
            ("100e-2", 1, 0),
            ("0e999999999999999999999", 0, 0),
            ("123456789012345678901234567890", 123456789012345678901234567890, 0),
            ("1000000000000000000000000000000000000000000e-42", 1, 0),
        ] {
            assert_eq!(number(text), Some((mantissa, scale)), "{text}");
        }
        for text in [
            "", "-", "+", ".", "e5", "1e", "1e+", "1 2", " 1", "1 ", "1,5", "--1", "1.2.3", "0x10", "1_000", "१२",
            "１２", "<5", "inf5", "+INF", "1\u{a0}",
        ] {
            assert_eq!(NumberForm::default().number(text), None, "{text}");
        }
        for text in ["INF", "-inf", "NaN", "1e999", "1e-999"] {
            assert_eq!(NumberForm::default().number(text), Some(Value::Wide), "{text}");
        }
    }

    #[test]
    fn integers_have_no_fraction_and_no_exponent() {
        let form = NumberForm::default();
        for (text, value) in [
            ("0", 0),
            ("+7", 7),
            ("-0100", -100),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("00000000000000000000000000001", 1),
        ] {
            assert_eq!(form.integer(text), Some(Value::Integer(value)), "{text}");
        }
        assert_eq!(
            form.integer("9223372036854775808"),
            Some(Value::Number { mantissa: 9223372036854775808, scale: 0 })
        );
        assert_eq!(form.integer(&"9".repeat(20_000)), Some(Value::Wide));
        for text in ["", "1.0", "1.", "1e3", "NaN", "1,000", "5 kg", "+", "１"] {
            assert_eq!(form.integer(text), None, "{text}");
        }
    }

    #[test]
    fn dressed_numbers_lose_their_dress_and_keep_their_sign() {
        for (text, mantissa, scale) in [
            ("£1,006.00", 1006, 0),
            ("-£5.00", -5, 0),
            ("£-5.01", -501, 2),
            ("95%", 95, 0),
            ("EUR 95", 95, 0),
            ("12.50 GBP", 125, 1),
            ("Rs.500", 500, 0),
            ("Â£10.06", 1006, 2),
            ("5EUR", 5, 0),
            ("£.50", 5, 1),
            ("1,00,000", 100_000, 0),
        ] {
            assert_eq!(money().number(text), Some(Value::Number { mantissa, scale }), "{text}");
        }
        for text in ["(10.06)", "10.06-", "5 - 6", "1,,000", "£", "--5", "\u{2212}5", "10,06", "1000,5", "£1 2"] {
            assert_eq!(money().number(text), None, "{text}");
        }
    }

    #[test]
    fn group_characters_stand_between_groups_only() {
        let form = NumberForm { decimal: ',', group: Some('.'), bare: true };
        assert_eq!(form.number("1.234,5"), Some(Value::Number { mantissa: 12345, scale: 1 }));
        assert_eq!(form.integer("1.234.567"), Some(Value::Integer(1_234_567)));
        assert_eq!(form.number("1234"), Some(Value::Number { mantissa: 1234, scale: 0 }));
        for text in [".234", "1.234.", "1..234", "1.23", "1.5", "1234.567", "1,234.567"] {
            assert_eq!(form.number(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_compare_exactly_whatever_their_length() {
        use Ordering::{Equal, Greater, Less};
        assert_eq!(compare(1, 0, 10, 1), Equal);
        assert_eq!(compare(35001, 2, 350, 0), Greater);
        assert_eq!(compare(-1, 0, -5, 1), Less);
        let large = 10i128.pow(38) - 1;
        assert_eq!(compare(large, 0, 1, 38), Greater);
        assert_eq!(compare(-large, 0, 1, 38), Less);
        assert_eq!(compare(large, 1, large, 38), Greater);
        let form = NumberForm::default();
        let wide = |text: &str, mantissa, scale| form.compare_wide(text, mantissa, scale);
        assert_eq!(wide(&"9".repeat(20_000), 500, 0), Some(Greater));
        assert_eq!(wide(&format!("-{}", "9".repeat(50)), 500, 0), Some(Less));
        assert_eq!(wide(&format!("0.{}1", "0".repeat(50)), 0, 0), Some(Greater));
        assert_eq!(wide(&format!("500.{}1", "0".repeat(50)), 500, 0), Some(Greater));
        assert_eq!(wide(&format!("499.{}", "9".repeat(50)), 500, 0), Some(Less));
        assert_eq!((wide("NaN", 1, 0), wide("-INF", 1, 0)), (None, Some(Less)));
    }
}
