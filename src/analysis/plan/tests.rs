//! Runs over several passes: each pass records readings on what the one before wrote.

use super::*;
use serde_json::json;
use std::collections::BTreeMap;

/// A run and the clock, driven pass by pass.
struct Course {
    run: AnalysisRun,
    second: i64,
    events: Vec<String>,
    due: Vec<Due>,
    plan: Plan,
}

impl Course {
    fn new(spec: Value) -> Self {
        let run =
            json!({"metadata": {"name": "r", "namespace": "n", "uid": "u", "resourceVersion": "1"}, "spec": spec});
        let run = serde_json::from_value(run).unwrap();
        Self {
            run,
            second: 0,
            events: vec![],
            due: vec![],
            plan: Plan::default(),
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_000_000 + self.second).unwrap()
    }

    /// One pass with readings; the status is written as an API server would.
    fn pass(&mut self, readings: &[Reading]) -> &mut Self {
        let Pass { plan, due } = record(
            &RunSnapshot {
                run: &self.run,
                now: self.now(),
            },
            readings,
        );
        if let StatusChange::Merge {
            patch,
            subresource,
            precondition,
            ..
        } = &plan.status
        {
            assert!(
                !subresource && precondition.uid.as_deref() == Some("u") && precondition.resource_version.is_some()
            );
            let mut tree = serde_json::to_value(&self.run).unwrap();
            json_patch::merge(&mut tree, patch);
            self.run = serde_json::from_value(tree).unwrap();
        }
        self.events.extend(plan.events.iter().map(|event| {
            let mark = if event.kind == EventKind::Warning { "!" } else { "" };
            format!("{mark}{}: {}", event.reason, event.message)
        }));
        (self.due, self.plan) = (due, plan);
        self
    }

    /// Schedules at a second and answers everything that is due with these phases, by metric name.
    fn at(&mut self, second: i64, answers: &[(&str, Phase)]) -> &mut Self {
        self.second = second;
        self.pass(&[]);
        let readings: Vec<Reading> = answers.iter().map(|(name, phase)| self.reading(name, *phase)).collect();
        self.pass(&readings)
    }

    fn reading(&self, name: &str, phase: Phase) -> Reading {
        let due = self
            .due
            .iter()
            .find(|due| due.metric == name)
            .unwrap_or_else(|| panic!("{name} is not due"));
        Reading {
            due: due.clone(),
            started_at: self.now(),
            finished_at: self.now(),
            phase,
            message: if phase == Phase::Error {
                "boom".to_owned()
            } else {
                String::new()
            },
            value: "[1]".to_owned(),
            metadata: BTreeMap::new(),
            metric_metadata: BTreeMap::new(),
            resume_at: (phase == Phase::Running).then(|| self.now()),
        }
    }

    fn status(&self) -> &AnalysisRunStatus {
        self.run.status.as_ref().unwrap()
    }

    fn end(&self) -> (&str, &str) {
        (self.status().phase.as_str(), self.status().message.as_str())
    }

    fn metric(&self, name: &str) -> &MetricResult {
        schedule::result_of(self.status(), name).unwrap()
    }
}

fn web(name: &str, fields: Value) -> Value {
    let mut metric = json!({"name": name, "provider": {"web": {"url": "http://x"}}});
    metric
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    metric
}

fn one(fields: Value) -> Value {
    json!({"metrics": [web("m", fields)]})
}

#[test]
fn a_single_good_measurement_makes_a_successful_run() {
    let mut course = Course::new(one(json!({})));
    course.pass(&[]);
    assert_eq!((course.end(), course.due.len()), (("Running", ""), 1));
    assert!(course.status().started_at.is_some() && course.status().completed_at.is_none());
    course.pass(&[course.reading("m", Phase::Successful)]);
    assert_eq!(course.end(), ("Successful", ""));
    assert_eq!(
        serde_json::to_value(course.status()).unwrap(),
        json!({
            "phase": "Successful", "startedAt": "1970-01-12T13:46:40Z", "completedAt": "1970-01-12T13:46:40Z",
            "metricResults": [{"name": "m", "phase": "Successful", "count": 1, "successful": 1, "consecutiveSuccess": 1,
                "measurements": [{"phase": "Successful", "value": "[1]", "startedAt": "1970-01-12T13:46:40Z",
                    "finishedAt": "1970-01-12T13:46:40Z"}]}],
            "runSummary": {"count": 1, "successful": 1}, "dryRunSummary": {}
        })
    );
    assert_eq!(
        course.events,
        [
            "MetricSuccessful: Metric 'm' Completed. Result: Successful",
            "AnalysisRunSuccessful: Analysis Completed. Result: Successful"
        ]
    );
    assert!(super::super::is_evidence(&course.run));
    assert!(course.pass(&[]).plan.writes_nothing(), "{:?}", course.plan);
}

#[test]
fn a_failure_ends_the_run_with_the_originals_message() {
    let mut course = Course::new(
        json!({"metrics": [web("bad", json!({"interval": "10s"})), web("good", json!({"interval": "10s"}))]}),
    );
    course
        .at(0, &[("bad", Phase::Successful), ("good", Phase::Successful)])
        .at(10, &[("bad", Phase::Failed)]);
    assert_eq!(
        course.end(),
        (
            "Failed",
            "Metric \"bad\" assessed Failed due to failed (1) > failureLimit (0)"
        )
    );
    assert_eq!(course.metric("good").phase, "Successful");
    assert_eq!(
        course.status().run_summary,
        Some(RunSummary {
            count: 2,
            successful: 1,
            failed: 1,
            ..RunSummary::default()
        })
    );
    assert!(course.status().completed_at.is_some() && course.due.is_empty());
    assert!(
        course
            .events
            .contains(&"!MetricFailed: Metric 'bad' Completed. Result: Failed".to_owned())
    );
    assert!(
        course
            .events
            .contains(&"!AnalysisRunFailed: Analysis Completed. Result: Failed".to_owned())
    );
}

#[test]
fn errors_are_retried_after_ten_seconds_and_end_the_run_when_in_a_row() {
    let mut course = Course::new(one(json!({"interval": "1m"})));
    for round in 0..4 {
        course.at(round * 10, &[("m", Phase::Error)]);
        assert_eq!(course.end(), ("Running", ""));
    }
    course.at(40, &[("m", Phase::Error)]);
    assert_eq!(
        course.end(),
        (
            "Error",
            "Metric \"m\" assessed Error due to consecutiveErrors (5) > consecutiveErrorLimit (4): \"Error Message: boom\""
        )
    );
    assert_eq!((course.metric("m").count, course.metric("m").error), (0, 5));
    let mut healed = Course::new(one(json!({"interval": "1m", "count": 1})));
    healed.at(0, &[("m", Phase::Error)]).at(10, &[("m", Phase::Successful)]);
    assert_eq!(healed.end(), ("Successful", ""));
    assert_eq!((healed.metric("m").consecutive_error, healed.metric("m").error), (0, 1));
}

#[test]
fn inconclusive_is_worse_than_success_and_better_than_failure() {
    let spec = json!({"metrics": [web("a", json!({})), web("b", json!({})), web("c", json!({}))]});
    let mut course = Course::new(spec);
    course.at(
        0,
        &[
            ("a", Phase::Successful),
            ("b", Phase::Inconclusive),
            ("c", Phase::Failed),
        ],
    );
    assert_eq!(
        course.end(),
        (
            "Failed",
            "Metric \"c\" assessed Failed due to failed (1) > failureLimit (0)"
        )
    );
    let mut course = Course::new(one(json!({})));
    course.at(0, &[("m", Phase::Inconclusive)]);
    assert_eq!(
        course.end(),
        (
            "Inconclusive",
            "Metric \"m\" assessed Inconclusive due to inconclusive (1) > inconclusiveLimit (0)"
        )
    );
}

#[test]
fn a_reading_is_recorded_once() {
    let mut course = Course::new(one(json!({"interval": "10s"})));
    course.pass(&[]);
    let reading = course.reading("m", Phase::Successful);
    course.pass(&[reading.clone(), reading.clone()]);
    assert_eq!(course.metric("m").count, 1);
    course.pass(&[reading]);
    assert_eq!(
        (course.metric("m").count, course.metric("m").measurements.len()),
        (1, 1)
    );
    assert!(course.plan.writes_nothing());
}

#[test]
fn a_terminated_run_is_successful_but_no_evidence() {
    for (spec, answers) in [
        (one(json!({"interval": "10s"})), vec![("m", Phase::Successful)]),
        (one(json!({"initialDelay": "1h"})), vec![]),
    ] {
        let mut course = Course::new(spec);
        course.at(0, &answers);
        assert_eq!(course.end(), ("Running", ""));
        course.run.spec.terminate = true;
        course.at(1, &[]);
        assert_eq!(course.end(), ("Successful", "Run Terminated"));
        assert!(course.status().completed_at.is_some() && !super::super::is_evidence(&course.run));
    }
}

#[test]
fn a_job_under_way_is_resumed_and_terminated() {
    let mut course = Course::new(one(json!({})));
    course.at(0, &[("m", Phase::Running)]);
    assert_eq!(course.end(), ("Running", ""));
    assert!(matches!(
        &course.due[..],
        [Due {
            attempt: Attempt::Resume(_),
            sequence: 1,
            ..
        }]
    ));
    let running = course.metric("m").measurements.clone();
    course.at(5, &[("m", Phase::Running)]);
    let polled = &course.metric("m").measurements;
    assert_eq!((polled.len(), &polled[0].started_at), (1, &running[0].started_at));
    course.run.spec.terminate = true;
    course.pass(&[]);
    assert!(matches!(
        &course.due[..],
        [Due {
            attempt: Attempt::Terminate(_),
            ..
        }]
    ));
    assert_eq!(course.end(), ("Running", ""), "it ends when the Job is gone");
    course.pass(&[course.reading("m", Phase::Inconclusive)]);
    assert_eq!(course.end().0, "Inconclusive");
    assert_eq!(course.metric("m").measurements.len(), 1);
}

#[test]
fn a_failing_metric_waits_for_what_it_terminates() {
    let mut course = Course::new(json!({"metrics": [web("job", json!({})), web("bad", json!({}))]}));
    course.at(0, &[("job", Phase::Running), ("bad", Phase::Failed)]);
    assert_eq!(course.end(), ("Running", ""));
    assert_eq!(course.metric("bad").phase, "Failed");
    course.pass(&[course.reading("job", Phase::Inconclusive)]);
    assert_eq!(
        course.end(),
        (
            "Failed",
            "Metric \"bad\" assessed Failed due to failed (1) > failureLimit (0)"
        )
    );
}

#[test]
fn a_dry_run_metric_never_decides() {
    let spec = json!({"metrics": [web("real", json!({})), web("dry", json!({}))], "dryRun": [{"metricName": "dry"}]});
    let mut course = Course::new(spec);
    course.at(0, &[("real", Phase::Successful), ("dry", Phase::Failed)]);
    assert_eq!(course.end(), ("Successful", ""));
    let dry = course.metric("dry");
    assert_eq!((dry.phase.as_str(), dry.dry_run), ("Failed", true));
    assert_eq!(
        dry.message,
        "Metric assessed Failed due to failed (1) > failureLimit (0)"
    );
    assert_eq!(
        course.status().run_summary,
        Some(RunSummary {
            count: 1,
            successful: 1,
            ..RunSummary::default()
        })
    );
    assert_eq!(
        course.status().dry_run_summary,
        Some(RunSummary {
            count: 1,
            failed: 1,
            ..RunSummary::default()
        })
    );
    assert!(super::super::is_evidence(&course.run));
}

#[test]
fn only_the_newest_measurements_stay() {
    let mut course = Course::new(json!({
        "metrics": [web("a", json!({"interval": "10s"})), web("b", json!({"interval": "10s"}))],
        "measurementRetention": [{"metricName": "b", "limit": 2}]}));
    for round in 0..12 {
        course.at(round * 10, &[("a", Phase::Successful), ("b", Phase::Successful)]);
    }
    assert_eq!(
        (
            course.metric("a").measurements.len(),
            course.metric("b").measurements.len()
        ),
        (10, 2)
    );
    assert_eq!(course.metric("b").count, 12);
}

#[test]
fn time_to_live_has_a_timer_and_ends_with_a_guarded_delete() {
    let ttl = json!({"secondsAfterCompletion": 100, "secondsAfterSuccess": 30});
    for (phase, end) in [(Phase::Successful, 30), (Phase::Failed, 100)] {
        let mut spec = one(json!({}));
        spec["ttlStrategy"] = ttl.clone();
        let mut course = Course::new(spec);
        course.at(0, &[("m", phase)]);
        let deadline = crate::plan::Requeue::At(Timestamp::from_second(1_000_000 + end).unwrap());
        assert_eq!(course.plan.requeue, deadline);
        course.second = end - 1;
        assert_eq!(course.pass(&[]).plan.requeue, deadline);
        assert!(course.plan.writes_nothing());
        course.second = end;
        course.pass(&[]);
        let [crate::plan::Stage(actions)] = &course.plan.stages[..] else {
            panic!("{:?}", course.plan)
        };
        let [
            Action::Delete {
                target, precondition, ..
            },
        ] = &actions[..]
        else {
            panic!("{actions:?}")
        };
        assert_eq!((target.name.as_str(), precondition.uid.as_deref()), ("r", Some("u")));
        assert_eq!(precondition.resource_version.as_deref(), Some("1"));
    }
}

#[test]
fn every_end_has_a_time() {
    let mut course = Course::new(json!({"metrics": [], "ttlStrategy": {"secondsAfterFailure": 5}}));
    course.pass(&[]);
    assert_eq!(course.end(), ("Error", "Analysis spec invalid: no metrics specified"));
    assert!(course.status().completed_at.is_some() && course.plan.requeue != crate::plan::Requeue::AwaitChange);
    assert_eq!(course.events, ["!AnalysisRunError: Analysis Completed. Result: Error"]);
    let mut course = Course::new(one(json!({"successCondition": "{{args.x}}"})));
    course.pass(&[]);
    assert_eq!(
        course.end(),
        (
            "Error",
            "Unable to resolve metric arguments: failed to resolve {{args.x}}"
        )
    );
    // Left by an earlier controller.
    let mut course = Course::new(one(json!({})));
    course.run.status = Some(AnalysisRunStatus {
        phase: "Failed".into(),
        ..AnalysisRunStatus::default()
    });
    course.pass(&[]);
    assert!(course.status().completed_at.is_some() && course.events.is_empty());
}

#[test]
fn a_crash_before_recording_only_repeats_the_measurement() {
    let mut course = Course::new(one(json!({"interval": "10s"})));
    course.at(0, &[("m", Phase::Successful)]);
    course.second = 10;
    course.pass(&[]);
    let lost = course.reading("m", Phase::Failed);
    let again = course.pass(&[]).due.clone();
    assert_eq!(again, [lost.due]);
}

#[test]
fn a_run_being_deleted_is_left_alone_and_shards_are_equal_strings() {
    let mut course = Course::new(one(json!({})));
    assert!(is_managed(&course.run, "") && !is_managed(&course.run, "a"));
    course.run.metadata.labels = Some(BTreeMap::from([(well_known::INSTANCE_ID.to_owned(), "a".to_owned())]));
    assert!(is_managed(&course.run, "a") && !is_managed(&course.run, ""));
    course.run.metadata.deletion_timestamp = Some(wire_time(course.now()));
    assert_eq!(
        record(
            &RunSnapshot {
                run: &course.run,
                now: course.now()
            },
            &[]
        ),
        Pass::default()
    );
}
