//! Waiting for something to become true without sleeping blindly.

use std::{fmt::Display, time::Duration};

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep_until, timeout_at};

/// Time between two looks: short beside what is waited for, long enough not to be load itself.
const INTERVAL: Duration = Duration::from_millis(50);

/// Looks again and again until `probe` answers `Ok`. An `Err` says what was seen instead, and the last one is told when the deadline passes.
///
/// `deadline` is the time from now; `what` completes "timed out waiting until …".
///
/// ```no_run
/// # async fn example(pods: kube::Api<k8s_openapi::api::core::v1::Pod>) -> anyhow::Result<()> {
/// use std::time::Duration;
/// let node = tidegate_cluster::eventually(Duration::from_secs(10), "the pod has a node", async || {
///     let pod = pods.get("web").await.map_err(|error| error.to_string())?;
///     pod.spec.and_then(|spec| spec.node_name).ok_or("it has none")
///         .map_err(str::to_owned)
/// })
/// .await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When the deadline passes.
pub async fn eventually<T, E: Display>(
    deadline: Duration,
    what: impl Display,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    let mut seen = None;
    loop {
        match timeout_at(end, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => seen = Some(error.to_string()),
            Err(_elapsed) => {}
        }
        let next = Instant::now() + INTERVAL;
        if next >= end {
            let seen = seen.unwrap_or_else(|| "nothing: the first look did not return".to_owned());
            bail!("timed out after {deadline:?} waiting until {what}; last seen: {seen}");
        }
        sleep_until(next).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_ok_ends_it() {
        let mut looks = 0;
        let value = eventually(Duration::from_secs(1), "it is three", async || {
            looks += 1;
            if looks == 3 {
                Ok(looks)
            } else {
                Err(format!("it is {looks}"))
            }
        })
        .await;
        assert_eq!(value.unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_tells_what_was_seen_last() {
        let mut looks = 0;
        let error = eventually(Duration::from_millis(120), "never", async || {
            looks += 1;
            Err::<(), _>(format!("look {looks}"))
        })
        .await
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "timed out after 120ms waiting until never; last seen: look 3"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_hangs_is_cut_off() {
        let probe = async || std::future::pending::<Result<(), String>>().await;
        let error = eventually(Duration::from_secs(5), "it returns", probe)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("did not return"), "{error}");
    }
}
