//! A TOML table with its place in the file: typed access to its values, and errors that name file, line, column and
//! key.
//!
//! Which keys there are lives in `keys.rs`, what they mean in `parse.rs`.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ManifestError, Problem};
use super::keys::{TableKeys, closest};
use crate::number::{NumberError, parse_bytes, parse_digits};

/// A value and the byte of the manifest where it starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct At<T> {
    pub value: T,
    pub at: usize,
}

/// A problem, the key that has it and the byte of the manifest where it is.
#[derive(Debug)]
pub(super) struct Fault {
    pub key: String,
    pub at: usize,
    pub problem: Problem,
}

impl Fault {
    /// The error for people: `text` is the manifest, `file` its name.
    pub fn in_file(self, text: &str, file: &Path) -> ManifestError {
        let (line, column) = line_column(text, self.at);
        ManifestError::Invalid { file: file.to_owned(), line, column, key: self.key, problem: Box::new(self.problem) }
    }
}

/// Line and column of a byte, from 1; columns count characters.
pub(super) fn line_column(text: &str, at: usize) -> (usize, usize) {
    let bytes = text.as_bytes();
    let before = bytes.get(..at).unwrap_or(bytes);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    // Bytes that start a character: all but 10xxxxxx.
    let column = before.iter().skip(start).filter(|byte| **byte & 0xc0 != 0x80).count() + 1;
    (line, column)
}

/// One table of the manifest: the top level, or one of an array, or one that there is once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table<'a> {
    keys: &'static TableKeys,
    index: Option<usize>,
    /// Where it starts.
    pub at: usize,
    entries: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    /// The top level of a manifest.
    pub fn top(entries: &'a DeTable<'a>, keys: &'static TableKeys) -> Result<Self, Fault> {
        Self { keys, index: None, at: 0, entries }.checked()
    }

    /// Refuses the first key that does not belong here.
    fn checked(self) -> Result<Self, Fault> {
        let unknown = self.entries.keys().filter(|key| !self.keys.keys.contains(&key.get_ref().as_ref()));
        match unknown.min_by_key(|key| key.span().start) {
            None => Ok(self),
            Some(key) => {
                let closest = closest(key.get_ref(), self.keys.keys.iter().copied());
                let problem = Problem::UnknownKey { closest, known: self.keys.keys };
                Err(Fault { key: self.path(key.get_ref()), at: key.span().start, problem })
            }
        }
    }

    /// The key as messages have it: `memory[1].length`.
    pub fn path(&self, key: &str) -> String {
        let key = crate::number::shortened(key);
        match (self.keys.table, self.index) {
            ("", _) => key,
            (table, None) => format!("{table}.{key}"),
            (table, Some(index)) => format!("{table}[{index}].{key}"),
        }
    }

    /// What messages call the table itself.
    pub fn name(&self) -> String {
        self.index.map_or_else(|| self.keys.table.to_owned(), |index| format!("{}[{index}]", self.keys.table))
    }

    /// A problem of the whole table.
    pub fn fault(&self, problem: Problem) -> Fault {
        Fault { key: self.name(), at: self.at, problem }
    }

    /// The value of a key, if it is there.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        debug_assert!(self.keys.keys.contains(&key), "{key} is not in the table of keys");
        let (_, value) = self.entries.get_key_value(key)?;
        Some(Value { path: self.path(key), at: value.span().start, value: value.get_ref() })
    }

    /// The value of a key that must be there.
    pub fn need(&self, key: &str) -> Result<Value<'a>, Fault> {
        self.get(key).ok_or_else(|| self.missing(key, Problem::Missing))
    }

    /// A key that is missing: the place is the table's.
    pub fn missing(&self, key: &str, problem: Problem) -> Fault {
        Fault { key: self.path(key), at: self.at, problem }
    }

    /// The tables of `[[key]]`, in file order; none if there is no such key.
    pub fn tables(&self, key: &str, keys: &'static TableKeys) -> Result<Vec<Self>, Fault> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let DeValue::Array(array) = value.value else { return Err(value.wrong_type("a [[table]] for each")) };
        let element = |(index, element): (usize, &'a Spanned<DeValue<'a>>)| {
            let (at, path) = (element.span().start, format!("{}[{index}]", value.path));
            let element = Value { path, at, value: element.get_ref() };
            Table { keys, index: Some(index), at, entries: element.table()? }.checked()
        };
        array.iter().enumerate().map(element).collect()
    }

    /// The table of `[key]`, if it is there.
    pub fn table(&self, key: &str, keys: &'static TableKeys) -> Result<Option<Self>, Fault> {
        let Some(value) = self.get(key) else { return Ok(None) };
        Self { keys, index: None, at: value.at, entries: value.table()? }.checked().map(Some)
    }
}

/// One value of the manifest.
#[derive(Clone, Debug)]
pub(super) struct Value<'a> {
    pub path: String,
    pub at: usize,
    value: &'a DeValue<'a>,
}

impl<'a> Value<'a> {
    pub fn fault(&self, problem: Problem) -> Fault {
        Fault { key: self.path.clone(), at: self.at, problem }
    }

    fn wrong_type(&self, wanted: &'static str) -> Fault {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a number with a point",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.fault(Problem::WrongType { wanted, found })
    }

    pub fn table(&self) -> Result<&'a DeTable<'a>, Fault> {
        match self.value {
            DeValue::Table(table) => Ok(table),
            _ => Err(self.wrong_type("a table")),
        }
    }

    /// The entries of a table whose keys are not known beforehand, in file order.
    pub fn entries(&self) -> Result<Vec<(At<&'a str>, Self)>, Fault> {
        let value = |(key, value): (&'a Spanned<std::borrow::Cow<'a, str>>, &'a Spanned<DeValue<'a>>)| {
            let name = At { value: key.get_ref().as_ref(), at: key.span().start };
            let path = format!("{}.{}", self.path, crate::number::shortened(name.value));
            (name, Self { path, at: value.span().start, value: value.get_ref() })
        };
        let mut entries: Vec<_> = self.table()?.iter().map(value).collect();
        entries.sort_by_key(|(name, _)| name.at);
        Ok(entries)
    }

    pub fn text(&self) -> Result<At<&'a str>, Fault> {
        match self.value {
            DeValue::String(text) => Ok(At { value: text.as_ref(), at: self.at }),
            _ => Err(self.wrong_type("a string")),
        }
    }

    pub fn boolean(&self) -> Result<bool, Fault> {
        match self.value {
            DeValue::Boolean(value) => Ok(*value),
            _ => Err(self.wrong_type("true or false")),
        }
    }

    /// An address, a size, a count: an integer, or a string with a suffix.
    pub fn bytes(&self) -> Result<At<u64>, Fault> {
        let number = match self.value {
            DeValue::String(text) => parse_bytes(text),
            _ => self
                .integer(8, "an integer, or a string such as \"0x1000\" or \"4K\"")?
                .map(|bytes| bytes.iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))),
        };
        let value = number.map_err(|error| self.fault(Problem::Number(error)))?;
        Ok(At { value, at: self.at })
    }

    /// The bytes of a number of at most `width` bytes, the least significant first: an integer, or a string without
    /// suffix.
    pub fn wide(&self, width: usize) -> Result<Result<Vec<u8>, NumberError>, Fault> {
        match self.value {
            DeValue::String(text) => Ok(crate::number::parse_wide(text, width)),
            _ => self.integer(width, "an integer, or a string such as \"0x1000\""),
        }
    }

    /// A TOML integer. TOML promises 64 bits with a sign; here an integer may be as wide as its use.
    fn integer(&self, width: usize, wanted: &'static str) -> Result<Result<Vec<u8>, NumberError>, Fault> {
        match self.value {
            DeValue::Integer(integer) => {
                let digits = integer.as_str();
                let number = parse_digits(digits.strip_prefix('+').unwrap_or(digits), integer.radix(), width);
                Ok(number.map_err(|error| error.of(&integer.to_string())))
            }
            _ => Err(self.wrong_type(wanted)),
        }
    }
}
