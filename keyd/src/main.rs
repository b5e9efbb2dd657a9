//! `keyd`: the key daemon and its command line. See `keyd --help`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    keyd::cli::main()
}
