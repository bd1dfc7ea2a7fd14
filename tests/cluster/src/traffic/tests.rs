use std::sync::atomic::{AtomicU64, Ordering};

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use tokio::net::TcpListener;

use super::*;
use crate::eventually;

/// Every tenth request fails, half of these without a version.
async fn answer(State(requests): State<Arc<AtomicU64>>) -> impl IntoResponse {
    match requests.fetch_add(1, Ordering::Relaxed) % 20 {
        0 => (StatusCode::INTERNAL_SERVER_ERROR, [("x-version", "v1")]).into_response(),
        10 => StatusCode::BAD_GATEWAY.into_response(),
        even if even % 2 == 0 => [("x-version", "v2")].into_response(),
        _ => [("x-version", "v1")].into_response(),
    }
}

async fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/", get(answer)).with_state(Arc::default());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn until_total(traffic: &Traffic, total: u64) {
    eventually(
        Duration::from_secs(20),
        format!("{total} requests were answered"),
        async || {
            let now = traffic.snapshot().total();
            if now >= total { Ok(()) } else { Err(now) }
        },
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn counts_versions_statuses_and_failures() {
    let options = TrafficOptions {
        rate_per_second: 400,
        ..TrafficOptions::new(&serve().await, "shop.test")
    };
    let traffic = Traffic::start(options).unwrap();
    until_total(&traffic, 400).await;
    let share = traffic.share("v2", Duration::from_secs(60));
    assert!((share - 8.0 / 19.0).abs() < 0.02, "{share}");
    let Report { snapshot, failures, .. } = traffic.stop().await;
    let total = snapshot.total();
    assert_eq!(snapshot.statuses.values().sum::<u64>(), total);
    assert!(snapshot.statuses[&500].abs_diff(total / 20) <= 1, "{snapshot:?}");
    assert!(snapshot.data_plane_failures.abs_diff(total / 20) <= 1, "{snapshot:?}");
    assert_eq!(
        failures.iter().filter(|failure| failure.version.is_none()).count() as u64,
        snapshot.data_plane_failures
    );
    assert_eq!(snapshot.transport_errors, 0);
}

#[tokio::test]
async fn a_refused_connection_is_a_failure_of_the_data_plane() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let traffic = Traffic::start(TrafficOptions::new(&url, "shop.test")).unwrap();
    until_total(&traffic, 1).await;
    let report = traffic.stop().await;
    assert!(report.snapshot.transport_errors > 0);
    assert!(
        report.failures[0]
            .error
            .as_deref()
            .unwrap()
            .contains("failed to connect"),
        "{:?}",
        report.failures[0]
    );
    assert_eq!(report.failures[0].version, None);
}

#[tokio::test]
async fn ends_by_itself() {
    let options = TrafficOptions {
        duration_max: Duration::from_millis(50),
        ..TrafficOptions::new(&serve().await, "shop.test")
    };
    let mut traffic = Traffic::start(options).unwrap();
    tokio::time::timeout(Duration::from_secs(10), &mut traffic.task)
        .await
        .unwrap()
        .unwrap();
    assert!(traffic.snapshot().total() <= 11);
}

#[test]
fn refuses_what_it_cannot_send() {
    for url in ["https://127.0.0.1:1", "http://shop.test", "127.0.0.1:80"] {
        assert!(Target::new(&TrafficOptions::new(url, "shop.test")).is_err(), "{url}");
    }
}

#[test]
fn requests_are_due_at_their_rate() {
    assert_eq!(requests_due(Duration::from_millis(1_500), 200), 300);
    assert_eq!(requests_due(Duration::ZERO, 200), 0);
}
