//! Fuzz targets of guestdump: the bodies, which run without a fuzzer too. Each has a program in `fuzz_targets/` that
//! hands it to libFuzzer, and seeds in `corpus/`; `run.sh` builds and runs them, `frontend/tests/fuzz_replay.rs`
//! replays the corpus in the ordinary test suite.

pub mod bodies;
pub mod repeatable;
