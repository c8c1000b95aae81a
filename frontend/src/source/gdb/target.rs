//! Target descriptions: which registers a stub has, under which numbers, how wide. Pure functions; no I/O, no panics.
//!
//! Source: Debugging with GDB, appendix G "Target Descriptions"; the tests have QEMU 10.0.2's own words. Of XML this
//! takes what such files have: elements with attributes, comments, a prolog. Everything else is skipped or refused;
//! there are no entities, so that nothing grows.

use thiserror::Error;

/// The description that includes the others.
pub const FIRST: &str = "target.xml";
/// Most files of a description, the first included; QEMU 10.0.2 has 8 for s390x. It also ends files that include each other.
pub const MAX_FILES: usize = 64;
/// Longest file, in bytes. QEMU 10.0.2's longest is 22,631 (aarch64 with EL3).
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// Most registers. RISC-V's control and status registers have numbers up to 4096 above others.
pub const MAX_REGISTERS: usize = 1 << 14;

/// Why a description is none.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum TargetError {
    /// Not text.
    #[error("target description: {file} is not UTF-8")]
    NotText {
        /// The file.
        file: String,
    },
    /// Not the XML that is known here.
    #[error("target description: {file}, byte {at}: {what}")]
    Malformed {
        /// The file.
        file: String,
        /// Offset in it.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// A file that is too long.
    #[error("target description: {file} has more than {MAX_FILE_BYTES} bytes")]
    TooLong {
        /// The file.
        file: String,
    },
    /// Too many files, or files that include each other.
    #[error("target description: more than {MAX_FILES} files, the last of them {file}")]
    TooManyFiles {
        /// The one too many.
        file: String,
    },
    /// Too many registers.
    #[error("target description: more than {MAX_REGISTERS} registers, the last of them in {file}")]
    TooManyRegisters {
        /// Where the one too many is.
        file: String,
    },
}

/// A register of a stub.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Register {
    /// Its number, for `p`; `g` has registers in the order of numbers.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Its width in bits.
    pub bits: u32,
}

/// What a file has, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// Another file, in this place.
    Include(String),
    /// A register.
    Register {
        /// Its name.
        name: String,
        /// Its width in bits.
        bits: u32,
        /// Its number; without one, the next.
        number: Option<u32>,
    },
}

/// Reads the whole description, file by file through `fetch`.
///
/// # Errors
/// Those of `fetch`, and [`TargetError`].
pub fn load<E: From<TargetError>>(mut fetch: impl FnMut(&str) -> Result<Vec<u8>, E>) -> Result<Vec<Register>, E> {
    let (mut registers, mut next, mut files) = (Vec::new(), 0_u32, 1);
    let mut open = vec![file_items(FIRST, &mut fetch)?];
    while let Some((file, items)) = open.last_mut() {
        match items.next() {
            None => drop(open.pop()),
            Some(Item::Include(name)) if files == MAX_FILES => {
                return Err(TargetError::TooManyFiles { file: name }.into());
            }
            Some(Item::Include(name)) => {
                files += 1;
                open.push(file_items(&name, &mut fetch)?);
            }
            Some(Item::Register { .. }) if registers.len() == MAX_REGISTERS => {
                return Err(TargetError::TooManyRegisters { file: file.clone() }.into());
            }
            Some(Item::Register { name, bits, number }) => {
                let number = number.unwrap_or(next);
                next = number.saturating_add(1);
                registers.push(Register { number, name, bits });
            }
        }
    }
    Ok(registers)
}

/// A file that is being read.
type OpenFile = (String, std::vec::IntoIter<Item>);

fn file_items<E: From<TargetError>>(
    file: &str,
    fetch: &mut impl FnMut(&str) -> Result<Vec<u8>, E>,
) -> Result<OpenFile, E> {
    let bytes = fetch(file)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(TargetError::TooLong { file: file.to_owned() }.into());
    }
    let text = core::str::from_utf8(&bytes).map_err(|_| TargetError::NotText { file: file.to_owned() })?;
    Ok((file.to_owned(), scan(file, text)?.into_iter()))
}

/// Reads one file, whose name is for errors.
///
/// # Errors
/// [`TargetError::Malformed`].
pub fn scan(file: &str, text: &str) -> Result<Vec<Item>, TargetError> {
    let mut items = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let markup = rest.get(at..).unwrap_or_default();
        let malformed = |what| TargetError::Malformed { file: file.to_owned(), at: text.len() - markup.len(), what };
        let end = markup_end(markup).ok_or_else(|| malformed("no end"))?;
        let (inside, behind) = (markup.get(1..end).unwrap_or_default(), markup.get(end + 1..).unwrap_or_default());
        if !inside.starts_with(['!', '?', '/']) {
            items.extend(element(inside).map_err(malformed)?);
        }
        rest = behind;
    }
    Ok(items)
}

/// Where the `>` is that ends what starts here. That of a DOCTYPE with a subset of its own is not searched for.
fn markup_end(markup: &str) -> Option<usize> {
    if markup.starts_with("<!--") {
        return Some(markup.get(4..)?.find("-->")? + 4 + 2);
    }
    let mut quote = None;
    for (at, byte) in markup.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at),
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'[') => return None,
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

/// What a start tag means; an element of no interest is `None`.
fn element(inside: &str) -> Result<Option<Item>, &'static str> {
    let inside = inside.strip_suffix('/').unwrap_or(inside);
    let (name, rest) = inside.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((inside, ""));
    match name {
        "xi:include" => {
            let href = attribute(rest, "href")?.ok_or("xi:include without href")?;
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            let is_name = !href.is_empty() && href.bytes().all(plain);
            if is_name { Ok(Some(Item::Include(href.to_owned()))) } else { Err("href is no file name") }
        }
        "reg" => {
            let name = attribute(rest, "name")?.ok_or("reg without name")?;
            let bits = attribute(rest, "bitsize")?.and_then(|bits| bits.parse().ok()).ok_or("reg without bitsize")?;
            let number = match attribute(rest, "regnum")? {
                Some(digits) => Some(digits.parse().map_err(|_| "regnum is no number")?),
                None => None,
            };
            Ok(Some(Item::Register { name: name.to_owned(), bits, number }))
        }
        _ => Ok(None),
    }
}

/// The value of an attribute among `rest`, if it is there.
fn attribute<'t>(mut rest: &'t str, wanted: &str) -> Result<Option<&'t str>, &'static str> {
    const BROKEN: &str = "broken attribute";
    while let (before, Some(behind)) = rest.split_once('=').map_or((rest, None), |(name, value)| (name, Some(value))) {
        let behind = behind.trim_ascii_start();
        let quote = behind.chars().next().filter(|quote| ['"', '\''].contains(quote)).ok_or(BROKEN)?;
        let (value, next) = behind.get(1..).and_then(|value| value.split_once(quote)).ok_or(BROKEN)?;
        if before.trim_ascii() == wanted {
            return Ok(Some(value));
        }
        rest = next;
    }
    if rest.trim_ascii().is_empty() { Ok(None) } else { Err(BROKEN) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: &str = r#"<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target><architecture>riscv</architecture><xi:include href="cpu.xml"/><xi:include href="csr.xml"/></target>"#;
    const CPU: &str = "<?xml version=\"1.0\"?>\n<!-- <reg name=\"no\" bitsize=\"64\"/>\n     preserved.  -->\n
        <feature name=\"org.gnu.gdb.riscv.cpu\">
          <reg name=\"zero\" bitsize=\"64\" type=\"int\" regnum=\"0\"/>
          <reg name=\"ra\" bitsize=\"64\" type=\"code_ptr\"/>
          <flags id=\"f\" size=\"4\"><field name=\"\" start='0' end='>'/></flags>\n</feature>";
    const CSR: &str = "<feature name=\"org.gnu.gdb.riscv.csr\"><reg name='satp' bitsize=\"64\" regnum=\"450\" type=\"int\"/></feature>";

    fn loaded(files: &[(&str, &str)]) -> Result<Vec<Register>, TargetError> {
        load(|wanted| Ok(files.iter().find(|(name, _)| *name == wanted).unwrap().1.as_bytes().to_vec()))
    }

    #[test]
    fn registers_are_numbered_through_all_files() {
        let registers = loaded(&[("target.xml", TARGET), ("cpu.xml", CPU), ("csr.xml", CSR)]).unwrap();
        let rows: Vec<_> = registers.iter().map(|reg| (reg.number, reg.name.as_str(), reg.bits)).collect();
        assert_eq!(rows, [(0, "zero", 64), (1, "ra", 64), (450, "satp", 64)]);
    }

    #[test]
    fn what_is_no_description_is_refused_in_its_place() {
        let refused = |text: &str| loaded(&[("target.xml", text)]).unwrap_err().to_string();
        for (text, at, what) in [
            ("<target", 0, "no end"),
            ("<!-- <reg>", 0, "no end"),
            ("<!DOCTYPE target [<!ENTITY a \"b\">]>", 0, "no end"),
            ("<a/><reg bitsize=\"8\"/>", 4, "reg without name"),
            ("<reg name=\"a\"/>", 0, "reg without bitsize"),
            ("<reg name=\"a\" bitsize=\"8x\"/>", 0, "reg without bitsize"),
            ("<reg name=\"a\" bitsize=\"8\" regnum=\"-1\"/>", 0, "regnum is no number"),
            ("<reg name=a bitsize=\"8\"/>", 0, "broken attribute"),
            ("<reg name/>", 0, "broken attribute"),
            ("<xi:include/>", 0, "xi:include without href"),
            ("<xi:include href=\"a#b\"/>", 0, "href is no file name"),
        ] {
            assert_eq!(refused(text), format!("target description: target.xml, byte {at}: {what}"), "{text}");
        }
        let not_text = load::<TargetError>(|_| Ok(vec![0xff])).unwrap_err();
        assert_eq!(not_text, TargetError::NotText { file: FIRST.to_owned() });
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([<>=\"'/!?a\\[ -]|reg|xi:include|name|bitsize|href|64|\\PC){0,60}") {
            match scan("t", &text) {
                Ok(items) => proptest::prop_assert!(items.len() <= text.matches('<').count()),
                Err(TargetError::Malformed { at, .. }) => proptest::prop_assert!(text[at..].starts_with('<')),
                Err(other) => proptest::prop_assert!(false, "{}", other),
            }
        }
    }

    #[test]
    fn bombs_end() {
        let itself = r#"<xi:include href="target.xml"/>"#;
        let twice = TargetError::TooManyFiles { file: FIRST.to_owned() };
        assert_eq!(loaded(&[("target.xml", &itself.repeat(2))]), Err(twice));
        let many = "<reg name=\"a\" bitsize=\"8\"/>".repeat(MAX_REGISTERS + 1);
        assert_eq!(loaded(&[("target.xml", &many)]), Err(TargetError::TooManyRegisters { file: FIRST.to_owned() }));
        let long = " ".repeat(MAX_FILE_BYTES + 1);
        assert_eq!(loaded(&[("target.xml", &long)]), Err(TargetError::TooLong { file: FIRST.to_owned() }));
        let last = "<reg name=\"a\" bitsize=\"8\" regnum=\"4294967295\"/><reg name=\"b\" bitsize=\"8\"/>";
        assert_eq!(loaded(&[("target.xml", last)]).unwrap()[1].number, u32::MAX);
    }
}
