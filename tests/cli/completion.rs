//! Completion as a shell asks for it.

use assert_cmd::Command;
use std::path::Path;

/// What bash offers behind these words, the last one being unfinished.
fn offered(folder: &Path, words: &[&str]) -> Vec<String> {
    let script = Command::new(folder.join("kubectl-tidegate"))
        .args(["completion", "bash"])
        .output()
        .unwrap();
    let file = folder.join("completion.bash");
    std::fs::write(&file, script.stdout).unwrap();
    let line = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
        _kubectl_tidegate_complete; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let asked = Command::new("bash")
        .args(["--norc", "--noprofile", "-c", line, "bash"])
        .arg(&file)
        .arg("kubectl-tidegate")
        .args(words)
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", folder.display()))
        .env("KUBECONFIG", "/nowhere/kubeconfig")
        .output()
        .unwrap();
    assert!(asked.status.success(), "{asked:?}");
    let text = String::from_utf8(asked.stdout).unwrap();
    text.lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn bash_asks_the_program() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tidegate"), folder.path().join("kubectl-tidegate")).unwrap();
    assert_eq!(offered(folder.path(), &["get", "ro"]), ["rollout"]);
    assert_eq!(offered(folder.path(), &["promote", "--fu"]), ["--full"]);
    assert_eq!(offered(folder.path(), &["list", "rollouts", "--output", "j"]), ["json"]);
    // Without a cluster there are no names, and no error either.
    assert_eq!(offered(folder.path(), &["promote", ""]), Vec::<String>::new());
}
