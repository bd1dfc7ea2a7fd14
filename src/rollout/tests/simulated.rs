//! What the simulation found (`tests/soak`), each as a small story.

use super::fixtures::{deployed, hash, image, nginx, paused, resume, selected};
use serde_json::json;

/// T2: endpoints and weights reach the data plane on their own ways. A Service without endpoints under a rising weight
/// cost requests until the data plane had both.
#[test]
fn a_canary_service_leads_to_stable_pods_while_the_canary_has_none() {
    let steps = json!([{"setWeight": 20}, {"setWeight": 0}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]);
    let mut world = deployed(nginx(steps));
    image(&mut world, "demo:v2");
    paused(&mut world);
    let (stable, new) = (hash(&world, "stableRS"), hash(&world, "currentPodHash"));
    assert_eq!(
        (world.set_replicas(&new), selected(&world, "web-canary")),
        (0, json!(stable))
    );
    resume(&mut world);
    paused(&mut world);
    assert_eq!((world.weight(), selected(&world, "web-canary")), (50, json!(new)));
}
