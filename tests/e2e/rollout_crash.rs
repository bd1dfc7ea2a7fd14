//! The controller is killed at moments of no one's choosing; the end is the same.

use super::harness::{CANARY_INGRESS, World, nginx_canary, same};
use anyhow::{Context, Result, ensure};
use std::{hash::BuildHasher, time::Duration};

/// How often it is killed, over four updates.
const KILLS: u32 = 20;

/// A small generator: the seed is printed, so that a failure can be tried again.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| std::hash::RandomState::new().hash_one(0));
        #[expect(clippy::print_stdout, reason = "it is shown when the test fails")]
        {
            println!("TIDEGATE_SEED={seed}");
        }
        Self(seed)
    }

    fn milliseconds(&mut self, below: u64) -> Duration {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis((self.0 >> 33) % below)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_it_ends_where_it_would_have_ended() -> Result<()> {
    let mut chance = Chance::new();
    let mut world = World::without_controller("crash").await?;
    world.start_process()?;
    world
        .apply(&nginx_canary(
            2,
            "demo:v0",
            "[{setWeight: 30}, {pause: {duration: 1}}, {setWeight: 70}, {pause: {duration: 1}}]",
        ))
        .await?;
    world.healthy("web").await?;
    for update in 1..=4 {
        let image = format!("demo:v{update}");
        world.set_image("web", &image).await?;
        for _ in 0..KILLS / 4 {
            tokio::time::sleep(chance.milliseconds(1500)).await;
            world.stop().await?;
            world.start_process()?;
        }
        let rollout = world.healthy("web").await?;
        let status = rollout.status.context("no status")?;
        same(
            status.current_pod_hash == status.stable_rs,
            true,
            "the new version is stable",
        )?;
        same(world.available(&image).await?, 2, "pods of the new version")?;
        world
            .until("no weight is left", async || {
                Ok(world.weight(CANARY_INGRESS).await? == 0)
            })
            .await?;
        let sets = world.replica_sets().await?;
        same(
            sets.iter().filter(|set| super::harness::image_of(set) == image).count(),
            1,
            "ReplicaSets of the version",
        )?;
    }
    let sets = world.replica_sets().await?;
    let mut revisions: Vec<i64> = sets
        .iter()
        .filter_map(|set| {
            set.metadata
                .annotations
                .as_ref()?
                .get(tidegate::api::well_known::REVISION)?
                .parse()
                .ok()
        })
        .collect();
    revisions.sort_unstable();
    ensure!(
        revisions.last() == Some(&5),
        "five templates make five revisions, found {revisions:?}"
    );
    world.at_rest().await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_in_a_hold_changes_nothing() -> Result<()> {
    let mut world = World::new("restart").await?;
    world
        .apply(&nginx_canary(2, "demo:v1", "[{setWeight: 30}, {pause: {}}]"))
        .await?;
    world.healthy("web").await?;
    world.set_image("web", "demo:v2").await?;
    let before = world.paused_at("web", 1).await?;
    // Time for the drains that follow the weight.
    world.at_rest().await?;
    world.stop().await?;
    world.start_task().await?;
    world.at_rest().await?;
    let after = world.rollout("web").await?;
    same(after.status, before.status, "status")?;
    world.end().await
}
