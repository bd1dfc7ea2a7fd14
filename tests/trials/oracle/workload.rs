//! `spec.workloadRef` to a Deployment (`docs/rollouts.md`): what becomes of the Deployment's own pods.

use super::{
    Look, Rule, Verdicts, Violation, at_write,
    scene::{Scene, Subject},
};
use crate::facts::{at, text};
use jiff::Timestamp;
use serde_json::Value;
use tidegate::{
    api::well_known,
    sim::api::{
        faults::Verb,
        kinds::{Key, Kind},
    },
};

/// Judges a controller's write to a Deployment.
pub fn commit(look: &Look<'_>, verdicts: &mut Verdicts) {
    if look.commit.key.kind != Kind::Deployment || !look.is_ours() {
        return;
    }
    let (Some(before), Some(after)) = (look.commit.before.as_deref(), look.commit.after.as_deref()) else {
        verdicts.ensure(false, || {
            at_write(Rule::T8, look, "created or deleted", "Deployments are the user's")
        });
        return;
    };
    debug_assert!(look.commit.verb != Verb::Create);
    verdicts.ensure(of_the_user(before) == of_the_user(after), || {
        at_write(
            Rule::T8,
            look,
            "parts changed beside its size",
            "only that and our mark",
        )
    });
    let size = |object: &Value| at(object, "/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let (from, to) = (size(before), size(after));
    if to >= from {
        return;
    }
    let lately = || look.scenes.lately(look.commit.at);
    let modes = || lately().map(|scene| scene.scale_down());
    verdicts.ensure(modes().any(|mode| !mode.is_empty() && mode != "never"), || {
        at_write(
            Rule::T8,
            look,
            format!("{from} to {to} pods"),
            "never, as scaleDown says",
        )
    });
    let healthy = lately().any(|scene| scene.recorded("phase") == "Healthy");
    verdicts.ensure(healthy || modes().any(|mode| mode == "progressively"), || {
        let phase = look.after.recorded("phase").to_owned();
        at_write(
            Rule::T3,
            look,
            format!("{from} to {to} pods in phase {phase:?}"),
            "not before it is Healthy",
        )
    });
    // The newest facts are those after this write.
    let earlier = lately().count().saturating_sub(1);
    let missing = lately().take(earlier).map(|scene| {
        let theirs = scene.deployment.map_or(0, |(_, ready)| ready).min(to);
        let unavailable = if scene.canary_spec().is_null() {
            0
        } else {
            scene.budget().1
        };
        let had = scene.ready_in_all() + scene.deployment.map_or(0, |(_, ready)| ready);
        (scene.replicas() - unavailable).min(had) - theirs - scene.ready_in_all()
    });
    let missing = missing.min().unwrap_or(0);
    verdicts.ensure(missing <= 0 || look.is_disturbed(), || {
        at_write(
            Rule::T6,
            look,
            format!("{from} to {to} pods leaves {missing} too few available"),
            "both together as many as may not be missing",
        )
    });
}

/// A Deployment without what is ours in it, and what the server counts.
fn of_the_user(object: &Value) -> Value {
    let mut object = object.clone();
    for (pointer, keys) in [
        ("", &["status"][..]),
        ("/spec", &["replicas"]),
        ("/metadata", &["resourceVersion", "generation", "managedFields"]),
        ("/metadata/labels", &[well_known::SCALED_DOWN]),
        ("/metadata/annotations", &[well_known::SCALED_DOWN]),
    ] {
        if let Some(Value::Object(fields)) = object.pointer_mut(pointer) {
            fields.retain(|key, _| !keys.contains(&key.as_str()));
        }
    }
    if let Some(Value::Object(metadata)) = object.pointer_mut("/metadata") {
        metadata.retain(|_, value| !value.as_object().is_some_and(serde_json::Map::is_empty));
    }
    object
}

/// Once everything rests, the Deployment of a healthy Rollout has no pods, or all of them.
pub fn at_rest(at: Timestamp, subject: &Subject, scene: &Scene, verdicts: &mut Verdicts) {
    let Some((size, _)) = scene.deployment.filter(|_| scene.recorded("phase") == "Healthy") else {
        return;
    };
    let gone = matches!(scene.scale_down(), "onsuccess" | "progressively");
    if scene.replicas() == 0 || scene.is_held() || scene.scale_down().is_empty() {
        return;
    }
    verdicts.ensure((size == 0) == gone, || Violation {
        rule: Rule::C1,
        at,
        object: Key::new(Kind::Deployment, subject.namespace.as_str(), subject.name.as_str()).to_string(),
        found: format!("{size} pods with scaleDown {:?}", scene.scale_down()),
        expected: "none at rest, but for never".to_owned(),
    });
}

/// The mode, as the specification has it; empty without a reference.
pub(super) fn mode(rollout: &Value) -> &str {
    match at(rollout, "/spec/workloadRef") {
        None => "",
        Some(named) => match text(named, "/scaleDown") {
            "" => "never",
            mode => mode,
        },
    }
}
