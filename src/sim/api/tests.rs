use super::*;
use crate::sim::clock::VirtualClock;
use axum::http::Request;
use conformance::Probe;
use futures::{StreamExt, stream::BoxStream};
use kube::api::WatchEvent;
use std::collections::VecDeque;

mod conformance;
mod faults_take_hold;
mod rules;

fn server(options: Options) -> SimApi {
    let clock = VirtualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    SimApi::new(Arc::new(clock), options)
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "shop", "name": name}})
}

fn key(name: &str) -> Key {
    Key::new(Kind::ConfigMap, "shop", name)
}

fn set(field: &str, value: &str) -> Change {
    Change::Merge(json!({"data": {field: value}}))
}

/// A watch of ConfigMaps as a client reads it.
struct Reader(BoxStream<'static, kube::Result<WatchEvent<Value>>>);

impl Reader {
    async fn open(client: &Client, query: &str) -> Self {
        let path = format!("/api/v1/namespaces/shop/configmaps?watch=true&{query}");
        let request = Request::get(path).body(Vec::new()).unwrap();
        Self(client.request_events::<Value>(request).await.unwrap().boxed())
    }

    /// Type and name of the next event, or how the stream ended.
    async fn next(&mut self) -> String {
        match self.0.next().await {
            None => "end".to_owned(),
            Some(Err(_)) => "error".to_owned(),
            Some(Ok(WatchEvent::Error(status))) => format!("{}", status.code),
            Some(Ok(WatchEvent::Bookmark(bookmark))) => format!("bookmark {}", bookmark.metadata.resource_version),
            Some(Ok(WatchEvent::Added(object))) => format!("added {}", meta(&object, "name")),
            Some(Ok(WatchEvent::Modified(object))) => format!("modified {}", meta(&object, "name")),
            Some(Ok(WatchEvent::Deleted(object))) => format!("deleted {}", meta(&object, "name")),
        }
    }
}

async fn get(client: &Client, name: &str) -> kube::Result<Value> {
    let path = format!("/api/v1/namespaces/shop/configmaps/{name}");
    client.request(Request::get(path).body(Vec::new()).unwrap()).await
}

async fn post(client: &Client, name: &str) -> kube::Result<Value> {
    let body = config_map(name).to_string().into_bytes();
    let request = Request::post("/api/v1/namespaces/shop/configmaps").body(body).unwrap();
    client.request(request).await
}

#[tokio::test(start_paused = true)]
async fn it_behaves_like_a_real_server() {
    let make = async |_| {
        let api = server(Options::default());
        // The oldest versions are forgotten, as on a server that has been running for a while.
        let mut elsewhere = config_map("x");
        elsewhere["metadata"]["namespace"] = json!("other");
        api.create("setup", elsewhere)?;
        api.compact();
        let collector = api.clone();
        Ok(Probe {
            client: api.client("probe", "shop"),
            namespace: "shop".to_owned(),
            forgets: true,
            collect: Box::new(move || {
                collector.collect_garbage();
            }),
        })
    };
    if let Err(error) = conformance::run_all(make).await {
        panic!("{error:#}");
    }
}
