use super::*;

fn shell(script: &str) -> Process {
    Process::new("/bin/sh", "/", Duration::from_secs(10)).args(["-c", script])
}

#[tokio::test]
async fn the_environment_is_only_what_was_given() {
    let output = shell("/usr/bin/env | /usr/bin/sort; pwd")
        .env("ONLY", "this")
        .run()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "ONLY=this\nPWD=/\n/\n", "nothing else is inherited");
}

#[tokio::test]
async fn input_larger_than_a_pipe_comes_back_whole() {
    let input = vec![b'x'; 1 << 20];
    let output = Process::new("/bin/cat", "/", Duration::from_secs(10))
        .input(input.clone())
        .run()
        .await
        .unwrap();
    assert_eq!(output.stdout, input);
}

#[tokio::test]
async fn too_much_output_is_an_error_and_not_a_cut() {
    let error = shell("while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyy; done")
        .stdout_bytes_max(1000)
        .run()
        .await
        .unwrap_err();
    assert!(
        matches!(error, ProcessError::OutputTooLarge { bytes_max: 1000, .. }),
        "{error}"
    );
    let exact = shell("printf 12345").stdout_bytes_max(5).run().await.unwrap();
    assert_eq!(exact.stdout, b"12345");
}

#[tokio::test]
async fn much_on_standard_error_is_cut_and_harmless() {
    let output = shell("i=0; while [ $i -lt 20000 ]; do echo noise >&2; i=$((i+1)); done; echo done")
        .run()
        .await
        .unwrap();
    assert_eq!(output.stdout, b"done\n");
    assert_eq!(output.stderr.len(), STDERR_BYTES_MAX);
}

#[tokio::test]
async fn a_failure_has_code_and_text() {
    let error = shell("echo broken >&2; exit 3").run().await.unwrap_err();
    assert_eq!(error.to_string(), "`sh` failed with exit code 3: broken");
    assert_eq!(error.class(), Class::Permanent);
    let error = shell("kill -9 $$").run().await.unwrap_err();
    assert_eq!(error.to_string(), "`sh` failed by a signal: ");
    let error = Process::new("/nowhere/tool", "/", Duration::from_secs(1))
        .run()
        .await
        .unwrap_err();
    assert!(error.to_string().starts_with("failed to start `tool`: "), "{error}");
}

/// The grandchild holds one end of a pipe: the read end sees its death as end of file.
#[tokio::test]
async fn a_timeout_kills_the_grandchildren_too() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(
        std::process::Command::new("/usr/bin/mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let script = format!("(exec 9>'{}'; echo alive >&9; /bin/sleep 30) & wait", fifo.display());
    let run = tokio::spawn(
        Process::new("/bin/sh", folder.path(), Duration::from_millis(700))
            .args(["-c", &script])
            .run(),
    );
    let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(fifo));
    let error = run.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "`sh` did not finish within 700ms");
    let seen = tokio::time::timeout(Duration::from_secs(10), read)
        .await
        .expect("the sleeper is dead");
    assert_eq!(seen.unwrap().unwrap(), "alive\n");
}

#[tokio::test]
async fn dropping_the_call_kills_the_child() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(
        std::process::Command::new("/usr/bin/mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let script = format!("exec 9>'{}'; echo alive >&9; /bin/sleep 30", fifo.display());
    let run = tokio::spawn(
        Process::new("/bin/sh", folder.path(), Duration::from_secs(60))
            .args(["-c", &script])
            .run(),
    );
    let read = tokio::task::spawn_blocking(move || {
        use std::io::{BufRead, BufReader};
        let mut lines = BufReader::new(std::fs::File::open(fifo).unwrap());
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        (first, lines)
    });
    let (first, mut lines) = read.await.unwrap();
    assert_eq!(first, "alive\n");
    run.abort();
    let rest = tokio::task::spawn_blocking(move || {
        use std::io::Read;
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        rest
    });
    let rest = tokio::time::timeout(Duration::from_secs(10), rest)
        .await
        .expect("the child is dead")
        .unwrap();
    assert_eq!(rest, "");
}
