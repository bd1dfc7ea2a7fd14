//! A site that real requests go to while something happens to its Rollout `web`.

use super::harness::{PATIENCE, World, same};
use anyhow::{Result, ensure};
use std::time::Duration;
use tidegate_cluster::{
    eventually,
    traffic::{Snapshot, Traffic, TrafficOptions},
};

/// Requests a second, of all traffic of a site together.
pub(super) const RATE: u32 = 200;

/// A site: a host behind the ingress.
pub(super) struct Site {
    pub(super) world: World,
    /// Its host name, which nobody else has.
    pub(super) host: String,
    /// Where the ingress listens, `http://IP:PORT`.
    ingress: String,
}

impl Site {
    /// Applies the manifests made for the site's host, and waits until the Rollout is Healthy and the site answers.
    pub(super) async fn deployed(world: World, manifests: impl FnOnce(&str) -> String) -> Result<Self> {
        let ingress = world.cluster.ingress()?.to_owned();
        Self::behind(world, ingress, manifests).await
    }

    /// The same behind an ingress of the test's own.
    pub(super) async fn behind(world: World, ingress: String, manifests: impl FnOnce(&str) -> String) -> Result<Self> {
        let host = format!("{}.example", world.namespace);
        world.apply(&manifests(&host)).await?;
        world.healthy("web").await?;
        let site = Self { world, host, ingress };
        site.answers().await?;
        Ok(site)
    }

    async fn answers(&self) -> Result<()> {
        let (http, url) = (reqwest::Client::new(), format!("{}/", self.ingress));
        eventually(PATIENCE, "the site answers", async || {
            let answer = http.get(&url).header("Host", &self.host).send().await;
            answer.and_then(reqwest::Response::error_for_status).map(drop)
        })
        .await
    }

    /// Starts requests with these headers.
    pub(super) fn traffic(&self, rate: u32, headers: &[(&str, &str)]) -> Result<Traffic> {
        let mut options = TrafficOptions::new(&self.ingress, &self.host);
        options.rate_per_second = rate;
        options.duration_max = Duration::from_secs(300);
        options.headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Traffic::start(options)
    }

    /// Waits until the last two seconds of requests are as wanted.
    pub(super) async fn until_recent(
        &self,
        traffic: &Traffic,
        what: &str,
        wanted: impl Fn(&Snapshot) -> bool,
    ) -> Result<()> {
        self.world
            .until(what, async || {
                let recent = traffic.recent(Duration::from_secs(2));
                ensure!(recent.total() > 50, "only {} requests", recent.total());
                ensure!(wanted(&recent), "{recent:?}");
                Ok(true)
            })
            .await
    }
}

/// Ends traffic, of which no request may have failed and at least so many must have been sent.
pub(super) async fn none_failed(traffic: Traffic, least: u64) -> Result<()> {
    let report = traffic.stop().await;
    let total = report.snapshot.total();
    ensure!(total >= least, "only {total} requests");
    same(
        report.failures.len(),
        0,
        &format!("failed requests: {:?}", report.failures),
    )
}
