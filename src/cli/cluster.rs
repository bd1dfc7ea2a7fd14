//! The cluster as the command line sees it: which one, which namespace, and reads and guarded writes of Rollouts.

use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Config};
use serde_json::Value;

use super::error::{CliError, Kind};
use super::promote::MANAGER;
use super::tree::Family;
use super::{GlobalArgs, near};
use crate::api::{analysis::AnalysisRun, replica_set::ReplicaSet, rollout::Rollout};

/// A client and the namespace that was chosen.
pub struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl Cluster {
    /// Connects as the flags, the kubeconfig or the pod's service account say.
    pub(crate) async fn connect(args: &GlobalArgs) -> Result<Self, CliError> {
        let options = KubeConfigOptions {
            context: args.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = match &args.kubeconfig {
            Some(path) => match Kubeconfig::read_from(path) {
                Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
                Err(error) => Err(error),
            }
            .map_err(|error| unreadable(&error)),
            None if args.context.is_some() => Config::from_kubeconfig(&options)
                .await
                .map_err(|error| unreadable(&error)),
            None => Config::infer().await.map_err(|error| unreadable(&error)),
        }?;
        let namespace = args
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| CliError::kube(&error))?;
        Ok(Self { client, namespace })
    }

    /// A cluster from a client, for tests.
    pub fn from_client(client: Client, namespace: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
        }
    }

    pub(crate) fn rollouts(&self) -> Api<Rollout> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The Rollout, or an error that says what else there is.
    pub(crate) async fn rollout(&self, name: &str) -> Result<Rollout, CliError> {
        match self.rollouts().get_opt(name).await {
            Ok(Some(rollout)) => Ok(rollout),
            Ok(None) => Err(self.not_found(name).await),
            Err(error) => Err(CliError::kube(&error)),
        }
    }

    async fn not_found(&self, name: &str) -> CliError {
        let error = CliError::new(Kind::Request, format!("rollouts.argoproj.io \"{name}\" not found"));
        let Ok(list) = self
            .rollouts()
            .list_metadata(&ListParams::default().limit(NAMES_MAX))
            .await
        else {
            return error;
        };
        let names: Vec<String> = list.items.into_iter().filter_map(|item| item.metadata.name).collect();
        match near::closest(name, &names) {
            Some(closest) => error.hint(format!("did you mean `{closest}`?")),
            None if names.is_empty() => error.hint(format!(
                "there are no rollouts in namespace `{}`; choose another with `-n`",
                self.namespace
            )),
            None => error,
        }
    }

    /// Merge-patches the Rollout or its status.
    pub(crate) async fn patch(&self, name: &str, patch: &Value, status: bool) -> Result<Rollout, kube::Error> {
        let (params, patch) = (params(), Patch::Merge(patch));
        let rollouts = self.rollouts();
        if status {
            rollouts.patch_status(name, &params, &patch).await
        } else {
            rollouts.patch(name, &params, &patch).await
        }
    }

    /// Sends a JSON patch, whose `test` operations guard it.
    pub(crate) async fn json_patch(&self, name: &str, operations: Value) -> Result<Rollout, kube::Error> {
        let patch = serde_json::from_value(operations).map_err(kube::Error::SerdeError)?;
        self.rollouts().patch(name, &params(), &Patch::Json::<()>(patch)).await
    }

    /// An error of a write, where "not found" comes with what else there is.
    pub(crate) async fn write_error(&self, name: &str, error: kube::Error) -> CliError {
        match &error {
            kube::Error::Api(status) if status.code == 404 => self.not_found(name).await,
            _ => CliError::kube(&error),
        }
    }

    /// The Rollout and everything in its namespace that may belong to it.
    pub(crate) async fn family(&self, name: &str) -> Result<Family, CliError> {
        let rollout = self.rollout(name).await?;
        let all = ListParams::default();
        let selected = ListParams::default().labels(&pod_selector(&rollout));
        let (client, namespace) = (&self.client, self.namespace.as_str());
        let replica_sets: Api<ReplicaSet> = Api::namespaced(client.clone(), namespace);
        let pods = Api::namespaced(client.clone(), namespace);
        let analysis_runs: Api<AnalysisRun> = Api::namespaced(client.clone(), namespace);
        let experiments: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &experiment_resource());
        let (replica_sets, pods, analysis_runs, experiments) = futures::join!(
            replica_sets.list(&selected),
            pods.list(&selected),
            analysis_runs.list(&all),
            experiments.list(&all)
        );
        let failed = |error: kube::Error| CliError::kube(&error);
        Ok(Family {
            rollout,
            replica_sets: replica_sets.map_err(failed)?.items,
            pods: pods.map_err(failed)?.items,
            // A reader without the right to see these still gets the rest of the tree.
            analysis_runs: analysis_runs.map(|list| list.items).unwrap_or_default(),
            experiments: experiments
                .map(|list| {
                    list.items
                        .iter()
                        .filter_map(|item| serde_json::to_value(item).ok())
                        .collect()
                })
                .unwrap_or_default(),
        })
    }
}

/// Names looked at for a hint.
const NAMES_MAX: u32 = 500;

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

fn unreadable(error: &dyn std::error::Error) -> CliError {
    CliError::new(
        Kind::Cluster,
        format!("cannot use the kubeconfig: {}", super::error::chain(error)),
    )
    .hint("check `--kubeconfig`, `--context` and the variable KUBECONFIG")
}

/// The label selector of the Rollout's pods; empty, for all, when it has none of labels only.
pub(crate) fn pod_selector(rollout: &Rollout) -> String {
    let labels = rollout
        .spec
        .selector
        .as_ref()
        .and_then(|selector| selector.match_labels.clone())
        .unwrap_or_default();
    let pairs: Vec<String> = labels
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}

pub(crate) fn experiment_resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk(crate::api::GROUP, crate::api::VERSION, "Experiment"),
        "experiments",
    )
}
