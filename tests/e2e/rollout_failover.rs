//! Two replicas: one writes, the other takes over when it ends, in order or not.

use super::harness::{World, nginx_canary, same};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use std::time::{Duration, Instant};
use tokio::process::Child;

/// Shorter than the defaults, so that the test need not wait long for a lease to run out.
const ELECTION: [&str; 4] = [
    "--leader-elect=true",
    "--leader-election-lease-duration=6s",
    "--leader-election-renew-deadline=4s",
    "--leader-election-retry-period=1s",
];

/// Asks a process to stop, as Kubernetes does.
async fn terminate(process: &mut Child) -> Result<()> {
    let id = process.id().context("it has ended by itself")?.to_string();
    let asked = tokio::process::Command::new("kill")
        .args(["-TERM", &id])
        .status()
        .await?;
    ensure!(asked.success());
    let status = process.wait().await?;
    ensure!(status.success(), "a graceful stop ends well, not with {status}");
    Ok(())
}

async fn holder(world: &World) -> Result<String> {
    let lease = world.api::<Lease>().get_opt("argo-rollouts-controller-lock").await?;
    Ok(lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_and_carries_on() -> Result<()> {
    let world = World::without_controller("standby").await?;
    let mut first = world.process(&ELECTION)?;
    world
        .until("the first leads", async || Ok(!holder(&world).await?.is_empty()))
        .await?;
    let leader = holder(&world).await?;
    let mut second = world.process(&ELECTION)?;
    world
        .apply(&nginx_canary(2, "demo:v1", "[{setWeight: 50}, {pause: {}}]"))
        .await?;
    world.healthy("web").await?;
    world.set_image("web", "demo:v2").await?;
    world.paused_at("web", 1).await?;
    same(holder(&world).await?, leader.clone(), "the holder of the lease")?;

    // Stopped in order: the lease is given back, and nobody waits for it to run out.
    let stopped = Instant::now();
    terminate(&mut first).await?;
    world.promote("web").await?;
    world.healthy("web").await?;
    ensure!(
        stopped.elapsed() < Duration::from_secs(20),
        "it took {:?}",
        stopped.elapsed()
    );
    ensure!(holder(&world).await? != leader);

    // Killed: the next one waits until the lease has run out.
    let mut third = world.process(&ELECTION)?;
    world.set_image("web", "demo:v3").await?;
    world.paused_at("web", 1).await?;
    second.kill().await?;
    world.promote("web").await?;
    world.healthy("web").await?;
    terminate(&mut third).await?;
    same(holder(&world).await?, String::new(), "the holder after the last stop")?;
    world.end().await
}
