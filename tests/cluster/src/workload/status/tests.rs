use super::*;

fn pod(more: Value) -> Pod {
    let mut pod = json!({
        "metadata": {"name": "a", "uid": "u"},
        "spec": {"containers": [{"name": "app", "image": "demo:v1"}, {"name": "proxy", "image": "proxy:1"}]},
    });
    for (key, value) in more.as_object().unwrap() {
        match key.as_str() {
            "status" => pod["status"] = value.clone(),
            _ => pod["spec"][key] = value.clone(),
        }
    }
    serde_json::from_value(pod).unwrap()
}

fn state(container: ContainerState, phase: &'static str) -> PodState {
    PodState {
        ip: Ipv4Addr::new(10, 244, 0, 1),
        started_at: at(0),
        restarts: 0,
        containers: BTreeMap::from([("app".to_owned(), container)]),
        phase,
        reason: None,
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn condition_of<'a>(patch: &'a Value, name: &str) -> &'a Value {
    let conditions = patch["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == name).unwrap()
}

#[test]
fn running_and_ready() {
    let patch = patch(
        &pod(json!({})),
        &state(ContainerState::Running { ready: true }, "Running"),
        at(5),
    );
    assert_eq!(patch["metadata"]["uid"], "u");
    assert_eq!(patch["status"]["phase"], "Running");
    assert_eq!(patch["status"]["podIPs"], json!([{"ip": "10.244.0.1"}]));
    assert_eq!(condition_of(&patch, "Ready")["status"], "True");
    assert_eq!(
        condition_of(&patch, "Ready")["lastTransitionTime"],
        "2027-01-15T08:00:05Z"
    );
    let statuses = patch["status"]["containerStatuses"].as_array().unwrap();
    assert_eq!(statuses.len(), 2);
    assert_eq!(statuses[0]["state"]["running"]["startedAt"], "2027-01-15T08:00:00Z");
    assert_eq!(statuses[0]["ready"], true);
    serde_json::from_value::<Pod>(patch).unwrap();
}

#[test]
fn a_condition_that_holds_on_keeps_its_transition_time() {
    let before = json!({"status": {"conditions": [
        {"type": "Ready", "status": "True", "lastTransitionTime": "2027-01-15T08:00:01Z"},
    ]}});
    let ready = patch(
        &pod(before.clone()),
        &state(ContainerState::Running { ready: true }, "Running"),
        at(9),
    );
    assert_eq!(
        condition_of(&ready, "Ready")["lastTransitionTime"],
        "2027-01-15T08:00:01Z"
    );
    let unready = patch(
        &pod(before),
        &state(ContainerState::Running { ready: false }, "Running"),
        at(9),
    );
    assert_eq!(condition_of(&unready, "Ready")["status"], "False");
    assert_eq!(
        condition_of(&unready, "Ready")["lastTransitionTime"],
        "2027-01-15T08:00:09Z"
    );
    assert_eq!(condition_of(&unready, "Ready")["reason"], "ContainersNotReady");
}

#[test]
fn readiness_gates_hold_back_ready_only() {
    let gated = json!({"readinessGates": [{"conditionType": "example.com/gate"}]});
    let shut = patch(
        &pod(gated),
        &state(ContainerState::Running { ready: true }, "Running"),
        at(0),
    );
    assert_eq!(condition_of(&shut, "ContainersReady")["status"], "True");
    assert_eq!(condition_of(&shut, "Ready")["status"], "False");
    assert_eq!(condition_of(&shut, "Ready")["reason"], "ReadinessGatesNotReady");
    let open = json!({
        "readinessGates": [{"conditionType": "example.com/gate"}],
        "status": {"conditions": [{"type": "example.com/gate", "status": "True"}]},
    });
    let open = patch(
        &pod(open),
        &state(ContainerState::Running { ready: true }, "Running"),
        at(0),
    );
    assert_eq!(condition_of(&open, "Ready")["status"], "True");
}

#[test]
fn a_crash_loop_waits_and_shows_the_last_end() {
    let crash = ContainerState::CrashLoop {
        exit_code: 1,
        back_off_seconds: 10,
    };
    let patch = patch(
        &pod(json!({})),
        &PodState {
            restarts: 2,
            ..state(crash, "Running")
        },
        at(0),
    );
    let status = &patch["status"]["containerStatuses"][0];
    assert_eq!(status["state"]["waiting"]["reason"], "CrashLoopBackOff");
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 1);
    assert_eq!(status["restartCount"], 2);
    assert_eq!(condition_of(&patch, "Ready")["status"], "False");
}

#[test]
fn a_finished_job_shows_exit_code_and_output() {
    let ended = ContainerState::Terminated {
        exit_code: 3,
        reason: "Error",
        message: "no luck".to_owned(),
    };
    let patch = patch(&pod(json!({})), &state(ended, "Failed"), at(4));
    let terminated = &patch["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(terminated["exitCode"], 3);
    assert_eq!(terminated["message"], "no luck");
    assert_eq!(terminated["finishedAt"], "2027-01-15T08:00:04Z");
    assert_eq!(condition_of(&patch, "Ready")["reason"], "PodCompleted");
    serde_json::from_value::<Pod>(patch).unwrap();
}
