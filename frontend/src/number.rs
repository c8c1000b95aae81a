//! Numbers as people write them: decimal, 0x hexadecimal, `_` between digits, and for addresses and sizes a K, M, G or T.
//!
//! The command line and the manifest read the same notation; which numbers they take where is their own business.

use thiserror::Error;

/// Longest piece of a number that an error repeats.
const SHOWN_CHARS: usize = 40;

/// Why a text is no number.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum NumberError {
    /// Nothing there.
    #[error("an empty text is no number")]
    Empty,
    /// A minus sign.
    #[error("{text} is negative")]
    Negative {
        /// What was written.
        text: String,
    },
    /// A prefix or a suffix, and no digit.
    #[error("{text} has no digits")]
    NoDigits {
        /// What was written.
        text: String,
    },
    /// A character that is no digit.
    #[error("{text}: {digit:?} is no {} digit", radix_name(*.radix))]
    BadDigit {
        /// What was written.
        text: String,
        /// The first character that does not belong there.
        digit: char,
        /// 2, 8, 10 or 16.
        radix: u32,
    },
    /// A number that needs more bytes than there are.
    #[error("{text} needs more than {width} bytes")]
    TooLarge {
        /// What was written.
        text: String,
        /// How many bytes a number may have here.
        width: usize,
    },
}

impl NumberError {
    /// What to write instead.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Negative { .. } => "write the bits that are meant: -1 in 64 bits is 0xffffffffffffffff",
            Self::TooLarge { .. } => "addresses and sizes end at 2^64 - 1",
            Self::Empty | Self::NoDigits { .. } | Self::BadDigit { .. } => {
                "write a whole number: 1048576, 0x100000, 1024K or 1M (K, M, G and T are powers of 1024)"
            }
        }
    }
}

const fn radix_name(radix: u32) -> &'static str {
    match radix {
        2 => "binary",
        8 => "octal",
        16 => "hexadecimal",
        _ => "decimal",
    }
}

/// The start of a text, for messages.
#[must_use]
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// An address or a size in bytes: `4096`, `0x1000`, `4K`.
///
/// # Errors
/// [`NumberError`] for anything else, and beyond 2^64 - 1.
pub fn parse_bytes(text: &str) -> Result<u64, NumberError> {
    let (number, shift) = split_suffix(text);
    let bytes = parse_wide(number, 8).map_err(|error| error.of(text))?;
    let value = bytes.iter().rev().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    let scaled = value.checked_mul(1 << shift);
    scaled.ok_or_else(|| NumberError::TooLarge { text: shortened(text), width: 8 })
}

/// A text without its K, M, G or T, and the power of two that this stands for.
fn split_suffix(text: &str) -> (&str, u32) {
    let suffixes = [('k', 10), ('m', 20), ('g', 30), ('t', 40)];
    let last = text.chars().next_back().map(|last| last.to_ascii_lowercase());
    match suffixes.into_iter().find(|suffix| Some(suffix.0) == last) {
        // All four are one byte long.
        Some((_, shift)) if text.len() > 1 => (text.get(..text.len() - 1).unwrap_or_default(), shift),
        Some(_) | None => (text, 0),
    }
}

/// A number of any width, without suffix: its bytes, the least significant first, none for zero.
///
/// # Errors
/// [`NumberError`], for more than `width` bytes too.
pub fn parse_wide(text: &str, width: usize) -> Result<Vec<u8>, NumberError> {
    if text.is_empty() {
        return Err(NumberError::Empty);
    }
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => parse_digits(digits, 16, width),
        None => parse_digits(text, 10, width),
    }
    .map_err(|error| error.of(text))
}

/// Digits of a radix, as their bytes.
///
/// # Errors
/// As [`parse_wide`].
pub fn parse_digits(digits: &str, radix: u32, width: usize) -> Result<Vec<u8>, NumberError> {
    let text = || shortened(digits);
    if digits.starts_with('-') {
        return Err(NumberError::Negative { text: text() });
    }
    let mut value = Vec::new();
    let mut after_digit = false;
    for digit in digits.chars() {
        let Some(number) = digit.to_digit(radix) else {
            let bad = NumberError::BadDigit { text: text(), digit, radix };
            after_digit = if digit == '_' && after_digit { false } else { return Err(bad) };
            continue;
        };
        after_digit = true;
        push_digit(&mut value, radix, number);
        if value.len() > width {
            return Err(NumberError::TooLarge { text: text(), width });
        }
    }
    match (after_digit, digits.ends_with('_')) {
        (true, _) => Ok(value),
        (false, true) => Err(NumberError::BadDigit { text: text(), digit: '_', radix }),
        (false, false) => Err(NumberError::NoDigits { text: text() }),
    }
}

/// `value * radix + digit`. Leading zeros make no bytes, so that a text costs its length times the bytes of its value.
fn push_digit(value: &mut Vec<u8>, radix: u32, digit: u32) {
    let mut carry = digit;
    for byte in value.iter_mut() {
        let sum = u32::from(*byte) * radix + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    if carry > 0 {
        value.push(carry.to_le_bytes()[0]);
    }
}

impl NumberError {
    /// The same, about the whole of what was written.
    #[must_use]
    pub(crate) fn of(self, whole: &str) -> Self {
        let text = shortened(whole);
        match self {
            Self::Empty => Self::Empty,
            Self::Negative { .. } => Self::Negative { text },
            Self::NoDigits { .. } => Self::NoDigits { text },
            Self::BadDigit { digit, radix, .. } => Self::BadDigit { text, digit, radix },
            Self::TooLarge { width, .. } => Self::TooLarge { text, width },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_decimal_hexadecimal_or_have_a_suffix() {
        for (text, value) in [
            ("0", 0),
            ("4096", 4096),
            ("0x1000", 4096),
            ("0Xff", 255),
            ("4K", 4096),
            ("3m", 3 << 20),
            ("0x10G", 16 << 30),
            ("1_000", 1000),
            ("0xffff_ffff_ffff_ffff", u64::MAX),
            ("18446744073709551615", u64::MAX),
            ("16777215T", 16_777_215 << 40),
            ("0000000000000000000000000000000000001", 1),
        ] {
            assert_eq!(parse_bytes(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn everything_else_says_why() {
        for (text, message) in [
            ("", "an empty text is no number"),
            ("-1", "-1 is negative"),
            ("0x", "0x has no digits"),
            ("K", "K: 'K' is no decimal digit"),
            ("12Q", "12Q: 'Q' is no decimal digit"),
            ("1.5G", "1.5G: '.' is no decimal digit"),
            (" 1", " 1: ' ' is no decimal digit"),
            ("0xfz", "0xfz: 'z' is no hexadecimal digit"),
            ("0xK", "0xK has no digits"),
            ("1__0", "1__0: '_' is no decimal digit"),
            ("_1", "_1: '_' is no decimal digit"),
            ("1_", "1_: '_' is no decimal digit"),
            ("18446744073709551616", "18446744073709551616 needs more than 8 bytes"),
            ("16777216T", "16777216T needs more than 8 bytes"),
            ("12é", "12é: 'é' is no decimal digit"),
        ] {
            assert_eq!(parse_bytes(text).map_err(|error| error.to_string()), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn long_texts_are_shortened_in_messages() {
        let error = parse_bytes(&"9".repeat(5000)).unwrap_err().to_string();
        assert_eq!(error, format!("{}... needs more than 8 bytes", "9".repeat(40)));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(value: u128, text: String) {
            let bytes = value.to_le_bytes();
            let mut expected = bytes.to_vec();
            while expected.last() == Some(&0) {
                expected.pop();
            }
            prop_assert_eq!(parse_wide(&value.to_string(), 16), Ok(expected.clone()));
            prop_assert_eq!(parse_wide(&format!("{value:#x}"), 16), Ok(expected));
            let _ = parse_bytes(&text);
        }
    }
}
