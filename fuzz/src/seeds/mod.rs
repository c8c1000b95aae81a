//! Makes the seeds in `corpus/` from `testdata/` and from what our own writers write. Part of the test in
//! `frontend/tests/fuzz_replay.rs`, which says how to run it; the fuzz targets themselves do not need it.

mod captures;
mod dmesg;
pub mod elf;
pub mod images;
mod input;
mod machines;
pub mod records;
mod texts;
pub mod written;

use std::path::Path;
use std::{fs, io};

/// Target, name and bytes of a seed.
pub type Seed = (&'static str, String, Vec<u8>);

/// Every seed. `testdata` is the project's folder of that name.
pub fn all(testdata: &Path) -> io::Result<Vec<Seed>> {
    let mut seeds = Vec::new();
    for name in folders(&testdata.join("captures"))? {
        captures::capture(&name, &testdata.join("captures").join(&name), &mut seeds)?;
    }
    for name in folders(&testdata.join("guests"))? {
        seeds.push(("manifest", name.clone(), fs::read(testdata.join("guests").join(name).join("guest.toml"))?));
    }
    for entry in fs::read_dir(testdata.join("paging"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "txt") {
            let form = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            machines::tables(&form, &fs::read_to_string(&path)?, &mut seeds);
        }
    }
    written::own_dumps(&mut seeds);
    elf::all(&mut seeds);
    dmesg::all(&mut seeds);
    records::all(&mut seeds);
    images::all(&mut seeds);
    texts::all(&mut seeds);
    Ok(seeds)
}

fn folders(below: &Path) -> io::Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(below)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
