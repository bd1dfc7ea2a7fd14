//! The `git` program: one bare clone, every command in a clean environment. Knows commands and their output, nothing of
//! when to run them (`repository`) or of manifests (`render`).

use super::{
    SourceLimits,
    access::Access,
    error::{RepoError, clean},
    refs::RefMap,
    sha::Sha,
    tree::{self, Entry},
    url::{RedactedUrl, RepoUrl},
};
use crate::process::{Output, Process, ProcessError, Runner};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Output of `ls-remote`: about 100 bytes for each reference.
const REFS_BYTES_MAX: usize = 128 << 20;

/// Output of `ls-tree`: about 100 bytes for each file, enough for as many as `tree` takes.
pub(super) const LISTING_BYTES_MAX: usize = 40 << 20;

/// Output of commands that answer with a few lines.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// How git is run, equal for all clones.
#[derive(Clone, Debug)]
pub(crate) struct GitProgram {
    /// Who runs it.
    pub(crate) runner: Arc<dyn Runner>,
    /// Name or path of the program.
    pub(crate) program: PathBuf,
    /// What the child may know of our environment: `PATH`, proxies, certificate files.
    pub(crate) inherited: BTreeMap<OsString, OsString>,
    /// Time for commands that use the network.
    pub(crate) network_timeout: Duration,
    /// Time for commands that only read the clone.
    pub(crate) read_timeout: Duration,
    /// What a source may at most be.
    pub(crate) limits: SourceLimits,
    /// An empty directory of ours that stands in for the user's home.
    pub(crate) home: PathBuf,
    /// Whether `file://` is a transport.
    pub(crate) allow_file: bool,
}

/// One bare clone.
#[derive(Clone, Debug)]
pub(crate) struct BareClone {
    pub(crate) git: GitProgram,
    pub(crate) directory: PathBuf,
    pub(crate) repository: RedactedUrl,
}

/// Author, date and text of a commit.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CommitInfo {
    /// The commit.
    pub sha: Sha,
    /// Name and address of the author, `Name <address>`.
    pub author: String,
    /// When it was written, RFC 3339.
    pub date: String,
    /// First line of its message.
    pub subject: String,
}

/// What a commit and a path in it are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Located {
    /// The commit is not in the clone.
    NoCommit,
    /// The path names nothing.
    Nothing { root: Sha },
    /// The path names a folder.
    Folder { root: Sha, tree: Sha },
    /// The path names something else.
    NotAFolder { root: Sha },
}

impl GitProgram {
    /// Git that knows neither the user, nor the machine, nor any transport but the allowed ones.
    fn process(&self, directory: &Path, deadline: Duration) -> Process {
        let protocols = if self.allow_file {
            "https:http:ssh:file"
        } else {
            "https:http:ssh"
        };
        Process::new(&self.program, directory, deadline)
            .envs(self.inherited.clone())
            .env("HOME", &self.home)
            .env("XDG_CONFIG_HOME", &self.home)
            // Nobody's repository around ours is ever looked for.
            .env("GIT_CEILING_DIRECTORIES", self.home.parent().unwrap_or(&self.home))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "/bin/false")
            .env("SSH_ASKPASS_REQUIRE", "never")
            .env("GIT_ALLOW_PROTOCOL", protocols)
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("LC_ALL", "C")
    }

    /// Asks a server for its references; needs no clone.
    pub(crate) async fn ls_remote(&self, url: &RepoUrl, access: &Access) -> Result<RefMap, RepoError> {
        let process = self
            .process(&self.home, self.network_timeout)
            .envs(network_environment(access))
            .args(["ls-remote", "--quiet", "--symref", "origin"])
            .stdout_bytes_max(REFS_BYTES_MAX);
        let output = self
            .runner
            .run(process)
            .await
            .map_err(|error| RepoError::of_git(url.redacted(), "listing references", &error, &access.secrets))?;
        RefMap::parse(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| RepoError::TooLarge {
            repository: url.redacted(),
            reason: format!("more than {} references", super::refs::REFS_MAX),
        })
    }
}

/// Configuration in the environment: nothing in arguments, nothing on disk.
fn network_environment(access: &Access) -> Vec<(String, String)> {
    const ALWAYS: [(&str, &str); 9] = [
        ("protocol.version", "2"),
        ("core.hooksPath", "/dev/null"),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        ("fetch.recurseSubmodules", "false"),
        ("credential.helper", ""),
        // A connection that stalls is given up before the deadline, so that the reason is said.
        ("http.lowSpeedLimit", "100"),
        ("http.lowSpeedTime", "20"),
        ("http.maxRequests", "2"),
    ];
    let always = ALWAYS.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let config: Vec<_> = always.into_iter().chain(access.config.iter().cloned()).collect();
    let mut variables = vec![("GIT_CONFIG_COUNT".to_owned(), config.len().to_string())];
    for (index, (key, value)) in config.into_iter().enumerate() {
        variables.push((format!("GIT_CONFIG_KEY_{index}"), key));
        variables.push((format!("GIT_CONFIG_VALUE_{index}"), value));
    }
    variables.extend(
        access
            .environment
            .iter()
            .map(|(name, value)| (name.clone(), value.reveal().to_owned())),
    );
    variables
}

impl BareClone {
    fn read(&self) -> Process {
        self.git
            .process(&self.git.home, self.git.read_timeout)
            .args([self.git_dir()])
    }

    fn git_dir(&self) -> OsString {
        let mut argument = OsString::from("--git-dir=");
        argument.push(&self.directory);
        argument
    }

    /// A failure of a command that never leaves the clone.
    fn failed(&self, operation: &'static str, error: &ProcessError) -> RepoError {
        let repository = self.repository.clone();
        match error {
            ProcessError::Failed { stderr, .. } => RepoError::Clone {
                repository,
                reason: format!("{operation}: {}", clean(stderr, &[])),
            },
            other => RepoError::of_git(repository, operation, other, &[]),
        }
    }

    async fn run(&self, process: Process) -> Result<Output, ProcessError> {
        self.git.runner.run(process).await
    }

    async fn answer(&self, operation: &'static str, process: Process) -> Result<Vec<u8>, RepoError> {
        let output = self
            .run(process)
            .await
            .map_err(|error| self.failed(operation, &error))?;
        Ok(output.stdout)
    }

    /// Makes the empty clone; harmless when it exists.
    pub(crate) async fn init(&self) -> Result<(), RepoError> {
        let process = self
            .git
            .process(&self.git.home, self.git.read_timeout)
            .args([
                "init",
                "--quiet",
                "--bare",
                "--template=",
                "--initial-branch=unused",
                "--",
            ])
            .args([&self.directory]);
        self.answer("creating the clone", process).await.map(drop)
    }

    /// Brings all branches and tags.
    pub(crate) async fn fetch_refs(&self, access: &Access) -> Result<(), RepoError> {
        self.fetch(
            access,
            &["--prune"],
            &["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"],
        )
        .await
    }

    /// Brings one commit that no branch or tag names, and keeps it.
    pub(crate) async fn fetch_commit(&self, access: &Access, commit: &Sha) -> Result<(), RepoError> {
        self.fetch(access, &[], &[&format!("+{commit}:refs/tidegate/{commit}")])
            .await
    }

    async fn fetch(&self, access: &Access, options: &[&str], refspecs: &[&str]) -> Result<(), RepoError> {
        let process = self
            .git
            .process(&self.git.home, self.git.network_timeout)
            .envs(network_environment(access))
            .args([self.git_dir()])
            .args([
                "fetch",
                "--quiet",
                "--force",
                "--no-tags",
                "--no-write-fetch-head",
                "--no-recurse-submodules",
            ])
            .args(["--no-show-forced-updates", "--no-auto-maintenance"])
            .args(options)
            .args(["--", "origin"])
            .args(refspecs);
        let result = self.run(process).await.map(drop);
        result.map_err(|error| RepoError::of_git(self.repository.clone(), "fetching", &error, &access.secrets))
    }

    /// Joins the packs that fetches left behind; deletes no object.
    pub(crate) async fn compact(&self, deadline: Duration) -> Result<(), RepoError> {
        let process = self.git.process(&self.git.home, deadline).args([self.git_dir()]).args([
            "repack",
            "--quiet",
            "--geometric=2",
            "-d",
        ]);
        self.answer("compacting", process).await.map(drop)
    }

    /// Finds a commit and a path in it. The path was checked by the caller; empty is the root.
    pub(crate) async fn locate(&self, commit: &Sha, path: &str) -> Result<Located, RepoError> {
        let lines = format!("{commit}^{{commit}}\n{commit}^{{tree}}\n{commit}:{path}\n");
        let answer = self.batch_check(lines).await?;
        let mut kinds = answer.lines().map(|line| {
            let mut words = line.split(' ');
            (
                words.next().and_then(Sha::parse),
                words.next().unwrap_or_default().to_owned(),
            )
        });
        let (commit, root, found) = (kinds.next(), kinds.next(), kinds.next());
        let Some(((Some(_), _), (Some(root), _))) = commit.zip(root) else {
            return Ok(Located::NoCommit);
        };
        Ok(match found {
            Some((Some(tree), kind)) if kind == "tree" => Located::Folder { root, tree },
            Some((Some(_), _)) => Located::NotAFolder { root },
            Some((None, _)) | None => Located::Nothing { root },
        })
    }

    /// Whether the clone has the commit.
    pub(crate) async fn has_commit(&self, commit: &Sha) -> Result<bool, RepoError> {
        Ok(self
            .batch_check(format!("{commit}^{{commit}}\n"))
            .await?
            .contains(" commit "))
    }

    async fn batch_check(&self, lines: String) -> Result<String, RepoError> {
        let process = self
            .read()
            .args(["cat-file", "--batch-check"])
            .input(lines)
            .stdout_bytes_max(ANSWER_BYTES_MAX);
        let bytes = self.answer("looking up objects", process).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The commit whose name starts with `digits`; `None` when there is none, or more than one.
    pub(crate) async fn expand(&self, digits: &str) -> Result<Option<Sha>, RepoError> {
        let answer = self.batch_check(format!("{digits}^{{commit}}\n")).await?;
        Ok(answer.split(' ').next().and_then(Sha::parse))
    }

    /// Lists a tree by its name, with everything below it if `recurse`.
    pub(crate) async fn list(&self, tree: &Sha, recurse: bool) -> Result<Vec<Entry>, RepoError> {
        let options: &[&str] = if recurse { &["-r", "-t"] } else { &[] };
        let process = self
            .read()
            .args(["ls-tree", "-z", "-l"])
            .args(options)
            .args([tree.as_str()]);
        let bytes = self
            .answer("listing files", process.stdout_bytes_max(self.git.limits.listing_bytes))
            .await?;
        tree::parse_listing(&bytes).map_err(|reason| RepoError::TooLarge {
            repository: self.repository.clone(),
            reason,
        })
    }

    /// Reads blobs by name, in order. The caller has added up their sizes; `bytes_max` is the second net.
    pub(crate) async fn blobs(&self, names: &[&Sha], bytes_max: usize) -> Result<Vec<Vec<u8>>, RepoError> {
        const HEADER_BYTES: usize = 128;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let input: String = names.iter().map(|name| format!("{name}\n")).collect();
        let process = self
            .read()
            .args(["cat-file", "--batch"])
            .input(input)
            .stdout_bytes_max(bytes_max + names.len() * HEADER_BYTES);
        let bytes = self.answer("reading files", process).await?;
        parse_batch(&bytes, names.len()).ok_or_else(|| RepoError::Clone {
            repository: self.repository.clone(),
            reason: "an object that a tree names cannot be read".to_owned(),
        })
    }

    /// Author, date and subject of a commit that the clone has.
    pub(crate) async fn commit_info(&self, commit: &Sha) -> Result<CommitInfo, RepoError> {
        let process = self
            .read()
            .args(["log", "-1", "--no-show-signature", "--no-mailmap", "--encoding=UTF-8"])
            .args(["--format=%an <%ae>%x00%aI%x00%s", "--end-of-options", commit.as_str()]);
        let bytes = self
            .answer("reading a commit", process.stdout_bytes_max(ANSWER_BYTES_MAX))
            .await?;
        let text = String::from_utf8_lossy(&bytes);
        let mut fields = text.trim_end_matches('\n').split('\0').map(str::to_owned);
        Ok(CommitInfo {
            sha: commit.clone(),
            author: fields.next().unwrap_or_default(),
            date: fields.next().unwrap_or_default(),
            subject: fields.next().unwrap_or_default(),
        })
    }

    /// Whether `ancestor` is `descendant` or one of its ancestors; the clone has both.
    pub(crate) async fn is_ancestor(&self, ancestor: &Sha, descendant: &Sha) -> Result<bool, RepoError> {
        let process = self
            .read()
            .args(["merge-base", "--is-ancestor", ancestor.as_str(), descendant.as_str()]);
        match self.run(process).await {
            Ok(_) => Ok(true),
            Err(ProcessError::Failed { code: Some(1), .. }) => Ok(false),
            Err(error) => Err(self.failed("comparing commits", &error)),
        }
    }

    /// Paths that differ between two commits that the clone has.
    pub(crate) async fn changed_files(&self, from: &Sha, to: &Sha) -> Result<Vec<String>, RepoError> {
        let process = self
            .read()
            .args([
                "diff-tree",
                "-r",
                "-z",
                "--name-only",
                "--no-renames",
                from.as_str(),
                to.as_str(),
            ])
            .stdout_bytes_max(LISTING_BYTES_MAX);
        let bytes = self.answer("comparing commits", process).await?;
        let names = bytes.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }
}

/// Splits the output of `cat-file --batch`; `None` when an object is missing or the output is not as announced.
fn parse_batch(mut bytes: &[u8], count: usize) -> Option<Vec<Vec<u8>>> {
    let mut blobs = Vec::with_capacity(count);
    for _ in 0..count {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (header, rest) = bytes.split_at_checked(end)?;
        let header = std::str::from_utf8(header).ok()?;
        let (_, size) = header.split_once(" blob ")?;
        let rest = rest.get(1..)?;
        let (blob, rest) = rest.split_at_checked(size.parse().ok()?)?;
        blobs.push(blob.to_vec());
        bytes = rest.get(1..)?;
    }
    Some(blobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_split_by_size_and_not_by_lines() {
        let text = b"aa blob 3\na\nb\nbb blob 0\n\n";
        assert_eq!(parse_batch(text, 2), Some(vec![b"a\nb".to_vec(), Vec::new()]));
        assert_eq!(parse_batch(b"aa missing\n", 1), None);
        assert_eq!(parse_batch(b"aa blob 30\nshort\n", 1), None);
        assert_eq!(parse_batch(b"aa tree 3\nabc\n", 1), None);
    }
}
