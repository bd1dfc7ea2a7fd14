//! Runs the command of a Job pod as a real child process, bounded in time and output.

use std::{
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use k8s_openapi::api::core::v1::{Container, Pod};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
};

use super::status::TERMINATION_MESSAGE_MAX;
use crate::reaper;

/// Longest run of a command; a real kubelet knows only `activeDeadlineSeconds`, which is honoured when shorter.
pub(super) const RUN_MAX: Duration = Duration::from_secs(60);

/// Output after which a command is ended: a runaway loop must not fill memory or time.
const OUTPUT_BYTES_MAX: usize = 4 << 20;

/// How long output may still come after the command itself has ended (a child it left behind may hold the pipe).
const OUTPUT_PATIENCE: Duration = Duration::from_millis(500);

/// Where commands are looked up, as in most images.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Exit code a container runtime reports for a command it cannot start.
const EXIT_CODE_NOT_STARTED: i32 = 128;

/// Exit code of a command ended by SIGKILL.
pub(super) const EXIT_CODE_KILLED: i32 = 137;

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) exit_code: i32,
    /// The end of what it wrote to stdout and stderr, at most 4 KiB.
    pub(super) output: String,
    /// Ended because its time was over.
    pub(super) timed_out: bool,
}

/// The command line of a container: `command` then `args`. Empty when the image's own would run.
pub(super) fn command_line(container: &Container, environment: &[(String, String)]) -> Vec<String> {
    let parts = container
        .command
        .iter()
        .flatten()
        .chain(container.args.iter().flatten());
    // Arguments alone go to the image's entry point, which is not there to be run.
    if container.command.as_ref().is_none_or(Vec::is_empty) {
        return Vec::new();
    }
    parts.map(|part| expand(part, environment)).collect()
}

/// The environment of a container: literal values, and the pod's own name, namespace, UID and IP by `fieldRef`.
/// References to ConfigMaps and Secrets are left out.
pub(super) fn environment(pod: &Pod, container: &Container, pod_ip: &str) -> Vec<(String, String)> {
    let field = |path: &str| match path {
        "metadata.name" => pod.metadata.name.clone(),
        "metadata.namespace" => pod.metadata.namespace.clone(),
        "metadata.uid" => pod.metadata.uid.clone(),
        "status.podIP" => Some(pod_ip.to_owned()),
        _ => None,
    };
    let variables = container.env.iter().flatten().filter_map(|variable| {
        let source = variable.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
        let value = match source {
            Some(source) => field(&source.field_path)?,
            None if variable.value_from.is_some() => return None,
            None => variable.value.clone().unwrap_or_default(),
        };
        Some((variable.name.clone(), value))
    });
    let path = ("PATH".to_owned(), PATH.to_owned());
    let host = ("HOSTNAME".to_owned(), pod.metadata.name.clone().unwrap_or_default());
    [path, host].into_iter().chain(variables).collect()
}

/// Replaces `$(NAME)` by the variable's value; an unknown name stays as it is, as the API promises.
fn expand(text: &str, environment: &[(String, String)]) -> String {
    environment.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("$({name})"), value)
    })
}

/// Runs a command in an empty directory of its own until it ends or its time is over. Dropping the future ends it.
pub(super) async fn run(command_line: &[String], environment: &[(String, String)], limit: Duration) -> Ended {
    match try_run(command_line, environment, limit).await {
        Ok(ended) => ended,
        Err(error) => Ended {
            exit_code: EXIT_CODE_NOT_STARTED,
            output: format!("failed to run {command_line:?}: {error}"),
            timed_out: false,
        },
    }
}

async fn try_run(command_line: &[String], environment: &[(String, String)], limit: Duration) -> io::Result<Ended> {
    let Some((program, arguments)) = command_line.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the command is empty"));
    };
    let directory = tempfile::tempdir()?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let group = Group::of(&child);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let output = async { tokio::join!(read_tail(stdout), read_tail(stderr)) };
    tokio::pin!(output);

    // The pipes are read while the command runs; a full pipe would stop it.
    let deadline = tokio::time::sleep(limit.min(RUN_MAX));
    tokio::pin!(deadline);
    let mut read = None;
    let mut timed_out = false;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            tails = &mut output, if read.is_none() => read = Some(tails),
            () = &mut deadline, if !timed_out => {
                timed_out = true;
                group.kill();
            }
        }
    };
    drop(group);
    let (mut stdout, stderr) = match read {
        Some(tails) => tails,
        None => tokio::time::timeout(OUTPUT_PATIENCE, output).await.unwrap_or_default(),
    };
    stdout.push_str(&stderr);
    Ok(Ended {
        exit_code: exit_code(status),
        output: tail(stdout),
        timed_out,
    })
}

/// The child and all it started. Ended when dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group {
            reaper::watch(group);
        }
        Self(group)
    }

    fn kill(&self) {
        if let Some(group) = self.0 {
            // Already gone is what is wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        if let Some(group) = self.0 {
            reaper::forget(group);
        }
    }
}

/// Reads to the end (or to the limit, when closing the pipe ends the writer) and keeps the last part.
async fn read_tail(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut pipe) = pipe else { return String::new() };
    let mut kept = Vec::new();
    let mut total = 0;
    while total < OUTPUT_BYTES_MAX {
        let Ok(count @ 1..) = pipe.read_buf(&mut kept).await else {
            break;
        };
        total += count;
        if kept.len() > 4 * TERMINATION_MESSAGE_MAX {
            kept.drain(..kept.len() - TERMINATION_MESSAGE_MAX);
        }
    }
    tail(String::from_utf8_lossy(&kept).into_owned())
}

/// The last 4 KiB, at a character boundary.
fn tail(text: String) -> String {
    let from = text.len().saturating_sub(TERMINATION_MESSAGE_MAX);
    let from = (from..=text.len())
        .find(|&index| text.is_char_boundary(index))
        .unwrap_or(text.len());
    text.get(from..).map(ToOwned::to_owned).unwrap_or(text)
}

fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| status.signal().map_or(EXIT_CODE_KILLED, |signal| 128 + signal))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str, limit: Duration) -> Ended {
        let environment = [
            ("PATH".to_owned(), PATH.to_owned()),
            ("WORD".to_owned(), "hello".to_owned()),
        ];
        run(&["sh", "-c", script].map(str::to_owned), &environment, limit).await
    }

    #[tokio::test]
    async fn reports_exit_code_and_output() {
        let ended = shell("echo $WORD; echo bad >&2; exit 3", RUN_MAX).await;
        assert_eq!(
            ended,
            Ended {
                exit_code: 3,
                output: "hello\nbad\n".to_owned(),
                timed_out: false
            }
        );
        assert_eq!(shell("true", RUN_MAX).await.exit_code, 0);
        assert_eq!(
            shell("test -z \"$CARGO\" && test -z \"$HOME\"", RUN_MAX)
                .await
                .exit_code,
            0,
            "cleared environment"
        );
        let missing = run(&["no-such-program".to_owned()], &[], RUN_MAX).await;
        assert_eq!(missing.exit_code, EXIT_CODE_NOT_STARTED);
        assert!(missing.output.contains("no-such-program"), "{}", missing.output);
    }

    #[tokio::test]
    async fn ends_a_command_and_its_children_when_time_is_over() {
        let started = std::time::Instant::now();
        let ended = shell("sleep 50 & sleep 50", Duration::from_millis(50)).await;
        assert!(ended.timed_out);
        assert_eq!(ended.exit_code, EXIT_CODE_KILLED);
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[tokio::test]
    async fn keeps_the_end_of_long_output() {
        let ended = shell("yes | head -c 3000000; echo; echo last", RUN_MAX).await;
        assert_eq!(ended.exit_code, 0);
        assert!(ended.output.ends_with("last\n"));
        assert_eq!(ended.output.len(), TERMINATION_MESSAGE_MAX);
        assert!(!shell("yes", RUN_MAX).await.timed_out, "the output limit ends it");
    }

    #[test]
    fn expands_variables_in_arguments() {
        let container: Container = serde_json::from_value(serde_json::json!({
            "name": "c", "command": ["sh", "-c"], "args": ["echo $(WORD) $(OTHER)"],
            "env": [{"name": "WORD", "value": "x"}, {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        }))
        .unwrap();
        let pod: Pod = serde_json::from_value(serde_json::json!({"metadata": {"name": "p"}})).unwrap();
        let environment = environment(&pod, &container, "10.244.0.1");
        assert!(environment.contains(&("NAME".to_owned(), "p".to_owned())));
        assert_eq!(command_line(&container, &environment), ["sh", "-c", "echo x $(OTHER)"]);
    }
}
