//! The definitions of Gateway API's kinds, as its project publishes them: taken once from its Go module, whose checksum the Go tools verify.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use tokio::process::Command;

use crate::{
    binaries::{self, toolchain},
    progress,
};

/// The module and its version.
const MODULE: &str = "sigs.k8s.io/gateway-api@v1.6.3";

/// The kinds that are installed, by the names of their files.
const KINDS: [&str; 4] = ["gatewayclasses", "gateways", "httproutes", "grpcroutes"];

/// How long one call of kubectl may take.
const INSTALL_MAX: Duration = Duration::from_secs(90);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Downloaded {
    #[serde(default)]
    dir: PathBuf,
    #[serde(default)]
    error: String,
}

/// Paths of the definitions; fetches them when they are not in the cache.
///
/// # Errors
/// When there is no Go to fetch them with, or the module cannot be had.
pub async fn ensure() -> Result<Vec<PathBuf>> {
    let cache = binaries::cache_folder()?;
    let folder = cache.join(MODULE.rsplit('/').next().unwrap_or(MODULE));
    let paths: Vec<PathBuf> = KINDS.iter().map(|kind| folder.join(file(kind))).collect();
    if paths.iter().all(|path| path.is_file()) {
        return Ok(paths);
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let _lock = binaries::lock(&cache).await?;
    let module = download(&cache).await?;
    for (kind, path) in KINDS.iter().zip(&paths) {
        let source = module.join("config/crd/standard").join(file(kind));
        // In one step: a copy cut off half-way must not look whole.
        let part = path.with_extension("part");
        fs::copy(&source, &part)
            .and_then(|_| fs::rename(&part, path))
            .with_context(|| format!("cannot copy {}", source.display()))?;
    }
    Ok(paths)
}

fn file(kind: &str) -> String {
    format!("gateway.networking.k8s.io_{kind}.yaml")
}

async fn download(cache: &Path) -> Result<PathBuf> {
    progress(&format!("fetching the definitions of {MODULE}"));
    let toolchain = toolchain::find(cache).await?;
    let output = Command::new(&toolchain.go)
        .args(["mod", "download", "-json", MODULE])
        .current_dir(cache)
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .env_remove("GOFLAGS")
        .env_remove("GOROOT")
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot start {}", toolchain.go.display()))?;
    let downloaded: Downloaded = serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "`go mod download {MODULE}`: {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    if !downloaded.error.is_empty() {
        bail!("`go mod download {MODULE}`: {}", downloaded.error);
    }
    Ok(downloaded.dir)
}

/// Installs the definitions and waits until they are served.
///
/// # Errors
/// When they cannot be had or applied, or are not served in time.
pub async fn install(kubectl: &Path, kubeconfig: &Path) -> Result<()> {
    let mut apply = arguments(&["apply", "--server-side", "--force-conflicts"]);
    for path in ensure().await? {
        apply.extend(["-f".into(), path.into_os_string()]);
    }
    run(kubectl, kubeconfig, &apply).await?;
    let mut wait = arguments(&["wait", "--for=condition=Established", "--timeout=60s"]);
    let names = KINDS.iter().map(|kind| format!("crd/{kind}.gateway.networking.k8s.io"));
    wait.extend(names.map(Into::into));
    run(kubectl, kubeconfig, &wait).await
}

fn arguments(words: &[&str]) -> Vec<OsString> {
    words.iter().map(Into::into).collect()
}

async fn run(kubectl: &Path, kubeconfig: &Path, arguments: &[OsString]) -> Result<()> {
    let output = Command::new(kubectl)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(arguments)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(INSTALL_MAX, output)
        .await
        .with_context(|| format!("kubectl took longer than {INSTALL_MAX:?} to install {MODULE}"))?
        .with_context(|| format!("cannot start {}", kubectl.display()))?;
    if !output.status.success() {
        bail!(
            "kubectl could not install {MODULE}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
