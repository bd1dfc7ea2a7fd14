//! Flattening, merging and messages.

use super::*;
use serde_json::{Value, json};

struct Known {
    namespaced: Vec<AnalysisTemplate>,
    cluster: Vec<ClusterAnalysisTemplate>,
}

impl Known {
    fn new(namespaced: &[(&str, Value)], cluster: &[(&str, Value)]) -> Self {
        let object = |(name, spec): &(&str, Value)| json!({"metadata": {"name": name}, "spec": spec});
        Self {
            namespaced: namespaced
                .iter()
                .map(|entry| serde_json::from_value(object(entry)).unwrap())
                .collect(),
            cluster: cluster
                .iter()
                .map(|entry| serde_json::from_value(object(entry)).unwrap())
                .collect(),
        }
    }

    fn run_spec(&self, analysis: Value, args: Value) -> Result<Value, Vec<String>> {
        let analysis: RolloutAnalysis = serde_json::from_value(analysis).unwrap();
        let args: Vec<Argument> = serde_json::from_value(args).unwrap();
        let namespaced: Vec<&AnalysisTemplate> = self.namespaced.iter().collect();
        let cluster: Vec<&ClusterAnalysisTemplate> = self.cluster.iter().collect();
        let set = TemplateSet {
            namespaced: &namespaced,
            cluster: &cluster,
        };
        let field = |path: &str| match path {
            "metadata.labels['team']" => Ok("a-team".to_owned()),
            _ => Err(format!("invalid path {path} in rollout")),
        };
        run_spec(&analysis, args, &set, field).map(|spec| serde_json::to_value(spec).unwrap())
    }

    fn referred(&self, roots: Value) -> Referred {
        let roots: Vec<AnalysisTemplateRef> = serde_json::from_value(roots).unwrap();
        let namespaced: Vec<&AnalysisTemplate> = self.namespaced.iter().collect();
        let cluster: Vec<&ClusterAnalysisTemplate> = self.cluster.iter().collect();
        referred(
            &roots,
            &TemplateSet {
                namespaced: &namespaced,
                cluster: &cluster,
            },
        )
    }
}

fn metric(name: &str) -> Value {
    json!({"name": name, "provider": {"prometheus": {"address": "http://p", "query": "up"}}})
}

fn to(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"templateName": name})).collect()
}

#[test]
fn nested_templates_are_flattened_once_and_parents_come_first() {
    let known = Known::new(
        &[
            (
                "top",
                json!({"metrics": [metric("m-top")], "templates": [
                {"templateName": "left"}, {"templateName": "right"}, {"templateName": "shared", "clusterScope": true}]}),
            ),
            (
                "left",
                json!({"metrics": [metric("m-left")], "templates": [{"templateName": "shared", "clusterScope": true}]}),
            ),
            (
                "right",
                json!({"metrics": [metric("m-right")], "dryRun": [{"metricName": "m-.*"}]}),
            ),
        ],
        &[("shared", json!({"metrics": [metric("m-shared")]}))],
    );
    let spec = known
        .run_spec(
            json!({"templates": to(&["top"]), "dryRun": [{"metricName": "m-top"}],
                "measurementRetention": [{"metricName": "m-left", "limit": 3}]}),
            json!([]),
        )
        .unwrap();
    let names: Vec<&Value> = spec["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|metric| &metric["name"])
        .collect();
    assert_eq!(names, ["m-top", "m-left", "m-shared", "m-right"]);
    assert_eq!(spec["dryRun"], json!([{"metricName": "m-.*"}, {"metricName": "m-top"}]));
    assert_eq!(
        spec["measurementRetention"],
        json!([{"metricName": "m-left", "limit": 3}])
    );
}

#[test]
fn a_templates_own_field_reference_is_resolved_against_the_owner() {
    let with = |path: &str| {
        let args = json!([{"name": "team", "valueFrom": {"fieldRef": {"fieldPath": path}}}]);
        Known::new(&[("a", json!({"metrics": [metric("m")], "args": args}))], &[])
    };
    let analysis = json!({"templates": to(&["a"])});
    let known = with("metadata.labels['team']");
    let spec = known.run_spec(analysis.clone(), json!([])).unwrap();
    assert_eq!(spec["args"], json!([{"name": "team", "value": "a-team"}]));
    let own = json!([{"name": "team", "value": "own"}]);
    assert_eq!(known.run_spec(analysis.clone(), own.clone()).unwrap()["args"], own);
    assert_eq!(
        with("spec.nothing").run_spec(analysis, json!([])).unwrap_err(),
        ["args.team: invalid path spec.nothing in rollout"]
    );
}

#[test]
fn arguments_come_from_the_rollout_and_then_from_defaults() {
    let known = Known::new(
        &[
            (
                "a",
                json!({"metrics": [metric("m")], "args": [{"name": "x"}, {"name": "y", "value": "default"},
                {"name": "s", "valueFrom": {"secretKeyRef": {"name": "n", "key": "k"}}}]}),
            ),
            (
                "b",
                json!({"metrics": [metric("n")], "args": [{"name": "x", "value": "from-b"}, {"name": "y"}]}),
            ),
        ],
        &[],
    );
    let spec = known
        .run_spec(
            json!({"templates": to(&["a", "b"])}),
            json!([{"name": "y", "value": "own"}, {"name": "unasked", "value": "1"}]),
        )
        .unwrap();
    assert_eq!(
        spec["args"],
        json!([{"name": "x", "value": "from-b"}, {"name": "y", "value": "own"},
            {"name": "s", "valueFrom": {"secretKeyRef": {"name": "n", "key": "k"}}}])
    );
}

#[test]
fn what_is_wrong_is_said_in_the_originals_words() {
    let known = Known::new(
        &[
            (
                "a",
                json!({"metrics": [metric("m")], "args": [{"name": "x", "value": "1"}], "dryRun": [{"metricName": "m"}]}),
            ),
            (
                "b",
                json!({"metrics": [metric("n")], "args": [{"name": "x", "value": "2"}]}),
            ),
            ("same", json!({"metrics": [metric("m")]})),
            ("asks", json!({"metrics": [metric("q")], "args": [{"name": "need"}]})),
            ("nests", json!({"templates": [{"templateName": "gone"}]})),
        ],
        &[],
    );
    for (analysis, problems) in [
        (
            json!({"templates": [{"templateName": "gone"}]}),
            vec!["AnalysisTemplate 'gone' not found"],
        ),
        (
            json!({"templates": [{"templateName": "nests"}]}),
            vec!["AnalysisTemplate 'gone' not found"],
        ),
        (
            json!({"templates": [{"templateName": "a", "clusterScope": true}, {"templateName": "gone"}]}),
            vec![
                "ClusterAnalysisTemplate 'a' not found",
                "AnalysisTemplate 'gone' not found",
            ],
        ),
        (
            json!({"templates": to(&["a", "b"])}),
            vec!["Argument `x` specified multiple times with different values: '1', '2'"],
        ),
        (
            json!({"templates": to(&["a", "same"])}),
            vec!["two metrics have the same name 'm'"],
        ),
        (
            json!({"templates": to(&["asks"])}),
            vec!["missing analysis arguments in rollout spec: args.need was not resolved"],
        ),
        (
            json!({"templates": to(&["a"]), "dryRun": [{"metricName": "m"}]}),
            vec!["two Dry-Run metric rules have the same name 'm'"],
        ),
        (
            json!({"templates": to(&["b"]), "measurementRetention": [{"metricName": "n", "limit": 1}, {"metricName": "n", "limit": 2}]}),
            vec!["two Measurement Retention metric rules have the same name 'n'"],
        ),
    ] {
        assert_eq!(
            known.run_spec(analysis.clone(), json!([])).unwrap_err(),
            problems,
            "{analysis}"
        );
    }
}

#[test]
fn a_cycle_is_named_and_ends() {
    let known = Known::new(
        &[
            ("a", json!({"metrics": [metric("m")], "templates": to(&["b"])})),
            ("b", json!({"templates": to(&["a"])})),
            ("self", json!({"templates": to(&["self"])})),
        ],
        &[],
    );
    assert_eq!(
        known.run_spec(json!({"templates": to(&["a"])}), json!([])).unwrap_err(),
        ["AnalysisTemplate 'a' refers to itself: a -> b -> a"]
    );
    assert_eq!(
        known
            .run_spec(json!({"templates": to(&["self"])}), json!([]))
            .unwrap_err(),
        ["AnalysisTemplate 'self' refers to itself: self -> self"]
    );
    assert_eq!(
        known.referred(to(&["a"])).namespaced.into_iter().collect::<Vec<_>>(),
        ["a", "b"]
    );
}

#[test]
fn nesting_is_bounded() {
    let names: Vec<String> = (0..20).map(|depth| format!("t{depth}")).collect();
    let entries: Vec<(&str, Value)> = names
        .windows(2)
        .map(|pair| (pair[0].as_str(), json!({"metrics": [], "templates": to(&[&pair[1]])})))
        .collect();
    let problems = Known::new(&entries, &[])
        .run_spec(json!({"templates": to(&["t0"])}), json!([]))
        .unwrap_err();
    assert_eq!(problems, ["AnalysisTemplate 't10' is nested deeper than 10 templates"]);
}

#[test]
fn observers_learn_which_templates_are_needed() {
    let known = Known::new(
        &[(
            "a",
            json!({"templates": [{"templateName": "c", "clusterScope": true}, {"templateName": "unknown"}]}),
        )],
        &[("c", json!({"templates": to(&["deep"])}))],
    );
    let referred = known.referred(to(&["a"]));
    assert_eq!(
        referred.namespaced.into_iter().collect::<Vec<_>>(),
        ["a", "deep", "unknown"]
    );
    assert_eq!(referred.cluster.into_iter().collect::<Vec<_>>(), ["c"]);
}

#[test]
fn metrics_are_checked_with_their_arguments_in_place() {
    let mut counted = metric("m");
    counted["count"] = json!("{{args.n}}");
    let template = json!({"metrics": [counted], "args": [{"name": "n"},
        {"name": "s", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]});
    let known = Known::new(&[("a", template)], &[]);
    let run = |n: &str| known.run_spec(json!({"templates": to(&["a"])}), json!([{"name": "n", "value": n}]));
    assert_eq!(
        run("3").unwrap_err(),
        ["metrics[0]: interval must be specified when count > 1"]
    );
    assert_eq!(
        run("x").unwrap_err(),
        ["metrics[0]: invalid count \"x\": a whole number is expected"]
    );
    assert_eq!(
        run("1").unwrap()["metrics"][0]["count"],
        json!("{{args.n}}"),
        "kept as written"
    );
    let empty = Known::new(&[("a", json!({}))], &[]);
    assert_eq!(
        empty.run_spec(json!({"templates": to(&["a"])}), json!([])).unwrap_err(),
        ["no metrics specified"]
    );
}
