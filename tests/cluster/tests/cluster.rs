//! The cluster as its users see it: it starts, it works, and whatever happens to it or its parent, nothing of it stays.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use tidegate_cluster::{Cluster, Descriptor, Options, eventually, git::Credentials, supervisor::Part};

/// "Start to ready under 15 s", with room for a machine that does other things too.
const START_LIMIT: Duration = Duration::from_secs(40);

const DEADLINE: Duration = Duration::from_secs(30);

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate-cluster");

fn options(with: &[Part]) -> Options {
    Options {
        with: with.to_vec(),
        ..Options::default()
    }
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'demo:v1'}]}
";

/// Names of the cluster's programs that still run. Those that ended and only wait for init to notice count as gone.
fn alive(descriptor: &Descriptor) -> Vec<String> {
    let runs = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    };
    descriptor
        .pids
        .iter()
        .filter(|(_, pid)| runs(**pid))
        .map(|(name, _)| name.clone())
        .collect()
}

async fn nothing_left(descriptor: &Descriptor) -> Result<()> {
    eventually(DEADLINE, "nothing of the cluster is left", async || {
        let (alive, dir) = (alive(descriptor), descriptor.dir.exists());
        if alive.is_empty() && !dir {
            Ok(())
        } else {
            Err(format!("running: {alive:?}; folder there: {dir}"))
        }
    })
    .await
}

fn check_all_there(descriptor: &Descriptor) {
    let alive = alive(descriptor);
    for name in [
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kwok",
        "reaper",
        "supervisor",
    ] {
        assert!(
            alive.iter().any(|program| program == name),
            "{name} is not among {alive:?}"
        );
    }
}

#[tokio::test]
async fn deployments_become_pods_with_nodes() {
    let begun = Instant::now();
    let cluster = Cluster::start(options(&[])).await.unwrap();
    assert!(begun.elapsed() < START_LIMIT, "took {:?}", begun.elapsed());
    check_all_there(cluster.descriptor());

    let namespace = cluster.namespace("web").await.unwrap();
    let other = cluster.namespace("web").await.unwrap();
    assert_ne!(namespace, other);
    cluster.apply_yaml(&namespace, DEPLOYMENT).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(cluster.client().await.unwrap(), &namespace);
    eventually(DEADLINE, "three pods have nodes", async || {
        let list = pods
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        let placed = list
            .items
            .iter()
            .filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()))
            .count();
        if placed == 3 {
            Ok(())
        } else {
            Err(format!("{placed} of {} have one", list.items.len()))
        }
    })
    .await
    .unwrap();

    let version = cluster.kubectl(&["version", "--output=json"]).await.unwrap();
    let version: serde_json::Value = serde_json::from_str(&version).unwrap();
    assert_eq!(version["serverVersion"]["minor"], "36");
    let error = cluster
        .kubectl(&["get", "deployment", "nobody"])
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("kubectl get deployment nobody") && error.contains("not found"),
        "{error}"
    );

    let descriptor = cluster.descriptor().clone();
    drop(cluster);
    nothing_left(&descriptor).await.unwrap();
}

#[tokio::test]
async fn two_run_side_by_side() {
    let (one, two) = tokio::join!(Cluster::start(options(&[])), Cluster::start(options(&[])));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one.descriptor().slot, two.descriptor().slot);
    assert_ne!(one.descriptor().api_server, two.descriptor().api_server);
    let namespace = one.namespace("only-in-one").await.unwrap();
    let error = two
        .kubectl(&["get", "namespace", &namespace])
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("not found"), "{error}");

    let (first, second) = (one.descriptor().clone(), two.descriptor().clone());
    drop(one);
    nothing_left(&first).await.unwrap();
    check_all_there(&second);
}

#[tokio::test]
async fn a_panicking_test_leaves_nothing() {
    let (sender, descriptor) = tokio::sync::oneshot::channel();
    let test = tokio::spawn(async {
        let cluster = Cluster::start(options(&[])).await.unwrap();
        sender.send(cluster.descriptor().clone()).unwrap();
        panic!("as a failing assertion would");
    });
    assert!(test.await.unwrap_err().is_panic());
    nothing_left(&descriptor.await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_killed_parent_leaves_nothing() {
    // The shell alone holds the pipe's other end, and can run nothing when it is killed.
    let dir = tempfile::tempdir().unwrap();
    let script = "mkfifo pipe; \"$0\" up --with= --parent-pipe < pipe > descriptor & exec 3> pipe; wait";
    let mut parent = Command::new("sh")
        .args(["-c", script, PROGRAM])
        .current_dir(dir.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let descriptor = read_descriptor(&dir.path().join("descriptor")).await.unwrap();
    check_all_there(&descriptor);
    parent.kill().unwrap();
    parent.wait().unwrap();
    nothing_left(&descriptor).await.unwrap();
}

async fn read_descriptor(path: &Path) -> Result<Descriptor> {
    eventually(START_LIMIT, "the supervisor prints its line", async || {
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| format!("{error} in {text:?}"))
    })
    .await
}

#[tokio::test]
async fn a_killed_supervisor_leaves_nothing() {
    let cluster = Cluster::start(options(&[Part::Git])).await.unwrap();
    let descriptor = cluster.descriptor().clone();
    let pid = descriptor.pids["supervisor"];
    assert!(
        Command::new("kill")
            .args(["-KILL", &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
    nothing_left(&descriptor).await.unwrap();
}

#[tokio::test]
async fn the_git_server_takes_its_settings_from_tests() {
    let cluster = Cluster::start(options(&[Part::Git])).await.unwrap();
    let repository = cluster.repository("shop").await.unwrap();
    repository.write("web.yaml", DEPLOYMENT).unwrap();
    let commit = repository.commit_and_push("Add web").await.unwrap();
    assert_eq!(repository.git(&["rev-parse", "origin/main"]).await.unwrap(), commit);

    let credentials = Credentials {
        username: "robot".to_owned(),
        password: "word".to_owned(),
    };
    cluster.set_git_auth("shop", Some(credentials)).await.unwrap();
    assert!(
        repository
            .commit_and_push("Refused")
            .await
            .unwrap_err()
            .to_string()
            .contains("Authentication failed")
    );
    cluster.set_git_auth("shop", None).await.unwrap();
    cluster.set_git_available(false).await.unwrap();
    assert!(
        repository
            .git(&["fetch"])
            .await
            .unwrap_err()
            .to_string()
            .contains("503")
    );
    cluster.set_git_available(true).await.unwrap();
    repository.commit_and_push("Accepted").await.unwrap();
}

#[tokio::test]
async fn a_program_that_fails_is_quoted() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("kube-apiserver");
    fs::write(&broken, "#!/bin/sh\necho no such flag >&2\nexit 3\n").unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    let output = tokio::process::Command::new(PROGRAM)
        .args(["up", "--with=", "--dir"])
        .arg(dir.path())
        .env("KUBEBUILDER_ASSETS", dir.path())
        .output()
        .await
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        stderr.contains("kube-apiserver ended with exit status: 3") && stderr.contains("no such flag"),
        "{stderr}"
    );
    assert!(output.stdout.is_empty());
}
