use super::*;
use crate::lang::yaml;

fn cast(file: &str) -> Cast {
    let text = std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let objects = yaml::documents(&text)
        .unwrap()
        .into_iter()
        .map(|document| document.value)
        .collect();
    Cast::of(objects, "").unwrap()
}

const SHOP: &str = "examples/simulate/rollout.yaml";

#[track_caller]
fn shop(scenario: &str) -> Story {
    play(&cast(SHOP), &Scenario::read(scenario).unwrap(), false).unwrap()
}

fn verdicts(story: &Story) -> Vec<String> {
    let told = |checked: &crate::sim::timeline::Checked| {
        format!(
            "{} {}: {}",
            if checked.held { "yes" } else { "no" },
            checked.expected,
            checked.found
        )
    };
    story.expectations.iter().map(told).collect()
}

#[test]
fn errors_are_caught_by_the_next_analysis_and_rolled_back() {
    let story = shop(
        "{faults: [{errors: 5% from weight 40}], expect: [rolledBack within 5m, {caughtAtStep: 5}, {weightNeverAbove: 40}, noFailedRequests]}",
    );
    assert!(
        story.expectations.iter().all(|checked| checked.held),
        "{:#?}",
        verdicts(&story)
    );
    assert_eq!(story.outcome, Outcome::RolledBack);
    assert_eq!(
        story
            .analyses
            .iter()
            .map(|analysis| analysis.phase.as_str())
            .collect::<Vec<_>>(),
        ["Successful", "Failed"]
    );
}

#[test]
fn a_scenario_that_must_fail_says_why() {
    let story = shop(
        "{expect: [promoted within 5m, {maxPods: 6}, rolledBack, paused, {caughtAtStep: 1}, {atStep: 2}, {minReady: 7}, notPromoted, {weightNeverAbove: 50}]}",
    );
    insta::assert_snapshot!(verdicts(&story).join("\n"));
}

#[test]
fn a_pause_without_an_approver_is_told() {
    let patch = "update: {patch: {spec: {strategy: {canary: {steps: [{setWeight: 20}, {pause: {}}]}}, template: {metadata: {annotations: {a: b}}}}}}";
    let story = shop(&format!(
        "{patch}\napprovePausesAfter: never\nexpect: [paused, {{atStep: 1}}]"
    ));
    assert!(
        story.expectations.iter().all(|checked| checked.held),
        "{:#?}",
        verdicts(&story)
    );
    let story = shop(&format!("{patch}\napprovePausesAfter: 30s\nexpect: [promoted]"));
    assert!(story.acts.iter().any(|act| act.does == "promote"), "{:?}", story.acts);
    assert_eq!(story.outcome, Outcome::Promoted);
}

#[test]
fn killed_controllers_go_on_where_they_were() {
    let undisturbed = shop("").totals.promoted_after.unwrap();
    let story = shop(
        "{controllers: 2, faults: [{kill: controller at 3m for 20s}, {kill: controller at 6m}], expect: [promoted, noFailedRequests]}",
    );
    assert!(
        story.expectations.iter().all(|checked| checked.held),
        "{:#?}",
        verdicts(&story)
    );
    let late = story.totals.promoted_after.unwrap() - undisturbed;
    assert!((0.0..120.0).contains(&late), "{late}");
    assert_eq!(story.faults.iter().filter(|fault| fault.ended.is_some()).count(), 2);
}

#[test]
fn people_change_the_course() {
    let story = shop(
        "{events: [{at: 1m, do: abort}, {at: 3m, do: retry}, {at: 4m, do: {scale: 9}}], expect: [promoted, {minReady: 6}]}",
    );
    assert!(
        story.expectations.iter().all(|checked| checked.held),
        "{:#?}",
        verdicts(&story)
    );
    assert_eq!(story.frames.last().map(|frame| frame.new.ready), Some(9));
}

#[test]
fn a_version_that_never_ran_is_told() {
    let mut cast = cast(SHOP);
    cast.rollout["spec"]["template"]["spec"]["containers"][0]["image"] = "shop:v1-crash".into();
    let error = play(&cast, &Scenario::default(), false).unwrap_err().to_string();
    assert!(
        error.starts_with("the version before the update does not become healthy: "),
        "{error}"
    );
    cast.rollout["spec"]["strategy"] = serde_json::json!({"canary": {"stableService": "shop"}});
    let error = play(&cast, &Scenario::default(), false).unwrap_err().to_string();
    assert!(error.contains("InvalidSpec"), "{error}");
}

/// Each breaks something between the controllers and the API server; all must get over it.
#[test]
fn troubles_between_controllers_and_the_api_server_delay_and_lose_nothing() {
    let undisturbed = shop("").totals.promoted_after.unwrap();
    for fault in [
        "api: down from step 2 for 1m",
        "api: error from step 2 for 1m",
        "api: conflict from step 2 for 1m",
        "api: lost from step 2 for 1m",
        "apiDelay: 2s",
        "watchDelay: 10s from step 1 for 2m",
        "watches: end at step 2",
        "killAtWrite: 1 from step 2",
        "killAtWrite: 2 from step 2 for 1m",
        "clock: 5m at step 2 for 3m",
        "lease: stolen at step 2",
    ] {
        let story = shop(&format!(
            "{{controllers: 2, faults: [{{{fault}}}], expect: [promoted, noFailedRequests]}}"
        ));
        assert!(
            story.expectations.iter().all(|checked| checked.held),
            "{fault}: {:#?}",
            verdicts(&story)
        );
        assert!(story.faults[0].began.is_some(), "{fault}");
        assert!(story.faults[0].ended.is_some() || !fault.contains(" for "), "{fault}");
        let late = story.totals.promoted_after.unwrap() - undisturbed;
        // What was noted in a wrong time is waited for.
        assert!(late < 330.0, "{fault}: {late} s late");
    }
}

#[test]
fn pods_that_go_down_are_seen() {
    let story = shop("{faults: [{podsDown: 3 stable at step 1 for 30s}], expect: [promoted, {minReady: 6}]}");
    let told = verdicts(&story);
    assert!(told[0].starts_with("yes") && told[1].starts_with("no"), "{told:?}");
}

#[test]
fn a_controller_killed_at_a_write_can_be_killed_at_another() {
    let story =
        shop("{faults: [{killAtWrite: 1 from step 1}, {killAtWrite: 1 from step 3 for 40s}], expect: [promoted]}");
    let lengths: Vec<f64> = (story.faults.iter())
        .filter_map(|fault| Some(fault.ended? - fault.began?))
        .collect();
    assert!(lengths.len() == 2 && lengths[1] >= 40.0, "{lengths:?}");
    assert!(story.expectations[0].held, "{:?}", verdicts(&story));
}

#[test]
fn the_pod_template_of_a_deployment_beside_the_rollout_is_updated_there() {
    let text = std::fs::read_to_string(format!("{}/{SHOP}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let documents = yaml::documents(&text).unwrap().into_iter();
    let mut objects: Vec<Value> = documents.map(|document| document.value).collect();
    let rollout = objects.iter_mut().find(|object| object["kind"] == "Rollout").unwrap();
    let (name, namespace) = (
        rollout["metadata"]["name"].clone(),
        rollout["metadata"]["namespace"].clone(),
    );
    let spec = rollout["spec"].as_object_mut().unwrap();
    let (template, selector) = (spec.remove("template").unwrap(), spec.remove("selector").unwrap());
    spec.insert(
        "workloadRef".to_owned(),
        serde_json::json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name}),
    );
    objects.push(serde_json::json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": 0, "selector": selector, "template": template}}));
    let cast = Cast::of(objects, "").unwrap();
    let story = play(&cast, &Scenario::read("{expect: [promoted]}").unwrap(), false).unwrap();
    assert!(
        story.expectations.iter().all(|checked| checked.held),
        "{:#?}",
        verdicts(&story)
    );
    assert_ne!((story.from.as_str(), story.from.clone()), ("", story.to));
}
