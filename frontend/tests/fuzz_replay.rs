//! The inputs of `fuzz/corpus` through the bodies of the fuzz targets, without a fuzzer: what it found once is found
//! again by the ordinary tests.
//!
//! `cargo test -p guestdump --test fuzz_replay -- --ignored` makes the seeds anew; inputs that the fuzzer found, whose
//! names start with `crash-`, `oom-` or `timeout-`, stay.

#[path = "../../fuzz/src/bodies/mod.rs"]
#[allow(dead_code, reason = "mutations.rs uses the rest")]
mod bodies;
#[path = "../../fuzz/src/seeds/mod.rs"]
mod seeds;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use std::{fs, thread};

use bodies::TARGETS;

/// The fuzzer allows 5 seconds, with a release build.
const LONGEST: Duration = Duration::from_secs(60);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = root().join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths: BTreeSet<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.into_iter().map(|path| (format!("{target}/{}", name(&path)), fs::read(&path).unwrap())).collect()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Why a body does not end well with an input.
fn failure(body: fn(&[u8]), input: Vec<u8>) -> Option<&'static str> {
    let (send, done) = channel();
    thread::spawn(move || {
        body(&input);
        let _ = send.send(());
    });
    match done.recv_timeout(LONGEST) {
        Ok(()) => None,
        Err(RecvTimeoutError::Disconnected) => Some("panics"),
        Err(RecvTimeoutError::Timeout) => Some("does not end"),
    }
}

/// In one test: the bodies measure the memory of the whole program.
#[test]
fn every_input_of_the_corpus_ends_well() {
    let mut failed = Vec::new();
    for (target, body) in TARGETS {
        let inputs = inputs(target);
        assert!(inputs.len() > 1, "no seeds for {target}");
        for (name, input) in [(format!("{target}: nothing"), Vec::new())].into_iter().chain(inputs) {
            failed.extend(failure(*body, input).map(|why| format!("{name} {why}")));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_target_has_a_program() {
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    let listed: BTreeSet<String> = TARGETS.iter().map(|target| target.0.to_owned()).collect();
    let folder = |path: &str| fs::read_dir(root().join(path)).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(folder("fuzz/corpus").map(|path| name(&path)).collect::<BTreeSet<_>>(), listed);
    for path in folder("fuzz/fuzz_targets") {
        let target = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(listed.contains(&target), "{target} is not in TARGETS");
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")),
            "{target} is not in fuzz/Cargo.toml"
        );
    }
    assert_eq!(folder("fuzz/fuzz_targets").count(), listed.len());
    assert!(bodies::kdump::knows_all_flags());
}

#[test]
#[ignore = "writes fuzz/corpus"]
fn make_the_seeds() {
    let corpus = root().join("fuzz/corpus");
    for (target, _) in TARGETS {
        fs::create_dir_all(corpus.join(target)).unwrap();
        for (name, _) in inputs(target) {
            let found = ["crash-", "oom-", "timeout-"].iter().any(|start| name.contains(&format!("/{start}")));
            if !found {
                fs::remove_file(corpus.join(name)).unwrap();
            }
        }
    }
    for (target, name, bytes) in seeds::all(&root().join("testdata")).unwrap() {
        fs::write(corpus.join(target).join(name), bytes).unwrap();
    }
}
