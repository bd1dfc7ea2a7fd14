use super::*;
use crate::k8s::client::{self, ClientError, ClientOptions};
use clap::Parser;
use serde_json::{Value, json};

#[derive(Parser)]
struct Words {
    #[command(flatten)]
    overrides: Overrides,
}

const KUBECONFIG: &str = r#"
apiVersion: v1
kind: Config
current-context: main
contexts:
- {name: main, context: {cluster: east, user: exec, namespace: shop}}
clusters:
- {name: east, cluster: {server: "https://east:6443", tls-server-name: east.internal, insecure-skip-tls-verify: true}}
- {name: west, cluster: {server: "https://west:6443"}}
users:
- {name: exec, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: login}, client-certificate-data: Yw==, client-key-data: aw==}}
- {name: token, user: {token: old, username: me, password: secret}}
- {name: actor, user: {token: old, as: somebody}}
"#;

/// Certificate authorities, a file with none, and kubeconfigs.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        let ca = rcgen::generate_simple_self_signed(["east".to_owned()]).unwrap();
        std::fs::write(files.path("ca.pem"), ca.cert.pem()).unwrap();
        std::fs::write(files.path("none.pem"), "nothing").unwrap();
        std::fs::write(files.path("config"), KUBECONFIG).unwrap();
        let nameless = KUBECONFIG.replace("current-context: main", "");
        std::fs::write(files.path("nameless"), nameless).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The configuration under these flags; `@` stands for the folder.
    async fn config_of(&self, kubeconfig: &str, words: &str) -> Result<Config, ClientError> {
        let folder = format!("{}/", self.0.path().display());
        let words = words.replace('@', &folder);
        let words = std::iter::once("tidegate").chain(words.split_whitespace());
        let overrides = Words::try_parse_from(words).unwrap().overrides;
        let kubeconfig = self.path(kubeconfig);
        let options = ClientOptions {
            kubeconfig: Some(&kubeconfig),
            context: None,
            overrides: Some(&overrides),
        };
        client::config(&options).await
    }

    async fn config(&self, words: &str) -> Config {
        self.config_of("config", words).await.unwrap()
    }
}

/// The user as a kubeconfig would have it, with only the fields that are set.
fn user(config: &Config) -> Value {
    let mut user = serde_json::to_value(&config.auth_info).unwrap();
    user.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    user
}

#[tokio::test]
async fn cluster_and_server_are_those_of_the_flags() {
    let files = Files::new();
    let told = async |words: &str| {
        let config = files.config(words).await;
        (
            config.cluster_url.to_string(),
            config.tls_server_name.unwrap_or_default(),
            config.accept_invalid_certs,
        )
    };
    for (words, url, name, is_insecure) in [
        ("", "https://east:6443/", "east.internal", true),
        ("--cluster west", "https://west:6443/", "", false),
        ("--server https://south:1", "https://south:1/", "", true),
        ("-s south:1", "https://south:1/", "", true),
        ("-s http://south:1/prefix", "http://south:1/prefix", "", true),
        ("--tls-server-name other", "https://east:6443/", "other", true),
        (
            "-s https://south --tls-server-name other",
            "https://south/",
            "other",
            true,
        ),
        (
            "--cluster west --insecure-skip-tls-verify",
            "https://west:6443/",
            "",
            true,
        ),
        (
            "--cluster west --insecure-skip-tls-verify=false",
            "https://west:6443/",
            "",
            false,
        ),
        (
            "--certificate-authority @ca.pem",
            "https://east:6443/",
            "east.internal",
            false,
        ),
    ] {
        let expected = (url.to_owned(), name.to_owned(), is_insecure);
        assert_eq!(told(words).await, expected, "{words}");
    }
    assert_eq!(files.config("--cluster west").await.default_namespace, "shop");
}

#[tokio::test]
async fn the_authority_is_that_of_the_file() {
    let files = Files::new();
    let config = files.config("--certificate-authority=@ca.pem").await;
    let [authority] = &config.root_cert.unwrap()[..] else {
        panic!("one certificate")
    };
    let pem = std::fs::read(files.path("ca.pem")).unwrap();
    assert_eq!(
        authority.as_slice(),
        CertificateDer::from_pem_slice(&pem).unwrap().as_ref()
    );
}

#[tokio::test]
async fn the_user_is_that_of_the_flags() {
    let files = Files::new();
    let certificate = || json!({"client-certificate-data": "Yw==", "client-key-data": "aw=="});
    let with = |mut base: Value, more: Value| {
        json_patch::merge(&mut base, &more);
        base
    };
    for (words, expected) in [
        ("--token new", with(certificate(), json!({"token": "new"}))),
        (
            "--user token",
            json!({"token": "old", "username": "me", "password": "secret"}),
        ),
        ("--user token --token new", json!({"token": "new"})),
        (
            "--user token --username you",
            json!({"username": "you", "password": "secret"}),
        ),
        (
            "--user token --username you --password other",
            json!({"username": "you", "password": "other"}),
        ),
        (
            "--client-certificate @c.pem --client-key /k.pem --token t",
            json!({"client-certificate": files.path("c.pem"), "client-key": "/k.pem", "token": "t"}),
        ),
        (
            "--as jane --as-group one --as-group two --as-uid 7 --token t",
            with(
                certificate(),
                json!({"token": "t", "as": "jane", "as-groups": ["one", "two"], "as-uid": "7"}),
            ),
        ),
        (
            "--user actor --as-group one",
            json!({"token": "old", "as": "somebody", "as-groups": ["one"]}),
        ),
    ] {
        assert_eq!(user(&files.config(words).await), expected, "{words}");
    }
    let unchanged = user(&files.config("").await);
    assert_eq!(unchanged["exec"]["command"], "login");
}

#[tokio::test]
async fn a_request_may_take_so_long() {
    let files = Files::new();
    for (words, seconds) in [
        ("--request-timeout 5", Some(5)),
        ("--request-timeout=2m", Some(120)),
        ("--request-timeout 0", None),
        ("", None),
    ] {
        let config = files.config(words).await;
        assert_eq!(config.read_timeout, seconds.map(Duration::from_secs), "{words}");
        assert_eq!(config.reset_reader_on_write, seconds.is_some(), "{words}");
    }
    assert!(files.config("--disable-compression").await.disable_compression);
    assert!(Words::try_parse_from(["tidegate", "--request-timeout", "soon"]).is_err());
}

#[tokio::test]
async fn a_context_is_not_needed_where_flags_say_it_all() {
    let files = Files::new();
    for (kubeconfig, words, url, expected) in [
        (
            "nameless",
            "-s https://south:1 --token t",
            "https://south:1/",
            json!({"token": "t"}),
        ),
        (
            "nameless",
            "-s south:1 --token t",
            "http://south:1/",
            json!({"token": "t"}),
        ),
        (
            "nameless",
            "-s south:1 --certificate-authority @ca.pem",
            "https://south:1/",
            json!({}),
        ),
        (
            "nameless",
            "--cluster west --user actor",
            "https://west:6443/",
            json!({"token": "old", "as": "somebody"}),
        ),
    ] {
        let config = files.config_of(kubeconfig, words).await.unwrap();
        assert_eq!(
            (config.cluster_url.to_string(), user(&config)),
            (url.to_owned(), expected),
            "{words}"
        );
    }
    assert!(files.config_of("nameless", "").await.is_err());
}

#[tokio::test]
async fn what_cannot_be_used_is_named_with_its_flag() {
    let files = Files::new();
    for (words, expected) in [
        ("--user nobody", "--user: the kubeconfig has no user \"nobody\""),
        ("--as-group one", "--as-group: --as is missing"),
        ("--as-uid 7", "--as-uid: --as is missing"),
        ("--token t --username me", "--token: not together with --username"),
        (
            "--certificate-authority @ca.pem --insecure-skip-tls-verify",
            "--certificate-authority: not together",
        ),
        ("--certificate-authority @none.pem", "it holds no certificate"),
        ("--certificate-authority @missing.pem", "missing.pem: "),
        ("--server http://", "--server: "),
        ("--cluster north", "north"),
    ] {
        let error = files.config_of("config", words).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{words}: {error}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let words = Words::try_parse_from(["tidegate", "--token", "abc", "--password", "def"]).unwrap();
    let shown = format!("{:?}", words.overrides);
    assert!(!shown.contains("abc") && !shown.contains("def"), "{shown}");
}
