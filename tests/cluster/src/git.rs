//! A real Git server over smart HTTP. In the making.

use std::path::{Path, PathBuf};

/// The running Git server; dropping it ends it.
#[derive(Debug)]
pub struct GitServer {
    dir: PathBuf,
}

impl GitServer {
    /// Starts serving the bare repositories below `dir`.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(dir: PathBuf) -> anyhow::Result<Self> {
        Ok(Self { dir })
    }

    /// Base address of the repositories.
    #[must_use]
    pub fn url(&self) -> String {
        String::new()
    }

    /// Base address of the settings.
    #[must_use]
    pub fn control_url(&self) -> String {
        String::new()
    }

    /// Folder of the bare repositories.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Ends it.
    pub async fn stop(self) {}
}
