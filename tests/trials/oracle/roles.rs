//! Metadata that pods have because of the role of their version (`canaryMetadata` and the like).

use super::{
    Rule, Verdicts, Violation,
    scene::{Scene, Subject, label},
};
use crate::facts::text;
use jiff::Timestamp;
use serde_json::Value;
use tidegate::{
    api::well_known,
    sim::api::{kinds::Kind, state::State},
};

/// The label that says the role.
pub const LABEL: &str = "role";
/// The annotation that says it.
pub const ANNOTATION: &str = "shop.example.com/role";
/// The role of a stable or active version.
pub const LASTING: &str = "lasting";

/// Takes out of a pod template what is there because of a role, and the pod template hash.
pub fn strip(template: &mut Value) {
    for (field, keys) in [
        ("labels", &[LABEL, well_known::POD_TEMPLATE_HASH][..]),
        ("annotations", &[ANNOTATION]),
    ] {
        let Some(Value::Object(metadata)) = template.pointer_mut("/metadata") else {
            return;
        };
        if let Some(Value::Object(found)) = metadata.get_mut(field) {
            found.retain(|key, _| !keys.contains(&key.as_str()));
            if found.is_empty() {
                metadata.remove(field);
            }
        }
    }
}

/// Once everything rests, the pods of a healthy Rollout have what the specification says of the stable version.
pub fn at_rest(at: Timestamp, subject: &Subject, scene: &Scene, state: &State, verdicts: &mut Verdicts) {
    if scene.recorded("phase") != "Healthy" {
        return;
    }
    let lasting = [
        &scene.canary_spec()["stableMetadata"],
        &scene.blue_green_spec()["activeMetadata"],
    ];
    let wanted = if lasting.iter().any(|metadata| !metadata.is_null()) {
        LASTING
    } else {
        ""
    };
    let stable = scene.recorded("stableRS");
    for pod in state.labelled(Kind::Pod, &subject.namespace, well_known::POD_TEMPLATE_HASH, stable) {
        if !text(pod, "/metadata/deletionTimestamp").is_empty() {
            continue;
        }
        verdicts.ensure(label(pod, LABEL) == wanted, || Violation {
            rule: Rule::C1,
            at,
            object: subject.key(Kind::Pod, text(pod, "/metadata/name")).to_string(),
            found: format!("the role {:?}", label(pod, LABEL)),
            expected: format!("{wanted:?} at rest"),
        });
    }
}
