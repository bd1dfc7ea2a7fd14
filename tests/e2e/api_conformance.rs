//! The scenarios the simulated API server is held to, asked of a real one.

use super::harness::World;
use anyhow::Result;

#[path = "../../src/sim/api/tests/conformance/mod.rs"]
mod conformance;

#[tokio::test]
async fn the_scenarios_of_the_simulated_server_hold_on_a_real_one() -> Result<()> {
    conformance::run_all(async |number| {
        let world = World::without_controller(&format!("conformance-{number}")).await?;
        Ok(conformance::Probe {
            client: world.client,
            namespace: world.namespace,
            // The garbage collector of the real cluster needs no telling.
            collect: Box::new(|| ()),
        })
    })
    .await
}
