use super::*;

#[track_caller]
fn lint_of(text: &str, expect: &[&str]) {
    let mut problems = check(&objects_of(text));
    problems.sort_by_key(|problem| problem.line);
    let found: Vec<String> = problems.iter().map(report::line).collect();
    assert_eq!(found, expect, "\n{}", found.join("\n"));
}

const GOOD: &str = "\
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata:
  name: web
spec:
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: web
        image: demo:v1
  strategy:
    canary:
      canaryService: web-canary
      stableService: web
      steps:
      - setWeight: 20
      - analysis:
          templates:
          - templateName: success-rate
      - pause: {}
";

#[test]
fn what_is_right_is_silent_and_references_may_be_in_the_cluster() {
    lint_of(GOOD, &[]);
    lint_of(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replica: 1}\n",
        &[],
    );
}

#[test]
fn every_problem_is_told_with_its_line_and_what_was_meant() {
    let text = GOOD
        .replace(
            "spec:\n  selector",
            "spec:\n  replicas: 2\n  replica: 2\n  replicas: 3\n  selector",
        )
        .replace("setWeight: 20", "setWeight: 120")
        .replace("labels: {app: web}", "labels: {app: other}");
    lint_of(
        &text,
        &[
            "web.yaml:7: Rollout web: spec.replica: unknown field, did you mean `replicas`?",
            "web.yaml:8: Rollout web: spec.replicas: occurs twice in its map, and the last one counts",
            "web.yaml:13: Rollout web: spec.template.metadata.labels: Invalid value: {\"app\":\"other\"}: `selector` does not match template `labels`: expected app=web",
            "web.yaml:23: Rollout web: spec.strategy.canary.steps[0].setWeight: Invalid value: 120: SetWeight needs to be between 0 and 100",
        ],
    );
}

#[test]
fn services_in_the_same_file_must_fit() {
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: shop}}\n";
    lint_of(
        &format!("{GOOD}{service}"),
        &[
            "web.yaml:18: Rollout web: spec.strategy.canary.stableService: Invalid value: \"web\": Service \"web\" has unmatch label \"app\" in rollout",
        ],
    );
    // One of another namespace is another one.
    let elsewhere = service.replace("{name: web}", "{name: web, namespace: elsewhere}");
    lint_of(&format!("{GOOD}{elsewhere}"), &[]);
}

/// A Rollout of two Services with this router, one flow-style line.
fn routed_by(router: &str) -> String {
    GOOD.replace(
        "      steps:\n",
        &format!("      trafficRouting: {router}\n      steps:\n"),
    )
}

#[track_caller]
fn lint_finds(text: &str, expect: &[&str]) {
    let problems = check(&objects_of(text));
    let found: Vec<String> = problems.iter().map(report::line).collect();
    assert_eq!(found.len(), expect.len(), "{found:#?}");
    for (line, expected) in found.iter().zip(expect) {
        assert!(line.contains(expected), "{expected}\n{found:#?}");
        assert!(
            line.contains(": Rollout web: spec.strategy.canary.trafficRouting."),
            "{line}"
        );
    }
}

#[test]
fn virtual_services_in_the_same_file_must_have_the_routes() {
    let rollout = routed_by("{istio: {virtualService: {name: mesh, routes: [primary]}}}");
    // It may be in the cluster.
    lint_of(&rollout, &[]);
    let service = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: mesh}\nspec:\n  http:\n  - name: primary\n    route:\n    - {destination: {host: web}, weight: 100}\n    - {destination: {host: web-canary}, weight: 0}\n";
    lint_of(&format!("{rollout}{service}"), &[]);
    let renamed = service.replace("name: primary", "name: secondary");
    lint_finds(
        &format!("{rollout}{renamed}"),
        &["VirtualService \"mesh\" has no route \"primary\""],
    );
    let elsewhere = renamed.replace("{name: mesh}", "{name: mesh, namespace: other}");
    lint_of(&format!("{rollout}{elsewhere}"), &[]);
    let named = rollout.replace("name: mesh", "name: mesh.other");
    lint_finds(
        &format!("{named}{elsewhere}"),
        &["VirtualService \"mesh\" has no route \"primary\""],
    );
    let alone = service.replace("host: web-canary", "host: web-next");
    lint_finds(
        &format!("{rollout}{alone}"),
        &["has 0 destinations of the canary version"],
    );
}

#[test]
fn routers_objects_in_the_same_file_must_fit() {
    let rule = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: mesh}\nspec: {subsets: [{name: stable}]}\n";
    let rollout = routed_by(
        "{istio: {virtualService: {name: mesh}, destinationRule: {name: mesh, canarySubsetName: canary, stableSubsetName: stable}}}",
    );
    lint_finds(
        &format!("{rollout}{rule}"),
        &["DestinationRule \"mesh\" has no subset \"canary\""],
    );

    let rollout = routed_by("{plugins: {argoproj-labs/gatewayAPI: {httpRoute: shop}}}");
    let route = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: shop}\nspec:\n  rules:\n  - backendRefs:\n    - {name: web, port: 80}\n    - {name: web-canary, port: 80}\n";
    lint_of(&format!("{rollout}{route}"), &[]);
    let missing = route.replace("    - {name: web-canary, port: 80}\n", "");
    lint_finds(
        &format!("{rollout}{missing}"),
        &["HTTPRoute \"shop\" has no rule with backendRefs to both Services"],
    );

    let rollout = routed_by("{traefik: {weightedTraefikServiceName: shop}}");
    let service = "---\napiVersion: traefik.containo.us/v1alpha1\nkind: TraefikService\nmetadata: {name: shop}\nspec: {weighted: {services: [{name: web, port: 80}]}}\n";
    lint_finds(
        &format!("{rollout}{service}"),
        &["traefik canary service was not found (\"web-canary\")"],
    );
}

#[test]
fn a_value_of_the_wrong_type_is_told_at_its_path() {
    let text = GOOD.replace("setWeight: 20", "setWeight: many");
    let problems = check(&objects_of(&text));
    let [problem] = problems.as_slice() else {
        panic!("{problems:?}")
    };
    assert_eq!(
        (problem.rule, problem.field.as_str(), problem.line),
        ("type", "spec.strategy.canary.steps[0].setWeight", 20)
    );
}

#[test]
fn templates_and_their_conditions_are_checked() {
    let text = "\
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: success-rate, namespace: shop}
spec:
  args: [{name: service}, {name: every}]
  dryRun:
  - metricName: none
  metrics:
  - name: rate
    interval: '{{args.every}}'
    count: 5
    successCondition: result[0] >>= 1
    provider: {prometheus: {address: http://p, query: up}}
  - name: rate
    count: 2
    provider: {}
";
    let problems = check(&objects_of(text));
    let found: Vec<(usize, &str, &str)> = problems
        .iter()
        .map(|problem| (problem.line, problem.field.as_str(), problem.rule))
        .collect();
    assert_eq!(
        found,
        [
            (14, "spec.metrics[1]", "invalid"),
            (14, "spec.metrics[1]", "invalid"),
            (7, "spec.dryRun[0]", "invalid"),
            (12, "spec.metrics[0].successCondition", "condition"),
        ],
        "{problems:?}"
    );
    // A template of templates needs no metrics.
    lint_of(
        "apiVersion: argoproj.io/v1alpha1\nkind: ClusterAnalysisTemplate\nmetadata: {name: a}\nspec: {templates: [{templateName: b}]}\n",
        &[],
    );
}

#[test]
fn experiments_need_names_and_selectors() {
    let text = "\
apiVersion: argoproj.io/v1alpha1
kind: Experiment
metadata: {name: trial}
spec:
  duration: long
  templates:
  - name: a
    selector: {}
    template: {metadata: {labels: {app: web}}}
  - name: a
    minReadySeconds: 900
    selector: {matchLabels: {app: web}}
    template: {metadata: {labels: {app: web}}}
";
    lint_of(
        text,
        &[
            "web.yaml:5: Experiment trial: spec.duration: invalid duration \"long\": a number is expected before each unit",
            "web.yaml:8: Experiment trial: spec.templates[0].selector: This experiment is selecting all pods at index 0. A non-empty selector is required.",
            "web.yaml:10: Experiment trial: spec.templates[1].name: Experiment trial has repeated template name 'a' in templates",
            "web.yaml:11: Experiment trial: spec.templates[1].minReadySeconds: MinReadySeconds cannot be longer than ProgressDeadlineSeconds. Check template index 1",
        ],
    );
}

#[test]
fn a_list_is_looked_into_and_what_is_no_object_is_told() {
    lint_of(
        "kind: List\napiVersion: v1\nitems:\n- apiVersion: argoproj.io/v1alpha1\n  kind: Experiment\n  metadata: {name: e}\n  spec:\n    durration: 1m\n- just text\n---\na: 1\n",
        &[
            "web.yaml:8: Experiment e: spec.durration: unknown field, did you mean `duration`?",
            "web.yaml:9: apiVersion and kind are missing",
            "web.yaml:11: apiVersion and kind are missing",
        ],
    );
}

#[test]
fn a_workload_in_the_same_files_is_looked_at() {
    let template = "  template:\n    metadata:\n      labels: {app: web}\n    spec:\n      containers:\n      - name: web\n        image: demo:v1\n";
    let reference = "  workloadRef: {apiVersion: apps/v1, kind: Deployment, name: web}\n";
    let referring = GOOD.replace(template, reference);
    assert_ne!(referring, GOOD);
    // It may be in the cluster.
    lint_of(&referring, &[]);
    let deployment = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  selector: {matchLabels: {app: other}}\n  template:\n    metadata: {labels: {app: other}}\n";
    lint_of(
        &format!("{referring}{deployment}"),
        &[
            "web.yaml:5: Rollout web: spec.template.metadata.labels: Invalid value: {\"app\":\"other\"}: `selector` does not match template `labels`: expected app=web",
        ],
    );
    let both = GOOD.replace(template, &format!("{template}{reference}"));
    let fitting = deployment.replace("other", "web");
    lint_of(
        &format!("{both}{fitting}"),
        &[
            "web.yaml:8: Rollout web: spec.template: Invalid value: \"\": template must be empty for workload reference rollout",
        ],
    );
}
