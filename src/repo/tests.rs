use super::{poller::PollOptions, *};
use crate::class::Class;
use axum::http::StatusCode;
use fixture::{Change, GitServer, Opened, Upstream, config_map, open, open_with};
use serde_json::json;
use std::{collections::BTreeSet, path::Path};

pub(crate) mod fixture;
mod security;

/// A repository Secret for an address.
fn secret(url: &str, data: serde_json::Value) -> RepositoryCredentials {
    let mut data = data;
    data["url"] = json!(url);
    let secret = serde_json::from_value(json!({
        "metadata": {"namespace": "argocd", "name": "repo", "labels": {"argocd.argoproj.io/secret-type": "repository"}},
        "stringData": data,
    }))
    .unwrap();
    RepositoryCredentials::parse(&secret, true).unwrap().unwrap()
}

/// Upstream with a commit, served over HTTP, and sources to read it with.
async fn served() -> (Upstream, Sha, GitServer, Opened) {
    let upstream = Upstream::new();
    let first = upstream.commit(&[Change::File("app/a.yaml", &config_map("a"))]);
    let server = GitServer::start(upstream.root()).await;
    (upstream, first, server, open())
}

#[tokio::test]
async fn revisions_resolve_over_http() {
    let (upstream, first, server, opened) = served().await;
    upstream.git(&["tag", "v1.0.0", first.as_str()]);
    let second = upstream.commit(&[Change::File("app/b.yaml", &config_map("b"))]);
    upstream.git(&["tag", "-a", "-m", "annotated", "v1.1.0", second.as_str()]);
    let other = upstream.commit_to("feature/x", &[Change::File("c.yaml", "c: 1\n")]);
    upstream.git(&["update-ref", "refs/pull/7/head", other.as_str()]);
    let short = second.as_str()[..8].to_owned();
    for (revision, expect) in [
        ("", &second),
        ("HEAD", &second),
        ("main", &second),
        ("feature/x", &other),
        ("refs/heads/feature/x", &other),
        ("refs/pull/7/head", &other),
        ("v1.0.0", &first),
        ("v1.1.0", &second),
        ("1.*", &second),
        ("~1.0.0", &first),
        (first.as_str(), &first),
        (&short, &second),
    ] {
        let found = opened.sources.resolve(&server.url(), revision, Freshness::Cached).await;
        assert_eq!(found.as_ref(), Ok(expect), "{revision}");
    }
    assert_eq!(
        server.conversations(),
        2,
        "one listing for all, one fetch for the abbreviated commit"
    );
    for (revision, text) in [
        ("nope", "unable to resolve 'nope' to a commit SHA in `URL`"),
        (
            ">=3",
            "unable to resolve '>=3' to a commit SHA in `URL`: no tag satisfies the version range",
        ),
        ("abcdef0", "unable to resolve 'abcdef0' to a commit SHA in `URL`"),
        (
            "--upload-pack=x",
            "invalid revision `--upload-pack=x` for `URL`: it starts with `-`",
        ),
    ] {
        let error = opened
            .sources
            .resolve(&server.url(), revision, Freshness::Cached)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), text.replace("URL", &server.url()));
    }
}

#[tokio::test]
async fn an_empty_repository_has_no_revision() {
    let upstream = Upstream::new();
    let error = open()
        .sources
        .resolve(&upstream.file_url(), "", Freshness::Cached)
        .await
        .unwrap_err();
    assert_eq!(error.label(), "unknown_revision");
}

#[tokio::test]
async fn fifty_waiting_callers_share_one_listing() {
    let (_upstream, first, server, _) = served().await;
    for (freshness, most) in [(Freshness::Cached, 1), (Freshness::Latest, 2)] {
        let opened = open();
        let before = server.asked().len();
        let conversations = server.conversations();
        server.hold();
        let callers: Vec<_> = (0..50)
            .map(|_| {
                let (sources, url) = (opened.sources.clone(), server.url());
                tokio::spawn(async move { sources.resolve(&url, "main", freshness).await })
            })
            .collect();
        // The runtime has one thread: when the server is asked, every caller has come as far as it can.
        server.was_asked(before + 1).await;
        server.release();
        for caller in callers {
            assert_eq!(caller.await.unwrap(), Ok(first.clone()));
        }
        assert!(server.conversations() - conversations <= most, "{freshness:?}");
    }
}

#[tokio::test]
async fn a_latest_answer_is_never_older_than_the_question() {
    let (upstream, first, server, opened) = served().await;
    assert_eq!(
        opened.sources.resolve(&server.url(), "main", Freshness::Cached).await,
        Ok(first.clone())
    );
    let second = upstream.commit(&[Change::File("b.yaml", "")]);
    assert_eq!(
        opened.sources.resolve(&server.url(), "main", Freshness::Cached).await,
        Ok(first)
    );
    assert_eq!(
        opened.sources.resolve(&server.url(), "main", Freshness::Latest).await,
        Ok(second.clone())
    );
    assert_eq!(
        opened.sources.resolve(&server.url(), "main", Freshness::Cached).await,
        Ok(second)
    );
}

#[tokio::test]
async fn a_slow_repository_holds_up_no_other() {
    let (_upstream, _first, slow, opened) = served().await;
    let (_other, second, quick, _) = served().await;
    slow.hold();
    let waiting = tokio::spawn({
        let (sources, url) = (opened.sources.clone(), slow.url());
        async move { sources.resolve(&url, "", Freshness::Cached).await }
    });
    slow.was_asked(1).await;
    assert_eq!(
        opened.sources.resolve(&quick.url(), "", Freshness::Cached).await,
        Ok(second)
    );
    assert!(!waiting.is_finished());
    slow.release();
    assert!(waiting.await.unwrap().is_ok());
}

/// A `git` that writes down its arguments and its children's before it runs.
fn recording_git(folder: &Path) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let program = folder.join("recording-git");
    let log = folder.join("arguments");
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$*\" >> '{}'\nexec git \"$@\"\n",
        log.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files_below(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

#[tokio::test]
async fn credentials_open_a_repository_and_show_nowhere() {
    const BASIC: &str = "Basic bWU6czNjcmV0LXB3ZA==";
    let (_upstream, first, server, _) = served().await;
    let folder = tempfile::tempdir().unwrap();
    let git = recording_git(folder.path());
    let right = || json!({"username": "me", "password": "s3cret-pwd"});
    for (header, data) in [
        (BASIC, right()),
        (
            BASIC,
            json!({"username": "me", "password": "s3cret-pwd", "forceHttpBasicAuth": "true"}),
        ),
        ("Bearer s3cret-pwd", json!({"bearerToken": "s3cret-pwd"})),
    ] {
        let opened = open_with(|options| options.git_program.clone_from(&git));
        server.require(header);
        let url = server.url();
        let refused = opened.sources.resolve(&url, "", Freshness::Cached).await.unwrap_err();
        assert_eq!(
            (refused.label(), refused.class()),
            ("auth_failed", Class::Denied),
            "{refused}"
        );
        let mut wrong = data.clone();
        for value in wrong
            .as_object_mut()
            .unwrap()
            .values_mut()
            .filter(|value| *value == "s3cret-pwd")
        {
            *value = json!("wr0ng-pwd");
        }
        opened.sources.set_credentials(vec![secret(&url, wrong)]);
        let refused = opened.sources.resolve(&url, "", Freshness::Cached).await.unwrap_err();
        assert_eq!(refused.label(), "auth_failed", "{refused}");
        assert!(!format!("{refused} {refused:?}").contains("wr0ng"), "{refused:?}");
        // Mended credentials heal at once, although the failure is fresh.
        opened.sources.set_credentials(vec![secret(&url, data)]);
        assert_eq!(
            opened.sources.resolve(&url, "", Freshness::Cached).await,
            Ok(first.clone())
        );
        assert!(opened.sources.commit_info(&url, &first).await.is_ok());
        for file in files_below(opened.cache.path()) {
            let bytes = std::fs::read(&file).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(
                !text.contains("s3cret") && !text.contains("wr0ng") && !text.contains("bWU6"),
                "{}",
                file.display()
            );
        }
    }
    let arguments = std::fs::read_to_string(folder.path().join("arguments")).unwrap();
    assert!(
        arguments.contains("ls-remote") && arguments.contains("fetch"),
        "{arguments}"
    );
    assert!(
        !arguments.contains("pwd") && !arguments.contains("bWU6") && !arguments.contains("http"),
        "{arguments}"
    );
}

#[tokio::test]
async fn credentials_in_the_address_work_and_show_nowhere() {
    let (_upstream, first, server, opened) = served().await;
    server.require("Basic bWU6czNjcmV0LXB3ZA==");
    let url = server.url().replace("http://", "http://me:s3cret-pwd@");
    assert_eq!(opened.sources.resolve(&url, "", Freshness::Cached).await, Ok(first));
    let error = opened
        .sources
        .resolve(&url, "nope", Freshness::Cached)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("unable to resolve 'nope' to a commit SHA in `{}`", server.url())
    );
    // The clone of somebody who may see it is not open to somebody who may not.
    let error = opened
        .sources
        .resolve(&server.url(), "", Freshness::Cached)
        .await
        .unwrap_err();
    assert_eq!(error.label(), "auth_failed");
}

#[tokio::test]
async fn each_failure_has_its_type_and_names_the_repository() {
    let (_upstream, _first, server, _) = served().await;
    let closed = TcpPort::closed().await;
    for (url, status, label, class) in [
        (
            server.url(),
            Some(StatusCode::SERVICE_UNAVAILABLE),
            "unreachable",
            Class::Transient,
        ),
        (server.url(), Some(StatusCode::FORBIDDEN), "auth_failed", Class::Denied),
        (
            server.url(),
            Some(StatusCode::TOO_MANY_REQUESTS),
            "throttled",
            Class::Throttled(Duration::from_secs(60)),
        ),
        (server.url(), Some(StatusCode::NOT_FOUND), "not_found", Class::NotFound),
        (format!("{}/other.git", server.base), None, "not_found", Class::NotFound),
        (
            format!("http://{closed}/repo.git"),
            None,
            "unreachable",
            Class::Transient,
        ),
        (
            format!("https://{closed}/repo.git"),
            None,
            "unreachable",
            Class::Transient,
        ),
        (
            "file:///nowhere/repo.git".to_owned(),
            None,
            "not_found",
            Class::NotFound,
        ),
        ("ftp://host/repo.git".to_owned(), None, "invalid_url", Class::Permanent),
    ] {
        server.answer_with(status);
        let error = open()
            .sources
            .resolve(&url, "main", Freshness::Cached)
            .await
            .unwrap_err();
        assert_eq!(
            (error.label(), error.class()),
            (label, class),
            "{url} {status:?}: {error}"
        );
        assert!(error.to_string().contains(&url), "{error}");
    }
}

struct TcpPort;

impl TcpPort {
    /// An address where nobody listens.
    async fn closed() -> std::net::SocketAddr {
        tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
    }
}

#[tokio::test]
async fn a_silent_server_is_a_timeout() {
    let (_upstream, _first, server, _) = served().await;
    server.hold();
    let opened = open_with(|options| options.git_timeout = Duration::from_millis(300));
    let error = opened
        .sources
        .resolve(&server.url(), "", Freshness::Cached)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("`{}` did not answer within 300ms (listing references)", server.url())
    );
    assert_eq!(error.class(), Class::Transient);
}

#[tokio::test]
async fn a_short_outage_is_no_news_and_a_long_one_is_announced_and_heals() {
    let (_upstream, first, server, opened) = served().await;
    let url = server.url();
    let ask = |freshness| opened.sources.resolve(&url, "main", freshness);
    assert!(ask(Freshness::Cached).await.is_ok());
    let mut changes = opened.sources.subscribe();
    server.answer_with(Some(StatusCode::BAD_GATEWAY));
    for _ in 0..2 {
        assert_eq!(ask(Freshness::Latest).await.unwrap_err().label(), "unreachable");
        assert_eq!(ask(Freshness::Cached).await, Ok(first.clone()));
        assert!(changes.try_recv().is_err());
    }
    assert!(ask(Freshness::Latest).await.is_err());
    assert_eq!(ask(Freshness::Cached).await.unwrap_err().label(), "unreachable");
    assert!(changes.try_recv().unwrap().concerns(&url));
    server.answer_with(None);
    assert_eq!(ask(Freshness::Latest).await, Ok(first.clone()));
    assert!(changes.try_recv().unwrap().concerns(&url), "recovery is announced");
    assert_eq!(ask(Freshness::Cached).await, Ok(first));
}

#[tokio::test]
async fn history_is_read_from_the_clone() {
    let (upstream, first, server, opened) = served().await;
    let second = upstream.commit(&[Change::File("app/b.yaml", "b: 1\n"), Change::Delete("app/a.yaml")]);
    let aside = upstream.commit_to("aside", &[Change::File("c", "")]);
    let (sources, url) = (&opened.sources, server.url());
    assert_eq!(sources.is_ancestor(&url, &first, &second).await, Ok(true));
    assert_eq!(sources.is_ancestor(&url, &second, &first).await, Ok(false));
    assert_eq!(sources.is_ancestor(&url, &second, &second).await, Ok(true));
    assert_eq!(sources.is_ancestor(&url, &aside, &second).await, Ok(false));
    assert_eq!(
        sources.changed_files(&url, &first, &second).await,
        Ok(vec!["app/a.yaml".to_owned(), "app/b.yaml".to_owned()])
    );
    let info = sources.commit_info(&url, &second).await.unwrap();
    assert_eq!(
        (info.author.as_str(), info.date.as_str(), info.subject.as_str()),
        ("Ada <ada@example.com>", "2023-11-14T22:13:20+00:00", "A change")
    );
    assert_eq!(server.conversations(), 1, "one fetch for everything");
}

#[tokio::test]
async fn a_commit_that_no_branch_leads_to_is_still_read() {
    let (upstream, first, server, opened) = served().await;
    let second = upstream.commit(&[Change::File("b", "")]);
    upstream.git(&["update-ref", "refs/heads/main", first.as_str()]);
    assert!(opened.sources.commit_info(&server.url(), &second).await.is_ok());
    let missing = Sha::parse(&"d".repeat(40)).unwrap();
    for url in [server.url(), upstream.file_url()] {
        let error = opened.sources.commit_info(&url, &missing).await.unwrap_err();
        assert_eq!(error.to_string(), format!("commit {missing} not found in `{url}`"));
    }
}

/// The one clone in a cache.
fn clone_of(opened: &Opened) -> std::path::PathBuf {
    let clones = opened.cache.path().join("cache/clones");
    std::fs::read_dir(clones).unwrap().next().unwrap().unwrap().path()
}

#[tokio::test]
async fn what_a_killed_git_left_behind_is_in_nobodys_way() {
    let (upstream, first, server, opened) = served().await;
    assert!(opened.sources.commit_info(&server.url(), &first).await.is_ok());
    let clone = clone_of(&opened);
    for leftover in [
        "packed-refs.lock",
        "HEAD.lock",
        "config.lock",
        "refs/heads/main.lock",
        "objects/pack/tmp_pack_x",
    ] {
        std::fs::write(clone.join(leftover), "").unwrap();
    }
    std::fs::write(clone.join("marker"), "").unwrap();
    let second = upstream.commit(&[Change::File("b", "")]);
    assert!(opened.sources.commit_info(&server.url(), &second).await.is_ok());
    assert!(!clone.join("objects/pack/tmp_pack_x").exists());
    assert!(
        clone.join("marker").exists(),
        "a lock is no reason to fetch everything anew"
    );
}

#[tokio::test]
async fn a_damaged_clone_is_made_anew() {
    let (upstream, first, server, opened) = served().await;
    let (sources, url) = (&opened.sources, server.url());
    assert!(sources.commit_info(&url, &first).await.is_ok());
    let objects = clone_of(&opened).join("objects");
    for file in files_below(&objects) {
        std::fs::remove_file(file).unwrap();
    }
    let error = sources.commit_info(&url, &first).await.unwrap_err();
    assert_eq!((error.label(), error.class()), ("clone", Class::Transient), "{error}");
    assert!(sources.commit_info(&url, &first).await.is_ok(), "the next one heals it");
    drop(upstream);
}

#[tokio::test]
async fn clones_survive_a_restart() {
    let (_upstream, first, server, opened) = served().await;
    assert!(opened.sources.commit_info(&server.url(), &first).await.is_ok());
    let Opened { sources, cache } = opened;
    drop(sources);
    let asked = server.conversations();
    let again = Sources::new(SourcesOptions::new(cache.path().join("cache"))).unwrap();
    assert!(again.commit_info(&server.url(), &first).await.is_ok());
    assert_eq!(server.conversations(), asked, "nothing was asked for again");
}

fn polling(sources: &Sources, interval: Duration) -> tokio::task::JoinHandle<()> {
    let sources = sources.clone();
    let options = PollOptions {
        interval,
        ..PollOptions::default()
    };
    tokio::spawn(async move { sources.run_poller(options).await })
}

#[tokio::test]
async fn one_poller_for_each_repository_announces_a_push() {
    let (upstream, first, server, opened) = served().await;
    let sources = &opened.sources;
    let mut changes = sources.subscribe();
    let poller = polling(sources, Duration::from_millis(50));
    // Three spellings of one clone, and an address that cannot be used.
    let urls = [
        server.url(),
        format!("{}/", server.url()),
        server.url().replace("http:", "HTTP:"),
        "ftp://x/y".to_owned(),
    ];
    sources.watch(urls.iter().map(|url| used(url)).collect());
    server.was_asked(8).await;
    assert_eq!(
        sources.resolve(&server.url(), "main", Freshness::Cached).await,
        Ok(first)
    );
    assert!(changes.try_recv().is_err(), "nothing moved");
    let second = upstream.commit(&[Change::File("b", "")]);
    let change = tokio::time::timeout(Duration::from_secs(20), changes.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(change.concerns(&server.url()) && !change.concerns("https://github.com/a/b"));
    assert_eq!(
        sources.resolve(&server.url(), "main", Freshness::Cached).await,
        Ok(second)
    );
    sources.watch(BTreeSet::new());
    poller.abort();
}

#[tokio::test]
async fn a_push_event_beats_the_poll() {
    let (upstream, first, server, opened) = served().await;
    let sources = &opened.sources;
    let poller = polling(sources, Duration::from_secs(3600));
    sources.watch(BTreeSet::from([used(&server.url())]));
    server.was_asked(2).await;
    assert_eq!(
        sources.resolve(&server.url(), "main", Freshness::Cached).await,
        Ok(first)
    );
    let mut changes = sources.subscribe();
    let second = upstream.commit(&[Change::File("b", "")]);
    let asked = server.conversations();
    // As a server names itself: another port, another transport.
    let urls = vec!["https://127.0.0.1/Repo".to_owned(), "git@127.0.0.1:repo.git".to_owned()];
    assert_eq!(sources.notify(&urls).await, 1);
    assert_eq!(server.conversations(), asked + 1);
    assert!(changes.try_recv().unwrap().concerns(&server.url()));
    assert_eq!(
        sources.resolve(&server.url(), "main", Freshness::Cached).await,
        Ok(second)
    );
    assert_eq!(
        sources
            .notify(&["https://127.0.0.1/other".to_owned(), "nonsense".to_owned()])
            .await,
        0
    );
    assert_eq!(server.conversations(), asked + 1, "an event about others costs nothing");
    poller.abort();
}

#[tokio::test]
async fn new_credentials_wake_the_poller() {
    let (_upstream, _first, server, opened) = served().await;
    server.require("Basic bWU6cHdk");
    let sources = &opened.sources;
    let mut changes = sources.subscribe();
    let poller = polling(sources, Duration::from_secs(3600));
    sources.watch(BTreeSet::from([used(&server.url())]));
    let mut next = async || {
        tokio::time::timeout(Duration::from_secs(20), changes.recv())
            .await
            .unwrap()
            .unwrap()
    };
    assert!(next().await.concerns(&server.url()), "the outage");
    sources.set_credentials(vec![secret(
        &server.url(),
        json!({"username": "me", "password": "pwd"}),
    )]);
    assert!(next().await.concerns(&server.url()), "another try is worth while");
    let asked = server.asked().len();
    server.was_asked(asked.max(4)).await;
    assert!(sources.resolve(&server.url(), "", Freshness::Cached).await.is_ok());
    poller.abort();
}

fn used(url: &str) -> UsedRepository {
    UsedRepository {
        url: url.to_owned(),
        project: String::new(),
    }
}

#[tokio::test]
async fn a_secret_of_a_project_opens_the_repository_for_that_project_only() {
    let (_upstream, first, server, opened) = served().await;
    server.require("Basic bWU6czNjcmV0LXB3ZA==");
    let url = server.url();
    let data = json!({"username": "me", "password": "s3cret-pwd", "project": "team"});
    opened.sources.set_credentials(vec![secret(&url, data)]);
    let team = opened.sources.of_project("team");
    assert_eq!(team.resolve(&url, "", Freshness::Cached).await, Ok(first.clone()));
    assert!(team.commit_info(&url, &first).await.is_ok());
    let other = opened.sources.of_project("other");
    let refused = other.resolve(&url, "", Freshness::Cached).await.unwrap_err();
    assert_eq!(refused.label(), "auth_failed", "{refused}");
    assert!(
        refused.to_string().ends_with("(no repository Secret matches it)"),
        "{refused}"
    );
    // Neither does the clone of the one answer the other, who knows the commit.
    assert!(other.commit_info(&url, &first).await.is_err());
}
