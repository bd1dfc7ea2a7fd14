//! `simulate`: plays an update in a simulated cluster and says what came of it. Needs no cluster.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

use super::cluster::Cluster;
use super::error::{CliError, Kind};
use super::terminal::Terminal;
use super::words::GlobalArgs;
use super::{files, near};
use crate::sim::cast::{Cast, CastError};
use crate::sim::play::{PlayError, play};
use crate::sim::report;
use crate::sim::scenario::{Expectation, Fault, Patience, Scenario};
use crate::sim::study::study;
use crate::sim::timeline::Story;

/// Arguments of `simulate`.
#[derive(Args, Clone, Debug, Default)]
pub struct SimulateArgs {
    /// Manifests: the Rollout, its analysis templates, Services, Ingresses; `-` for standard input.
    #[arg(short, long = "filename", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Scenario: what happens, what goes wrong, what is expected.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Take this Rollout, and what it names, from the cluster.
    #[arg(long, value_name = "NAME")]
    from_cluster: Option<String>,
    /// The Rollout, when the files hold several.
    #[arg(long, value_name = "NAME")]
    rollout: Option<String>,
    /// Image of the new version, or `CONTAINER=IMAGE`; absent: the next version.
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// The new version fails this share of its requests, from this weight on.
    #[arg(long, value_name = "SHARE[@WEIGHT]")]
    errors: Option<String>,
    /// The new version answers later by this, from this weight on.
    #[arg(long, value_name = "DURATION[@WEIGHT]")]
    slow: Option<String>,
    /// The new version's pods crash, from this weight on.
    #[arg(long, value_name = "@WEIGHT", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    crash: Option<String>,
    /// The metrics system refuses connections.
    #[arg(long)]
    metrics_down: bool,
    /// No requests come.
    #[arg(long)]
    no_traffic: bool,
    /// After this long a person approves a pause without an end; `never`: nobody does.
    #[arg(long, value_name = "DURATION", value_parser = Patience::parse)]
    approve_pauses_after: Option<Patience>,
    /// Fixes everything that is left to chance.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Leave out the worst cases.
    #[arg(long)]
    quick: bool,
    /// How the result is shown.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// How the result is shown.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
enum Output {
    /// Tables.
    #[default]
    Text,
    /// Everything, for programs.
    Json,
    /// A picture.
    Svg,
}

/// Carries out `simulate`.
pub async fn simulate(args: SimulateArgs, global: &GlobalArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let scenario = scenario(&args)?;
    let mut objects = scenario.objects.clone();
    for path in &args.files {
        objects.extend(files::objects(path)?);
    }
    let folder = args.scenario.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    for path in &scenario.files {
        objects.extend(files::objects(&folder.join(path))?);
    }
    if let Some(name) = &args.from_cluster {
        let cluster = Cluster::connect(global).await?;
        objects.extend(from_cluster(&cluster, name).await?);
    }
    let wanted = args.rollout.clone().unwrap_or_else(|| scenario.rollout.clone());
    let cast = Cast::of(objects, &wanted).map_err(|error| no_rollout(&error, &args))?;
    let quick = args.quick;
    // The simulation has a runtime of its own, which must not be inside of this one.
    let played = tokio::task::spawn_blocking(move || {
        if quick {
            play(&cast, &scenario, false)
        } else {
            study(&cast, &scenario)
        }
    });
    let story = match played.await {
        Ok(Ok(story)) => story,
        Ok(Err(error)) => return Err(not_played(&error)),
        Err(error) => return Err(CliError::new(Kind::Request, format!("the simulation broke: {error}"))),
    };
    let shown = match args.output {
        Output::Text => report::text::render(&story, terminal.style.ascii),
        Output::Json => report::json::render(&story),
        Output::Svg => report::svg::render(&story),
    };
    terminal.text(&shown)?;
    verdict(&story)
}

/// The scenario file with the flags on top.
fn scenario(args: &SimulateArgs) -> Result<Scenario, CliError> {
    let mut scenario = match &args.scenario {
        None => Scenario::default(),
        Some(path) => Scenario::read(&files::read(path)?)
            .map_err(|error| CliError::new(Kind::Request, format!("`{}`: {error}", path.display())))?,
    };
    let flags = [
        ("--errors", "errors", &args.errors),
        ("--slow", "slow", &args.slow),
        ("--crash", "crash", &args.crash),
    ];
    for (flag, fault, value) in flags {
        if let Some(value) = value {
            let (what, weight) = value.split_once('@').unwrap_or((value, "0"));
            let from = if weight == "0" {
                String::new()
            } else {
                format!("from weight {weight}")
            };
            let fault = Fault::parse(&format!("{fault} {what} {from}"));
            scenario
                .faults
                .push(fault.map_err(|error| CliError::new(Kind::Usage, format!("{flag} {value}: {error}")))?);
        }
    }
    for (given, fault) in [(args.metrics_down, "metrics down"), (args.no_traffic, "noTraffic")] {
        if given {
            scenario
                .faults
                .push(Fault::parse(fault).map_err(|error| CliError::new(Kind::Usage, error))?);
        }
    }
    if args.image.is_some() {
        scenario.update.image.clone_from(&args.image);
    }
    scenario.seed = args.seed.or(scenario.seed);
    scenario.approve_pauses_after = args.approve_pauses_after.or(scenario.approve_pauses_after);
    if scenario.faults.is_empty() && scenario.events.is_empty() && scenario.expect.is_empty() {
        // Nothing goes wrong and nothing is said: an update that nobody disturbs should come to its end.
        scenario.expect.push(Expectation::promoted());
    }
    Ok(scenario)
}

fn no_rollout(error: &CastError, args: &SimulateArgs) -> CliError {
    let told = CliError::new(Kind::Request, error.to_string());
    match error {
        CastError::NoRollout if args.files.is_empty() && args.from_cluster.is_none() => {
            told.hint("give manifests with `-f`, or a Rollout of the cluster with `--from-cluster`")
        }
        CastError::NoRollout => told,
        CastError::NotFound { wanted, found } => match near::closest(wanted, found) {
            Some(closest) => told.hint(format!("did you mean `{closest}`?")),
            None => told,
        },
        CastError::Several(_) => told.hint("choose with `--rollout`"),
    }
}

fn not_played(error: &PlayError) -> CliError {
    let kind = match error {
        PlayError::NotDeployed(_) => Kind::Verdict,
        PlayError::Runtime(_) | PlayError::Refused { .. } | PlayError::NoUpdate(_) => Kind::Request,
    };
    CliError::new(kind, error.to_string())
}

fn verdict(story: &Story) -> Result<(), CliError> {
    let broken: Vec<String> = story
        .expectations
        .iter()
        .filter(|checked| !checked.held)
        .map(|checked| format!("{} ({})", checked.expected, checked.found))
        .collect();
    match broken.as_slice() {
        [] => Ok(()),
        [one] => Err(CliError::new(
            Kind::Verdict,
            format!("an expectation does not hold: {one}"),
        )),
        many => Err(CliError::new(
            Kind::Verdict,
            format!("{} expectations do not hold: {}", many.len(), many.join("; ")),
        )),
    }
}

/// The Rollout and what it names. Secrets are never read.
async fn from_cluster(cluster: &Cluster, name: &str) -> Result<Vec<Value>, CliError> {
    // Says what else there is when there is no such Rollout.
    cluster.rollout(name).await?;
    let of = |group: &str, version: &str, kind: &str, plural: &str| {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    };
    let ours = crate::api::GROUP;
    let kinds = [
        (of(ours, "v1alpha1", "Rollout", "rollouts"), true),
        (of(ours, "v1alpha1", "AnalysisTemplate", "analysistemplates"), true),
        (
            of(ours, "v1alpha1", "ClusterAnalysisTemplate", "clusteranalysistemplates"),
            false,
        ),
        (of("", "v1", "Service", "services"), true),
        (of("networking.k8s.io", "v1", "Ingress", "ingresses"), true),
        (of("apps", "v1", "Deployment", "deployments"), true),
        (of("", "v1", "PodTemplate", "podtemplates"), true),
        (of("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"), true),
        (
            of(
                "autoscaling",
                "v2",
                "HorizontalPodAutoscaler",
                "horizontalpodautoscalers",
            ),
            true,
        ),
    ];
    let mut objects = Vec::new();
    for (resource, namespaced) in kinds {
        let api: Api<DynamicObject> = match namespaced {
            true => Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource),
            false => Api::all_with(cluster.client.clone(), &resource),
        };
        let found = match api.list(&ListParams::default()).await {
            Ok(list) => list.items,
            // What may not be read is supplied by the simulation.
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Vec::new(),
            Err(error) => return Err(CliError::kube(&error)),
        };
        for object in found {
            let mut object = serde_json::to_value(object).unwrap_or_default();
            if let Some(fields) = object.as_object_mut() {
                fields.insert("apiVersion".to_owned(), resource.api_version.clone().into());
                fields.insert("kind".to_owned(), resource.kind.clone().into());
            }
            objects.push(object);
        }
    }
    let is_wanted = |object: &Value| object.pointer("/metadata/name").is_some_and(|found| found == name);
    let is_rollout = |object: &Value| object.get("kind").is_some_and(|kind| kind == "Rollout");
    let rollout = objects
        .iter()
        .find(|object| is_rollout(object) && is_wanted(object))
        .cloned();
    let Some(rollout) = rollout else { return Ok(Vec::new()) };
    objects.retain(|object| !is_rollout(object) && concerns(object, &rollout));
    objects.push(rollout);
    Ok(objects)
}

/// Whether an object of the namespace takes part: it is named by the Rollout, is made by nobody, and is not the canary
/// Ingress of a rollout.
fn concerns(object: &Value, rollout: &Value) -> bool {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    let name = object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match kind {
        "Service" | "Ingress" | "HTTPRoute" => names(rollout.pointer("/spec/strategy").unwrap_or(&Value::Null), name),
        "Deployment" | "PodTemplate" => {
            let named = rollout.pointer("/spec/workloadRef").unwrap_or(&Value::Null);
            named.get("kind").is_some_and(|named| named == kind) && named.get("name").is_some_and(|named| named == name)
        }
        "HorizontalPodAutoscaler" => {
            let target = object.pointer("/spec/scaleTargetRef/name");
            target.is_some() && target == rollout.pointer("/metadata/name")
        }
        _ => true,
    }
}

/// Whether a text stands anywhere in a value.
fn names(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => text == name,
        Value::Array(items) => items.iter().any(|item| names(item, name)),
        Value::Object(fields) => fields.values().any(|field| names(field, name)),
        _ => false,
    }
}
