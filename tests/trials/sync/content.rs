//! What a commit of the judged repository says: a set of objects, or something that is none.

use crate::case::NAMESPACE;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tidegate::{api, sim::dice::Dice};

/// Folder of the source.
pub const FOLDER: &str = "app";
/// Annotation of waves.
pub const WAVE: &str = "argocd.argoproj.io/sync-wave";
/// Annotation of hooks.
pub const HOOK: &str = "argocd.argoproj.io/hook";
/// Annotation of options.
pub const OPTIONS: &str = "argocd.argoproj.io/sync-options";

/// Whether a commit can be rendered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Form {
    /// It can.
    #[default]
    Good,
    /// One of its files is no YAML.
    Broken,
    /// Its folder has no manifest.
    Empty,
    /// Its folder is gone.
    Gone,
}

/// What a commit says.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Whether it can be rendered.
    pub form: Form,
    /// Its objects by file name.
    pub objects: BTreeMap<String, Value>,
}

impl Content {
    /// What the source is at first.
    pub fn first(dice: &mut Dice) -> Self {
        let mut content = Self::default();
        for number in 0..(2 + dice.below(8)) {
            content.put(config_map(&format!("cm-{number}"), 0, 0));
        }
        if dice.chance(25) {
            content.put(annotated(config_map("kept", 0, 0), OPTIONS, "Prune=false"));
        }
        if dice.chance(60) {
            content.put(deployment("api:v1"));
            if dice.chance(40) {
                content.put(autoscaler());
            }
        }
        if dice.chance(45) {
            content.put(service("web-stable"));
            content.put(service("web-canary"));
            content.put(rollout("web:v1"));
        }
        if dice.chance(70) {
            content.put(config_map("late", 0, 2));
        }
        if dice.chance(25) {
            content.put(hook("before", "PreSync", "job:v1"));
        }
        if dice.chance(15) {
            content.put(hook("after", "PostSync", "job:v1"));
        }
        if dice.chance(10) {
            content.put(hook("sorry", "SyncFail", "job:v1"));
        }
        content
    }

    /// The files of the repository.
    pub fn files(&self) -> BTreeMap<String, String> {
        let mut files = BTreeMap::from([("README.md".to_owned(), "The shop.".to_owned())]);
        let in_folder = |name: &str| format!("{FOLDER}/{name}");
        match self.form {
            Form::Gone => return files,
            Form::Empty => {
                files.insert(in_folder("NOTES.md"), "Nothing.".to_owned());
                return files;
            }
            Form::Broken => {
                files.insert(in_folder("broken.yaml"), "a: [b\n".to_owned());
            }
            Form::Good => {}
        }
        for (name, object) in &self.objects {
            // JSON is YAML.
            files.insert(in_folder(name), object.to_string());
        }
        files
    }

    /// Whether it can be rendered to at least one object.
    pub fn is_good(&self) -> bool {
        self.form == Form::Good && !self.objects.is_empty()
    }

    /// Objects to keep in sync, hooks left out; none when it cannot be rendered.
    pub fn resources(&self) -> impl Iterator<Item = &Value> {
        self.rendered().filter(|object| !is_hook(object))
    }

    /// The objects it is rendered to.
    pub fn rendered(&self) -> impl Iterator<Item = &Value> {
        let is_good = self.form == Form::Good;
        self.objects.values().filter(move |_| is_good)
    }

    /// An object it is rendered to, by kind and name.
    pub fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        self.rendered()
            .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    }

    fn put(&mut self, object: Value) {
        self.objects.insert(file_of(&object), object);
    }

    /// The content after a change.
    #[must_use]
    pub fn after(&self, change: &Change) -> Self {
        let mut after = Self {
            form: Form::Good,
            objects: self.objects.clone(),
        };
        match change {
            Change::Value(number, value) => {
                let names: Vec<String> = after
                    .objects
                    .keys()
                    .filter(|name| name.starts_with("cm-"))
                    .cloned()
                    .collect();
                let index = usize::try_from(*number)
                    .unwrap_or(0)
                    .checked_rem(names.len())
                    .unwrap_or(0);
                if let Some(object) = names.get(index).and_then(|name| after.objects.get_mut(name)) {
                    object["data"] = json!({"value": value.to_string()});
                }
            }
            Change::Add(number) => after.put(config_map(&format!("cm-{number}"), *number, 0)),
            Change::Remove(number) => {
                after.objects.remove(&format!("cm-{number}.json"));
            }
            Change::RemoveMost => after
                .objects
                .retain(|name, _| !name.starts_with("cm-") || name == "cm-0.json"),
            Change::RemoveWorkloads => after.objects.retain(|name, _| name.starts_with("cm-")),
            Change::Image(image) => {
                for object in after.objects.values_mut() {
                    if object["kind"] != "Job" && object["spec"].get("template").is_some() {
                        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
                    }
                }
            }
            Change::HookImage(image) => {
                for object in after.objects.values_mut().filter(|object| object["kind"] == "Job") {
                    object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
                }
            }
            Change::Late(value) => {
                if after.objects.contains_key("late.json") {
                    after.put(config_map("late", *value, 2));
                }
            }
            Change::Form(form) => after.form = *form,
            Change::Together(changes) => {
                for change in changes {
                    after = after.after(change);
                }
            }
        }
        after
    }
}

/// How a commit differs from the one before.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// One ConfigMap has another value.
    Value(u64, u64),
    /// A ConfigMap is added, or changed back.
    Add(u64),
    /// A ConfigMap is removed.
    Remove(u64),
    /// All ConfigMaps but one are removed.
    RemoveMost,
    /// Everything but ConfigMaps is removed.
    RemoveWorkloads,
    /// What runs pods gets another image.
    Image(String),
    /// Hooks get another image.
    HookImage(String),
    /// The object of the last wave has another value.
    Late(u64),
    /// It cannot be rendered.
    Form(Form),
    /// Several at once.
    Together(Vec<Self>),
}

impl Change {
    /// A random one.
    pub fn one(dice: &mut Dice) -> Self {
        let image = |dice: &mut Dice, what: &str| {
            let option = match dice.below(8) {
                0 | 1 => "-crash",
                2 => "-ready10",
                _ => "",
            };
            format!("{what}:v{}{option}", 1 + dice.below(5))
        };
        match dice.below(24) {
            0..6 => Self::Value(dice.below(10), dice.below(100)),
            6 | 7 => Self::Add(10 + dice.below(4)),
            8..11 => Self::Remove(dice.below(12)),
            11 => Self::RemoveMost,
            12 => Self::RemoveWorkloads,
            13..16 => Self::Image(image(dice, "web")),
            16 => {
                let option = if dice.chance(50) { "-exit3" } else { "" };
                Self::HookImage(format!("job:v{}{option}", 1 + dice.below(5)))
            }
            17 | 18 => Self::Late(dice.below(100)),
            19 => Self::Form(
                *dice
                    .pick(&[Form::Broken, Form::Empty, Form::Gone])
                    .unwrap_or(&Form::Broken),
            ),
            _ => Self::Together(vec![
                Self::Value(dice.below(10), dice.below(100)),
                Self::Image(image(dice, "web")),
                Self::Late(dice.below(100)),
            ]),
        }
    }
}

/// What commits say, by their names. Shared by whoever pushes and the judge.
#[derive(Clone, Debug, Default)]
pub struct Library(Arc<Mutex<BTreeMap<String, Arc<Content>>>>);

impl Library {
    /// Notes what a commit says.
    pub fn add(&self, commit: &str, content: Content) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(commit.to_owned(), Arc::new(content));
    }

    /// What a commit says.
    pub fn get(&self, commit: &str) -> Option<Arc<Content>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(commit).cloned()
    }
}

/// Whether an object is a hook.
pub fn is_hook(object: &Value) -> bool {
    object["metadata"]["annotations"].get(HOOK).is_some()
}

/// The wave of an object.
pub fn wave(object: &Value) -> i64 {
    let wave = object["metadata"]["annotations"].get(WAVE).and_then(Value::as_str);
    wave.and_then(|wave| wave.parse().ok()).unwrap_or(0)
}

fn file_of(object: &Value) -> String {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    match object["kind"].as_str() {
        Some("ConfigMap") => format!("{name}.json"),
        kind => format!("{name}-{}.json", kind.unwrap_or_default().to_lowercase()),
    }
}

fn annotated(mut object: Value, key: &str, value: &str) -> Value {
    object["metadata"]["annotations"][key] = json!(value);
    object
}

fn config_map(name: &str, value: u64, wave: i64) -> Value {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
        "data": {"value": value.to_string()},
    });
    if wave == 0 {
        object
    } else {
        annotated(object, WAVE, &wave.to_string())
    }
}

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

fn pods(app: &str, image: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": app, "image": image}]}})
}

fn deployment(image: &str) -> Value {
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "api"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "api"}}, "template": pods("api", image)},
    });
    annotated(object, WAVE, "1")
}

fn autoscaler() -> Value {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"});
    let object = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "api"},
        "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 6},
    });
    annotated(object, WAVE, "1")
}

fn rollout(image: &str) -> Value {
    let object = json!({
        "apiVersion": api::API_VERSION, "kind": "Rollout", "metadata": {"name": "web"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": pods("web", image),
            "progressDeadlineSeconds": 30, "progressDeadlineAbort": true,
            "strategy": {"canary": {"stableService": "web-stable", "canaryService": "web-canary",
                "steps": [{"setWeight": 50}, {"pause": {"duration": 5}}]}},
        },
    });
    annotated(object, WAVE, "1")
}

fn hook(name: &str, phase: &str, image: &str) -> Value {
    let object = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "run", "image": image}]}}},
    });
    annotated(object, HOOK, phase)
}

/// The namespace everything goes to.
pub const DESTINATION: &str = NAMESPACE;
