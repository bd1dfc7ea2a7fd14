mod argo;
mod platform;
mod workloads;

use super::{
    worst::{Member, of_application},
    *,
};
use crate::sync::resource::ResourceKey;
use serde_json::json;

#[track_caller]
fn check(object: Value, expected: Code, message: &str) {
    let health = of_object(&object).unwrap_or_else(|| panic!("no check for {object}"));
    assert_eq!((health.code, health.message.as_str()), (expected, message), "{object}");
}

/// An object of `apps/v1` that is at generation 2 and says so.
fn app(kind: &str, spec: Value, mut status: Value) -> Value {
    if status.get("observedGeneration").is_none() {
        status["observedGeneration"] = json!(2);
    }
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web", "generation": 2}, "spec": spec, "status": status})
}

fn object(api_version: &str, kind: &str, spec: Value, status: Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "web", "generation": 2}, "spec": spec, "status": status})
}

#[test]
fn deletion_and_unknown_kinds() {
    let mut deleting = app("Deployment", json!({}), json!({}));
    deleting["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    check(deleting.clone(), Code::Progressing, "Pending deletion");
    deleting["metadata"]["finalizers"] = json!([HOOK_FINALIZER]);
    check(deleting, Code::Healthy, "");
    assert_eq!(of_object(&object("v1", "ConfigMap", json!({}), json!({}))), None);
    check(
        object("apps/v1beta1", "Deployment", json!({}), json!({})),
        Code::Unknown,
        "unsupported Deployment GVK: apps/v1beta1, Kind=Deployment",
    );
}

#[test]
fn the_worst_member_counts_and_is_named() {
    let key = |kind: &str, name: &str| ResourceKey {
        group: if kind == "Application" {
            "argoproj.io".into()
        } else {
            "apps".into()
        },
        kind: kind.into(),
        namespace: "ns".into(),
        name: name.into(),
    };
    let check = |members: &[(&str, Option<Code>, bool, bool)], code: Code, message: &str| {
        let keys: Vec<ResourceKey> = members
            .iter()
            .enumerate()
            .map(|(index, (kind, ..))| key(kind, &index.to_string()))
            .collect();
        let healths: Vec<Option<Health>> = members.iter().map(|(_, code, ..)| code.map(Health::from)).collect();
        let members: Vec<Member<'_>> = members
            .iter()
            .zip(&keys)
            .zip(&healths)
            .map(|(((_, _, is_live, is_ignored), key), health)| Member {
                key,
                is_live: *is_live,
                health: health.as_ref(),
                is_ignored: *is_ignored,
            })
            .collect();
        assert_eq!(of_application(&members), Health::new(code, message));
    };
    let (healthy, degraded) = (Some(Code::Healthy), Some(Code::Degraded));
    check(&[], Code::Healthy, "");
    check(
        &[("Deployment", healthy, true, false), ("Deployment", None, true, false)],
        Code::Healthy,
        "",
    );
    check(
        &[
            ("Deployment", healthy, true, false),
            ("Deployment", degraded, true, false),
        ],
        Code::Degraded,
        "Caused by apps/Deployment:ns/1",
    );
    check(
        &[
            ("Deployment", degraded, true, true),
            ("Deployment", healthy, true, false),
        ],
        Code::Healthy,
        "",
    );
    check(
        &[("Deployment", None, false, false), ("Deployment", healthy, true, false)],
        Code::Healthy,
        "",
    );
    check(&[("Deployment", None, false, false)], Code::Missing, "");
    check(
        &[
            ("Application", Some(Code::Unknown), true, false),
            ("Application", Some(Code::Missing), true, false),
        ],
        Code::Healthy,
        "",
    );
    check(
        &[("Application", degraded, true, false)],
        Code::Degraded,
        "Caused by argoproj.io/Application:ns/0",
    );
    let many = [("Deployment", degraded, true, false); 5];
    check(
        &many,
        Code::Degraded,
        "Caused by apps/Deployment:ns/0, apps/Deployment:ns/1, apps/Deployment:ns/2 and 2 more",
    );
}
