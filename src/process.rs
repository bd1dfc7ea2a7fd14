//! Runs a child process with nothing inherited: the working directory is named, the environment is cleared, time and
//! output are limited, and the whole process group dies with the call. Does not know what it runs.
//!
//! Whoever runs children does so through a [`Runner`], so that a simulation can answer in their place.

use crate::class::Class;
use futures::future::BoxFuture;
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin},
};

/// Output on the standard error stream is for people; more than this is noise. In bytes.
pub const STDERR_BYTES_MAX: usize = 64 << 10;

/// Output on the standard output stream unless a caller says otherwise. In bytes.
pub const STDOUT_BYTES_MAX_DEFAULT: usize = 16 << 20;

/// What to run. Built with the methods below, started with [`Process::run`].
#[derive(Clone)]
pub struct Process {
    program: PathBuf,
    arguments: Vec<OsString>,
    directory: PathBuf,
    environment: BTreeMap<OsString, OsString>,
    input: Vec<u8>,
    deadline: Duration,
    stdout_bytes_max: usize,
}

/// What a child left behind; its exit code was 0.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Output {
    /// Everything it wrote to standard output, at most the limit of the call.
    pub stdout: Vec<u8>,
    /// The beginning of what it wrote to standard error, at most [`STDERR_BYTES_MAX`].
    pub stderr: String,
}

/// Why a child did not give an [`Output`]. Arguments and environment are never part of the text: they may be secret.
#[derive(Clone, Debug, Error)]
pub enum ProcessError {
    /// The program could not be started.
    #[error("failed to start `{program}`: {source}")]
    Start {
        /// Name of the program.
        program: String,
        /// What the operating system said.
        source: Arc<std::io::Error>,
    },
    /// It ran for too long and was killed.
    #[error("`{program}` did not finish within {deadline:?}")]
    Timeout {
        /// Name of the program.
        program: String,
        /// The time it had.
        deadline: Duration,
    },
    /// It wrote more than it may and was killed.
    #[error("`{program}` wrote more than {bytes_max} bytes")]
    OutputTooLarge {
        /// Name of the program.
        program: String,
        /// The limit of the call.
        bytes_max: usize,
    },
    /// It ended with an exit code other than 0, or by a signal (no code).
    #[error("`{program}` failed{}: {}", code_text(*code), stderr.trim())]
    Failed {
        /// Name of the program.
        program: String,
        /// Exit code; absent when a signal ended it.
        code: Option<i32>,
        /// The beginning of its standard error.
        stderr: String,
    },
    /// A pipe broke.
    #[error("failed to talk to `{program}`: {source}")]
    Pipe {
        /// Name of the program.
        program: String,
        /// What the operating system said.
        source: Arc<std::io::Error>,
    },
}

fn code_text(code: Option<i32>) -> String {
    code.map_or_else(|| " by a signal".to_owned(), |code| format!(" with exit code {code}"))
}

impl ProcessError {
    /// What to do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Start { .. } | Self::OutputTooLarge { .. } | Self::Failed { .. } => Class::Permanent,
            Self::Timeout { .. } | Self::Pipe { .. } => Class::Transient,
        }
    }

    /// A stable word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Start { .. } => "process_start",
            Self::Timeout { .. } => "process_timeout",
            Self::OutputTooLarge { .. } => "process_output",
            Self::Failed { .. } => "process_failed",
            Self::Pipe { .. } => "process_pipe",
        }
    }
}

/// Runs children.
pub trait Runner: std::fmt::Debug + Send + Sync {
    /// Runs one to its end.
    fn run(&self, process: Process) -> BoxFuture<'_, Result<Output, ProcessError>>;
}

/// The machine itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine;

impl Runner for Machine {
    fn run(&self, process: Process) -> BoxFuture<'_, Result<Output, ProcessError>> {
        Box::pin(process.run())
    }
}

/// Arguments and environment stay out: they may be secret.
impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process")
            .field("program", &self.program)
            .field("directory", &self.directory)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Process {
    /// A child that runs `program` in `directory` with an empty environment and at most `deadline`.
    pub fn new(program: impl Into<PathBuf>, directory: impl Into<PathBuf>, deadline: Duration) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            directory: directory.into(),
            environment: BTreeMap::new(),
            input: Vec::new(),
            deadline,
            stdout_bytes_max: STDOUT_BYTES_MAX_DEFAULT,
        }
    }

    /// Appends arguments. They are visible to every process of the machine: never put a secret here.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets one variable of the otherwise empty environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Sets variables of the otherwise empty environment.
    #[must_use]
    pub fn envs<N: Into<OsString>, V: Into<OsString>>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self {
        self.environment
            .extend(variables.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// What the child reads from standard input; nothing unless set.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Most bytes the child may write to standard output.
    #[must_use]
    pub fn stdout_bytes_max(mut self, bytes: usize) -> Self {
        self.stdout_bytes_max = bytes;
        self
    }

    /// The arguments, for tests that prove no secret is among them.
    pub fn arguments(&self) -> &[OsString] {
        &self.arguments
    }

    /// What the child is to read from standard input.
    pub fn stdin(&self) -> &[u8] {
        &self.input
    }

    /// The time the child has.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Runs the child to its end. Dropping the future kills the child and all it started.
    pub async fn run(self) -> Result<Output, ProcessError> {
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(&self.arguments)
            .current_dir(&self.directory)
            .env_clear()
            .envs(&self.environment)
            .stdin(if self.input.is_empty() {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let program = program_name(&self.program);
        let child = command.spawn().map_err(|source| ProcessError::Start {
            program: program.clone(),
            source: Arc::new(source),
        })?;
        let mut group = Group(child);
        match tokio::time::timeout(self.deadline, group.finish(&program, self.input, self.stdout_bytes_max)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(ProcessError::Timeout {
                program,
                deadline: self.deadline,
            }),
        }
    }
}

fn program_name(program: &Path) -> String {
    program
        .file_name()
        .unwrap_or(program.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// A child that leads its own process group; what is left of the group dies when this is dropped.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // `id` is absent once the child was waited for, so that a number the system gave to somebody else meanwhile is
        // never signalled.
        let Some(pid) = self.0.id().and_then(|id| i32::try_from(id).ok()) else {
            return;
        };
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            // The group may be gone already; there is nothing else to do about a failure.
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

impl Group {
    async fn finish(&mut self, program: &str, input: Vec<u8>, stdout_bytes_max: usize) -> Result<Output, ProcessError> {
        let pipe = |source| ProcessError::Pipe {
            program: program.to_owned(),
            source: Arc::new(source),
        };
        let (stdin, stdout, stderr) = (self.0.stdin.take(), self.0.stdout.take(), self.0.stderr.take());
        // All three at once: a child that waits for one pipe must not block on another.
        let (written, stdout, stderr) = tokio::try_join!(
            async { Ok(feed(stdin, &input).await) },
            async {
                let all = read_limited(stdout, stdout_bytes_max, OnLimit::Stop)
                    .await
                    .map_err(pipe)?;
                // An error here, not after the join: the child now waits for a reader that will never come back.
                all.ok_or_else(|| ProcessError::OutputTooLarge {
                    program: program.to_owned(),
                    bytes_max: stdout_bytes_max,
                })
            },
            async {
                read_limited(stderr, STDERR_BYTES_MAX, OnLimit::Discard)
                    .await
                    .map_err(pipe)
            },
        )?;
        let stderr = String::from_utf8_lossy(&stderr.unwrap_or_default()).into_owned();
        let status = self.0.wait().await.map_err(pipe)?;
        if !status.success() {
            return Err(ProcessError::Failed {
                program: program.to_owned(),
                code: status.code(),
                stderr,
            });
        }
        // A child that succeeded without reading all its input did not need it.
        drop(written);
        Ok(Output { stdout, stderr })
    }
}

async fn feed(stdin: Option<ChildStdin>, input: &[u8]) -> std::io::Result<()> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    stdin.write_all(input).await?;
    stdin.shutdown().await
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum OnLimit {
    Stop,
    Discard,
}

/// Reads to the end; `None` when there was more than `bytes_max` and the caller wants to know.
async fn read_limited(
    pipe: Option<impl AsyncRead + Unpin>,
    bytes_max: usize,
    on_limit: OnLimit,
) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let Some(mut pipe) = pipe else { return Ok(Some(bytes)) };
    let mut buffer = vec![0_u8; 32 << 10];
    loop {
        let count = pipe.read(&mut buffer).await?;
        if count == 0 {
            return Ok(Some(bytes));
        }
        let room = bytes_max - bytes.len();
        if count > room && on_limit == OnLimit::Stop {
            return Ok(None);
        }
        bytes.extend_from_slice(buffer.get(..count.min(room)).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests;
