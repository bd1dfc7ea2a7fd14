//! The chart and the plain manifests agree with each other and with the code. What they do on an API server is in
//! `e2e`; that `crds/` and the chart's copy are fresh is tested beside their generator.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a broken file fails the test"
)]

use serde_json::{Value, json};
use std::{fs, path::PathBuf};
use tidegate::{lang::yaml, traffic::foreign::ForeignKind};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("charts").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("charts/{name}: {error}"))
}

fn documents(name: &str) -> Vec<Value> {
    yaml::documents(&read(name))
        .unwrap()
        .into_iter()
        .map(|document| document.value)
        .collect()
}

fn find(objects: &[Value], kind: &str, name: &str) -> Value {
    let found = objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.cloned().unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// The chart reads its rules from files; the plain manifests spell them out.
#[test]
fn manifests_grant_what_the_chart_grants() {
    let plain = documents("manifests/rbac.yaml");
    for (kind, name) in [
        ("ClusterRole", "rollouts"),
        ("ClusterRole", "definitions"),
        ("ClusterRole", "analysis-secrets"),
        ("ClusterRole", "applications"),
        ("Role", "control-plane"),
    ] {
        let rules = yaml::to_json(&read(&format!("tidegate/rules/{name}.yaml"))).unwrap();
        let role = find(&plain, kind, &format!("tidegate-{name}"));
        assert_eq!(
            role["rules"], rules,
            "{name}: charts/manifests/rbac.yaml and charts/tidegate/rules differ"
        );
        let template = read("tidegate/templates/rbac.yaml");
        assert!(
            template.contains(&format!("rules/{name}.yaml")),
            "the chart does not grant {name}"
        );
    }
}

/// Rights that would make every other rule moot.
#[test]
fn routers_may_watch_and_edit_what_they_look_at() {
    let rules = yaml::to_json(&read("tidegate/rules/rollouts.yaml")).unwrap();
    for kind in ForeignKind::ALL {
        let plural = json!(format!("{}s", kind.kind().to_lowercase()));
        let allows = |verb: &str| {
            rules.as_array().unwrap().iter().any(|rule| {
                let has = |field: &str, value: &Value| rule[field].as_array().unwrap().contains(value);
                let mut groups = std::iter::once(kind.group()).chain(kind.former_group());
                groups.all(|group| has("apiGroups", &json!(group)))
                    && has("resources", &plural)
                    && has("verbs", &json!(verb))
            })
        };
        for verb in ["get", "list", "watch", "patch"] {
            // What names a virtual router is only read.
            let is_read_only = *kind == ForeignKind::AppMeshVirtualService;
            assert_eq!(
                allows(verb),
                verb != "patch" || !is_read_only,
                "{verb} {plural} of {}",
                kind.group()
            );
        }
    }
}

#[test]
fn no_role_has_wildcards_or_lists_secrets_everywhere() {
    for object in documents("manifests/rbac.yaml") {
        for rule in object["rules"].as_array().into_iter().flatten() {
            for member in ["apiGroups", "resources", "verbs"] {
                let values = rule[member].as_array().unwrap();
                assert!(
                    !values.iter().any(|value| value == "*"),
                    "{}: {rule}",
                    object["metadata"]["name"]
                );
            }
            let has = |member: &str, value: &str| rule[member].as_array().unwrap().iter().any(|found| found == value);
            if object["kind"] == "ClusterRole" && has("resources", "secrets") {
                assert_eq!(rule["verbs"], serde_json::json!(["get"]));
            }
        }
    }
}

/// Whoever reaches a port of the controller can read metrics, ask for its health and announce a push to Git; nothing acts
/// with the controller's rights for those who only ask.
#[test]
fn hazard_20_no_port_acts_for_whoever_asks() {
    let controller = documents("manifests/controller.yaml");
    let ports = |object: &Value, pointer: &str| -> Vec<String> {
        let ports = object.pointer(pointer).unwrap().as_array().unwrap();
        ports
            .iter()
            .map(|port| port["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let deployment = find(&controller, "Deployment", "tidegate");
    assert_eq!(
        ports(&deployment, "/spec/template/spec/containers/0/ports"),
        ["health", "webhook", "metrics"]
    );
    let service = find(&controller, "Service", "tidegate");
    assert_eq!(ports(&service, "/spec/ports"), ["metrics", "webhook"]);
}

#[test]
fn kustomization_names_every_definition() {
    let listed = yaml::to_json(&read("kustomization.yaml")).unwrap();
    let mut wanted: Vec<_> = tidegate::api::crd::files()
        .into_iter()
        .map(|(name, _)| format!("tidegate/crds/{name}"))
        .collect();
    wanted.push("manifests".to_owned());
    assert_eq!(listed["resources"], serde_json::json!(wanted));
    for name in [
        "namespace.yaml",
        "rbac.yaml",
        "controller.yaml",
        "sync-cluster-admin.yaml",
    ] {
        assert!(!documents(&format!("manifests/{name}")).is_empty());
    }
}

/// The restricted profile of the Pod Security Standards, and a file system that cannot be written.
#[test]
fn controller_pod_is_restricted() {
    let deployment = find(&documents("manifests/controller.yaml"), "Deployment", "tidegate");
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    for container in pod["containers"].as_array().unwrap() {
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]));
    }
}

/// Every value has a schema, and the schema speaks of no value that is not there.
#[test]
fn values_and_their_schema_agree() {
    fn compare(values: &Value, schema: &Value, path: &str) {
        let Some(properties) = schema["properties"].as_object() else {
            return;
        };
        let values = values.as_object().unwrap_or_else(|| panic!("{path} is not an object"));
        for (name, value) in values {
            let schema = properties
                .get(name)
                .unwrap_or_else(|| panic!("values.schema.json lacks {path}{name}"));
            compare(value, schema, &format!("{path}{name}."));
        }
        for name in properties.keys().filter(|name| *name != "global") {
            assert!(values.contains_key(name), "values.yaml lacks {path}{name}");
        }
    }
    let schema: Value = serde_json::from_str(&read("tidegate/values.schema.json")).unwrap();
    compare(&yaml::to_json(&read("tidegate/values.yaml")).unwrap(), &schema, "");
}

/// The webhook asks where the controller listens, and holds up nobody while that is not there.
#[test]
fn the_admission_webhook_is_opt_in_and_fails_open() {
    let values = yaml::to_json(&read("tidegate/values.yaml")).unwrap();
    let webhook = &values["admissionWebhook"];
    assert_eq!(
        (&webhook["enabled"], &webhook["failurePolicy"]),
        (&json!(false), &json!("Ignore"))
    );
    let template = read("tidegate/templates/admission.yaml");
    assert!(template.contains("path: /validate") && template.contains("failurePolicy: {{ .failurePolicy }}"));
    let deployment = read("tidegate/templates/deployment.yaml");
    for wanted in [
        "--admission-webhook=0.0.0.0:8443",
        "containerPort: 8443",
        "mountPath: /etc/tidegate/admission",
        "optional: true",
    ] {
        assert!(deployment.contains(wanted), "{wanted}");
    }
}

/// One version everywhere.
#[test]
fn versions_agree() {
    let chart = yaml::to_json(&read("tidegate/Chart.yaml")).unwrap();
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    let deployment = find(&documents("manifests/controller.yaml"), "Deployment", "tidegate");
    let image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(image.ends_with(concat!(":", env!("CARGO_PKG_VERSION"))), "{image}");
}
