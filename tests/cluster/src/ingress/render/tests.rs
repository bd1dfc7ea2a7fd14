use super::{super::canary::CanaryRule, *};

const LISTEN: &str = "127.0.0.1:8081";

fn settings() -> Settings {
    Settings {
        listen: LISTEN.parse().unwrap(),
        as_root: false,
    }
}

fn rule(weight: u64) -> CanaryRule {
    CanaryRule {
        header: None,
        cookie: None,
        weight,
    }
}

fn with_header(value: HeaderMatch) -> CanaryRule {
    CanaryRule {
        header: Some(HeaderRule {
            name: "X-Canary".to_owned(),
            value,
        }),
        ..rule(3_000)
    }
}

fn routing(paths: impl IntoIterator<Item = (Match, Location)>) -> Routing {
    let addresses = |address: &str| BTreeSet::from([address.parse().unwrap()]);
    Routing {
        hosts: BTreeMap::from([("shop.test".to_owned(), paths.into_iter().collect())]),
        upstreams: BTreeMap::from([
            ("up_c".to_owned(), addresses("127.244.0.2:80")),
            ("up_s".to_owned(), addresses("127.244.0.1:80")),
        ]),
    }
}

fn location(canary: Option<CanaryRule>) -> Location {
    let canary = canary.map(|rule| Canary {
        upstream: "up_c".to_owned(),
        rule,
    });
    Location {
        stable: Some("up_s".to_owned()),
        canary,
    }
}

/// The lines that decide about a canary with this rule.
#[track_caller]
fn check_decision(rule: CanaryRule, expect: &[&str]) {
    let text = render(
        &routing([(Match::Prefix(String::new()), location(Some(rule)))]),
        &settings(),
    );
    let decides = |line: &&str| line.starts_with("map ") || line.starts_with("split_clients");
    assert_eq!(text.lines().filter(decides).collect::<Vec<_>>(), expect);
}

const UPSTREAM: &str = "map $track_1 $upstream_1 { default up_s; canary up_c; }";
const SPLIT: &str = "split_clients $request_id $weight_1 { 30.00% canary; * stable; }";

#[test]
fn decides_by_weight() {
    check_decision(
        rule(3_000),
        &[SPLIT, "map \"\" $track_1 { default $weight_1; }", UPSTREAM],
    );
    let hundredth = "split_clients $request_id $weight_1 { 0.01% canary; * stable; }";
    check_decision(
        rule(1),
        &[hundredth, "map \"\" $track_1 { default $weight_1; }", UPSTREAM],
    );
    // nginx refuses a share of 0 %.
    check_decision(rule(0), &["map \"\" $track_1 { default stable; }", UPSTREAM]);
    check_decision(rule(10_000), &["map \"\" $track_1 { default canary; }", UPSTREAM]);
}

#[test]
fn decides_by_header_then_cookie_then_weight() {
    let always = r#"map $http_x_canary $track_1 { default $weight_1; "~^always$" canary; "~^never$" stable; }"#;
    check_decision(with_header(HeaderMatch::AlwaysNever), &[SPLIT, always, UPSTREAM]);
    let exact = r#"map $http_x_canary $track_1 { default $weight_1; "~^a\\.\"b$" canary; }"#;
    check_decision(
        with_header(HeaderMatch::Exact("a.\"b".to_owned())),
        &[SPLIT, exact, UPSTREAM],
    );
    let pattern = r#"map $http_x_canary $track_1 { default $weight_1; "" $weight_1; "~de|a\\d" canary; }"#;
    check_decision(
        with_header(HeaderMatch::Pattern("de|a\\d".to_owned())),
        &[SPLIT, pattern, UPSTREAM],
    );
    let cookie = r#"map $http_cookie $cookie_1 { default $weight_1; "~(?:^|;\\s*)my\\-c=always\\s*(?:;|$)" canary; "~(?:^|;\\s*)my\\-c=never\\s*(?:;|$)" stable; }"#;
    let header = r#"map $http_x_canary $track_1 { default $cookie_1; "~^always$" canary; "~^never$" stable; }"#;
    let rule = CanaryRule {
        cookie: Some("my-c".to_owned()),
        ..with_header(HeaderMatch::AlwaysNever)
    };
    check_decision(rule, &[SPLIT, cookie, header, UPSTREAM]);
}

#[test]
fn writes_locations_by_path_type() {
    let text = render(
        &routing([
            (Match::Exact("/a".to_owned()), location(None)),
            (Match::Prefix("/a".to_owned()), location(Some(rule(0)))),
            (
                Match::Prefix("/b".to_owned()),
                Location {
                    stable: None,
                    canary: None,
                },
            ),
            (Match::Prefix(String::new()), location(None)),
        ]),
        &settings(),
    );
    let stable = "add_header X-Upstream stable always; proxy_pass http://up_s;";
    let split = "add_header X-Upstream $track_1 always; proxy_pass http://$upstream_1;";
    let expect = [
        "server {".to_owned(),
        format!("  listen {LISTEN};"),
        "  server_name \"shop.test\";".to_owned(),
        format!("  location = \"/a\" {{ {stable} }}"),
        format!("  location \"/\" {{ {stable} }}"),
        format!("  location \"/a/\" {{ {split} }}"),
        "  location = \"/b\" { return 503; }".to_owned(),
        "  location \"/b/\" { return 503; }".to_owned(),
        "}".to_owned(),
        "}".to_owned(),
    ];
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[lines.len() - expect.len()..], expect);
}

#[test]
fn answers_404_for_unknown_hosts_unless_somebody_takes_them() {
    let default = format!("listen {LISTEN} default_server;");
    let text = render(&Routing::default(), &settings());
    assert!(text.contains(&default) && text.contains("return 404;"), "{text}");
    let mut routing = routing([(Match::Prefix(String::new()), location(None))]);
    routing.hosts = BTreeMap::from([(String::new(), routing.hosts["shop.test"].clone())]);
    let text = render(&routing, &settings());
    assert!(text.contains(&default) && !text.contains("return 404;"), "{text}");
}

#[test]
fn names_endpoints_and_the_user() {
    let text = render(
        &routing([]),
        &Settings {
            as_root: true,
            ..settings()
        },
    );
    assert!(text.starts_with("user root;\n"));
    assert!(
        text.contains("upstream up_s {\n  server 127.244.0.1:80 max_fails=0;\n  keepalive 64;"),
        "{text}"
    );
}
