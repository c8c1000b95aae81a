//! The program: parse, run, exit.

use std::process::ExitCode;

fn main() -> ExitCode {
    guestdump::cli::main()
}
