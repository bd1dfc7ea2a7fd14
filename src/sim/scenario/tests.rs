use super::*;
use serde_json::json;

#[track_caller]
fn refuses(text: &str, expect: &str) {
    assert_eq!(Scenario::read(text).unwrap_err().to_string(), expect);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one document with every key")]
fn a_whole_scenario_is_read() {
    let scenario = Scenario::read(
        r#"
description: everything
files: [rollout.yaml]
seed: 7
update: {image: "web=shop:v2"}
approvePausesAfter: never
controllers: 2
lasts: 2h
takes: {podStart: 10s, dataPlane: 1500ms}
values: {queue-depth: 3}
events:
- {at: 2m, do: {scale: 8}}
- {when: {step: 3}, do: promote full}
- {when: {weight: 40}, do: abort}
- do: {delete: ReplicaSet/web-1}
- at: 5m
  do: {selector: {service: web, set: {app: other}}}
faults:
- errors: 5% from weight 40
- slow: 300ms at step 2 for 10m
- crash
- metrics: down at 3m for 2m
- noTraffic: from start
- kill: controller at 2m
- dataPlaneDelay: 10s
- api: lost at step 1
- apiDelay: 2s
- watchDelay: 10s for 1m
- watches: end at 2m
- lease: stolen
- clock: -5m
- podsDown: 2 stable for 1m
- killAtWrite: 3 from step 2
expect:
- promoted within 30m
- rolledBack
- atStep: 3
- maxPods: 14
- noFailedRequests
- errorsBelow: 2%
- weightNeverAbove: 40
"#,
    )
    .unwrap();
    let seconds = Duration::from_secs;
    let events: Vec<(Moment, String)> = scenario
        .events
        .iter()
        .map(|event| (event.when, event.does.to_string()))
        .collect();
    assert_eq!(
        events,
        [
            (Moment::After(seconds(120)), "scale to 8".to_owned()),
            (Moment::Step(3), "promote --full".to_owned()),
            (Moment::Weight(40), "abort".to_owned()),
            (Moment::Start, "delete ReplicaSet web-1".to_owned()),
            (
                Moment::After(seconds(300)),
                "edit the selector of Service web: {\"app\":\"other\"}".to_owned()
            ),
        ]
    );
    let faults: Vec<(Trouble, Moment, Option<u64>)> = scenario
        .faults
        .iter()
        .map(|fault| {
            (
                fault.what,
                fault.when.from,
                fault.when.lasts.map(|lasts| lasts.as_secs()),
            )
        })
        .collect();
    assert_eq!(
        faults,
        [
            (Trouble::Errors(0.05), Moment::Weight(40), None),
            (Trouble::Slow(Duration::from_millis(300)), Moment::Step(2), Some(600)),
            (Trouble::Crash, Moment::Start, None),
            (Trouble::Metrics(Source::Down), Moment::After(seconds(180)), Some(120)),
            (Trouble::NoTraffic, Moment::Start, None),
            (Trouble::Kill, Moment::After(seconds(120)), None),
            (Trouble::DataPlaneDelay(seconds(10)), Moment::Start, None),
            (Trouble::Api(Connection::Lost), Moment::Step(1), None),
            (Trouble::ApiDelay(seconds(2)), Moment::Start, None),
            (Trouble::WatchDelay(seconds(10)), Moment::Start, Some(60)),
            (Trouble::WatchesEnd, Moment::After(seconds(120)), None),
            (Trouble::LeaseStolen, Moment::Start, None),
            (Trouble::Clock(-300), Moment::Start, None),
            (Trouble::PodsDown(2, Role::Stable), Moment::Start, Some(60)),
            (Trouble::KillAtWrite(3), Moment::Step(2), None),
        ]
    );
    assert_eq!(
        scenario.faults.first().map(|fault| fault.text.as_str()),
        Some("errors 5% from weight 40")
    );
    let wishes: Vec<Wish> = scenario.expect.into_iter().map(|expected| expected.what).collect();
    assert_eq!(
        wishes,
        [
            Wish::Promoted(Some(seconds(1800))),
            Wish::RolledBack(None),
            Wish::AtStep(3),
            Wish::MaxPods(14),
            Wish::NoFailedRequests,
            Wish::ErrorsBelow(0.02),
            Wish::WeightNeverAbove(40),
        ]
    );
    assert_eq!(
        (scenario.approve_pauses_after, scenario.lasts),
        (Some(Patience::Never), Some(Span(seconds(7200))))
    );
    assert_eq!(scenario.values, BTreeMap::from([("queue-depth".to_owned(), json!(3))]));
}

#[test]
fn an_empty_scenario_is_one() {
    assert!(Scenario::read("").unwrap().faults.is_empty());
}

#[test]
fn errors_name_the_path_and_what_is_expected() {
    refuses(
        "expects: []",
        "expects: unknown field `expects`, expected one of `description`, `files`, `objects`, `rollout`, \
        `seed`, `update`, `approvePausesAfter`, `controllers`, `lasts`, `takes`, `values`, `events`, `faults`, `expect`",
    );
    refuses(
        "faults: [{errors: 5}]",
        "faults[0]: expected a share from 0% to 100%, found `5`",
    );
    refuses(
        "faults: [crash, {errors: 5% from weight x}]",
        "faults[1]: expected a weight, found `x`",
    );
    refuses(
        "faults: [{error: 5%}]",
        "faults[0]: unknown fault `error`; expected one of errors, slow, crash, podsDown, metrics, noTraffic, kill, \
        killAtWrite, lease, clock, dataPlaneDelay, api, apiDelay, watchDelay, watches",
    );
    refuses("faults: [{killAtWrite: 0}]", "faults[0]: expected a number, found `0`");
    refuses(
        "faults: [{podsDown: 2}]",
        "faults[0]: expected one of stable, new after `podsDown`, found nothing",
    );
    refuses(
        "faults: [{metrics: dead}]",
        "faults[0]: unknown metrics `dead`; expected one of down, absent, nan, error, slow, hang",
    );
    refuses(
        "expect: [promoted in 30m]",
        "expect[0]: `promoted` is complete before `in`",
    );
    refuses(
        "expect: [{maxPods: many}]",
        "expect[0]: expected a number, found `many`",
    );
    refuses(
        "events: [{at: 2m, when: {step: 1}, do: abort}]",
        "events[0]: expected one of `at` and `when`, found both",
    );
    refuses(
        "events: [{at: 2 minutes, do: abort}]",
        "events[0].at: invalid duration \"2 minutes\": its unit is unknown (expected ns, us, ms, s, m or h)",
    );
    refuses(
        "events: [{do: {delete: Web/x}}]",
        "events[0].do: unknown kind `Web/x`; expected one of ReplicaSet, Ingress, Service, Pod, AnalysisRun, AnalysisTemplate",
    );
    refuses(
        "faults: [[1]]",
        "faults[0]: expected a line of words such as `crash from step 2`, found [1]",
    );
    refuses(
        "takes: {podStart: -3s}",
        "takes.podStart: expected a positive duration, found `-3s`",
    );
    refuses(
        "a: [",
        "line 2: while parsing a flow node, did not find expected node content",
    );
}
