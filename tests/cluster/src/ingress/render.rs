//! Writes a routing as nginx's configuration. Pure.
//!
//! A canary's decision is a chain of variables, last asked first: `split_clients` draws by weight for each request, a `map` of the cookie falls back on it,
//! and a `map` of the header falls back on that.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::{SocketAddr, SocketAddrV4},
};

use super::{
    canary::{HeaderMatch, HeaderRule},
    routing::{Canary, Location, Match, Routing},
};

/// The same for every configuration of one nginx.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Where it listens.
    pub(super) listen: SocketAddr,
    /// Whether it runs as root: its workers then stay root, because they could not enter the private folder otherwise.
    pub(super) as_root: bool,
}

/// Everything before the routes. Paths are relative to the prefix (`-p`).
///
/// `proxy_next_upstream`, its tries and `max_fails=0` below are what ingress-nginx sets: a request is tried again on another endpoint when the connection
/// failed, and never when it is not idempotent.
const PREAMBLE: &str = "\
daemon off;
worker_processes 1;
worker_shutdown_timeout 30s;
pid nginx.pid;
lock_file nginx.lock;
error_log stderr warn;
events { worker_connections 2048; }
http {
access_log off;
server_tokens off;
default_type text/plain;
client_body_temp_path temp/body;
proxy_temp_path temp/proxy;
fastcgi_temp_path temp/fastcgi;
uwsgi_temp_path temp/uwsgi;
scgi_temp_path temp/scgi;
keepalive_timeout 75s;
keepalive_requests 100000;
server_names_hash_bucket_size 256;
map_hash_bucket_size 256;
variables_hash_bucket_size 256;
client_max_body_size 1m;
proxy_http_version 1.1;
proxy_buffering off;
proxy_connect_timeout 5s;
proxy_read_timeout 60s;
proxy_send_timeout 60s;
proxy_next_upstream error timeout;
proxy_next_upstream_tries 3;
proxy_set_header Connection \"\";
proxy_set_header Host $http_host;
proxy_set_header X-Request-ID $request_id;
proxy_set_header X-Real-IP $remote_addr;
proxy_set_header X-Forwarded-For $remote_addr;
proxy_set_header X-Forwarded-Host $http_host;
proxy_set_header X-Forwarded-Proto $scheme;
";

/// nginx's whole configuration.
pub(super) fn render(routing: &Routing, settings: &Settings) -> String {
    let mut out = String::new();
    if settings.as_root {
        out.push_str("user root;\n");
    }
    out.push_str(PREAMBLE);
    for (name, endpoints) in &routing.upstreams {
        write_upstream(&mut out, name, endpoints);
    }
    let mut canaries = 0;
    let mut servers = String::new();
    if !routing.hosts.contains_key("") {
        write_server(&mut out, settings, "", &["location / { return 404; }".to_owned()]);
    }
    for (host, locations) in &routing.hosts {
        let blocks = locations.iter().flat_map(|(path, location)| {
            let split = match (&location.stable, &location.canary) {
                (Some(stable), Some(canary)) => {
                    canaries += 1;
                    write_decision(&mut out, canaries, stable, canary);
                    Some(canaries)
                }
                _ => None,
            };
            let body = location_body(location, split);
            patterns(path, locations)
                .into_iter()
                .map(move |pattern| format!("location {pattern} {{ {body} }}"))
        });
        let blocks: Vec<_> = blocks.collect();
        write_server(&mut servers, settings, host, &blocks);
    }
    out.push_str(&servers);
    out.push_str("}\n");
    out
}

fn write_upstream(out: &mut String, name: &str, endpoints: &BTreeSet<SocketAddrV4>) {
    let _ = writeln!(out, "upstream {name} {{");
    for endpoint in endpoints {
        let _ = writeln!(out, "  server {endpoint} max_fails=0;");
    }
    if endpoints.is_empty() {
        // nginx wants a server; to one that is down it answers 502.
        out.push_str("  server 127.0.0.1:9 down;\n");
    }
    out.push_str("  keepalive 64;\n  keepalive_timeout 60s;\n  keepalive_requests 100000;\n}\n");
}

fn write_server(out: &mut String, settings: &Settings, host: &str, locations: &[String]) {
    let listen = settings.listen;
    let (default, name) = if host.is_empty() {
        (" default_server", "_")
    } else {
        ("", host)
    };
    let _ = writeln!(
        out,
        "server {{\n  listen {listen}{default};\n  server_name {};",
        quoted(name)
    );
    for location in locations {
        let _ = writeln!(out, "  {location}");
    }
    out.push_str("}\n");
}

/// How nginx is told which paths a location takes. An exact path goes before the prefix of the same name.
fn patterns(path: &Match, locations: &BTreeMap<Match, Location>) -> Vec<String> {
    match path {
        Match::Exact(path) => vec![format!("= {}", quoted(path))],
        Match::Prefix(path) if path.is_empty() => vec![quoted("/")],
        Match::Prefix(path) => {
            let below = quoted(&format!("{path}/"));
            let itself_is_taken = locations.contains_key(&Match::Exact(path.clone()));
            let itself = (!itself_is_taken).then(|| format!("= {}", quoted(path)));
            itself.into_iter().chain([below]).collect()
        }
    }
}

fn location_body(location: &Location, split: Option<usize>) -> String {
    match (&location.stable, split) {
        (None, _) => "return 503;".to_owned(),
        (Some(stable), None) => format!("add_header X-Upstream stable always; proxy_pass http://{stable};"),
        (Some(_), Some(number)) => {
            format!("add_header X-Upstream $track_{number} always; proxy_pass http://$upstream_{number};")
        }
    }
}

/// The variables `$track_N` (`stable` or `canary`) and `$upstream_N`.
fn write_decision(out: &mut String, number: usize, stable: &str, canary: &Canary) {
    let Canary { upstream, rule } = canary;
    let by_weight = match rule.weight {
        0 => "stable".to_owned(),
        10_000.. => "canary".to_owned(),
        weight => {
            let (whole, hundredths) = (weight / 100, weight % 100);
            let _ = writeln!(
                out,
                "split_clients $request_id $weight_{number} {{ {whole}.{hundredths:02}% canary; * stable; }}"
            );
            format!("$weight_{number}")
        }
    };
    let by_cookie = match &rule.cookie {
        None => by_weight,
        Some(name) => {
            let value = |value: &str| quoted(&format!("~(?:^|;\\s*){}={value}\\s*(?:;|$)", regex::escape(name)));
            let (always, never) = (value("always"), value("never"));
            let _ = writeln!(
                out,
                "map $http_cookie $cookie_{number} {{ default {by_weight}; {always} canary; {never} stable; }}"
            );
            format!("$cookie_{number}")
        }
    };
    let source = rule.header.as_ref().map_or_else(|| "\"\"".to_owned(), header_variable);
    let cases = rule
        .header
        .as_ref()
        .map(|header| header_cases(header, &by_cookie))
        .unwrap_or_default();
    let _ = writeln!(out, "map {source} $track_{number} {{ default {by_cookie}; {cases}}}");
    let _ = writeln!(
        out,
        "map $track_{number} $upstream_{number} {{ default {stable}; canary {upstream}; }}"
    );
}

/// nginx's variable of a request header.
fn header_variable(header: &HeaderRule) -> String {
    format!("$http_{}", header.name.to_ascii_lowercase().replace(['-', '.'], "_"))
}

/// Regular expressions throughout, because nginx compares the plain values of a map without regard to case.
fn header_cases(header: &HeaderRule, otherwise: &str) -> String {
    match &header.value {
        HeaderMatch::AlwaysNever => "\"~^always$\" canary; \"~^never$\" stable; ".to_owned(),
        HeaderMatch::Exact(value) => format!("{} canary; ", quoted(&format!("~^{}$", regex::escape(value)))),
        // A request without the header must not match a pattern that takes the empty string.
        HeaderMatch::Pattern(pattern) => format!("\"\" {otherwise}; {} canary; ", quoted(&format!("~{pattern}"))),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests;
