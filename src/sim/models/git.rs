//! A Git server, and machines that run `git` against it.
//!
//! The seam is the child process: whatever the controllers do with Git (polling, clones, listing and reading files) runs
//! as it is, and only the program is answered for here, as far as `repo::git` uses it. One server holds one repository,
//! under whatever address. Object names are digests of what they name, so equal histories have equal names.

use crate::{
    clock::SharedClock,
    process::{Output, Process, ProcessError, Runner},
    repo::sha::{Sha, hex},
    sim::dice::{Dice, Range},
};
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Time of a question to a server that is well.
const NETWORK: Range = Range::millis(20, 250);
/// Digits of an object name.
const NAME_DIGITS: usize = 40;
/// The branch that `HEAD` stands for.
pub const MAIN: &str = "main";

/// How a server is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Condition {
    /// Well.
    #[default]
    Up,
    /// Nobody reaches it.
    Unreachable,
    /// It refuses the credentials.
    Denied,
    /// It takes this long to answer; git gives up at its deadline.
    Slow(Range),
    /// A mirror that shows what was there this long ago.
    Behind(Duration),
}

/// The server. Cloning shares it.
#[derive(Clone)]
pub struct GitServer {
    clock: SharedClock,
    state: Arc<Mutex<State>>,
}

struct State {
    commits: BTreeMap<String, Commit>,
    trees: BTreeMap<String, Tree>,
    blobs: BTreeMap<String, Vec<u8>>,
    /// Where each branch was from when on.
    branches: BTreeMap<String, Vec<(Timestamp, String)>>,
    condition: Condition,
    dice: Dice,
}

/// Files of a folder and all below it: path within the folder, and name of the content.
type Tree = BTreeMap<String, String>;

struct Commit {
    tree: String,
    parent: Option<String>,
    at: Timestamp,
    subject: String,
}

impl std::fmt::Debug for GitServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GitServer").finish_non_exhaustive()
    }
}

impl GitServer {
    /// A server with an empty repository.
    pub fn new(clock: SharedClock, dice: &Dice) -> Self {
        let state = State {
            commits: BTreeMap::new(),
            trees: BTreeMap::new(),
            blobs: BTreeMap::new(),
            branches: BTreeMap::new(),
            condition: Condition::Up,
            dice: dice.fork("git"),
        };
        Self {
            clock,
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits these files (path and content) on top of a branch, and moves the branch there.
    pub fn push(&self, branch: &str, files: &BTreeMap<String, String>, subject: &str) -> String {
        let now = self.clock.now();
        let mut state = self.lock();
        let parent = state.tip(branch, now);
        let tree = state.keep(files);
        let number = state.commits.len().to_string();
        let name = name(&["commit", &tree, parent.as_deref().unwrap_or(""), subject, &number]);
        let commit = Commit {
            tree,
            parent,
            at: now,
            subject: subject.to_owned(),
        };
        state.commits.insert(name.clone(), commit);
        state.point(branch, now, &name);
        name
    }

    /// Moves a branch to a commit, as a forced push does.
    pub fn reset(&self, branch: &str, commit: &str) {
        let now = self.clock.now();
        self.lock().point(branch, now, commit);
    }

    /// The commit of a branch.
    pub fn tip(&self, branch: &str) -> Option<String> {
        let now = self.clock.now();
        self.lock().tip(branch, now)
    }

    /// Where a branch was, oldest first: from when on, and the commit.
    pub fn moves(&self, branch: &str) -> Vec<(Timestamp, String)> {
        self.lock().branches.get(branch).cloned().unwrap_or_default()
    }

    /// Whether a commit is another one or leads to it.
    pub fn is_ancestor(&self, ancestor: &str, descendant: &str) -> bool {
        self.lock().line(descendant).iter().any(|commit| commit == ancestor)
    }

    /// The commit so many before another one.
    pub fn before(&self, commit: &str, count: usize) -> Option<String> {
        self.lock().line(commit).get(count).cloned()
    }

    /// Changes how the server is.
    pub fn set(&self, condition: Condition) {
        self.lock().condition = condition;
    }

    /// A machine with git and an empty disk.
    pub fn machine(&self) -> Arc<dyn Runner> {
        Arc::new(Machine {
            server: self.clone(),
            clones: Mutex::default(),
        })
    }
}

impl State {
    fn tip(&self, branch: &str, at: Timestamp) -> Option<String> {
        let moves = self.branches.get(branch)?;
        let (_, commit) = moves.iter().rev().find(|(since, _)| *since <= at)?;
        Some(commit.clone())
    }

    fn point(&mut self, branch: &str, now: Timestamp, commit: &str) {
        self.branches
            .entry(branch.to_owned())
            .or_default()
            .push((now, commit.to_owned()));
    }

    /// Keeps files as objects; returns the name of the root folder.
    fn keep(&mut self, files: &BTreeMap<String, String>) -> String {
        let mut folders: BTreeMap<String, Tree> = BTreeMap::from([(String::new(), Tree::new())]);
        for (path, content) in files {
            let blob = name(&["blob", content]);
            self.blobs.insert(blob.clone(), content.clone().into_bytes());
            let ends = std::iter::once(0).chain(path.match_indices('/').map(|(end, _)| end));
            for end in ends {
                let (folder, rest) = path.split_at_checked(end).unwrap_or(("", path));
                let rest = rest.strip_prefix('/').unwrap_or(rest);
                let tree = folders.entry(folder.to_owned()).or_default();
                tree.insert(rest.to_owned(), blob.clone());
            }
        }
        let mut root = String::new();
        for (folder, tree) in folders {
            let name = tree_name(&tree);
            if folder.is_empty() {
                root.clone_from(&name);
            }
            self.trees.insert(name, tree);
        }
        root
    }

    /// A commit and those it comes from, newest first.
    fn line(&self, commit: &str) -> Vec<String> {
        let mut line = Vec::new();
        let mut next = Some(commit.to_owned());
        while let Some(commit) = next.take() {
            next = self.commits.get(&commit).and_then(|found| found.parent.clone());
            line.push(commit);
        }
        line
    }

    /// A folder or file of a commit by its path; empty is the root.
    fn find(&self, commit: &str, path: &str) -> Option<Found<'_>> {
        let commit = self.commits.get(commit)?;
        let root = self.trees.get(&commit.tree)?;
        if path.is_empty() {
            return Some(Found::Folder(commit.tree.clone()));
        }
        if let Some(blob) = root.get(path) {
            return Some(Found::File(blob));
        }
        let tree = below(root, path);
        (!tree.is_empty()).then(|| Found::Folder(tree_name(&tree)))
    }
}

enum Found<'a> {
    Folder(String),
    File(&'a str),
}

/// The part of a folder that is below one of its folders.
fn below(tree: &Tree, folder: &str) -> Tree {
    let inside = |path: &str| Some(path.strip_prefix(folder)?.strip_prefix('/')?.to_owned());
    tree.iter()
        .filter_map(|(path, blob)| Some((inside(path)?, blob.clone())))
        .collect()
}

fn tree_name(tree: &Tree) -> String {
    let mut parts = vec!["tree"];
    parts.extend(tree.iter().flat_map(|(path, blob)| [path.as_str(), blob.as_str()]));
    name(&parts)
}

fn name(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    hex(&digest.finalize()).chars().take(NAME_DIGITS).collect()
}

/// A machine that runs git.
#[derive(Debug)]
struct Machine {
    server: GitServer,
    /// Commits that each clone has.
    clones: Mutex<BTreeMap<String, BTreeSet<String>>>,
}

type Answer = Result<Vec<u8>, ProcessError>;

impl Runner for Machine {
    fn run(&self, process: Process) -> BoxFuture<'_, Result<Output, ProcessError>> {
        Box::pin(async move {
            let arguments: Vec<String> = process
                .arguments()
                .iter()
                .map(|argument| argument.to_string_lossy().into_owned())
                .collect();
            let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let stdout = match words.as_slice() {
                ["ls-remote", ..] => {
                    self.reach(&process).await?;
                    self.references()
                }
                ["init", .., directory] => {
                    self.lock().entry((*directory).to_owned()).or_default();
                    Ok(Vec::new())
                }
                [directory, rest @ ..] => {
                    let directory = directory.strip_prefix("--git-dir=").unwrap_or(directory);
                    if rest.first() == Some(&"fetch") {
                        self.reach(&process).await?;
                    }
                    self.in_clone(directory, rest, process.stdin())
                }
                [] => Err(failed(129, "usage: git")),
            }?;
            Ok(Output {
                stdout,
                stderr: String::new(),
            })
        })
    }
}

impl Machine {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, BTreeSet<String>>> {
        self.clones.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to the server and back.
    async fn reach(&self, process: &Process) -> Result<(), ProcessError> {
        let takes = {
            let mut state = self.server.lock();
            let range = match state.condition {
                Condition::Slow(range) => range,
                _ => NETWORK,
            };
            state.dice.within(range)
        };
        if takes >= process.deadline() {
            tokio::time::sleep(process.deadline()).await;
            return Err(ProcessError::Timeout {
                program: "git".to_owned(),
                deadline: process.deadline(),
            });
        }
        tokio::time::sleep(takes).await;
        let refused = match self.server.lock().condition {
            Condition::Unreachable => "fatal: unable to access 'https://git.example.com/': Could not resolve host",
            Condition::Denied => "fatal: Authentication failed for 'https://git.example.com/'",
            Condition::Up | Condition::Slow(_) | Condition::Behind(_) => return Ok(()),
        };
        Err(failed(128, refused))
    }

    /// The moment whose state the server shows.
    fn shown_at(&self, state: &State) -> Timestamp {
        let now = self.server.clock.now();
        match state.condition {
            Condition::Behind(by) => {
                let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
                now.saturating_sub(by).unwrap_or(now)
            }
            _ => now,
        }
    }

    fn references(&self) -> Answer {
        let state = self.server.lock();
        let at = self.shown_at(&state);
        let mut lines = String::new();
        if let Some(head) = state.tip(MAIN, at) {
            lines.push_str(&format!("ref: refs/heads/{MAIN}\tHEAD\n{head}\tHEAD\n"));
        }
        for branch in state.branches.keys() {
            if let Some(commit) = state.tip(branch, at) {
                lines.push_str(&format!("{commit}\trefs/heads/{branch}\n"));
            }
        }
        Ok(lines.into_bytes())
    }

    fn in_clone(&self, directory: &str, words: &[&str], input: &[u8]) -> Answer {
        let state = self.server.lock();
        let mut clones = self.lock();
        let Some(clone) = clones.get_mut(directory) else {
            return Err(failed(128, "fatal: not a git repository"));
        };
        let input = String::from_utf8_lossy(input);
        match words {
            ["fetch", .., refspec] => {
                let at = self.shown_at(&state);
                fetch(&state, clone, refspec, at)
            }
            ["cat-file", "--batch-check"] => Ok(input
                .lines()
                .map(|line| check(&state, clone, line))
                .collect::<String>()
                .into_bytes()),
            ["cat-file", "--batch"] => Ok(input.lines().flat_map(|line| content(&state, line)).collect()),
            ["ls-tree", "-z", "-l", options @ .., tree] => {
                let found = state.trees.get(*tree);
                let listed = found.map(|tree| list(&state, tree, options.contains(&"-r")));
                listed.ok_or_else(|| failed(128, "fatal: not a tree object"))
            }
            ["log", .., commit] => {
                let found = state.commits.get(*commit);
                let told = found.map(|found| format!("Ada <ada@example.com>\0{}\0{}\n", found.at, found.subject));
                told.map(String::into_bytes)
                    .ok_or_else(|| failed(128, "fatal: bad object"))
            }
            ["merge-base", "--is-ancestor", ancestor, descendant] => {
                let is_one = state.line(descendant).iter().any(|commit| commit == ancestor);
                if is_one { Ok(Vec::new()) } else { Err(failed(1, "")) }
            }
            ["diff-tree", .., from, to] => Ok(changed(&state, from, to)),
            ["repack", ..] => Ok(Vec::new()),
            _ => Err(failed(129, "git: this is not a git command")),
        }
    }
}

fn failed(code: i32, stderr: &str) -> ProcessError {
    ProcessError::Failed {
        program: "git".to_owned(),
        code: Some(code),
        stderr: stderr.to_owned(),
    }
}

/// Brings the commits of all branches, or one that is named and was there at that moment.
fn fetch(state: &State, clone: &mut BTreeSet<String>, refspec: &str, at: Timestamp) -> Answer {
    let wanted = refspec.trim_start_matches('+').split(':').next().unwrap_or_default();
    if Sha::parse(wanted).is_some() {
        if state.commits.get(wanted).is_none_or(|commit| commit.at > at) {
            return Err(failed(128, "fatal: remote error: upload-pack: not our ref"));
        }
        clone.extend(state.line(wanted));
        return Ok(Vec::new());
    }
    let tips = state.branches.keys().filter_map(|branch| state.tip(branch, at));
    clone.extend(tips.flat_map(|tip| state.line(&tip)));
    Ok(Vec::new())
}

/// One line of `cat-file --batch-check`.
fn check(state: &State, clone: &BTreeSet<String>, line: &str) -> String {
    let missing = || format!("{line} missing\n");
    let commit_of = |digits: &str| {
        let mut found = clone.iter().filter(|commit| commit.starts_with(digits));
        found.next().filter(|_| found.next().is_none())
    };
    if let Some(digits) = line.strip_suffix("^{commit}") {
        return commit_of(digits).map_or_else(missing, |commit| format!("{commit} commit 200\n"));
    }
    if let Some(digits) = line.strip_suffix("^{tree}") {
        let tree = commit_of(digits).and_then(|commit| state.commits.get(commit));
        return tree.map_or_else(missing, |commit| format!("{} tree 100\n", commit.tree));
    }
    let Some((digits, path)) = line.split_once(':') else {
        return missing();
    };
    match commit_of(digits).and_then(|commit| state.find(commit, path)) {
        Some(Found::Folder(tree)) => format!("{tree} tree 100\n"),
        Some(Found::File(blob)) => format!("{blob} blob 100\n"),
        None => missing(),
    }
}

/// One answer of `cat-file --batch`.
fn content(state: &State, blob: &str) -> Vec<u8> {
    match state.blobs.get(blob) {
        Some(bytes) => {
            let mut answer = format!("{blob} blob {}\n", bytes.len()).into_bytes();
            answer.extend(bytes);
            answer.push(b'\n');
            answer
        }
        None => format!("{blob} missing\n").into_bytes(),
    }
}

/// `ls-tree -z -l`.
fn list(state: &State, tree: &Tree, recurse: bool) -> Vec<u8> {
    let mut lines: BTreeMap<String, String> = BTreeMap::new();
    for (path, blob) in tree {
        let folders = path.match_indices('/').filter_map(|(end, _)| path.get(..end));
        for folder in folders.take(if recurse { usize::MAX } else { 1 }) {
            lines
                .entry(folder.to_owned())
                .or_insert_with(|| format!("040000 tree {} -\t{folder}\0", tree_name(&below(tree, folder))));
        }
        if recurse || !path.contains('/') {
            let size = state.blobs.get(blob).map_or(0, Vec::len);
            lines.insert(path.clone(), format!("100644 blob {blob} {size}\t{path}\0"));
        }
    }
    lines.into_values().collect::<String>().into_bytes()
}

fn changed(state: &State, from: &str, to: &str) -> Vec<u8> {
    let empty = Tree::new();
    let tree = |commit: &str| {
        let commit = state.commits.get(commit);
        commit
            .and_then(|commit| state.trees.get(&commit.tree))
            .unwrap_or(&empty)
    };
    let (from, to) = (tree(from), tree(to));
    let paths: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let differing = paths.into_iter().filter(|path| from.get(*path) != to.get(*path));
    differing
        .map(|path| format!("{path}\0"))
        .collect::<String>()
        .into_bytes()
}

#[cfg(test)]
mod tests;
