//! Hostile repositories and servers. The names are those of the list of attacks this kind of program has seen.

use super::*;

/// Resolves and reads a repository, and gives the error.
async fn error_of(opened: &Opened, url: &str) -> RepoError {
    opened
        .sources
        .resolve(url, "main", Freshness::Latest)
        .await
        .unwrap_err()
}

#[tokio::test]
async fn git_url_ext_transport() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let opened = open();
    for url in [
        format!("ext::sh -c touch% {}", mark.display()),
        format!("ext::touch${{IFS}}{}", mark.display()),
        "ext::sh://x/y".to_owned(),
        format!("ssh://-oProxyCommand=touch${{IFS}}{}/x", mark.display()),
        format!("-u{}", mark.display()),
    ] {
        let error = error_of(&opened, &url).await;
        assert_eq!(
            (error.label(), error.class()),
            ("invalid_url", Class::Permanent),
            "{url}"
        );
    }
    assert!(!mark.exists());
}

/// The second net: git itself refuses the transport, should a check of ours be passed by.
#[tokio::test]
async fn git_itself_refuses_other_transports() {
    let opened = open_with(|options| options.allow_file_protocol = false);
    let upstream = Upstream::new();
    upstream.commit(&[Change::File("a", "")]);
    let git = &opened.sources.shared.git;
    for address in [
        upstream.file_url(),
        upstream.path().display().to_string(),
        "ext::true".to_owned(),
        "git://127.0.0.1/x".to_owned(),
    ] {
        let url = RepoUrl::parse("https://127.0.0.1/x", false).unwrap();
        let mut access = access::Access::default();
        access.config.push(("remote.origin.url".to_owned(), address.clone()));
        let error = git.ls_remote(&url, &access).await.unwrap_err();
        assert!(error.to_string().contains("not allowed"), "{address}: {error}");
    }
}

#[tokio::test]
async fn local_paths_are_not_sources() {
    let upstream = Upstream::new();
    let opened = open_with(|options| options.allow_file_protocol = false);
    for url in [
        upstream.file_url(),
        upstream.path().display().to_string(),
        "/etc".to_owned(),
    ] {
        assert_eq!(error_of(&opened, &url).await.label(), "invalid_url", "{url}");
    }
}

#[tokio::test]
async fn git_revision_starts_with_dash() {
    let (_upstream, _first, server, opened) = served().await;
    for revision in ["--upload-pack=touch /tmp/x", "-h", "main..other", "main:app", "@{-1}"] {
        let error = opened
            .sources
            .resolve(&server.url(), revision, Freshness::Latest)
            .await
            .unwrap_err();
        assert_eq!(
            (error.label(), error.class()),
            ("invalid_revision", Class::Permanent),
            "{revision}"
        );
    }
    assert_eq!(server.conversations(), 0, "refused before anybody is asked");
}

/// A server that has our password may not make us hand it to another one.
#[tokio::test]
async fn git_url_userinfo_redirect() {
    let (upstream, first, server, _) = served().await;
    let thief = GitServer::start_at(upstream.root(), "127.0.0.2").await;
    server.redirect_to(&thief.base);
    for data in [
        json!({"username": "me", "password": "s3cret"}),
        json!({"username": "me", "password": "s3cret", "forceHttpBasicAuth": "true"}),
        json!({"bearerToken": "s3cret"}),
    ] {
        let opened = open();
        opened.sources.set_credentials(vec![secret(&server.url(), data)]);
        // Without a challenge the redirect is followed (servers rename repositories) …
        let _ = opened.sources.resolve(&server.url(), "main", Freshness::Cached).await;
        // … and with one it ends there.
        thief.require("Basic anything");
        let label = error_of(&opened, &server.url()).await.label();
        assert!(["auth_failed", "not_found"].contains(&label), "{label}");
        let in_address = server.url().replace("http://", "http://me:s3cret@");
        assert!(
            open()
                .sources
                .resolve(&in_address, "main", Freshness::Cached)
                .await
                .is_err()
        );
    }
    let asked = thief.asked();
    assert!(asked.iter().all(|asked| asked.authorization.is_none()), "{asked:?}");
    drop(first);
}

#[tokio::test]
async fn a_renamed_repository_is_followed() {
    let (_upstream, first, server, opened) = served().await;
    let old = GitServer::start(std::env::temp_dir()).await;
    old.redirect_to(&server.base);
    assert_eq!(
        opened.sources.resolve(&old.url(), "main", Freshness::Cached).await,
        Ok(first.clone())
    );
    assert!(opened.sources.commit_info(&old.url(), &first).await.is_ok());
}

#[tokio::test]
async fn hook_in_checkout() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let hook = format!("#!/bin/sh\ntouch {}\n", mark.display());
    let upstream = Upstream::new();
    let commit = upstream.commit(&[
        Change::File("hooks/post-checkout", &hook),
        Change::File("hooks/reference-transaction", &hook),
        Change::File(".githooks/post-merge", &hook),
        Change::File(".gitattributes", "* filter=evil\n"),
        Change::File("a.yaml", &config_map("a")),
    ]);
    let opened = open();
    assert!(opened.sources.commit_info(&upstream.file_url(), &commit).await.is_ok());
    let clone = clone_of(&opened);
    assert!(
        !clone.join("hooks").exists() && !clone.join("a.yaml").exists(),
        "nothing is checked out, no template copied"
    );
    // A hook that got into the clone by some other way is not run either.
    std::fs::create_dir_all(clone.join("hooks")).unwrap();
    for name in ["reference-transaction", "post-update"] {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(clone.join("hooks").join(name), &hook).unwrap();
        std::fs::set_permissions(clone.join("hooks").join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let second = upstream.commit(&[Change::File("b.yaml", &config_map("b"))]);
    assert!(opened.sources.commit_info(&upstream.file_url(), &second).await.is_ok());
    assert!(!mark.exists());
}

/// Configuration that lies about in the places where git looks for it has no effect.
#[tokio::test]
async fn render_process_has_no_network_env_or_home() {
    let opened = open_with(|options| {
        let evil = [
            ("GIT_SSH_COMMAND", "touch /nowhere"),
            ("HOME", "/root"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("HTTPS_PROXY", "http://proxy"),
        ];
        *options = options
            .clone()
            .inherit(evil.map(|(name, value)| (name.into(), value.into())));
    });
    let git = &opened.sources.shared.git;
    let names: Vec<_> = git
        .inherited
        .keys()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    assert_eq!(names, ["HTTPS_PROXY", "PATH"]);
}
