//! Lines on standard output. Whoever reads them may have seen enough (`tests/soak … | head`), which ends the program.

use std::{
    fmt,
    io::{self, Write as _},
    process,
};

/// Exit code of a program that nobody listens to any more, as a shell gives it.
const NOBODY_LISTENS: i32 = 141;

/// Prints a line.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    if writeln!(io::stdout().lock(), "{text}").is_err() {
        process::exit(NOBODY_LISTENS);
    }
}

/// `println!`, but for a closed pipe.
macro_rules! say {
    ($($part:tt)*) => { $crate::say::line(format_args!($($part)*)) };
}
