//! Real repositories and a real Git server over smart HTTP, for tests.

use crate::{
    process::Process,
    repo::{Sources, SourcesOptions, sha::Sha},
};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch};

pub(crate) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// One change of a commit.
pub(crate) enum Change<'a> {
    File(&'a str, &'a str),
    Link(&'a str, &'a str),
    Submodule(&'a str, &'a Sha),
    Delete(&'a str),
}

/// A bare repository to push to.
pub(crate) struct Upstream {
    folder: TempDir,
    name: String,
}

impl Upstream {
    pub(crate) fn new() -> Self {
        Self::named("repo.git")
    }

    pub(crate) fn named(name: &str) -> Self {
        let upstream = Self {
            folder: tempfile::tempdir().unwrap(),
            name: name.to_owned(),
        };
        let path = upstream.path();
        upstream.git_in(
            upstream.folder.path(),
            &["init", "-q", "--bare", "-b", "main", path.to_str().unwrap()],
            b"",
        );
        upstream
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    pub(crate) fn file_url(&self) -> String {
        format!("file://{}", self.path().display())
    }

    fn git_in(&self, directory: &Path, arguments: &[&str], input: &[u8]) -> String {
        let mut child = Command::new("git")
            .args(arguments)
            .current_dir(directory)
            .env_clear()
            .envs([("PATH", PATH), ("HOME", "/nonexistent"), ("GIT_CONFIG_NOSYSTEM", "1")])
            .envs([
                ("GIT_AUTHOR_NAME", "Ada"),
                ("GIT_AUTHOR_EMAIL", "ada@example.com"),
                ("GIT_AUTHOR_DATE", "1700000000 +0000"),
            ])
            .envs([
                ("GIT_COMMITTER_NAME", "Ada"),
                ("GIT_COMMITTER_EMAIL", "ada@example.com"),
                ("GIT_COMMITTER_DATE", "1700000000 +0000"),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        self.git_in(&self.path(), arguments, b"")
    }

    pub(crate) fn git_with(&self, arguments: &[&str], input: &[u8]) -> String {
        self.git_in(&self.path(), arguments, input)
    }

    /// Adds a commit to a branch.
    pub(crate) fn commit_to(&self, branch: &str, changes: &[Change<'_>]) -> Sha {
        let parent = self.git(&[
            "for-each-ref",
            "--format=%(objectname)",
            &format!("refs/heads/{branch}"),
        ]);
        let mut stream = format!("commit refs/heads/{branch}\nauthor Ada <ada@example.com> 1700000000 +0000\n");
        stream += "committer Ada <ada@example.com> 1700000000 +0000\ndata 11\nA change\n\nx\n";
        if !parent.is_empty() {
            stream += &format!("from {parent}\n");
        }
        for change in changes {
            stream += &match change {
                Change::File(path, text) => format!("M 100644 inline {path}\ndata {}\n{text}\n", text.len()),
                Change::Link(path, target) => format!("M 120000 inline {path}\ndata {}\n{target}\n", target.len()),
                Change::Submodule(path, commit) => format!("M 160000 {commit} {path}\n"),
                Change::Delete(path) => format!("D {path}\n"),
            };
        }
        self.git_with(&["fast-import", "--quiet", "--force"], stream.as_bytes());
        self.sha(&format!("refs/heads/{branch}"))
    }

    pub(crate) fn commit(&self, changes: &[Change<'_>]) -> Sha {
        self.commit_to("main", changes)
    }

    pub(crate) fn sha(&self, name: &str) -> Sha {
        Sha::parse(&self.git(&["rev-parse", name])).unwrap()
    }
}

/// Sources with a cache of their own, `file://` allowed.
pub(crate) struct Opened {
    pub(crate) sources: Sources,
    pub(crate) cache: TempDir,
}

pub(crate) fn open() -> Opened {
    open_with(|_| {})
}

pub(crate) fn open_with(change: impl FnOnce(&mut SourcesOptions)) -> Opened {
    let cache = tempfile::tempdir().unwrap();
    let mut options = SourcesOptions::new(cache.path().join("cache"));
    options.allow_file_protocol = true;
    options.git_timeout = Duration::from_secs(30);
    change(&mut options);
    Opened {
        sources: Sources::new(options).unwrap(),
        cache,
    }
}

pub(crate) fn config_map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n")
}

/// What the server was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) target: String,
    pub(crate) authorization: Option<String>,
}

struct Behaviour {
    root: PathBuf,
    authorization: Mutex<Option<String>>,
    status: Mutex<Option<StatusCode>>,
    redirect: Mutex<Option<String>>,
    asked: Mutex<Vec<Asked>>,
    /// Number of requests so far.
    count: watch::Sender<usize>,
    open: watch::Sender<bool>,
}

/// `git http-backend` behind HTTP.
pub(crate) struct GitServer {
    pub(crate) base: String,
    behaviour: Arc<Behaviour>,
}

impl GitServer {
    pub(crate) async fn start(root: PathBuf) -> Self {
        Self::start_at(root, "127.0.0.1").await
    }

    pub(crate) async fn start_at(root: PathBuf, host: &str) -> Self {
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let behaviour = Arc::new(Behaviour {
            root,
            authorization: Mutex::default(),
            status: Mutex::default(),
            redirect: Mutex::default(),
            asked: Mutex::default(),
            count: watch::channel(0).0,
            open: watch::channel(true).0,
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&behaviour));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base, behaviour }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/repo.git", self.base)
    }

    /// The exact `Authorization` header to ask for.
    pub(crate) fn require(&self, authorization: &str) {
        *self.behaviour.authorization.lock().unwrap() = Some(authorization.to_owned());
    }

    /// Answers everything with a status; `None` ends that.
    pub(crate) fn answer_with(&self, status: Option<StatusCode>) {
        *self.behaviour.status.lock().unwrap() = status;
    }

    /// Sends everybody elsewhere.
    pub(crate) fn redirect_to(&self, base: &str) {
        *self.behaviour.redirect.lock().unwrap() = Some(base.to_owned());
    }

    /// Requests wait from now on until [`Self::release`].
    pub(crate) fn hold(&self) {
        self.behaviour.open.send_replace(false);
    }

    pub(crate) fn release(&self) {
        self.behaviour.open.send_replace(true);
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.behaviour.asked.lock().unwrap().clone()
    }

    /// Listings and fetches so far; both begin with this request.
    pub(crate) fn conversations(&self) -> usize {
        self.asked()
            .iter()
            .filter(|asked| asked.target.contains("/info/refs?"))
            .count()
    }

    /// Waits until the server was asked `count` times in all.
    pub(crate) async fn was_asked(&self, count: usize) {
        let mut seen = self.behaviour.count.subscribe();
        let wait = seen.wait_for(|seen| *seen >= count);
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .expect("the server was asked")
            .unwrap();
    }
}

async fn answer(State(behaviour): State<Arc<Behaviour>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let text = |name: HeaderName| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let target = parts.uri.path_and_query().unwrap().to_string();
    let authorization = text(header::AUTHORIZATION);
    behaviour.asked.lock().unwrap().push(Asked {
        target: target.clone(),
        authorization: authorization.clone(),
    });
    behaviour.count.send_modify(|count| *count += 1);
    behaviour.open.subscribe().wait_for(|open| *open).await.unwrap();
    let plain = |status: StatusCode| Response::builder().status(status);
    if let Some(status) = *behaviour.status.lock().unwrap() {
        return plain(status).body(Body::empty()).unwrap();
    }
    if let Some(base) = &*behaviour.redirect.lock().unwrap() {
        let location = format!("{base}{target}");
        return plain(StatusCode::MOVED_PERMANENTLY)
            .header(header::LOCATION, location)
            .body(Body::empty())
            .unwrap();
    }
    let required = behaviour.authorization.lock().unwrap().clone();
    if required.is_some() && required != authorization {
        return plain(StatusCode::UNAUTHORIZED)
            .header(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")
            .body(Body::empty())
            .unwrap();
    }
    let input = axum::body::to_bytes(body, 1 << 24).await.unwrap();
    let variables = [
        ("PATH", PATH.to_owned()),
        ("GIT_PROJECT_ROOT", behaviour.root.display().to_string()),
        ("GIT_HTTP_EXPORT_ALL", "1".to_owned()),
        ("REQUEST_METHOD", parts.method.to_string()),
        ("PATH_INFO", parts.uri.path().to_owned()),
        ("QUERY_STRING", parts.uri.query().unwrap_or_default().to_owned()),
        ("CONTENT_TYPE", text(header::CONTENT_TYPE).unwrap_or_default()),
        ("CONTENT_LENGTH", input.len().to_string()),
        (
            "HTTP_CONTENT_ENCODING",
            text(header::CONTENT_ENCODING).unwrap_or_default(),
        ),
        (
            "GIT_PROTOCOL",
            text(HeaderName::from_static("git-protocol")).unwrap_or_default(),
        ),
        ("REMOTE_ADDR", "127.0.0.1".to_owned()),
    ];
    // A real web server passes on what a failing backend said, whatever its exit code.
    let backend = Process::new("/bin/sh", &behaviour.root, Duration::from_secs(20))
        .args(["-c", "git http-backend 2>/dev/null; exit 0"])
        .envs(variables);
    let output = backend.input(input.to_vec()).run().await.unwrap();
    cgi_response(output.stdout)
}

fn cgi_response(output: Vec<u8>) -> Response {
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(output[..end].to_vec()).unwrap();
    let mut response = Response::new(Body::from(Bytes::from(output[end + 4..].to_vec())));
    for line in head.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        if name == "Status" {
            *response.status_mut() = value.split(' ').next().unwrap().parse().unwrap();
        } else {
            response.headers_mut().insert(
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
    }
    response
}
