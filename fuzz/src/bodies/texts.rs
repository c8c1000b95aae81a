//! What people write: manifests and numbers.

use std::path::Path;

use guestdump::number;
use guestdump::source::manifest;
use guestdump_core::format;

use super::memory_use::bounded;
use super::writing::{options, rewrite};

/// A manifest. Those that cannot name a file are opened, and their guests planned.
pub fn manifest(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    // The TOML reader keeps places and texts of everything; an error repeats the names that are known.
    let parsed = bounded(text.len(), 400, 1 << 20, || manifest::parse(text));
    let manifest = match parsed {
        Ok(manifest) => manifest,
        Err(error) => {
            let message = error.to_string();
            assert!(message.starts_with("guest.toml") && message.len() < 4000, "{message}");
            assert!(error.hint().is_none_or(|hint| !hint.is_empty()));
            return;
        }
    };
    // Escapes may spell `file` otherwise.
    if text.contains("file") || text.contains('\\') {
        return;
    }
    match manifest.resolve(Path::new("nowhere")) {
        Ok(found) => {
            for format in format::ALL.iter().take(2) {
                rewrite(&found.guest, &options(format));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Numbers of the command line and of manifests.
pub fn numbers(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match number::parse_bytes(text) {
        Ok(value) => {
            for again in [value.to_string(), format!("{value:#x}"), format!("{value:#X}").replace("0X", "0x")] {
                assert_eq!(number::parse_bytes(&again), Ok(value), "{again}");
            }
        }
        Err(error) => assert!(error.to_string().len() < 400 && !error.hint().is_empty()),
    }
    for radix in [2, 8, 10, 16] {
        for width in [0, 1, 8, 16] {
            digits(text, radix, width);
        }
    }
    let _ = number::parse_wide(text, 256);
    assert!(number::shortened(text).chars().count() <= 43);
}

/// The same as the standard library's reading, where that has one.
fn digits(text: &str, radix: u32, width: usize) {
    let Ok(bytes) = number::parse_digits(text, radix, width) else { return };
    assert!(bytes.len() <= width && bytes.last() != Some(&0));
    let mut wide = [0; 16];
    wide[..bytes.len()].copy_from_slice(&bytes);
    assert_eq!(u128::from_str_radix(&text.replace('_', ""), radix), Ok(u128::from_le_bytes(wide)), "{text}");
}
