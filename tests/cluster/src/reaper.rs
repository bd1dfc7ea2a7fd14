//! The last net under the programs of a cluster: a process of its own that kills their groups, and removes the temporary folder, when the supervisor is gone.
//!
//! The supervisor writes one line for each program it starts and ends; when the pipe closes, what has not ended is killed. It covers what the kernel's parent
//! death signal does not: grandchildren, such as nginx's workers. It kills only what it was told of, and is told as soon as a program has ended, so that a
//! process id used again is never hit.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::{Mutex, OnceLock},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

static LINE: OnceLock<Mutex<ChildStdin>> = OnceLock::new();

/// Starts the reaper as `executable reap DIR`; from here on every program is told to it.
///
/// # Errors
/// When it cannot be started, or runs already.
pub fn start(executable: &Path, dir: &Path) -> Result<u32> {
    let mut child = Command::new(executable)
        .arg("reap")
        .arg(dir)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {} reap", executable.display()))?;
    let pid = child.id();
    let Some(line) = child.stdin.take() else {
        bail!("the reaper has no standard input")
    };
    if LINE.set(Mutex::new(line)).is_err() {
        bail!("the reaper runs already");
    }
    Ok(pid)
}

/// Tells the reaper of a program's process group.
pub fn watch(pid: Pid) {
    tell('+', pid);
}

/// Tells the reaper that a program's process group is gone.
pub fn forget(pid: Pid) {
    tell('-', pid);
}

fn tell(sign: char, pid: Pid) {
    let Some(line) = LINE.get() else { return };
    let Ok(mut line) = line.lock() else { return };
    if let Err(error) = writeln!(line, "{sign}{}", pid.as_raw_nonzero()) {
        tracing::warn!(%error, "The reaper is gone.");
    }
}

/// The reaper's own main: reads until the pipe closes, then kills what is left and removes `dir`.
///
/// # Errors
/// When the folder cannot be removed.
pub fn run(input: impl std::io::Read, dir: &PathBuf) -> Result<()> {
    let mut groups = BTreeSet::new();
    for line in BufReader::new(input).lines() {
        let Ok(line) = line else { break };
        let Some(group) = line.get(1..).and_then(|number| number.parse::<i32>().ok()) else {
            continue;
        };
        if line.starts_with('+') {
            groups.insert(group);
        } else {
            groups.remove(&group);
        }
    }
    for pid in groups.into_iter().filter_map(Pid::from_raw) {
        // "No such group" is what is wanted.
        kill_process_group(pid, Signal::KILL).ok();
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
