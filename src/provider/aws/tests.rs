//! Signatures against AWS' published test suite, and credentials from each place.

use super::*;
use crate::provider::testing::{Seen, Server, StillClock, always, aws};
use reqwest::Client;
use std::io::Write as _;

fn credentials(session_token: Option<&str>) -> Credentials {
    Credentials {
        access_key_id: "AKIDEXAMPLE".into(),
        secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
        session_token: session_token.map(str::to_owned),
        expires_at: None,
    }
}

/// Requests and signatures of AWS' test suite for signature version 4.
#[test]
fn signatures_are_those_of_the_published_suite() {
    let client = Client::new();
    let at = "2015-08-30T12:36:00Z".parse().unwrap();
    let host = "https://example.amazonaws.com";
    let form = "application/x-www-form-urlencoded";
    for (name, request, headers, signature) in [
        (
            "get-vanilla",
            client.get(format!("{host}/")),
            "host;x-amz-date",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "get-vanilla-query-order-key-case",
            client.get(format!("{host}/?Param2=value2&Param1=value1")),
            "host;x-amz-date",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "post-vanilla",
            client.post(format!("{host}/")),
            "host;x-amz-date",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            "post-x-www-form-urlencoded",
            client
                .post(format!("{host}/"))
                .header("content-type", form)
                .body("Param1=value1"),
            "content-type;host;x-amz-date",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ] {
        let request = signed(
            request.build().unwrap(),
            &credentials(None),
            ("us-east-1", "service"),
            at,
        );
        let request = request.unwrap();
        let found = request.headers()["authorization"].to_str().unwrap();
        let want = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={headers}, \
             Signature={signature}"
        );
        assert_eq!(found, want, "{name}");
    }
}

#[test]
fn a_sessions_token_is_sent_and_nothing_is_shown() {
    let request = Client::new().get("https://example.amazonaws.com/").build().unwrap();
    let at = Timestamp::UNIX_EPOCH;
    let request = signed(request, &credentials(Some("session")), ("us-east-1", "service"), at).unwrap();
    assert_eq!(request.headers()["x-amz-security-token"], "session");
    let shown = format!("{request:?} {:?}", credentials(Some("session")));
    assert!(!shown.contains("wJalr") && !shown.contains("\"session\""), "{shown}");
}

fn account(profile: &str, role_arn: &str) -> Account {
    Account {
        region: "eu-west-1".into(),
        profile: profile.into(),
        role_arn: role_arn.into(),
    }
}

fn granted(id: &str) -> String {
    format!(
        "<R xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Result><Credentials><AccessKeyId>{id}</AccessKeyId>\
         <SecretAccessKey>s+/=</SecretAccessKey><SessionToken>t</SessionToken><Expiration>1970-01-12T14:46:40Z</Expiration>\
         </Credentials></Result></R>"
    )
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[tokio::test]
async fn keys_come_from_variables_before_anything_else() {
    let variables = [
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", "token"),
        ("AWS_ROLE_ARN", "r"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere"),
    ];
    let found = aws(StillClock::new(), variables)
        .credentials(&account("", ""))
        .await
        .unwrap();
    assert_eq!(
        (found.access_key_id.as_str(), found.session_token.as_deref()),
        ("id", Some("token"))
    );
}

#[tokio::test]
async fn a_web_identity_gets_a_role_that_is_kept_until_shortly_before_it_ends() {
    let sts = Server::new(|_: &Seen| (200, granted("ASIA")));
    let (address, token) = (sts.listen().await, file("jwt\n"));
    let clock = StillClock::new();
    let aws = aws(
        clock.clone(),
        [
            ("AWS_ENDPOINT_URL_STS", address.as_str()),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.path().to_str().unwrap()),
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/metrics"),
        ],
    );
    for (later, asked) in [(0, 1), (3299, 1), (1, 2)] {
        clock.advance(later);
        let found = aws.credentials(&account("", "")).await.unwrap();
        assert_eq!((found.access_key_id.as_str(), sts.seen().len()), ("ASIA", asked));
    }
    let seen = &sts.seen()[0];
    let sent = ["Action", "RoleArn", "RoleSessionName", "WebIdentityToken"].map(|name| seen.parameter(name));
    assert_eq!(
        sent,
        [
            "AssumeRoleWithWebIdentity",
            "arn:aws:iam::1:role/metrics",
            "tidegate",
            "jwt"
        ]
    );
    assert_eq!(seen.header("authorization"), "");
}

#[tokio::test]
async fn a_role_is_assumed_with_the_keys_of_a_profile() {
    let sts = Server::new(|seen: &Seen| match seen.header("authorization") {
        authorization if authorization.contains("Credential=A/19700112/eu-west-1/sts/") => (200, granted("ASIA")),
        _ => (
            403,
            "<E><Error><Code>AccessDenied</Code><Message>not you</Message></Error></E>".into(),
        ),
    });
    let profiles = file(
        "[ops]\naws_access_key_id=A\naws_secret_access_key=B\n[other]\naws_access_key_id=C\naws_secret_access_key=D\n",
    );
    let address = sts.listen().await;
    let aws = aws(
        StillClock::new(),
        [
            ("AWS_ENDPOINT_URL", address.as_str()),
            ("AWS_SHARED_CREDENTIALS_FILE", profiles.path().to_str().unwrap()),
        ],
    );
    let role = "arn:aws:iam::2:role/reader";
    assert_eq!(
        aws.credentials(&account("ops", role)).await.unwrap().access_key_id,
        "ASIA"
    );
    assert_eq!(
        (sts.seen()[0].parameter("Action"), sts.seen()[0].parameter("RoleArn")),
        ("AssumeRole".into(), role.into())
    );
    let refused = aws.credentials(&account("other", role)).await.unwrap_err();
    assert_eq!(refused, "HTTP 403: AccessDenied: not you");
    assert_eq!(aws.credentials(&account("ops", "")).await.unwrap().access_key_id, "A");
}

#[tokio::test]
async fn the_containers_agent_is_asked_with_its_token() {
    let agent = Server::new(|seen: &Seen| match seen.header("authorization") {
        "pod-token" => (
            200,
            r#"{"AccessKeyId":"ASIA","SecretAccessKey":"hush-hush","Token":"t","Expiration":"1970-01-12T14:46:40Z"}"#
                .into(),
        ),
        _ => (401, "hush-hush".into()),
    });
    let (address, token) = (agent.listen().await, file("pod-token"));
    let with = |file: &str| {
        aws(
            StillClock::new(),
            [
                ("AWS_CONTAINER_CREDENTIALS_FULL_URI", address.as_str()),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file),
            ],
        )
    };
    let found = with(token.path().to_str().unwrap()).credentials(&account("", "")).await;
    assert_eq!(found.unwrap().access_key_id, "ASIA");
    let refused = with(file("other").path().to_str().unwrap())
        .credentials(&account("", ""))
        .await;
    assert_eq!(refused.unwrap_err(), "the container's agent answers HTTP 401");
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let nothing = aws(StillClock::new(), []);
    assert_eq!(
        nothing.credentials(&account("", "")).await.unwrap_err(),
        "neither variables, nor a web identity, nor a container's agent are there, and profile 'default' is in neither \
         AWS_SHARED_CREDENTIALS_FILE nor AWS_CONFIG_FILE"
    );
    assert_eq!(
        nothing.region("").unwrap_err(),
        "no AWS region: neither region nor AWS_REGION is set"
    );
    assert_eq!(
        nothing.region("eu.evil.example/").unwrap_err(),
        "AWS region \"eu.evil.example/\" is not valid"
    );
    assert_eq!(
        nothing.endpoint("STS", "sts", "cn-north-1"),
        "https://sts.cn-north-1.amazonaws.com.cn"
    );
    assert_eq!(
        nothing.endpoint("STS", "sts", "eu-west-1"),
        "https://sts.eu-west-1.amazonaws.com"
    );
}

// The clock is paused: it jumps as soon as nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn a_token_service_that_does_not_answer_is_given_up() {
    let (sts, token) = (always(0, ""), file("jwt"));
    let address = sts.listen().await;
    let aws = aws(
        StillClock::new(),
        [
            ("AWS_ENDPOINT_URL", address.as_str()),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.path().to_str().unwrap()),
            ("AWS_ROLE_ARN", "r"),
        ],
    );
    let request = Client::new().get("https://example.amazonaws.com/").build().unwrap();
    let problem = aws.sign(request, "aps", &account("", "")).await.unwrap_err();
    assert_eq!(
        problem,
        format!("no AWS credentials: no answer from {address} within 10s")
    );
}
