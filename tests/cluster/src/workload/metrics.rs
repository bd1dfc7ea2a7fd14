//! What pods count, and how Prometheus reads it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Upper bounds of the latency histogram, in milliseconds.
const BUCKETS_MILLISECONDS: [u64; 11] = [1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000];

/// Counters of one container. Both codes exist from the start: a counter that is born with its first event hides
/// that event from `rate()`.
#[derive(Debug, Default)]
pub(super) struct Counters {
    succeeded: AtomicU64,
    failed: AtomicU64,
    /// Not cumulative; the last one holds what exceeds every bound.
    buckets: [AtomicU64; BUCKETS_MILLISECONDS.len() + 1],
    microseconds: AtomicU64,
}

impl Counters {
    /// Counts one answered request.
    pub(super) fn record(&self, failed: bool, took: Duration) {
        if failed { &self.failed } else { &self.succeeded }.fetch_add(1, Ordering::Relaxed);
        let milliseconds = took.as_millis();
        let index = BUCKETS_MILLISECONDS
            .iter()
            .position(|&bound| milliseconds <= u128::from(bound));
        if let Some(bucket) = self.buckets.get(index.unwrap_or(BUCKETS_MILLISECONDS.len())) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.microseconds
            .fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn write_requests(&self, out: &mut String, labels: &str) {
        for (code, counter) in [("200", &self.succeeded), ("500", &self.failed)] {
            let count = counter.load(Ordering::Relaxed);
            // Writing to a String cannot fail.
            let _ = writeln!(out, "http_requests_total{{{labels},code=\"{code}\"}} {count}");
        }
    }

    fn write_durations(&self, out: &mut String, labels: &str) {
        let mut cumulative = 0;
        let bounds = BUCKETS_MILLISECONDS.iter().map(|&bound| Some(bound)).chain([None]);
        for (bucket, bound) in self.buckets.iter().zip(bounds) {
            cumulative += bucket.load(Ordering::Relaxed);
            let bound = bound.map_or_else(
                || "+Inf".to_owned(),
                |bound| (Duration::from_millis(bound).as_secs_f64()).to_string(),
            );
            let _ = writeln!(
                out,
                "http_request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {cumulative}"
            );
        }
        let seconds = Duration::from_micros(self.microseconds.load(Ordering::Relaxed)).as_secs_f64();
        let _ = writeln!(out, "http_request_duration_seconds_sum{{{labels}}} {seconds}");
        let _ = writeln!(out, "http_request_duration_seconds_count{{{labels}}} {cumulative}");
    }
}

/// `name="value",…` with values escaped as the text format wants.
pub(super) fn labels(pairs: &[(&str, &str)]) -> String {
    let escaped = pairs.iter().map(|(name, value)| {
        format!(
            "{name}=\"{}\"",
            value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
        )
    });
    escaped.collect::<Vec<_>>().join(",")
}

/// Renders the counters of several containers, each with its labels, in the Prometheus text format 0.0.4.
pub(super) fn render<'a>(series: impl Iterator<Item = (&'a str, &'a Counters)> + Clone) -> String {
    let mut out = String::from("# HELP http_requests_total Requests answered.\n# TYPE http_requests_total counter\n");
    for (labels, counters) in series.clone() {
        counters.write_requests(&mut out, labels);
    }
    out.push_str(
        "# HELP http_request_duration_seconds Time to answer.\n# TYPE http_request_duration_seconds histogram\n",
    );
    for (labels, counters) in series {
        counters.write_durations(&mut out, labels);
    }
    out
}

/// The counters of every container that serves now, by their labels.
#[derive(Clone, Debug, Default)]
pub(super) struct Registry(Arc<Mutex<BTreeMap<String, Arc<Counters>>>>);

impl Registry {
    /// Shows the counters under these labels until the registration is dropped.
    pub(super) fn register(&self, labels: String, counters: Arc<Counters>) -> Registration {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(labels.clone(), counters);
        Registration {
            labels,
            registry: self.clone(),
        }
    }

    /// All counters in the Prometheus text format.
    pub(super) fn render(&self) -> String {
        let series = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        render(
            series
                .iter()
                .map(|(labels, counters)| (labels.as_str(), counters.as_ref())),
        )
    }
}

/// Keeps counters visible in a [`Registry`].
#[derive(Debug)]
pub(super) struct Registration {
    labels: String,
    registry: Registry,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.labels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_counters_and_cumulative_buckets() {
        let registry = Registry::default();
        let counters = Arc::new(Counters::default());
        let registration = registry.register(labels(&[("version", "v\"2"), ("pod", "a")]), Arc::clone(&counters));
        counters.record(false, Duration::from_millis(3));
        counters.record(false, Duration::from_millis(30));
        counters.record(true, Duration::from_secs(20));
        let text = registry.render();
        for line in [
            r#"http_requests_total{version="v\"2",pod="a",code="200"} 2"#,
            r#"http_requests_total{version="v\"2",pod="a",code="500"} 1"#,
            r#"http_request_duration_seconds_bucket{version="v\"2",pod="a",le="0.005"} 1"#,
            r#"http_request_duration_seconds_bucket{version="v\"2",pod="a",le="0.05"} 2"#,
            r#"http_request_duration_seconds_bucket{version="v\"2",pod="a",le="10"} 2"#,
            r#"http_request_duration_seconds_bucket{version="v\"2",pod="a",le="+Inf"} 3"#,
            r#"http_request_duration_seconds_sum{version="v\"2",pod="a"} 20.033"#,
            r#"http_request_duration_seconds_count{version="v\"2",pod="a"} 3"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} missing in\n{text}");
        }
        drop(registration);
        assert!(!registry.render().contains("version"));
    }
}
