//! Where output goes, and what that place can do.

use std::io::{IsTerminal as _, Write};

use super::error::CliError;
use super::style::{Style, clean};

/// Standard output, or a buffer in tests.
pub struct Terminal {
    out: Box<dyn Write + Send>,
    notes: Box<dyn Write + Send>,
    pub(crate) style: Style,
    /// Whether a picture can be drawn over the one before.
    pub(crate) redraws: bool,
}

impl Terminal {
    /// Standard output: no colour with `--no-color`, `NO_COLOR`, `TERM=dumb`, or into a pipe or file.
    pub(crate) fn stdout(no_color: bool, ascii: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let terminal = std::io::stdout().is_terminal();
        Self {
            out: Box::new(std::io::stdout()),
            notes: Box::new(std::io::stderr()),
            style: Style {
                color: terminal && !dumb && !unwanted && !no_color,
                ascii,
            },
            redraws: terminal && !dumb,
        }
    }

    /// A terminal without abilities that writes to `out` and, notes, to `notes`.
    pub fn plain(out: Box<dyn Write + Send>, notes: Box<dyn Write + Send>) -> Self {
        Self {
            out,
            notes,
            style: Style::default(),
            redraws: false,
        }
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), CliError> {
        self.text(&format!("{text}\n"))
    }

    /// Writes text as it is.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), CliError> {
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        written.map_err(|error| CliError::output(&error))
    }

    /// Draws over everything, or, where that is not possible, below what was drawn before.
    pub(crate) fn picture(&mut self, text: &str, first: bool) -> Result<(), CliError> {
        match (self.redraws, first) {
            (true, _) => self.text(&format!("\u{1b}[H\u{1b}[2J{text}")),
            (false, true) => self.text(text),
            (false, false) => self.text(&format!("\n{text}")),
        }
    }

    /// Something a person should know that is not the result. That it cannot be written is no error.
    pub(crate) fn note(&mut self, text: &str) {
        let _ = writeln!(self.notes, "{}", clean(text));
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::Terminal;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    /// What was written.
    #[derive(Clone, Default)]
    pub(crate) struct Recorded(Arc<Mutex<Vec<u8>>>);

    impl Recorded {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Recorded {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// A terminal, what is written to it, and the notes.
    pub(crate) fn recorded() -> (Terminal, Recorded, Recorded) {
        let (out, notes) = (Recorded::default(), Recorded::default());
        (
            Terminal::plain(Box::new(out.clone()), Box::new(notes.clone())),
            out,
            notes,
        )
    }
}
