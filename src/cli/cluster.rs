//! The cluster as the command line sees it: which one, which namespace, and reads and guarded writes of Rollouts.

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use serde_json::Value;

use super::error::{CliError, Kind};
use super::near;
use super::promote::MANAGER;
use super::tree::Relatives;
use super::words::GlobalArgs;
use crate::api::{
    analysis::AnalysisRun,
    experiment::Experiment,
    replica_set::ReplicaSet,
    rollout::Rollout,
    workload::{Workload, WorkloadKind},
};
use crate::k8s::client::{self, ClientError, ClientOptions};

/// A client and the namespace that was chosen.
pub struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// Whether the namespace was asked for, and is not just that of the context.
    pub(crate) namespace_was_given: bool,
}

impl Cluster {
    /// Connects as the flags, the kubeconfig or the pod's service account say.
    pub(crate) async fn connect(args: &GlobalArgs) -> Result<Self, CliError> {
        let options = ClientOptions {
            kubeconfig: args.kubeconfig.as_deref(),
            context: args.context.as_deref(),
            overrides: Some(&args.overrides),
        };
        let config = client::config(&options).await.map_err(|error| match error {
            ClientError::Flag(error) => CliError::new(Kind::Usage, error.to_string()),
            ClientError::Kubeconfig(error) => unreadable(&error),
            ClientError::NotConfigured(error) => unreadable(&error),
            error @ ClientError::Unusable(_) => unreadable(&error),
        })?;
        let namespace = args
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| CliError::kube(&error))?;
        Ok(Self {
            client,
            namespace,
            namespace_was_given: args.namespace.is_some(),
        })
    }

    /// A cluster from a client, for tests.
    pub fn from_client(client: Client, namespace: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            namespace_was_given: false,
        }
    }

    pub(crate) fn rollouts(&self) -> Api<Rollout> {
        self.api()
    }

    /// The objects of a kind in the namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The Rollout, or an error that says what else there is.
    pub(crate) async fn rollout(&self, name: &str) -> Result<Rollout, CliError> {
        self.object(name).await
    }

    /// An object of the namespace, or an error that says what else there is.
    pub(crate) async fn object<K: Named>(&self, name: &str) -> Result<K, CliError> {
        match self.api::<K>().get_opt(name).await {
            Ok(Some(object)) => Ok(object),
            Ok(None) => Err(self.not_found::<K>(name).await),
            Err(error) => Err(CliError::kube(&error)),
        }
    }

    /// Names of the objects of a kind, at most [`NAMES_MAX`].
    pub(crate) async fn names<K: Named>(&self) -> Result<Vec<String>, kube::Error> {
        let list = self
            .api::<K>()
            .list_metadata(&ListParams::default().limit(NAMES_MAX))
            .await?;
        Ok(list.items.into_iter().filter_map(|item| item.metadata.name).collect())
    }

    async fn not_found<K: Named>(&self, name: &str) -> CliError {
        let plural = K::plural(&());
        let error = CliError::new(
            Kind::Request,
            format!("{plural}.{} \"{name}\" not found", crate::api::GROUP),
        );
        let Ok(names) = self.names::<K>().await else {
            return error;
        };
        match near::closest(name, &names) {
            Some(closest) => error.hint(format!("did you mean `{closest}`?")),
            None if names.is_empty() => error.hint(format!(
                "there are no {plural} in namespace `{}`; choose another with `-n`",
                self.namespace
            )),
            None => error,
        }
    }

    /// Merge-patches an object whose status is not a subresource.
    pub(crate) async fn patch_object<K: Named>(&self, name: &str, patch: &Value) -> Result<K, kube::Error> {
        self.api::<K>().patch(name, &params(), &Patch::Merge(patch)).await
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

    /// What a Rollout takes its pod template from.
    pub(crate) async fn workload(&self, kind: WorkloadKind, name: &str) -> Result<Workload, CliError> {
        match self.workloads(kind).get_opt(name).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => {
                let message = format!("{} \"{name}\" not found", kind.resource());
                Err(CliError::new(Kind::Request, message).hint("the workloadRef of the rollout names it"))
            }
            Err(error) => Err(CliError::kube(&error)),
        }
    }

    /// Sends a JSON patch of such an object, whose `test` operations guard it.
    pub(crate) async fn patch_workload(
        &self,
        kind: WorkloadKind,
        name: &str,
        operations: Value,
    ) -> Result<(), kube::Error> {
        let patch = serde_json::from_value(operations).map_err(kube::Error::SerdeError)?;
        let patch = Patch::Json::<()>(patch);
        self.workloads(kind).patch(name, &params(), &patch).await.map(|_| ())
    }

    fn workloads(&self, kind: WorkloadKind) -> Api<Workload> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind)
    }

    /// An error of a write, where "not found" comes with what else there is.
    pub(crate) async fn write_error<K: Named>(&self, name: &str, error: kube::Error) -> CliError {
        match &error {
            kube::Error::Api(status) if status.code == 404 => self.not_found::<K>(name).await,
            _ => CliError::kube(&error),
        }
    }

    /// Every ReplicaSet of the namespace.
    pub(crate) async fn replica_sets(&self) -> Result<Vec<ReplicaSet>, CliError> {
        let list = self.api::<ReplicaSet>().list(&ListParams::default()).await;
        Ok(list.map_err(|error| CliError::kube(&error))?.items)
    }

    /// Creates an object; answers it as stored.
    pub(crate) async fn create<K>(&self, object: &K) -> Result<K, kube::Error>
    where
        K: Named + serde::Serialize,
    {
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        self.api::<K>().create(&params, object).await
    }

    /// Everything in the namespace that may belong to what is shown; the ReplicaSets and pods are those selected.
    pub(crate) async fn relatives(&self, selector: &str) -> Result<Relatives, CliError> {
        let all = ListParams::default();
        let selected = ListParams::default().labels(selector);
        let replica_sets = self.api::<ReplicaSet>();
        let pods = self.api();
        let analysis_runs = self.api::<AnalysisRun>();
        let experiments = self.api::<Experiment>();
        let (replica_sets, pods, analysis_runs, experiments) = futures::join!(
            replica_sets.list(&selected),
            pods.list(&selected),
            analysis_runs.list(&all),
            experiments.list(&all)
        );
        let failed = |error: kube::Error| CliError::kube(&error);
        Ok(Relatives {
            replica_sets: replica_sets.map_err(failed)?.items,
            pods: pods.map_err(failed)?.items,
            // A reader without the right to see these still gets the rest of the tree.
            analysis_runs: analysis_runs.map(|list| list.items).unwrap_or_default(),
            experiments: experiments.map(|list| list.items).unwrap_or_default(),
        })
    }
}

/// A kind of ours whose objects are found by name in a namespace.
pub(crate) trait Named:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + serde::de::DeserializeOwned
{
}

impl<K> Named for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
{
}

/// Names looked at for a hint.
pub(crate) const NAMES_MAX: u32 = 500;

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

/// The label selector of the Rollout's pods; empty, for all, when it has none of labels only, or when experiments may
/// run pods with other labels.
pub(crate) fn pod_selector(rollout: &Rollout) -> String {
    let canary = rollout.spec.strategy.canary.as_ref();
    if canary.is_some_and(|canary| canary.steps.iter().any(|step| step.experiment.is_some())) {
        return String::new();
    }
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
