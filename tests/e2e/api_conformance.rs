//! The scenarios the simulated API server is held to, asked of a real one.

use super::harness::World;
use anyhow::Result;
use k8s_openapi::api::core::v1::ConfigMap;

#[expect(
    clippy::indexing_slicing,
    reason = "a field that is missing reads as null; the folder is a test of the library, too"
)]
#[path = "../../src/sim/api/tests/conformance/mod.rs"]
mod conformance;

#[tokio::test]
async fn the_scenarios_of_the_simulated_server_hold_on_a_real_one() -> Result<()> {
    conformance::run_all(async |number| {
        let world = World::without_controller(&format!("conformance-{number}")).await?;
        // Every new namespace is given this ConfigMap; from then on nobody but us writes there.
        world
            .until("the namespace is furnished", async || {
                Ok(world.api::<ConfigMap>().get_opt("kube-root-ca.crt").await?.is_some())
            })
            .await?;
        Ok(conformance::Probe {
            client: world.client,
            namespace: world.namespace,
            // Nobody compacts a cluster that lives for some minutes.
            forgets: false,
            // The garbage collector of the real cluster needs no telling.
            collect: Box::new(|| ()),
        })
    })
    .await
}
