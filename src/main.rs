//! Tidegate.

use std::io::Write as _;
use std::process::ExitCode;

use tidegate::cli::{self, error::Kind};

#[tokio::main]
async fn main() -> ExitCode {
    match cli::run(std::env::args_os()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if error.kind != Kind::Closed {
                // There is nowhere left to report that this failed.
                let _ = writeln!(std::io::stderr(), "{error}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}
