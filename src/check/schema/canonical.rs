//! Values as bytes for keys: equal exactly for values that the type takes as equal.

use super::Value;
use super::number::{NumberForm, Parsed};

impl Value {
    /// Appends bytes that are equal exactly for values that are equal as the type compares them (0100 and 100 are one
    /// integer), and that cannot run together with the next value's: for keys. Numbers past 38 digits that are written with
    /// group characters or another decimal character are equal when their text is.
    pub fn canonical(self, cell: &str, into: &mut Vec<u8>) {
        match self {
            Self::Missing => into.push(0),
            Self::Wrong => text(1, cell.as_bytes(), into),
            Self::Text => text(2, cell.as_bytes(), into),
            Self::Integer(value) => number(value.into(), 0, into),
            Self::Number { mantissa, scale } => number(mantissa, scale, into),
            Self::Wide => {
                let mut digits = Vec::new();
                match NumberForm::default().parse(cell.trim(), false) {
                    Some(Parsed::Digits(lexed)) => lexed.canonical(&mut digits),
                    _ => digits.extend(cell.trim().to_ascii_uppercase().bytes()),
                }
                text(4, &digits, into);
            }
            Self::Boolean(value) => into.extend([5, value.into()]),
            Self::Date(days) => fixed(6, &days.to_le_bytes(), into),
            Self::DateTime { micros, zoned } => {
                fixed(7, &micros.to_le_bytes(), into);
                into.push(zoned.into());
            }
            Self::Time(micros) => fixed(8, &micros.to_le_bytes(), into),
            Self::Year(year) => fixed(9, &year.to_le_bytes(), into),
            Self::YearMonth(months) => fixed(10, &months.to_le_bytes(), into),
        }
    }
}

fn fixed(tag: u8, bytes: &[u8], into: &mut Vec<u8>) {
    into.push(tag);
    into.extend_from_slice(bytes);
}

fn number(mantissa: i128, scale: u8, into: &mut Vec<u8>) {
    fixed(3, &mantissa.to_le_bytes(), into);
    into.push(scale);
}

fn text(tag: u8, bytes: &[u8], into: &mut Vec<u8>) {
    fixed(tag, &(bytes.len() as u64).to_le_bytes(), into);
    into.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(cells: &[(Value, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        cells.iter().for_each(|(value, cell)| value.canonical(cell, &mut bytes));
        bytes
    }

    fn number_of(cell: &str) -> Vec<u8> {
        bytes(&[(NumberForm::default().number(cell).unwrap(), cell)])
    }

    #[test]
    fn equal_numbers_are_equal_bytes_however_they_are_written() {
        assert_eq!(number_of("0100.50"), number_of("1.005e2"));
        assert_eq!(number_of("-0"), number_of("0"));
        assert_ne!(number_of("1"), number_of("10"));
        let long = "9".repeat(60);
        assert_eq!(number_of(&format!("00{long}")), number_of(&format!("{long}.0")));
        assert_ne!(number_of(&long), number_of(&format!("{long}9")));
        assert_eq!(bytes(&[(Value::Integer(100), "0100")]), number_of("100"));
        assert_eq!(number_of("nan"), number_of("NaN"));
    }

    #[test]
    fn values_do_not_run_together() {
        let text = |a, b| bytes(&[(Value::Text, a), (Value::Text, b)]);
        assert_ne!(text("ab", "c"), text("a", "bc"));
        assert_ne!(
            bytes(&[(Value::Missing, ""), (Value::Text, "")]),
            bytes(&[(Value::Text, ""), (Value::Missing, "")])
        );
        assert_ne!(bytes(&[(Value::Date(1), "")]), bytes(&[(Value::Year(1), "")]));
    }
}
