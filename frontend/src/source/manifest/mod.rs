//! The manifest: a text file that describes a guest whose memory lies in raw files.
#![doc = ""]
#![doc = include_str!("FORMAT.md")]
//!
//! # Where is what
//!
//! Here: opening a manifest. `keys.rs` has every key; `parse.rs` what the text means, without looking at any file;
//! `resolve.rs` opens the files it names; `error.rs` everything that can be wrong; `table.rs` and `note.rs` are tools
//! of these. Reading RAM files lives in [`super::raw`], searching the memory for VMCOREINFO in core.

mod error;
mod keys;
mod note;
mod parse;
mod resolve;
mod table;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

pub use error::{MAX_LEN, ManifestError, Problem};
pub use keys::{TABLES, TableKeys};
pub use parse::{Manifest, parse, parse_as};
pub use resolve::ManifestGuest;

/// Name of the manifest in a folder.
pub const FILE_NAME: &str = "guest.toml";

/// A manifest on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestSource {
    /// A manifest, or a folder with a [`FILE_NAME`] in it.
    pub path: PathBuf,
}

impl ManifestSource {
    /// Reads the manifest and opens the files that it names.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn open(&self) -> Result<ManifestGuest, ManifestError> {
        let path = if self.path.is_dir() { self.path.join(FILE_NAME) } else { self.path.clone() };
        let text = read_text(&path)?;
        parse_as(&text, &path)?.resolve(path.parent().unwrap_or(Path::new("")))
    }
}

fn read_text(path: &Path) -> Result<String, ManifestError> {
    let unreadable = |cause| ManifestError::Unreadable { path: path.to_owned(), cause };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        let what = resolve::kind_name(metadata.file_type());
        return Err(ManifestError::NotAFile { path: path.to_owned(), what });
    }
    let too_long = |len| Err(ManifestError::TooLong { path: path.to_owned(), len });
    if metadata.len() > MAX_LEN {
        return too_long(metadata.len());
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_LEN + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_LEN {
        return too_long(bytes.len() as u64);
    }
    let not_text = |error: std::string::FromUtf8Error| error.utf8_error().valid_up_to();
    String::from_utf8(bytes).map_err(|error| ManifestError::NotText { path: path.to_owned(), at: not_text(error) })
}
