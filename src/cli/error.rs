//! What went wrong, for the person at the terminal. The kind decides the exit code (`docs/errors.md`).

use std::fmt;

/// Kinds of failures, by what the person can do about them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// The answer is no: the rollout is degraded, or not healthy in time.
    Verdict,
    /// The request cannot be carried out: no such object, wrong value, refused by the API server.
    Request,
    /// The command line is wrong.
    Usage,
    /// The cluster cannot be asked: no kubeconfig, no connection, no permission to log in.
    Cluster,
    /// Nobody reads the output any more (`| head`); nothing is printed about it.
    Closed,
}

/// An error with its kind and, separately, what to try.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CliError {
    /// Decides the exit code.
    pub kind: Kind,
    /// What failed, on what, why.
    pub message: String,
    /// What to try, one sentence each.
    pub hints: Vec<String>,
    /// What else failed, when one command was about several objects.
    pub more: Vec<Self>,
}

impl CliError {
    /// An error of a kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hints: Vec::new(),
            more: Vec::new(),
        }
    }

    /// One error that tells all of these; `Ok` when there are none.
    pub(crate) fn all(errors: Vec<Self>) -> Result<(), Self> {
        let mut errors = errors.into_iter();
        let Some(mut first) = errors.next() else {
            return Ok(());
        };
        first.more.extend(errors);
        Err(first)
    }

    /// The same with one more hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The exit code of the process: of several errors, the highest.
    pub fn exit_code(&self) -> u8 {
        let own = match self.kind {
            Kind::Verdict | Kind::Request => 1,
            Kind::Usage => 2,
            Kind::Cluster => 3,
            // As a shell reports a process that ends by SIGPIPE.
            Kind::Closed => 141,
        };
        self.more.iter().map(Self::exit_code).max().unwrap_or(0).max(own)
    }

    /// An answer of the API server, or the lack of one.
    pub(crate) fn kube(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 401 => Self::new(Kind::Cluster, status.message.clone())
                .hint("log in to the cluster again, or choose another context with `--context`"),
            kube::Error::Api(status) => Self::new(Kind::Request, status.message.clone()),
            other => Self::new(Kind::Cluster, format!("cannot reach the cluster: {}", chain(other)))
                .hint("check `--context` and `--kubeconfig`"),
        }
    }

    /// A result that cannot be written, for instance to a closed pipe.
    pub(crate) fn output(error: &std::io::Error) -> Self {
        let kind = if error.kind() == std::io::ErrorKind::BrokenPipe {
            Kind::Closed
        } else {
            Kind::Request
        };
        Self::new(kind, format!("cannot write the output: {error}"))
    }
}

/// The error and its causes, each once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let part = next.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        cause = next.source();
    }
    text
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error: {}", self.message)?;
        self.hints.iter().try_for_each(|hint| write!(f, "\nhint: {hint}"))?;
        self.more.iter().try_for_each(|error| write!(f, "\n{error}"))
    }
}

impl std::error::Error for CliError {}
