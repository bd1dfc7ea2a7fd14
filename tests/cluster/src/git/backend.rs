//! Smart HTTP: hands requests to `git http-backend` as a CGI program does, after asking for the password.

use std::{
    collections::BTreeMap,
    process::Stdio,
    sync::{Arc, atomic::Ordering},
};

use anyhow::{Context, Result, bail};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures::{StreamExt, stream};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout},
};

use super::{Credentials, Settings, Shared, checked_name, git, git_command, webhook};

/// How much of an answer goes out at once.
const CHUNK_BYTES: usize = 64 << 10;

/// The services of smart HTTP, by the end of the path.
const SERVICES: [&str; 3] = ["info/refs", "git-upload-pack", "git-receive-pack"];

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new().fallback(answer).with_state(shared)
}

/// A request for a repository's service.
#[derive(Debug)]
struct Wanted<'a> {
    name: &'a str,
    service: &'static str,
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    if !shared.available.load(Ordering::SeqCst) {
        return (StatusCode::SERVICE_UNAVAILABLE, "the Git server is down\n").into_response();
    }
    let path = request.uri().path().to_owned();
    let Some(wanted) = parse_path(&path).filter(|wanted| shared.path_of(wanted.name).is_dir()) else {
        return (StatusCode::NOT_FOUND, "repository not found\n").into_response();
    };
    let settings = shared.settings(wanted.name);
    if let Some(credentials) = &settings.credentials
        && !allowed(credentials, request.headers())
    {
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")];
        return (
            StatusCode::UNAUTHORIZED,
            challenge,
            "wrong or missing user and password\n",
        )
            .into_response();
    }
    let result = if wanted.service == "git-receive-pack" && request.method() == Method::POST {
        receive_pack(shared, wanted.name.to_owned(), settings, request).await
    } else {
        stream_answer(&shared, &wanted, &settings, request).await
    };
    result.unwrap_or_else(|error| {
        tracing::error!(path, error = format!("{error:#}"), "Cannot answer.");
        (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response()
    })
}

fn parse_path(path: &str) -> Option<Wanted<'_>> {
    let path = path.strip_prefix('/')?;
    let service = SERVICES.into_iter().find(|service| path.ends_with(service))?;
    let name = path.strip_suffix(service)?.strip_suffix('/')?;
    Some(Wanted {
        name: checked_name(name)?,
        service,
    })
}

fn allowed(credentials: &Credentials, headers: &HeaderMap) -> bool {
    let Credentials { username, password } = credentials;
    let expected = format!("Basic {}", STANDARD.encode(format!("{username}:{password}")));
    headers
        .get(header::AUTHORIZATION)
        .is_some_and(|given| given.as_bytes() == expected.as_bytes())
}

/// Takes a push to its end, also when the client has gone away, and then tells the webhook what changed.
async fn receive_pack(shared: Arc<Shared>, name: String, settings: Settings, request: Request) -> Result<Response> {
    let push = tokio::spawn(async move {
        let _only_one = settings.push.lock().await;
        let before = refs(&shared, &name).await?;
        let wanted = Wanted {
            name: &name,
            service: "git-receive-pack",
        };
        let (status, headers, mut output) = start(&shared, &wanted, &settings, request).await?;
        let mut body = Vec::new();
        output.stdout.read_to_end(&mut body).await?;
        output.backend.wait().await?;
        if let Some(webhook) = settings.webhook.clone() {
            let after = refs(&shared, &name).await?;
            tokio::spawn(async move { webhook::tell(&shared, &name, &webhook, &before, &after).await });
        }
        Ok((status, headers, body).into_response())
    });
    push.await?
}

/// Every ref of a repository with its object.
async fn refs(shared: &Shared, name: &str) -> Result<BTreeMap<String, String>> {
    let listed = git(
        &shared.path_of(name),
        &["for-each-ref", "--format=%(objectname) %(refname)"],
    )
    .await?;
    Ok(listed
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(id, name)| (name.to_owned(), id.to_owned()))
        .collect())
}

async fn stream_answer(
    shared: &Shared,
    wanted: &Wanted<'_>,
    settings: &Settings,
    request: Request,
) -> Result<Response> {
    let (status, headers, output) = start(shared, wanted, settings, request).await?;
    let chunks = stream::try_unfold(output, |mut output| async move {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let length = output.stdout.read_buf(&mut chunk).await?;
        if length == 0 {
            output.backend.wait().await?;
            return Ok(None);
        }
        Ok::<_, std::io::Error>(Some((chunk, output)))
    });
    Ok((status, headers, Body::from_stream(chunks)).into_response())
}

/// The rest of an answer; the program is killed when nobody reads it.
struct BackendOutput {
    stdout: BufReader<ChildStdout>,
    backend: Child,
}

async fn start(
    shared: &Shared,
    wanted: &Wanted<'_>,
    settings: &Settings,
    request: Request,
) -> Result<(StatusCode, HeaderMap, BackendOutput)> {
    let (parts, body) = request.into_parts();
    let header = |name: HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let mut command = git_command(&shared.dir);
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &shared.dir)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", format!("/{}.git/{}", wanted.name, wanted.service))
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header(header::CONTENT_TYPE).unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let from_headers = [
        ("CONTENT_LENGTH", header(header::CONTENT_LENGTH)),
        ("HTTP_CONTENT_ENCODING", header(header::CONTENT_ENCODING)),
        ("HTTP_GIT_PROTOCOL", header(HeaderName::from_static("git-protocol"))),
        (
            "REMOTE_USER",
            settings
                .credentials
                .as_ref()
                .map(|credentials| credentials.username.as_str()),
        ),
    ];
    command.envs(
        from_headers
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let mut backend = command.spawn().context("cannot start git http-backend")?;
    let stdin = backend.stdin.take().context("http-backend has no standard input")?;
    let stdout = backend.stdout.take().context("http-backend has no standard output")?;
    tokio::spawn(feed(stdin, body));
    let mut stdout = BufReader::new(stdout);
    let (status, headers) = read_head(&mut stdout).await?;
    Ok((status, headers, BackendOutput { stdout, backend }))
}

/// Copies the request to the program, which may stop reading at any time; what it answers then is what counts.
async fn feed(mut stdin: ChildStdin, body: Body) {
    let mut chunks = body.into_data_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        if stdin.write_all(&chunk).await.is_err() {
            return;
        }
    }
}

/// The head of a CGI answer: header lines, with the status among them, up to an empty line.
async fn read_head(stdout: &mut BufReader<ChildStdout>) -> Result<(StatusCode, HeaderMap)> {
    let mut status = StatusCode::OK;
    let mut headers = HeaderMap::new();
    loop {
        let mut line = String::new();
        if stdout.read_line(&mut line).await? == 0 {
            bail!("git http-backend ended without an answer");
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok((status, headers));
        }
        let (name, value) = line
            .split_once(':')
            .with_context(|| format!("git http-backend said {line:?}"))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().unwrap_or_default();
            status = code
                .parse()
                .with_context(|| format!("git http-backend said {line:?}"))?;
        } else {
            headers.append(name.parse::<HeaderName>()?, value.parse()?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_a_repository_and_a_service() {
        for (path, expected) in [
            ("/shop.git/info/refs", Some(("shop", "info/refs"))),
            ("/shop/info/refs", Some(("shop", "info/refs"))),
            ("/team/shop.git/git-upload-pack", Some(("team/shop", "git-upload-pack"))),
            ("/shop.git/git-receive-pack", Some(("shop", "git-receive-pack"))),
            ("/shop.git/config", None),
            ("/shop.git/objects/info/packs", None),
            ("/../shop.git/info/refs", None),
            ("/team/../../etc/info/refs", None),
            ("//info/refs", None),
            ("/info/refs", None),
            ("/%2e%2e/info/refs", None),
        ] {
            let found = parse_path(path).map(|wanted| (wanted.name, wanted.service));
            assert_eq!(found, expected, "{path}");
        }
    }
}
