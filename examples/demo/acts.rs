//! The acts of the demo, and what must be seen in each.

use crate::{
    Options,
    cluster::Stage,
    say,
    watch::{Watch, image, phase},
};
use anyhow::{Context, Result, bail, ensure};
use std::time::{Duration, Instant};
use tidegate_cluster::traffic::{Traffic, TrafficOptions};

/// Host of the example's Ingress.
const HOST: &str = "shop.example.com";
/// Points that a settled share may differ from its weight.
const TOLERANCE: f64 = 5.0;
/// How long after a weight is written it is taken to be settled: the ingress' delay, its reload, and idle connections.
const SETTLED: Duration = Duration::from_millis(2500);
/// Long enough for every act on a slow machine.
const ACT: Duration = Duration::from_secs(240);

pub(crate) async fn play(stage: &Stage, options: &Options) -> Result<()> {
    let watch = Watch::start(&stage.client);
    tokio::select! {
        played = acts(stage, options, &watch) => played,
        killed = kill_at_random(stage, options) => killed,
    }
    .with_context(|| format!("the controller's log: {}", stage.controller.log().display()))
}

async fn acts(stage: &Stage, options: &Options, watch: &Watch) -> Result<()> {
    first_deployment(stage, watch).await?;
    let traffic = traffic(stage, options).await?;
    good_version(stage, watch, &traffic).await?;
    let bad = bad_version(stage, watch, &traffic).await?;
    revert(stage, watch, &bad).await?;
    close(stage, traffic).await
}

async fn first_deployment(stage: &Stage, watch: &Watch) -> Result<()> {
    say::act("Act 1: everything comes from Git");
    for file in [
        "apps/shop.yaml",
        "shop/rollout.yaml",
        "shop/services.yaml",
        "shop/ingress.yaml",
        "shop/analysis.yaml",
    ] {
        stage
            .repository
            .write(file, &stage.manifest(&format!("repository/{file}"))?)?;
    }
    stage.repository.commit_and_push("v1").await?;
    stage.apply(&stage.manifest("root.yaml")?).await?;
    say::note("pushed v1; applied the application `root`, which deploys the application `shop`");
    watch
        .until(ACT, "root and shop are Synced and Healthy", |seen| {
            let good = |name: &str| {
                seen.apps
                    .get(name)
                    .and_then(|app| app.status.as_ref())
                    .is_some_and(|status| status.sync.status == "Synced" && status.health.status == "Healthy")
            };
            (good("root") && good("shop") && seen.rollout.as_ref().is_some_and(|rollout| phase(rollout) == "Healthy"))
                .then_some(())
        })
        .await?;
    say::tree(&stage.plugin(&["get", "rollout", "shop", "-n", "shop"]).await?);
    say::seen("v1 is deployed, Synced and Healthy");
    Ok(())
}

async fn traffic(stage: &Stage, options: &Options) -> Result<Traffic> {
    let mut wanted = TrafficOptions::new(&stage.ingress, HOST);
    wanted.rate_per_second = options.rate;
    // The ingress learns the site a moment after its objects are there.
    let http = reqwest::Client::new();
    tidegate_cluster::eventually(
        Duration::from_secs(30),
        "the ingress answers for the site",
        async || {
            let answer = http
                .get(format!("{}/", stage.ingress))
                .header("Host", HOST)
                .send()
                .await;
            match answer {
                Ok(answer) if answer.status().is_success() => Ok(()),
                Ok(answer) => Err(format!("status {}", answer.status())),
                Err(error) => Err(error.to_string()),
            }
        },
    )
    .await?;
    say::note(&format!(
        "{} requests per second go through nginx from now on",
        options.rate
    ));
    Traffic::start(wanted)
}

/// Commits another image and returns the commit and when it was pushed.
async fn ship(stage: &Stage, from: &str, to: &str) -> Result<(String, Instant)> {
    let text = stage.repository.read("shop/rollout.yaml")?;
    ensure!(text.contains(from), "shop/rollout.yaml does not name {from}");
    stage.repository.write("shop/rollout.yaml", &text.replace(from, to))?;
    let commit = stage.repository.commit_and_push(to).await?;
    say::note(&format!("git push: {to} ({})", short(&commit)));
    Ok((commit, Instant::now()))
}

fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

async fn good_version(stage: &Stage, watch: &Watch, traffic: &Traffic) -> Result<()> {
    say::act("Act 2: v2 ships through the canary");
    let from = watch.look(|seen| seen.weights.len()).await;
    let (_, pushed) = ship(stage, "demo:v1", "demo:v2").await?;
    let changed = watch
        .until(ACT, "the Rollout names demo:v2", |seen| {
            seen.image_changed
                .as_ref()
                .filter(|(_, image)| image == "demo:v2")
                .map(|(at, _)| *at)
        })
        .await?;
    say::seen(&format!(
        "from push to changed object: {:.2} s",
        changed.saturating_duration_since(pushed).as_secs_f64()
    ));
    measure_shares(stage, watch, traffic, from).await?;
    watch
        .until(ACT, "v2 is Healthy and shop Synced", |seen| {
            let rollout = seen.rollout.as_ref()?;
            let status = seen.apps.get("shop")?.status.as_ref()?;
            let good = image(rollout) == "demo:v2" && phase(rollout) == "Healthy";
            (good && status.sync.status == "Synced" && status.health.status == "Healthy").then_some(())
        })
        .await?;
    // The weight goes last, once the data plane knows that both Services lead to the same pods.
    watch
        .until(ACT, "the weight is back at 0", |seen| {
            (seen.weights.len() > from + 3 && seen.weights.last().is_some_and(|(_, weight)| *weight == 0)).then_some(())
        })
        .await?;
    let walked: Vec<i64> = watch
        .look(|seen| seen.weights.iter().skip(from).map(|(_, weight)| *weight).collect())
        .await;
    ensure!(
        walked == [20, 50, 80, 100, 0],
        "the weights were {walked:?}, expected 20, 50, 80, 100, 0"
    );
    say::tree(&stage.plugin(&["get", "rollout", "shop", "-n", "shop"]).await?);
    say::seen("v2 walked 20, 50, 80 and 100 % and is promoted");
    Ok(())
}

/// For each weight of the steps: the share of real responses while it was in force.
async fn measure_shares(stage: &Stage, watch: &Watch, traffic: &Traffic, from: usize) -> Result<()> {
    for (position, expected) in [20_i64, 50, 80].into_iter().enumerate() {
        let (at, weight) = watch
            .until(ACT, &format!("weight {expected}"), |seen| {
                seen.weights.get(from + position).copied()
            })
            .await?;
        ensure!(weight == expected, "the weight became {weight}, expected {expected}");
        say::note(&format!("weight {weight} written"));
        // The pause of a step is 8 s: this window ends before the next weight takes effect.
        let window = Duration::from_secs(5);
        tokio::time::sleep_until((at + SETTLED + window).into()).await;
        let recent = traffic.recent(window);
        let measured = 100.0 * recent.share("v2");
        say::share(weight, measured, recent.total());
        ensure!(
            (measured - weight as f64).abs() <= TOLERANCE,
            "measured {measured:.1} % at weight {weight}"
        );
        if position == 0 {
            say::tree(&stage.plugin(&["get", "rollout", "shop", "-n", "shop"]).await?);
        }
        watch
            .until(ACT, &format!("the weight after {expected}"), |seen| {
                seen.weights.get(from + position + 1).copied()
            })
            .await?;
    }
    Ok(())
}

async fn bad_version(stage: &Stage, watch: &Watch, traffic: &Traffic) -> Result<String> {
    say::act("Act 3: v3 fails 30 % of its requests, and is rolled back");
    let (runs, from) = watch.look(|seen| (seen.failed_at.len(), seen.weights.len())).await;
    let (bad, _) = ship(stage, "demo:v2", "demo:v3-errors30").await?;
    watch
        .until(ACT, "weight 20 for v3", |seen| seen.weights.get(from).copied())
        .await?;
    let failed = watch
        .until(ACT, "an analysis fails", |seen| {
            (seen.failed_at.len() > runs)
                .then(|| seen.failed_at.values().max().copied())
                .flatten()
        })
        .await?;
    let zero = watch
        .until(ACT, "weight 0", |seen| {
            seen.weights
                .iter()
                .skip(from)
                .find(|(_, weight)| *weight == 0)
                .map(|(at, _)| *at)
        })
        .await?;
    say::seen(&format!(
        "from failed analysis to weight 0: {:.2} s",
        zero.saturating_duration_since(failed).as_secs_f64()
    ));
    watch
        .until(ACT, "the Rollout is Degraded and shop holds the commit", |seen| {
            let rollout = seen.rollout.as_ref()?;
            let status = seen.apps.get("shop")?.status.as_ref()?;
            let held = status.hold.as_ref().is_some_and(|hold| hold.revision == bad);
            (phase(rollout) == "Degraded" && held && status.health.status == "Degraded").then_some(())
        })
        .await?;
    say::tree(&stage.plugin(&["get", "rollout", "shop", "-n", "shop"]).await?);
    say::seen(&format!(
        "v3 is aborted, and the application holds back {}",
        short(&bad)
    ));
    tokio::time::sleep_until((zero + SETTLED + Duration::from_secs(3)).into()).await;
    let share = 100.0 * traffic.recent(Duration::from_secs(3)).share("v2");
    ensure!(
        share >= 100.0,
        "{share:.1} % of the responses are v2's after the abort, expected all"
    );
    say::seen("every response is v2's again");
    Ok(bad)
}

async fn revert(stage: &Stage, watch: &Watch, bad: &str) -> Result<()> {
    say::act("Act 4: git revert");
    let commit = stage.repository.revert(bad).await?;
    say::note(&format!("git push: revert of {} ({})", short(bad), short(&commit)));
    watch
        .until(
            ACT,
            "shop is Synced and Healthy at the revert, without a hold",
            |seen| {
                let status = seen.apps.get("shop")?.status.as_ref()?;
                let good = status.sync.status == "Synced" && status.health.status == "Healthy" && status.hold.is_none();
                let rollout = seen.rollout.as_ref()?;
                (good && status.sync.revision == commit && phase(rollout) == "Healthy" && image(rollout) == "demo:v2")
                    .then_some(())
            },
        )
        .await?;
    say::seen("v2 is deployed, Synced and Healthy, and nothing is held back");
    Ok(())
}

async fn close(stage: &Stage, traffic: Traffic) -> Result<()> {
    say::act("What the requests saw");
    let report = traffic.stop().await;
    for (version, counts) in &report.snapshot.versions {
        say::note(&format!(
            "  {version}: {} answered, {} of them failed",
            counts.total(),
            counts.failed
        ));
    }
    let foreign = report
        .failures
        .iter()
        .filter(|failure| failure.version.as_deref() != Some("v3"));
    let foreign: Vec<String> = foreign.map(|failure| format!("{failure:?}")).collect();
    if !foreign.is_empty() {
        bail!(
            "{} requests failed that the bad version did not answer: {}",
            foreign.len(),
            foreign.join(", ")
        );
    }
    ensure!(
        report.snapshot.skipped == 0,
        "{} requests could not be sent",
        report.snapshot.skipped
    );
    say::seen(&format!(
        "{} requests, no failure but those that v3 answered itself",
        report.snapshot.total()
    ));
    let runs = stage.plugin(&["get", "rollout", "shop", "-n", "shop"]).await?;
    say::tree(&runs);
    Ok(())
}

/// Kills the controller at random moments; ends only with an error.
async fn kill_at_random(stage: &Stage, options: &Options) -> Result<()> {
    let mut state = options.seed.max(1);
    for number in 1..=options.kills {
        // xorshift: any sequence will do, as long as the seed fixes it.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        tokio::time::sleep(Duration::from_millis(2000 + state % 3500)).await;
        stage.controller.kill().await?;
        say::note(&format!(
            "  (controller killed and started again, {number} of {})",
            options.kills
        ));
    }
    std::future::pending().await
}
