use super::*;
use serde_json::{Value, json};

fn windows(json: Value) -> Vec<SyncWindow> {
    serde_json::from_value(json).unwrap()
}

fn window(kind: &str, schedule: &str, duration: &str) -> Value {
    json!({"kind": kind, "schedule": schedule, "duration": duration, "applications": ["*"]})
}

fn with(mut window: Value, key: &str, value: Value) -> Value {
    window[key] = value;
    window
}

/// Asked on Wednesday 2026-07-01 at 12:00 UTC.
fn ask(list: &[Value], is_manual: bool, is_running: bool) -> Option<Blocked> {
    let spec =
        serde_json::from_value(json!({"destination": {"server": IN_CLUSTER_SERVER, "namespace": "shop"}})).unwrap();
    let asked = Asked {
        app: "web",
        spec: &spec,
        is_manual,
        is_running,
        now: "2026-07-01T12:00:00Z".parse().unwrap(),
    };
    blocked(&windows(json!(list)), "team", asked)
}

#[test]
fn an_active_deny_outweighs_and_a_missing_allow_blocks() {
    let deny = || window("deny", "0 11 * * *", "2h");
    let over = || window("deny", "0 11 * * *", "1h");
    let open = || window("allow", "0 11 * * *", "2h");
    let closed = || window("allow", "0 22 * * *", "1h");
    let elsewhere = with(deny(), "applications", json!(["api"]));
    for (list, is_blocked) in [
        (vec![], false),
        (vec![deny()], true),
        (vec![over()], false),
        (vec![open()], false),
        (vec![closed()], true),
        (vec![closed(), open()], false),
        (vec![open(), deny()], true),
        (vec![elsewhere], false),
        (vec![window("deny", "nonsense", "1h")], true),
        (vec![window("allow", "nonsense", "1h")], true),
    ] {
        assert_eq!(ask(&list, false, false).is_some(), is_blocked, "{list:?}");
    }
}

#[test]
fn the_window_and_its_end_are_named() {
    let found = ask(&[window("deny", "0 11 * * *", "2h")], false, false).unwrap();
    assert_eq!(
        found.message,
        "Sync operation blocked by sync window: deny window \"0 11 * * *\" for 2h of project \"team\" is active, until 2026-07-01T13:00:00Z"
    );
    let found = ask(&[window("allow", "0 22 * * *", "2h")], false, false).unwrap();
    assert_eq!(found.until, Some("2026-07-01T22:00:00Z".parse().unwrap()));
}

#[test]
fn a_person_and_a_running_sync_may_be_excepted_if_every_window_agrees() {
    let deny = |key: &str| with(window("deny", "0 11 * * *", "2h"), key, json!(true));
    let closed = |key: &str| with(window("allow", "0 22 * * *", "1h"), key, json!(true));
    let strict = window("deny", "0 11 * * *", "2h");
    for (list, is_manual, is_running, is_blocked) in [
        (vec![deny("manualSync")], true, false, false),
        (vec![deny("manualSync")], false, false, true),
        (vec![deny("manualSync"), strict.clone()], true, false, true),
        (vec![deny("syncOverrun")], false, true, false),
        (vec![deny("syncOverrun")], false, false, true),
        (vec![deny("syncOverrun"), strict], false, true, true),
        (vec![closed("manualSync")], true, false, false),
        (vec![closed("syncOverrun")], false, true, false),
        (vec![closed("syncOverrun")], true, false, true),
    ] {
        assert_eq!(ask(&list, is_manual, is_running).is_some(), is_blocked, "{list:?}");
    }
}

#[test]
fn the_schedule_is_read_in_its_time_zone() {
    // 12:00 UTC is 14:00 in Berlin and 08:00 in New York that day.
    for (zone, is_blocked) in [
        ("Europe/Berlin", true),
        ("America/New_York", false),
        ("", false),
        ("Nowhere/At_all", false),
    ] {
        let list = [with(window("deny", "0 14 * * *", "30m"), "timeZone", json!(zone))];
        assert_eq!(ask(&list, false, false).is_some(), is_blocked, "{zone}");
    }
    // Wednesday is 3.
    assert!(ask(&[window("deny", "0 12 * * 3", "1m")], false, false).is_some());
    assert!(ask(&[window("deny", "0 12 * * 4", "1m")], false, false).is_none());
}

#[test]
fn lists_are_alternatives_unless_all_of_them_are_asked_for() {
    let both = json!({"kind": "deny", "schedule": "0 11 * * *", "duration": "2h", "applications": ["w*"], "namespaces": ["other"]});
    assert!(ask(std::slice::from_ref(&both), false, false).is_some());
    assert!(ask(&[with(both, "andOperator", json!(true))], false, false).is_none());
    let cluster = json!({"kind": "deny", "schedule": "0 11 * * *", "duration": "2h", "clusters": ["in-cluster"]});
    assert!(ask(&[cluster], false, false).is_some());
    let nobody = json!({"kind": "deny", "schedule": "0 11 * * *", "duration": "2h"});
    assert!(ask(std::slice::from_ref(&nobody), false, false).is_none());
    assert!(ask(&[with(nobody, "andOperator", json!(true))], false, false).is_none());
}

#[test]
fn what_cannot_be_read_is_named() {
    let list = windows(json!([{"kind": "permit", "schedule": "* * *", "duration": "soon", "timeZone": "Mars/Base"}]));
    let found = problems(&list);
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(
        found[1].starts_with("spec.syncWindows[0].schedule \"* * *\": "),
        "{found:?}"
    );
    assert_eq!(
        problems(&windows(json!([window("deny", "@daily", "1h")]))),
        Vec::<String>::new()
    );
}
