use super::*;
use serde_json::json;

fn secret(kind: &str, data: &[(&str, &str)]) -> Secret {
    serde_json::from_value(json!({
        "metadata": {"namespace": "argocd", "name": "creds", "labels": {SECRET_TYPE: kind}},
        "stringData": data.iter().copied().collect::<BTreeMap<_, _>>(),
    }))
    .unwrap()
}

fn parse(kind: &str, data: &[(&str, &str)]) -> RepositoryCredentials {
    RepositoryCredentials::parse(&secret(kind, data), false)
        .unwrap()
        .expect("a Git credential")
}

fn basic(kind: &str, url: &str, username: &str) -> RepositoryCredentials {
    parse(kind, &[("url", url), ("username", username), ("password", "p4ss")])
}

/// The user name that an address gets.
#[track_caller]
fn check(set: &CredentialSet, url: &str, expect: &str) {
    let found = set.find(&RepoUrl::parse(url, false).unwrap(), "");
    let user = match found.map(|entry| &entry.auth) {
        Some(Auth::Basic { username, .. }) => username.as_str(),
        Some(other) => panic!("{other:?}"),
        None => "-",
    };
    assert_eq!(user, expect, "{url}");
}

#[test]
fn the_own_secret_wins_and_then_the_longest_prefix() {
    let set = CredentialSet::new(vec![
        basic("repo-creds", "https://git.example", "host"),
        basic("repo-creds", "https://git.example/team/sub", "sub"),
        basic("repo-creds", "https://git.example/team", "team"),
        basic("repo-creds", "https://git.example/slash/", "slash"),
        basic("repository", "https://git.example/team/sub/own.git", "own"),
        basic("repo-creds", "https://git.example:8443/", "port"),
        parse(
            "repository",
            &[("url", "https://git.example/team/open"), ("insecure", "true")],
        ),
    ]);
    check(&set, "https://git.example/other/x", "host");
    check(&set, "https://git.example/team/x", "team");
    check(&set, "https://git.example/Team-Blue/x", "team");
    check(&set, "https://git.example/team/sub/x.git", "sub");
    check(&set, "https://GIT.example:443/team/sub/OWN/", "own");
    check(&set, "https://git.example/slash/x", "slash");
    check(&set, "https://git.example/slashed/x", "host");
    check(&set, "https://git.example:8443/team/x", "port");
    check(&set, "https://git.example/team/open", "team");
}

#[test]
fn credentials_stay_with_their_transport_host_and_port() {
    let set = CredentialSet::new(vec![
        basic("repo-creds", "https://git.example", "host"),
        basic("repository", "https://one.example/a/b", "one"),
    ]);
    for url in [
        "https://git.example.evil/a/b",
        "https://git.example:444/a/b",
        "http://git.example/a/b",
        "git@git.example:a/b",
        "http://one.example/a/b",
        "https://one.example/a/b2",
    ] {
        check(&set, url, "-");
    }
}

#[test]
fn an_ssh_key_matches_both_spellings() {
    let set = CredentialSet::new(vec![parse(
        "repo-creds",
        &[("url", "git@github.com:org"), ("sshPrivateKey", "KEY")],
    )]);
    for url in [
        "git@github.com:org/repo.git",
        "ssh://git@github.com/org/repo",
        "ssh://git@github.com:22/Org/Repo",
    ] {
        let found = set.find(&RepoUrl::parse(url, false).unwrap(), "");
        assert_eq!(
            found.map(|entry| &entry.auth),
            Some(&Auth::SshKey(Hidden::new("KEY"))),
            "{url}"
        );
    }
}

#[test]
fn a_secret_that_cannot_be_read_is_a_problem_naming_secret_and_key() {
    for (data, message) in [
        (
            vec![("url", "https://host")],
            "Secret argocd/creds: url: invalid repository URL `https://host`: the path is missing",
        ),
        (
            vec![("url", "ext::sh")],
            "Secret argocd/creds: url: invalid repository URL `ext::sh`: transport helpers (`name::address`) are not allowed",
        ),
        (
            vec![("url", "https://h/r"), ("insecure", "maybe")],
            "Secret argocd/creds: insecure: must be true or false, found `maybe`",
        ),
        (
            vec![("url", "https://h/r"), ("password", "a\nhost=evil")],
            "Secret argocd/creds: password: contains a line break or another control character",
        ),
        (
            vec![("url", "https://h/r"), ("tlsClientCertData", "x")],
            "Secret argocd/creds: tlsClientCertData: goes together with tlsClientCertKey",
        ),
    ] {
        let error = RepositoryCredentials::parse(&secret("repository", &data), false).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn other_secrets_are_not_ours() {
    assert_eq!(
        RepositoryCredentials::parse(&secret("cluster", &[("server", "x")]), false),
        Ok(None)
    );
    assert_eq!(
        RepositoryCredentials::parse(&secret("repository", &[("type", "helm"), ("url", "x")]), false),
        Ok(None)
    );
    assert_eq!(RepositoryCredentials::parse(&Secret::default(), false), Ok(None));
}

#[test]
fn unsupported_ways_of_authentication_are_said_and_not_skipped() {
    let entry = parse("repository", &[("url", "https://h/r"), ("githubAppPrivateKey", "KEY")]);
    assert_eq!(
        entry.unusable.as_deref(),
        Some(
            "Secret argocd/creds: githubAppPrivateKey is not supported yet (username and password, bearerToken or sshPrivateKey are)"
        )
    );
}

#[test]
fn credentials_never_in_debug() {
    let entries = [
        basic("repository", "https://me:t0psecret@h/r", "user"),
        parse(
            "repository",
            &[
                ("url", "https://h/r"),
                ("bearerToken", "t0psecret"),
                ("proxy", "http://u:t0psecret@proxy"),
            ],
        ),
        parse("repository", &[("url", "https://h/r"), ("sshPrivateKey", "t0psecret")]),
        parse(
            "repository",
            &[
                ("url", "https://h/r"),
                ("tlsClientCertData", "t0psecret"),
                ("tlsClientCertKey", "t0psecret"),
            ],
        ),
    ];
    let shown = format!("{entries:?}");
    assert!(!shown.contains("t0psecret") && !shown.contains("p4ss"), "{shown}");
}
