//! Starts the programs of the cluster so that none of them can outlive it, and knows what each said last.
//!
//! Three nets, because any one can be cut: a program is stopped by [`Running::stop`] or when its handle drops; the kernel kills it when this process
//! dies (`setpriv --pdeathsig`, where util-linux is there); and the [`crate::reaper`], a process of its own, kills its whole group when this process is gone.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{OnceLock, mpsc},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    process::{Child, Command},
    runtime::Handle,
    time::timeout,
};

use crate::reaper;

/// How much of a log's end an error shows; enough for a stack trace of Go, little enough to read.
const LOG_TAIL_BYTES: u64 = 4096;

/// How long a program may take to end after SIGTERM before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// A program to start.
#[derive(Clone, Debug)]
pub struct Program {
    /// Short name for messages and the log file, e.g. `etcd`.
    pub name: String,
    /// The executable: a path, or a name looked up on `PATH`.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment beside `PATH`; nothing else is inherited.
    pub environment: Vec<(String, String)>,
    /// Working directory; `<name>.log` is written here.
    pub dir: PathBuf,
}

impl Program {
    /// A program without arguments that runs, and logs to `<name>.log`, in `dir`.
    pub fn new(name: &str, path: impl Into<PathBuf>, dir: &Path) -> Self {
        Self {
            name: name.to_owned(),
            path: path.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            dir: dir.to_owned(),
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments<T: Into<String>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn environment(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Starts it in a process group of its own, with its output in its log file.
    ///
    /// # Errors
    /// When the program or its folder is missing.
    pub fn start(&self) -> Result<Running> {
        let log = self.dir.join(format!("{}.log", self.name));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = dies_with_us(&self.path);
        command
            .args(&self.arguments)
            .current_dir(&self.dir)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .kill_on_drop(true);
        let child = spawn_from_lasting_thread(command)
            .with_context(|| format!("cannot start {} ({})", self.name, self.path.display()))?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let Some(pid) = pid else {
            bail!("{} has no process id", self.name)
        };
        reaper::watch(pid);
        Ok(Running {
            name: self.name.clone(),
            log,
            pid,
            child,
        })
    }
}

/// `setpriv` of util-linux, which asks the kernel to kill the program when its parent dies.
fn dies_with_us(path: &Path) -> Command {
    static SETPRIV: OnceLock<Option<PathBuf>> = OnceLock::new();
    match SETPRIV.get_or_init(|| find_on_path("setpriv")) {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL"]).arg(path);
            command
        }
        None => Command::new(path),
    }
}

/// The first executable file called `name` on `PATH`, or in the `sbin` folders where Debian puts servers.
#[must_use]
pub fn find_on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// The kernel's "parent death" is that of the *thread* that forked, and a runtime may end its threads when they idle; this one lasts as long as the process.
fn spawn_from_lasting_thread(command: Command) -> std::io::Result<Child> {
    type Order = (Command, Handle, mpsc::SyncSender<std::io::Result<Child>>);
    static ORDERS: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let gone = || std::io::Error::other("the thread that starts programs is gone");
    let orders = ORDERS.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, runtime, answer) in receiver {
                let _entered = runtime.enter();
                // Nobody waits for an answer that cannot be sent; the child then dies by `kill_on_drop`.
                drop(answer.send(command.spawn()));
            }
        });
        sender
    });
    let (answer, result) = mpsc::sync_channel(1);
    orders
        .send((command, Handle::current(), answer))
        .map_err(|_closed| gone())?;
    result.recv().map_err(|_closed| gone())?
}

/// A started program; dropping it kills its whole process group.
#[derive(Debug)]
pub struct Running {
    name: String,
    log: PathBuf,
    pid: Pid,
    child: Child,
}

impl Running {
    /// Its name, as given to [`Program::new`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id, which is also the id of its process group.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Sends a signal to the program alone, e.g. SIGHUP to nginx's master.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        rustix::process::kill_process(self.pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// An error with the end of the log if it has ended.
    ///
    /// # Errors
    /// When it has ended, for whatever reason: these programs run until they are stopped.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}; its log ends:\n{}", self.name, self.log_tail()),
        }
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// Always: it should not have; the error names the status and the end of the log.
    pub async fn ended(&mut self) -> anyhow::Error {
        match self.child.wait().await {
            Ok(status) => anyhow::anyhow!("{} ended with {status}; its log ends:\n{}", self.name, self.log_tail()),
            Err(error) => anyhow::Error::new(error).context(format!("cannot wait for {}", self.name)),
        }
    }

    /// The end of its log, for error messages.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&self.log).unwrap_or_else(|error| format!("({} cannot be read: {error})", self.log.display()))
    }

    /// Ends it: SIGTERM, then SIGKILL to its whole group after a grace of 5 s.
    pub async fn stop(mut self) {
        if self.signal(Signal::TERM).is_ok() && timeout(STOP_GRACE, self.child.wait()).await.is_err() {
            tracing::warn!(program = self.name, "Did not end in time and is killed.");
        }
    }

    /// Kills its whole group and waits for it; for programs whose data nobody needs afterwards.
    pub async fn kill(mut self) {
        kill_group(self.pid);
        if let Err(error) = self.child.wait().await {
            tracing::warn!(program = self.name, %error, "Cannot wait for the killed program.");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A group outlives its leader while any member does, and its id is not given away meanwhile; without members the signal reaches nobody.
        kill_group(self.pid);
        reaper::forget(self.pid);
    }
}

fn kill_group(pid: Pid) {
    // The only error that matters is "no such group", and that is what is wanted.
    kill_process_group(pid, Signal::KILL).ok();
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
