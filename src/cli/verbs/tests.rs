//! The verbs from their words to the API server: what is said, and what is stored.

use super::*;
use crate::cli::terminal::testing::recorded;
use crate::cli::words::Command;
use crate::cli::{Called, act, parse};
use crate::sim::api::kinds::{Key, Kind as ApiKind};
use crate::sim::api::{Change, Options, SimApi};
use crate::sim::clock::VirtualClock;
use std::ffi::OsString;

const NOW: &str = "2026-01-01T01:00:00Z";

struct Desk {
    api: SimApi,
    clock: SharedClock,
}

/// What came of a command line.
#[derive(Debug)]
struct Told {
    out: String,
    notes: String,
    error: Option<CliError>,
}

impl Desk {
    fn new() -> Self {
        let clock: SharedClock = Arc::new(VirtualClock::starting_at(NOW.parse().unwrap()));
        Self {
            api: SimApi::new(Arc::clone(&clock), Options::default()),
            clock,
        }
    }

    fn put(&self, object: Value) {
        let status = object.get("status").cloned();
        let stored = self.api.create("setup", object).unwrap();
        if let Some(status) = status.filter(|_| stored["kind"] == "Rollout") {
            let key = Key::new(ApiKind::Rollout, "shop", stored["metadata"]["name"].as_str().unwrap());
            let change = Change::Merge(json!({"status": status}));
            self.api.patch_status("setup", &key, &change).unwrap();
        }
    }

    fn read(&self, kind: ApiKind, name: &str) -> Value {
        let state = self.api.state();
        state
            .get(&Key::new(kind, "shop", name))
            .map_or(Value::Null, |value| (**value).clone())
    }

    async fn say(&self, words: &str) -> Told {
        let words = format!("kubectl-tidegate {words}");
        let args: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
        let (global, command) = parse(Called::by(args.first()), args).unwrap();
        let Command::Verb(verb) = command else {
            panic!("{words}")
        };
        let (terminal, out, notes) = recorded();
        let mut cluster = Cluster::from_client(self.api.client("person", "shop"), "shop");
        cluster.namespace_was_given = global.namespace.is_some();
        cluster.namespace = global.namespace.unwrap_or(cluster.namespace);
        let mut session = Session {
            cluster,
            terminal,
            clock: Arc::clone(&self.clock),
        };
        let error = act(&mut session, verb).await.err();
        Told {
            out: out.text(),
            notes: notes.text(),
            error,
        }
    }
}

fn rollout(name: &str, status: &Value) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"replicas": 2, "template": template("demo:v2"),
            "strategy": {"canary": {"steps": [{"setWeight": 20}, {"pause": {}}]}}},
        "status": status,
    })
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}]}})
}

fn experiment(name: &str, phase: &str) -> Value {
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Experiment", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"duration": "10m", "terminate": true, "templates": []}, "status": {"phase": phase}})
}

#[tokio::test(start_paused = true)]
async fn a_verb_on_several_names_goes_on_after_a_failure() {
    let desk = Desk::new();
    desk.put(rollout("web", &json!({})));
    desk.put(rollout("api", &json!({})));
    for (verb, done) in [
        ("abort", "aborted"),
        ("pause", "paused"),
        ("retry rollout", "retried"),
        ("restart", "restarts in 0s"),
    ] {
        let told = desk.say(&format!("{verb} wbe web chekout api")).await;
        assert_eq!(
            told.out,
            format!("rollout 'web' {done}\nrollout 'api' {done}\n"),
            "{verb}"
        );
        let error = told.error.unwrap();
        assert_eq!(error.exit_code(), 1);
        let expect = "Error: rollouts.argoproj.io \"wbe\" not found\nhint: did you mean `web`?\nError: rollouts.argoproj.io \"chekout\" not found";
        assert_eq!(error.to_string(), expect, "{verb}");
    }
}

#[tokio::test(start_paused = true)]
async fn restart_writes_when() {
    let desk = Desk::new();
    desk.put(rollout("web", &json!({})));
    let told = desk.say("restart web --in 1m30s").await;
    assert_eq!(told.out, "rollout 'web' restarts in 1m30s\n");
    assert_eq!(
        desk.read(ApiKind::Rollout, "web")["spec"]["restartAt"],
        "2026-01-01T01:01:30Z"
    );
}

#[tokio::test(start_paused = true)]
async fn experiments_are_retried_once_they_ended() {
    let desk = Desk::new();
    desk.put(experiment("over", "Failed"));
    desk.put(experiment("going", "Running"));
    let told = desk.say("retry experiment over going").await;
    assert_eq!(told.out, "experiment 'over' retried\nexperiment 'going' retried\n");
    assert_eq!(told.notes, "the experiment has not ended yet, nothing was changed\n");
    let over = desk.read(ApiKind::Experiment, "over");
    assert_eq!(
        (over.get("status"), over["spec"].get("terminate")),
        (None, None),
        "{over}"
    );
    assert_eq!(desk.read(ApiKind::Experiment, "going")["status"]["phase"], "Running");
}

#[tokio::test(start_paused = true)]
async fn what_runs_is_terminated() {
    let desk = Desk::new();
    let mut trial = experiment("trial", "Running");
    trial["spec"]["terminate"] = json!(false);
    desk.put(trial);
    desk.put(json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "metadata": {"name": "run", "namespace": "shop"},
        "spec": {"metrics": []}}));
    assert_eq!(
        desk.say("terminate experiment trial").await.out,
        "experiment 'trial' terminated\n"
    );
    assert_eq!(desk.say("terminate ar run").await.out, "analysisRun 'run' terminated\n");
    for (kind, name) in [(ApiKind::Experiment, "trial"), (ApiKind::AnalysisRun, "run")] {
        assert_eq!(desk.read(kind, name)["spec"]["terminate"], true, "{name}");
    }
    let missing = desk.say("terminate exp tiral").await.error.unwrap().to_string();
    assert_eq!(
        missing,
        "Error: experiments.argoproj.io \"tiral\" not found\nhint: did you mean `trial`?"
    );
}

fn replica_set(revision: i64, image: &str, owner: &str) -> Value {
    let hash = format!("h{revision}");
    let mut template = template(image);
    template["metadata"]["labels"]["rollouts-pod-template-hash"] = json!(hash);
    template["metadata"]["labels"]["role"] = json!("canary");
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": format!("web-{hash}"), "namespace": "shop",
            "annotations": {"rollout.argoproj.io/revision": revision.to_string(),
                "rollout.argoproj.io/ephemeral-metadata": r#"{"labels":{"role":"canary"}}"#},
            "ownerReferences": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web", "uid": owner, "controller": true}]},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web", "rollouts-pod-template-hash": hash}}, "template": template}})
}

#[tokio::test(start_paused = true)]
async fn undo_brings_the_template_back_as_it_was_written() {
    let desk = Desk::new();
    desk.put(rollout("web", &json!({})));
    let uid = desk.read(ApiKind::Rollout, "web")["metadata"]["uid"]
        .as_str()
        .unwrap()
        .to_owned();
    desk.put(replica_set(1, "demo:v1", &uid));
    desk.put(replica_set(2, "demo:v2", &uid));
    let matching = desk.say("undo web --to-revision 2").await;
    assert_eq!(
        matching.out,
        "skipped rollback (current template already matches revision 2)\n"
    );
    let told = desk.say("undo web").await;
    assert_eq!((told.out.as_str(), told.error), ("rollout 'web' undo\n", None));
    let written = &desk.read(ApiKind::Rollout, "web")["spec"]["template"];
    assert_eq!(written["metadata"], template("demo:v1")["metadata"]);
    // Defaults that the server filled in are the same pods.
    assert!(
        crate::rollout::check::same_template(written, &template("demo:v1")),
        "{written}"
    );
    // The controller has not acted yet: asked again, it is the same undo.
    let again = desk.say("undo web").await;
    assert_eq!(
        again.out,
        "skipped rollback (current template already matches revision 1)\n"
    );
    let missing = desk.say("undo web --to-revision 9").await.error.unwrap().to_string();
    assert_eq!(
        missing,
        "Error: unable to find revision 9 of rollout \"web\"\nhint: there are the revisions 2, 1"
    );
}

#[tokio::test(start_paused = true)]
async fn undo_is_not_written_over_the_change_of_another() {
    let desk = Desk::new();
    desk.put(rollout("web", &json!({})));
    let uid = desk.read(ApiKind::Rollout, "web")["metadata"]["uid"]
        .as_str()
        .unwrap()
        .to_owned();
    desk.put(replica_set(1, "demo:v1", &uid));
    desk.put(replica_set(2, "demo:v2", &uid));
    let stale = desk.read(ApiKind::Rollout, "web")["metadata"]["resourceVersion"].clone();
    let key = Key::new(ApiKind::Rollout, "shop", "web");
    let other = Change::Merge(json!({"metadata": {"labels": {"by": "another"}}}));
    desk.api.patch("another", &key, &other).unwrap();
    let operations = json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": stale},
        {"op": "replace", "path": "/spec/template", "value": template("demo:v1")}]);
    let cluster = Cluster::from_client(desk.api.client("person", "shop"), "shop");
    let refused = cluster.json_patch("web", operations).await.unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(status) if status.code == 409),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn deprecated_promotions_skip_by_index() {
    let desk = Desk::new();
    let status = json!({"observedGeneration": "1", "currentStepIndex": 0, "currentPodHash": "b", "stableRS": "a"});
    desk.put(rollout("web", &status));
    assert_eq!(desk.say("promote web -c").await.out, "rollout 'web' promoted\n");
    assert_eq!(desk.read(ApiKind::Rollout, "web")["status"]["currentStepIndex"], 1);
    let again = desk.say("promote web --skip-current-step").await;
    assert!(again.notes.contains("under way already"), "{again:?}");
    assert_eq!(desk.say("promote web -a").await.out, "rollout 'web' promoted\n");
    assert_eq!(desk.read(ApiKind::Rollout, "web")["status"]["currentStepIndex"], 2);
    let both = desk.say("promote web -a -c").await.error.unwrap();
    assert_eq!(
        (both.exit_code(), both.message.as_str()),
        (
            2,
            "Cannot use skip-current-step and skip-all-steps flags at the same time"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn files_are_created_object_by_object() {
    let desk = Desk::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.yaml");
    let objects = [
        rollout("web", &Value::Null),
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "t"}, "spec": {"metrics": []}}),
    ];
    let text: Vec<String> = objects.iter().map(ToString::to_string).collect();
    std::fs::write(&path, text.join("\n---\n")).unwrap();
    let words = format!("create -f {}", path.display());
    let told = desk.say(&words).await;
    assert_eq!(
        (told.out.as_str(), told.error),
        (
            "rollout.argoproj.io/web created\nanalysistemplate.argoproj.io/t created\n",
            None
        )
    );
    let again = desk.say(&words).await;
    let text = again.error.unwrap().to_string();
    assert!(
        text.contains("web") && text.contains("\nError: analysistemplate.argoproj.io/t: "),
        "{text}"
    );
    let elsewhere = desk.say(&format!("{words} -n other")).await.error.unwrap();
    assert!(
        elsewhere.to_string().contains("hint: pass `--namespace=shop`"),
        "{elsewhere}"
    );
    std::fs::write(&path, "apiVersion: apps/v1\nkind: Deployment\n").unwrap();
    let foreign = desk.say(&words).await.error.unwrap().to_string();
    assert!(foreign.contains("unsupported\nhint: `kubectl create -f`"), "{foreign}");
}

#[tokio::test(start_paused = true)]
async fn analysis_runs_are_made_of_templates() {
    let desk = Desk::new();
    let metric = json!({"name": "rate", "provider": {"prometheus": {"address": "http://p", "query": "up{a=\"{{args.service}}\"}"}}});
    let spec = json!({"args": [{"name": "service"}], "metrics": [metric]});
    let kind = |kind: &str, namespace: &str, spec: &Value| {
        let mut object =
            json!({"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "metadata": {"name": "rate"}, "spec": spec});
        if !namespace.is_empty() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        object
    };
    desk.put(kind(
        "AnalysisTemplate",
        "shop",
        &json!({"templates": [{"templateName": "rate", "clusterScope": true}]}),
    ));
    desk.put(kind("ClusterAnalysisTemplate", "", &spec));
    let told = desk
        .say("create ar --from rate --name one -a service=web --instance-id blue")
        .await;
    assert_eq!(
        (told.out.as_str(), told.error),
        ("analysisrun.argoproj.io/one created\n", None)
    );
    let one = desk.read(ApiKind::AnalysisRun, "one");
    assert_eq!(one["spec"]["args"], json!([{"name": "service", "value": "web"}]));
    assert_eq!(one["spec"]["metrics"][0]["name"], "rate");
    assert_eq!(
        one["metadata"]["labels"]["argo-rollouts.argoproj.io/controller-instance-id"],
        "blue"
    );
    let told = desk
        .say("create analysisrun --global --from rate --name two --argument service=web")
        .await;
    assert_eq!(told.error, None);
    let missing = desk
        .say("create ar --from rat --name x")
        .await
        .error
        .unwrap()
        .to_string();
    assert_eq!(
        missing,
        "Error: analysistemplates.argoproj.io \"rat\" not found\nhint: did you mean `rate`?"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("template.yaml");
    std::fs::write(&path, kind("AnalysisTemplate", "", &spec).to_string()).unwrap();
    let told = desk
        .say(&format!(
            "create ar --from-file {} --generate-name trial- -a service=web",
            path.display()
        ))
        .await;
    assert!(told.out.starts_with("analysisrun.argoproj.io/trial-"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn results_have_forms_for_programs() {
    let desk = Desk::new();
    let status = json!({"observedGeneration": "1", "phase": "Paused", "message": "CanaryPauseStep", "currentStepIndex": 1,
        "currentPodHash": "b", "stableRS": "a", "waitingFor": {"reason": "CanaryPauseStep", "message": "a person"}});
    desk.put(rollout("web", &status));
    desk.put(rollout("api", &json!({})));
    desk.put(experiment("trial", "Running"));
    assert_eq!(
        desk.say("list rollouts -o name").await.out,
        "rollout.argoproj.io/api\nrollout.argoproj.io/web\n"
    );
    assert_eq!(
        desk.say("list experiments -o name").await.out,
        "experiment.argoproj.io/trial\n"
    );
    assert_eq!(
        desk.say("get rollout web -o name").await.out,
        "rollout.argoproj.io/web\n"
    );
    assert_eq!(
        desk.say("status web --watch=false -o wide").await.out,
        "Paused - CanaryPauseStep (waits for: a person)\n"
    );
    let json_of = |told: Told| -> Value { serde_json::from_str(&told.out).unwrap() };
    let list = json_of(desk.say("list rollouts -o json").await);
    assert_eq!(
        (&list["items"][1]["step"], &list["items"][1]["status"]),
        (&json!("1/2"), &json!("Paused"))
    );
    let status = json_of(desk.say("status web --watch=false -o json").await);
    assert_eq!(status["waitingFor"]["reason"], "CanaryPauseStep");
    let get = json_of(desk.say("get rollout web -o json").await);
    assert_eq!(
        (&get["tree"]["kind"], &get["strategy"]),
        (&json!("Rollout"), &json!("Canary"))
    );
    let yaml = desk.say("get experiment trial -o yaml").await.out;
    let yaml = crate::lang::yaml::to_json(&yaml).unwrap();
    assert_eq!(yaml["tree"]["kind"], "Experiment");
    let table = desk.say("list experiments").await.out;
    assert!(
        table.starts_with("NAME   STATUS   DURATION  REMAINING  AGE\ntrial  Running  10m       10m "),
        "{table}"
    );
    let wide = desk.say("list rollouts -o wide --name web").await.out;
    assert!(wide.contains("MESSAGE") && wide.contains("demo:v2"), "{wide}");
}

#[tokio::test(start_paused = true)]
async fn a_new_experiment_is_followed() {
    let desk = Desk::new();
    desk.put(experiment("trial", "Pending"));
    let told = desk.say("get exp trial -w --timeout-seconds 5").await;
    assert!(told.out.contains("Σ trial  Experiment  ◷ Pending"), "{told:?}");
    let told = desk.say("get exp trial -w --timeout-seconds 5 -o json").await;
    let line = told.out.lines().next().unwrap();
    assert_eq!(serde_json::from_str::<Value>(line).unwrap()["status"], "Pending");
}
