//! Guests from `testdata/guests`: RAM files made from `memory.txt`, and what is written there about translation.
//!
//! The notation is told in `testdata/README.md`. Nothing here knows what a manifest means: a fixture says the content of
//! its files by itself.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Where the fixtures are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/guests")
}

/// Names of all fixtures.
pub fn names() -> Vec<String> {
    let entries = fs::read_dir(folder()).unwrap().map(Result::unwrap);
    let folders = entries.filter(|entry| entry.path().join("memory.txt").exists());
    let mut names: Vec<String> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A guest ready to be opened: its manifest and its RAM files in a folder of their own, deleted at the end.
#[derive(Debug)]
pub struct Fixture {
    pub name: String,
    pub dir: TempDir,
    pub memory: MemoryTxt,
}

/// Makes the RAM files of a fixture.
pub fn prepare(name: &str) -> Fixture {
    let from = folder().join(name);
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(&from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let memory = MemoryTxt::parse(&fs::read_to_string(from.join("memory.txt")).unwrap());
    memory.files.iter().for_each(|file| file.write(dir.path()));
    Fixture { name: name.to_owned(), dir, memory }
}

/// What a `memory.txt` says.
#[derive(Debug, Default)]
pub struct MemoryTxt {
    pub files: Vec<RamFile>,
    pub walks: Vec<Walk>,
}

/// A file of guest memory.
#[derive(Debug)]
pub struct RamFile {
    pub name: String,
    pub len: u64,
    /// Guest-physical address of its first byte.
    pub from: u64,
    /// Guest-physical addresses and bytes; all other bytes are zero.
    pub pieces: Vec<(u64, Vec<u8>)>,
}

/// What an address of a vCPU translates to.
#[derive(Debug)]
pub struct Walk {
    pub cpu: u32,
    pub virt: u64,
    pub phys: Option<u64>,
}

impl MemoryTxt {
    /// Reads the notation; stops the test at the first line that is wrong.
    pub fn parse(text: &str) -> Self {
        let (mut memory, mut entries, mut cpu) = (Self::default(), (8, false), None);
        for (index, line) in text.lines().enumerate() {
            let words = words(line);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let wrong = format!("memory.txt:{}: {line}", index + 1);
            match words.as_slice() {
                [] => {}
                ["entries", width, order] => entries = (number(width) as usize, *order == "big"),
                ["cpu", id] => cpu = Some(number(id) as u32),
                [virt, "->", phys] => {
                    let phys = (*phys != "nothing").then(|| number(phys));
                    memory.walks.push(Walk { cpu: cpu.expect(&wrong), virt: number(virt), phys });
                }
                ["file", name, len] => memory.files.push(RamFile::new(name, len, "0")),
                ["file", name, len, "from", from] => memory.files.push(RamFile::new(name, len, from)),
                [at, rest @ ..] if at.starts_with('@') && !rest.is_empty() => {
                    let file = memory.files.last_mut().expect(&wrong);
                    file.pieces.push(piece(number(&at[1..]), rest, entries));
                }
                _ => panic!("{wrong}"),
            }
        }
        memory
    }
}

impl RamFile {
    fn new(name: &str, len: &str, from: &str) -> Self {
        Self { name: name.to_owned(), len: number(len), from: number(from), pieces: Vec::new() }
    }

    /// Writes it, sparse.
    fn write(&self, dir: &Path) {
        let file = File::create_new(dir.join(&self.name)).unwrap();
        file.set_len(self.len).unwrap();
        for (at, bytes) in &self.pieces {
            assert!(
                *at >= self.from && at + bytes.len() as u64 <= self.from + self.len,
                "{at:#x} is not in {}",
                self.name
            );
            file.write_all_at(bytes, at - self.from).unwrap();
        }
    }
}

/// The bytes of a line: those of an entry of a table, or a list.
fn piece(at: u64, words: &[&str], (width, big): (usize, bool)) -> (u64, Vec<u8>) {
    if let [index, entry] = words
        && let Some(index) = index.strip_prefix('[')
    {
        let start = at + number(index.trim_end_matches(']')) * width as u64;
        return (start, integer(number(entry), width, big));
    }
    (at, words.iter().flat_map(|word| bytes(word)).collect())
}

/// One item of a list: `55`, `55*4096`, `"text\n"`, `le32:7`, `be64:0x10`, `noise:3*4096`.
fn bytes(word: &str) -> Vec<u8> {
    if let Some(text) = word.strip_prefix('"') {
        return text.trim_end_matches('"').replace("\\n", "\n").into_bytes();
    }
    if let Some(noise) = word.strip_prefix("noise:") {
        let (seed, len) = noise.split_once('*').unwrap();
        return self::noise(number(seed), number(len) as usize);
    }
    for (prefix, width, big) in [("le32:", 4, false), ("le64:", 8, false), ("be32:", 4, true), ("be64:", 8, true)] {
        if let Some(value) = word.strip_prefix(prefix) {
            return integer(number(value), width, big);
        }
    }
    let (byte, count) = word.split_once('*').unwrap_or((word, "1"));
    vec![u8::from_str_radix(byte, 16).unwrap_or_else(|_| panic!("{word} is no byte")); number(count) as usize]
}

fn integer(value: u64, width: usize, big: bool) -> Vec<u8> {
    if big { value.to_be_bytes()[8 - width..].to_vec() } else { value.to_le_bytes()[..width].to_vec() }
}

/// Marsaglia's xorshift64: no codec makes it shorter.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len.div_ceil(8)).flat_map(|_| next()).take(len).collect()
}

/// Decimal, or hexadecimal with 0x, or with K, M, G.
fn number(text: &str) -> u64 {
    let shifts = [("K", 10), ("M", 20), ("G", 30)];
    let suffix = shifts.iter().find_map(|(suffix, shift)| Some((text.strip_suffix(suffix)?, *shift)));
    let (digits, shift) = suffix.unwrap_or((text, 0));
    let parsed = digits.strip_prefix("0x").map_or_else(|| digits.parse(), |hex| u64::from_str_radix(hex, 16));
    parsed.unwrap_or_else(|_| panic!("{text} is no number")) << shift
}

/// The words of a line up to its comment; a text in quotation marks is one word.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for letter in line.chars() {
        match letter {
            '#' if !quoted => break,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            _ => {
                quoted ^= letter == '"';
                word.push(letter);
            }
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}
