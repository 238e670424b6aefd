//! Exact decimals: products and sums of money and counts, without a rounding that nobody asked for.
//!
//! What does not fit into 38 digits is none, never a near value.

use crate::check::schema::Value;

/// `mantissa` x 10^-`scale`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Decimal {
    mantissa: i128,
    scale: u32,
}

impl Decimal {
    pub const ONE: Self = Self { mantissa: 1, scale: 0 };

    pub fn of(value: Value) -> Option<Self> {
        match value {
            Value::Integer(integer) => Some(Self { mantissa: integer.into(), scale: 0 }),
            Value::Number { mantissa, scale } => Some(Self { mantissa, scale: scale.into() }),
            _ => None,
        }
    }

    /// Digits with at most one point; no sign, no exponent, at most 30 digits.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !plain(whole) || !plain(part) || whole.len() + part.len() > 30 || text.ends_with('.') {
            return None;
        }
        let mantissa = format!("{whole}{part}").parse().ok()?;
        Some(Self { mantissa, scale: u32::try_from(part.len()).ok()? })
    }

    pub fn times(self, other: Self) -> Option<Self> {
        let mantissa = self.mantissa.checked_mul(other.mantissa)?;
        Some(Self { mantissa, scale: self.scale.checked_add(other.scale)? })
    }

    pub fn plus(self, other: Self) -> Option<Self> {
        // Zero has no scale that another number should have to bear.
        match (self.mantissa, other.mantissa) {
            (0, _) => return Some(other),
            (_, 0) => return Some(self),
            _ => {}
        }
        let scale = self.scale.max(other.scale);
        let mantissa = self.at(scale)?.checked_add(other.at(scale)?)?;
        Some(Self { mantissa, scale })
    }

    /// Whether the two differ by at most `tolerance`. None when it takes too many digits to tell.
    pub fn near(self, other: Self, tolerance: Self) -> Option<bool> {
        let minus = Self { mantissa: other.mantissa.checked_neg()?, scale: other.scale };
        let apart = self.plus(minus)?;
        let scale = apart.scale.max(tolerance.scale);
        Some(apart.at(scale)?.checked_abs()? <= tolerance.at(scale)?)
    }

    fn at(self, scale: u32) -> Option<i128> {
        if self.mantissa == 0 || self.scale == scale {
            return Some(self.mantissa);
        }
        self.mantissa.checked_mul(10i128.checked_pow(scale - self.scale)?)
    }
}

/// Plain notation without needless zeros: `-12.5`, `0`, `0.001`.
impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (mut mantissa, mut scale) = (self.mantissa, self.scale);
        while scale > 0 && mantissa % 10 == 0 {
            (mantissa, scale) = (mantissa / 10, if mantissa == 0 { 0 } else { scale - 1 });
        }
        let digits = mantissa.unsigned_abs().to_string();
        let scale = scale as usize;
        let digits = format!("{digits:0>width$}", width = scale + 1);
        let (whole, part) = digits.split_at(digits.len() - scale);
        let sign = if mantissa < 0 { "-" } else { "" };
        let point = if part.is_empty() { "" } else { "." };
        write!(f, "{sign}{whole}{point}{part}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(mantissa: i128, scale: u8) -> Decimal {
        Decimal::of(Value::Number { mantissa, scale }).unwrap()
    }

    #[test]
    fn products_and_sums_are_exact() {
        let fee = number(1006, 2);
        let total = fee.times(Decimal::of(Value::Integer(3)).unwrap()).unwrap();
        assert_eq!(total.to_string(), "30.18");
        assert_eq!(total.plus(number(-3018, 2)).unwrap().to_string(), "0");
        assert_eq!(number(1, 1).plus(number(2, 1)).unwrap().to_string(), "0.3");
        assert_eq!(number(-5, 3).to_string(), "-0.005");
        assert_eq!(number(12_500, 3).to_string(), "12.5");
        assert_eq!(number(0, 200).plus(number(7, 0)).unwrap().to_string(), "7");
    }

    #[test]
    fn near_means_within_the_tolerance() {
        let cent = Decimal::parse("0.01").unwrap();
        assert_eq!(number(3018, 2).near(number(3019, 2), cent), Some(true));
        assert_eq!(number(3018, 2).near(number(30_191, 3), cent), Some(false));
        assert_eq!(number(5, 0).near(number(50, 1), Decimal::default()), Some(true));
    }

    #[test]
    fn what_does_not_fit_is_none() {
        let large = number(i128::MAX, 0);
        assert_eq!((large.plus(number(1, 0)), large.times(number(10, 0))), (None, None));
        assert_eq!(number(1, 200).near(number(1, 0), Decimal::default()), None);
        assert_eq!(number(0, 0).near(number(i128::MIN, 0), Decimal::default()), None);
    }

    #[test]
    fn a_tolerance_is_a_plain_decimal() {
        assert_eq!(Decimal::parse("0.010").map(|d| d.to_string()).as_deref(), Some("0.01"));
        assert_eq!(Decimal::parse("2").map(|d| d.to_string()).as_deref(), Some("2"));
        for wrong in ["", ".", "1.", ".5", "-1", "1e2", "1.2.3", " 1", "0,01", &"9".repeat(31)] {
            assert_eq!(Decimal::parse(wrong), None, "{wrong}");
        }
    }
}
