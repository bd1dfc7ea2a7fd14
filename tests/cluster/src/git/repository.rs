//! A working copy for tests and the demo: edit, commit, push, in a clean environment.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::{Credentials, git};

/// A clone in a temporary folder, gone when dropped.
#[derive(Debug)]
pub struct Repository {
    url: String,
    folder: TempDir,
}

impl Repository {
    /// Clones a repository, which may be empty: then its first branch will be `main`.
    ///
    /// # Errors
    /// When it is not there, or not for these credentials.
    pub async fn clone(url: &str, credentials: Option<&Credentials>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("tidegate-clone-").tempdir()?;
        let repository = Self {
            url: url.to_owned(),
            folder,
        };
        let remote = with_credentials(url, credentials)?;
        git(
            repository.path(),
            &["-c", "init.defaultBranch=main", "clone", "--quiet", &remote, "."],
        )
        .await?;
        Ok(repository)
    }

    /// Its address, without credentials.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The working copy's folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, with the folders it needs.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: impl AsRef<Path>, text: &str) -> Result<()> {
        let path = self.inside(path.as_ref());
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The text of a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<String> {
        let path = self.inside(path.as_ref());
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Removes a file.
    ///
    /// # Errors
    /// When it is not there.
    pub fn remove(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = self.inside(path.as_ref());
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }

    /// Commits every change, also if there is none, pushes the current branch, and returns the commit's id.
    ///
    /// # Errors
    /// When the push is refused.
    pub async fn commit_and_push(&self, message: &str) -> Result<String> {
        self.git(&["add", "--all"]).await?;
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message])
            .await?;
        self.push_head().await
    }

    /// Reverts a commit, pushes that, and returns the new commit's id.
    ///
    /// # Errors
    /// When there is a conflict or the push is refused.
    pub async fn revert(&self, commit: &str) -> Result<String> {
        self.git(&["revert", "--no-edit", commit]).await?;
        self.push_head().await
    }

    /// Tags the current commit and pushes the tag; a tag that is there moves.
    ///
    /// # Errors
    /// When the push is refused.
    pub async fn tag(&self, name: &str) -> Result<()> {
        self.git(&["tag", "--force", name]).await?;
        self.git(&["push", "--quiet", "--force", "origin", &format!("refs/tags/{name}")])
            .await
            .map(drop)
    }

    /// Goes to a branch, made from the current commit if it is not there, and pushes it.
    ///
    /// # Errors
    /// When the push is refused.
    pub async fn branch(&self, name: &str) -> Result<()> {
        if self.git(&["checkout", "--quiet", name]).await.is_err() {
            self.git(&["checkout", "--quiet", "-b", name]).await?;
        }
        self.push_head().await.map(drop)
    }

    /// The id of the current commit.
    ///
    /// # Errors
    /// When there is none yet.
    pub async fn head(&self) -> Result<String> {
        self.git(&["rev-parse", "--verify", "HEAD"]).await
    }

    /// Runs any Git command in the working copy and returns what it printed.
    ///
    /// # Errors
    /// When it fails; the error has its standard error.
    pub async fn git(&self, arguments: &[&str]) -> Result<String> {
        git(self.path(), arguments).await
    }

    async fn push_head(&self) -> Result<String> {
        self.git(&["push", "--quiet", "--set-upstream", "origin", "HEAD"])
            .await?;
        self.head().await
    }

    fn inside(&self, path: &Path) -> PathBuf {
        self.path().join(path)
    }
}

fn with_credentials(url: &str, credentials: Option<&Credentials>) -> Result<String> {
    let Some(Credentials { username, password }) = credentials else {
        return Ok(url.to_owned());
    };
    let mut url = reqwest::Url::parse(url).with_context(|| format!("`{url}` is not an address"))?;
    // Only addresses that cannot carry credentials at all, such as `file:`, refuse them.
    if url.set_username(username).is_err() || url.set_password(Some(password)).is_err() {
        anyhow::bail!("`{url}` cannot carry credentials");
    }
    Ok(url.into())
}
