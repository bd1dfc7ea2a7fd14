use super::*;
use axum::{
    Json, Router,
    body::Body,
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use futures::StreamExt as _;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A server that may serve HTTPRoutes, in `v1` where `v1beta1` is there too, with one object.
fn server(serves: Arc<AtomicBool>) -> Client {
    let answer = move |request: Request| {
        let serves = serves.load(Ordering::SeqCst);
        async move { answer(serves, &request) }
    };
    Client::new(Router::new().fallback(answer), "shop")
}

fn answer(serves: bool, request: &Request) -> Response {
    let version =
        |version: &str| json!({"groupVersion": format!("gateway.networking.k8s.io/{version}"), "version": version});
    let groups = json!([{"name": "gateway.networking.k8s.io", "versions": [version("v1beta1"), version("v1")],
        "preferredVersion": version("v1")}]);
    let resource = |name: &str, kind: &str| json!({"name": name, "kind": kind, "namespaced": true, "singularName": "", "verbs": []});
    let body: Value = match request.uri().path() {
        "/apis" => json!({"kind": "APIGroupList", "groups": if serves { groups } else { json!([]) }}),
        "/apis/gateway.networking.k8s.io/v1" => {
            json!({"kind": "APIResourceList", "groupVersion": "gateway.networking.k8s.io/v1",
            "resources": [resource("httproutes/status", "HTTPRoute"), resource("httproutes", "HTTPRoute")]})
        }
        "/apis/gateway.networking.k8s.io/v1/httproutes" if !serves => {
            let status =
                json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "gone"});
            return (StatusCode::NOT_FOUND, Json(status)).into_response();
        }
        "/apis/gateway.networking.k8s.io/v1/httproutes"
            if request.uri().query().unwrap_or_default().contains("watch=true") =>
        {
            let end = json!({"type": "ERROR", "object": {"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"}});
            let end = futures::stream::once(async move {
                tokio::time::sleep(Duration::from_secs(60)).await;
                Ok::<_, std::io::Error>(format!("{end}\n"))
            });
            return Body::from_stream(end.chain(futures::stream::pending())).into_response();
        }
        "/apis/gateway.networking.k8s.io/v1/httproutes" => {
            json!({"kind": "HTTPRouteList", "apiVersion": "gateway.networking.k8s.io/v1",
            "metadata": {"resourceVersion": "5"}, "items": [{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
                "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "4", "managedFields": [{"manager": "x"}]}}]})
        }
        other => json!({"kind": "Status", "message": format!("unexpected {other}")}),
    };
    Json(body).into_response()
}

async fn until(what: &str, met: impl Fn() -> bool) {
    for _ in 0..600 {
        if met() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("not within ten minutes: {what}");
}

#[tokio::test(start_paused = true)]
async fn a_kind_is_watched_once_it_is_wanted_and_served() {
    let serves = Arc::new(AtomicBool::new(false));
    let stores = ForeignStores::default();
    let mut tasks = JoinSet::new();
    stores.start(&server(Arc::clone(&serves)), &Scope::Cluster, &mut tasks);
    let told = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&told);
    stores.listen(ForeignKind::HttpRoute, move || {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    assert_eq!(
        stores.unserved([]),
        Some(vec![]),
        "nothing is waited for where nothing is named"
    );
    assert_eq!(stores.unserved([ForeignKind::HttpRoute]), None, "not known yet");
    until("the kind is not served", || {
        stores.unserved([ForeignKind::HttpRoute]).is_some()
    })
    .await;
    let unserved = stores.unserved([ForeignKind::HttpRoute]).unwrap_or_default();
    assert_eq!(
        unserved.first().map(|unserved| unserved.message.as_str()),
        Some("the cluster does not serve kind HTTPRoute of gateway.networking.k8s.io")
    );
    assert_eq!(told.load(Ordering::SeqCst), 1);

    serves.store(true, Ordering::SeqCst);
    until("the kind is served", || {
        stores.want(ForeignKind::HttpRoute) == Standing::Ready
    })
    .await;
    assert_eq!(told.load(Ordering::SeqCst), 2);
    let store = stores.store(ForeignKind::HttpRoute).unwrap();
    let route = store.get(&ObjectKey::new("shop", "web")).unwrap();
    assert_eq!(
        route.types.as_ref().unwrap().api_version,
        "gateway.networking.k8s.io/v1"
    );
    assert!(route.metadata.managed_fields.is_none());
    assert!(stores.want(ForeignKind::GrpcRoute) == Standing::Unknown);

    serves.store(false, Ordering::SeqCst);
    until("its definition is gone", || {
        stores.want(ForeignKind::HttpRoute) != Standing::Ready
    })
    .await;
    assert!(store.is_empty());
}

/// A server with Traefik's kind in both groups, in two versions each.
fn two_groups() -> Client {
    let answer = |request: Request| async move {
        let path = request.uri().path().trim_start_matches("/apis").trim_start_matches('/');
        let body: Value = match path.split_once('/') {
            None => {
                let group = |name: &str| {
                    let version =
                        |version: &str| json!({"groupVersion": format!("{name}/{version}"), "version": version});
                    json!({"name": name, "versions": [version("v1"), version("v1alpha1")], "preferredVersion": version("v1")})
                };
                json!({"kind": "APIGroupList", "groups": [group("traefik.io"), group("traefik.containo.us")]})
            }
            Some(_) => json!({"kind": "APIResourceList", "groupVersion": path, "resources": [
                {"name": "traefikservices", "kind": "TraefikService", "namespaced": true, "singularName": "", "verbs": []}]}),
        };
        Json(body)
    };
    Client::new(Router::new().fallback(answer), "shop")
}

#[tokio::test]
async fn a_group_and_a_version_that_were_chosen_are_taken() {
    let client = two_groups();
    for (group, version, expected) in [
        (None, None, Some("traefik.io/v1")),
        (None, Some("v1alpha1"), Some("traefik.io/v1alpha1")),
        (Some("traefik.containo.us"), None, Some("traefik.containo.us/v1")),
        (
            Some("traefik.containo.us"),
            Some("v1alpha1"),
            Some("traefik.containo.us/v1alpha1"),
        ),
        // Not served: what the cluster prefers.
        (None, Some("v2"), Some("traefik.io/v1")),
        (Some("traefik.example.com"), None, None),
    ] {
        let choice = Choice {
            group: group.map(str::to_owned),
            version: version.map(str::to_owned),
        };
        let found = discover(&client, ForeignKind::TraefikService, &choice).await.unwrap();
        let found = found.map(|resource| resource.api_version);
        assert_eq!(found.as_deref(), expected, "{choice:?}");
    }
}
