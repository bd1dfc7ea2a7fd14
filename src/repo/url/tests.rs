use super::*;
use proptest::prelude::*;

#[track_caller]
fn refused(text: &str, reason: &str) {
    let error = RepoUrl::parse(text, false).expect_err(text);
    assert!(error.reason.contains(reason), "{text}: {error}");
}

#[test]
fn git_url_ext_transport() {
    refused("ext::sh -c touch% /tmp/x", "white space");
    refused("ext::sh", "transport helpers");
    refused("fd::17", "transport helpers");
    refused("ext::https://github.com/a/b", "transport helpers");
    refused("git://github.com/a/b", "https, http or ssh");
    refused("ftp://github.com/a/b", "https, http or ssh");
}

#[test]
fn only_addresses_of_servers_are_allowed() {
    refused("", "empty");
    refused("--upload-pack=touch /tmp/x", "starts with `-`");
    refused("ssh://-oProxyCommand=touch/x", "");
    refused("-oProxyCommand=x@host:path", "starts with `-`");
    refused("git@-oProxyCommand=x:path", "neither");
    refused("git@host:-path", "path starts");
    refused("/srv/git/repo", "neither");
    refused("../repo", "neither");
    refused("file:///srv/git/repo", "not allowed");
    refused("https://github.com", "path is missing");
    refused("https:///a/b c", "white space");
    refused("https://github.com/a/b?token=x", "query");
    refused("https://user%0aname:x@github.com/a/b", "control");
    assert!(RepoUrl::parse("file:///srv/git/repo", true).is_ok());
}

#[test]
fn spellings_of_one_repository_have_one_loose_key() {
    for text in [
        "https://github.com/Org/Repo",
        "https://github.com/org/repo.git",
        "https://GitHub.com:443/org/repo/",
        "https://me:secret@github.com/org/repo.git/",
        "http://github.com:8080/org/repo",
        "git@github.com:org/repo.git",
        "ssh://git@github.com:2222/org/repo",
    ] {
        assert_eq!(loose_key(text).as_deref(), Some("github.com/org/repo"), "{text}");
    }
    assert_ne!(
        loose_key("https://github.com/org/repo2"),
        loose_key("https://github.com/org/repo")
    );
}

#[test]
fn clones_are_shared_only_when_everything_is_equal() {
    let identity = |text: &str| RepoUrl::parse(text, true).unwrap().identity();
    assert_eq!(
        identity("https://GITHUB.com/org/repo/"),
        identity("https://github.com:443/org/repo")
    );
    for other in [
        "https://github.com/Org/repo",
        "https://github.com/org/repo.git",
        "http://github.com/org/repo",
        "https://me:secret@github.com/org/repo",
        "https://github.com:8443/org/repo",
    ] {
        assert_ne!(identity(other), identity("https://github.com/org/repo"), "{other}");
    }
}

#[test]
fn git_is_never_given_a_password() {
    let url = RepoUrl::parse("https://me:s%40cret@github.com/org/repo", false).unwrap();
    assert_eq!((url.user.as_str(), url.password.reveal()), ("me", "s@cret"));
    assert_eq!(url.for_git(), "https://github.com/org/repo");
    assert_eq!(
        RepoUrl::parse("ssh://git:x@host/a", false).unwrap().for_git(),
        "ssh://git@host/a"
    );
    assert!(!format!("{url:?}").contains("cret"), "{url:?}");
}

#[test]
fn whatever_is_shown_has_no_credentials() {
    for (text, shown) in [
        ("https://me:secret@github.com/org/repo", "https://github.com/org/repo"),
        ("https://secret@github.com/org/repo", "https://github.com/org/repo"),
        ("https://me:sec/ret@github.com/org/repo", "https://github.com/org/repo"),
        (
            "https://github.com/org/repo?token=secret",
            "https://github.com/org/repo",
        ),
        ("git@github.com:org/repo", "github.com:org/repo"),
        ("me:secret@host", "host"),
        ("https://github.com/org/repo", "https://github.com/org/repo"),
    ] {
        assert_eq!(RedactedUrl::of(text).to_string(), shown, "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused_without_a_secret_in_the_text(
        text in "\\PC{0,40}", user in "[a-z]{1,8}", path in "[a-z/.]{1,12}",
    ) {
        let _ = RepoUrl::parse(&text, false);
        let with_secret = format!("https://{user}:TOPSECRET@host/{path}");
        match RepoUrl::parse(&with_secret, false) {
            Ok(url) => {
                prop_assert!(!url.for_git().contains("TOPSECRET"));
                let shown = format!("{url:?}{}", url.redacted());
                prop_assert!(!shown.contains("TOPSECRET"), "{}", shown);
            }
            Err(error) => {
                let shown = format!("{error}{error:?}");
                prop_assert!(!shown.contains("TOPSECRET"), "{}", shown);
            }
        }
    }
}
