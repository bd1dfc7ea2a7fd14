use super::*;

/// Every path of a schema as the tables name it.
fn paths(schema: &Value, path: &str, into: &mut Vec<(String, Value)>) {
    let mut schema = schema.clone();
    into.push((path.to_owned(), schema.clone()));
    for_each_child(schema.as_object_mut().unwrap(), |step, child| {
        paths(child, format!("{path}{step}").trim_start_matches('.'), into);
    });
}

fn paths_of(kind: &str) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    paths(of(kind).unwrap(), "", &mut all);
    all
}

#[test]
fn every_row_of_the_tables_hits_a_field() {
    for kind in EVERY {
        let paths = paths_of(kind);
        let below_status = |path: &str| path.starts_with("status.");
        for (kinds, end, fields) in REQUIRED.iter().filter(|(kinds, ..)| kinds.contains(kind)) {
            let hits: Vec<_> = paths
                .iter()
                .filter(|(path, _)| ends(path, end) && !below_status(path))
                .collect();
            assert!(!hits.is_empty(), "{kinds:?}: nothing ends in `{end}`");
            for (path, schema) in hits {
                for field in *fields {
                    assert!(
                        schema.pointer(&format!("/properties/{field}")).is_some(),
                        "{kind}: {path} has no {field}"
                    );
                }
            }
        }
        for (_, end, _) in additions().iter().filter(|(kinds, ..)| kinds.contains(kind)) {
            assert!(
                paths.iter().any(|(path, _)| ends(path, end)),
                "{kind}: nothing ends in `{end}`"
            );
        }
    }
}

/// Kubernetes' rules for a structural schema, as far as ours could break them.
#[test]
fn schemas_are_structural() {
    const MEMBERS: [&str; 16] = [
        "additionalProperties",
        "anyOf",
        "default",
        "description",
        "enum",
        "format",
        "items",
        "maxLength",
        "minLength",
        "nullable",
        "pattern",
        "properties",
        "required",
        "type",
        "x-kubernetes-int-or-string",
        "x-kubernetes-preserve-unknown-fields",
    ];
    for kind in EVERY {
        assert_eq!(
            of(kind).unwrap().pointer("/properties/metadata"),
            Some(&json!({ "type": "object" }))
        );
        for (path, schema) in paths_of(kind) {
            let members = schema.as_object().unwrap();
            for member in members.keys() {
                let known = MEMBERS.contains(&member.as_str()) || member == "x-kubernetes-validations";
                assert!(known, "{kind}: {path}: {member}");
            }
            let union = members.contains_key("x-kubernetes-int-or-string");
            let free = members.contains_key("x-kubernetes-preserve-unknown-fields");
            assert!(
                union || free || members.get("type").is_some_and(Value::is_string),
                "{kind}: {path}: no type"
            );
            assert_eq!(members.contains_key("anyOf"), union, "{kind}: {path}");
            assert!(
                !(members.contains_key("properties") && members.contains_key("additionalProperties")),
                "{path}"
            );
        }
    }
}

#[test]
fn free_trees_are_where_the_reference_has_them() {
    let free = |kind: &str| -> Vec<String> {
        let is_free = |schema: &Value| schema.get("x-kubernetes-preserve-unknown-fields").is_some();
        let free = paths_of(kind)
            .into_iter()
            .filter(|(_, schema)| is_free(schema))
            .map(|(path, _)| path);
        let mut free: Vec<_> = free.collect();
        free.sort();
        free
    };
    assert_eq!(
        free("Rollout"),
        [
            "spec.strategy.blueGreen.antiAffinity.requiredDuringSchedulingIgnoredDuringExecution",
            "spec.strategy.canary.antiAffinity.requiredDuringSchedulingIgnoredDuringExecution",
            "spec.strategy.canary.steps[].plugin.config",
            "spec.strategy.canary.trafficRouting.plugins",
            "spec.template",
            "status.canary.stepPluginStatuses[].status",
        ]
    );
    assert_eq!(
        free("AnalysisTemplate"),
        [
            "spec.metrics[].provider.cloudWatch.metricDataQueries[].metricStat",
            "spec.metrics[].provider.job.spec",
            "spec.metrics[].provider.plugin",
            "spec.metrics[].provider.web.jsonBody",
        ]
    );
    assert_eq!(free("Experiment"), ["spec.templates[].template"]);
    assert_eq!(free("AppProject"), Vec::<String>::new());
}

#[test]
fn ends_compares_whole_names() {
    for (path, end, expected) in [
        ("", "", true),
        ("spec", "", false),
        ("spec", "spec", true),
        ("spec.metrics[].provider.job.spec", "spec", false),
        ("spec.template.spec", "template.spec", true),
        ("spec.source", "source", true),
        ("spec.drySource", "Source", false),
        ("spec.strategy.canary.steps[].plugin", "steps[].plugin", true),
        ("spec.args[]", "args[]", true),
    ] {
        assert_eq!(ends(path, end), expected, "{path:?} {end:?}");
    }
}
