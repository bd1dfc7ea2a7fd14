//! Hazards that the reference lists for the original (rollouts, section 13) and that need a cluster to be seen.

use super::*;
use crate::sim::api::{
    faults::{Faults, RequestFate, RequestInfo, Verb as Asked},
    refusal::refused,
};

/// Refuses to answer what is asked about Rollouts and Services.
struct Mute;

impl Faults for Mute {
    fn on_request(&mut self, request: &RequestInfo<'_>) -> RequestFate {
        let is_read = matches!(request.verb, Asked::Get | Asked::List | Asked::Watch);
        if is_read && matches!(request.kind, Some(Kind::Rollout | Kind::Service)) {
            return RequestFate::Refuse(refused(500, "InternalError", "the test wants it so"));
        }
        RequestFate::Pass
    }
}

#[test]
fn hazard_3_errors_strip_no_selector() {
    let mut world = deployed(Options::default());
    let selector = |world: &World, name: &str| {
        let service = world.get(&Key::new(Kind::Service, "shop", name)).unwrap();
        service["spec"]["selector"].clone()
    };
    let names = ["web-stable", "web-canary"];
    let before = names.map(|name| selector(&world, name));
    assert!(
        before.iter().all(|selector| selector.as_object().unwrap().len() == 2),
        "{before:?}"
    );
    world.api().set_faults(Some(Box::new(Mute)));
    world.api().break_watches(None);
    world.run_for(Duration::from_secs(60));
    world.kill(0);
    world.start(0);
    world.run_for(Duration::from_secs(60));
    world.api().set_faults(None);
    world.run_for(Duration::from_secs(120));
    assert_eq!(names.map(|name| selector(&world, name)), before);
    assert_eq!(phase(&world), "Healthy");
    assert_eq!(world.traffic().lock().first_loss, None);
}
