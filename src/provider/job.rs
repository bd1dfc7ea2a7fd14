//! A Kubernetes Job as a measurement: complete is a success, failed is a failure (reference, rollouts 3.3 and 6.6).
//!
//! The Job's name follows from run, metric and number of the measurement, so that a crash between creating and recording
//! finds its own Job again.

use super::{Provider, Query, RunIdentity};
use crate::{
    analysis::{
        phase::Phase,
        reading::{Answer, Answered, Attempt},
    },
    api::{API_VERSION, analysis::JobMetric},
};
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{batch::v1::Job, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Client, Config,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams, PropagationPolicy},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::OnceCell;

/// Label on Jobs and their pods: the run's uid.
pub const RUN_UID: &str = "analysisrun.argoproj.io/uid";
/// Annotation on Jobs: the run's name.
pub const RUN_NAME: &str = "analysisrun.argoproj.io/name";
/// Annotation on Jobs: the run's namespace.
pub const RUN_NAMESPACE: &str = "analysisrun.argoproj.io/namespace";
/// Annotation on Jobs: the metric.
pub const METRIC_NAME: &str = "analysisrun.argoproj.io/metric-name";

/// Key in `measurements[].metadata`: the Job's name.
const JOB_NAME: &str = "job-name";
/// Key in `measurements[].metadata`: the Job's namespace.
const JOB_NAMESPACE: &str = "job-namespace";
/// The variable that names the cluster where Jobs run.
pub const KUBECONFIG_VARIABLE: &str = "ARGO_ROLLOUTS_ANALYSIS_JOB_KUBECONFIG";
/// Its value for the cluster of the pod's service account, whichever cluster the controller works in.
const IN_CLUSTER: &str = "in-cluster";

/// A Job's name is a label of its pods, and those have at most 63 characters.
const NAME_CHARACTERS_MAX: usize = 63;
/// Time for all requests of one measurement.
const REQUESTS_TIMEOUT: Duration = Duration::from_secs(20);
/// A connection to another cluster that is not established by then leaves time for an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Shortest and longest time between two looks at a Job.
const POLL_MIN: SignedDuration = SignedDuration::from_secs(1);
const POLL_MAX: SignedDuration = SignedDuration::from_secs(60);
/// Time until the next look after the API server could not be asked.
const RETRY: SignedDuration = SignedDuration::from_secs(10);
/// Pods of a Job looked at for image errors. One is enough; retries leave more.
const PODS_MAX: u32 = 10;
/// Why a container waits when its image cannot be had, ever.
const IMAGE_ERRORS: [&str; 3] = ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"];

/// The provider.
#[derive(Clone)]
pub struct Jobs {
    client: Client,
    /// Where Jobs run instead of in the run's namespace.
    namespace: Option<String>,
    /// Where Jobs run instead of in the controller's cluster.
    elsewhere: Option<Arc<Elsewhere>>,
}

/// A cluster for Jobs.
struct Elsewhere {
    /// Path of a kubeconfig, or [`IN_CLUSTER`].
    kubeconfig: String,
    /// Made for the first measurement.
    client: OnceCell<Client>,
}

impl Jobs {
    /// The provider; Jobs run in `namespace`, or in their run's.
    pub fn new(client: Client, namespace: Option<String>) -> Self {
        Self {
            client,
            namespace,
            elsewhere: None,
        }
    }

    /// The same with Jobs in the cluster of this kubeconfig, or with `in-cluster` in that of the pod's service account.
    pub fn elsewhere(self, kubeconfig: Option<String>) -> Self {
        let elsewhere = kubeconfig.map(|kubeconfig| Elsewhere {
            kubeconfig,
            client: OnceCell::new(),
        });
        Self {
            elsewhere: elsewhere.map(Arc::new),
            ..self
        }
    }

    /// The client of the cluster where Jobs run. Never the controller's own when another one was asked for.
    async fn client(&self) -> Result<Client, String> {
        let Some(elsewhere) = &self.elsewhere else {
            return Ok(self.client.clone());
        };
        let made = elsewhere
            .client
            .get_or_try_init(|| connect(&elsewhere.kubeconfig))
            .await;
        let made = made.cloned();
        made.map_err(|problem| format!("{KUBECONFIG_VARIABLE} is {:?}: {problem}", elsewhere.kubeconfig))
    }

    async fn answer(&self, query: &Query) -> Answered {
        let answer = match (&query.attempt, &query.metric.provider.job) {
            (Attempt::Begin, Some(metric)) => return self.begin(query, metric).await,
            (Attempt::Begin, None) => Answer::Error("no provider specified".to_owned()),
            (Attempt::Resume(measurement), _) => match self.named(query, &measurement.metadata).await {
                Err(problem) => Answer::Error(problem),
                Ok((api, name)) => match api.get(&name).await {
                    Ok(job) => self.look(&job, query.now).await,
                    // The Job is still there, only we cannot see it: giving up would start a second one.
                    Err(error) if is_passing(&error) => again_later(query.now),
                    Err(error) => Answer::Error(plain(error)),
                },
            },
            (Attempt::Terminate(measurement), _) => match self.named(query, &measurement.metadata).await {
                Err(problem) => Answer::Error(problem),
                Ok((api, name)) => end(&api, &name).await,
            },
        };
        Answered::plain(answer)
    }

    /// Creates the Job, or finds it when it was created before a crash.
    async fn begin(&self, query: &Query, metric: &JobMetric) -> Answered {
        let namespace = self.namespace.clone().unwrap_or_else(|| query.run.namespace.clone());
        let mut job = match build(query, metric, &namespace) {
            Ok(job) => job,
            Err(problem) => return Answered::error(problem),
        };
        if self.elsewhere.is_some() {
            // Where its owner is not known, it would be deleted as garbage.
            job.metadata.owner_references = None;
        }
        let client = match self.client().await {
            Ok(client) => client,
            Err(problem) => return Answered::error(problem),
        };
        let name = job.metadata.name.clone().unwrap_or_default();
        // Untyped, so that fields of the pod template that we do not know reach the API server.
        let untyped: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &ApiResource::erase::<Job>(&()));
        let created = match untyped.create(&PostParams::default(), &job).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => match untyped.get(&name).await {
                Ok(found) if is_ours(&found, &query.run) => Ok(()),
                Ok(_) => Err(format!("job '{name}' already exists and belongs to something else")),
                Err(error) => Err(plain(error)),
            },
            // It may have been created all the same; the next look tells.
            Err(error) if is_passing(&error) => return self.begun(query, again_later(query.now)),
            Err(error) => Err(plain(error)),
        };
        match created {
            Err(problem) => Answered::error(problem),
            Ok(()) => {
                let resume_at = next_look(query.now, query.now);
                self.begun(query, Answer::UnderWay { resume_at })
            }
        }
    }

    /// The answer about a Job that is, or may be, there: it names the Job.
    fn begun(&self, query: &Query, answer: Answer) -> Answered {
        let name = job_name(&query.run.uid, &query.metric.name, query.sequence);
        let namespace = self.namespace.clone().unwrap_or_else(|| query.run.namespace.clone());
        Answered {
            answer,
            metadata: BTreeMap::from([(JOB_NAME.to_owned(), name), (JOB_NAMESPACE.to_owned(), namespace)]),
            metric_metadata: BTreeMap::new(),
        }
    }

    /// The Job a measurement under way is about.
    async fn named(&self, query: &Query, metadata: &BTreeMap<String, String>) -> Result<(Api<Job>, String), String> {
        let name = metadata.get(JOB_NAME).ok_or("the measurement does not name its job")?;
        let namespace = metadata
            .get(JOB_NAMESPACE)
            .or(self.namespace.as_ref())
            .unwrap_or(&query.run.namespace);
        Ok((Api::namespaced(self.client().await?, namespace), name.clone()))
    }

    async fn look(&self, job: &Job, now: Timestamp) -> Answer {
        let conditions = job
            .status
            .as_ref()
            .and_then(|status| status.conditions.as_deref())
            .unwrap_or_default();
        for condition in conditions.iter().filter(|condition| condition.status == "True") {
            let message = || condition.message.clone().unwrap_or_default();
            match condition.type_.as_str() {
                "Complete" => {
                    return Answer::Judged {
                        phase: Phase::Successful,
                        message: String::new(),
                    };
                }
                "Failed" => {
                    return Answer::Judged {
                        phase: Phase::Failed,
                        message: message(),
                    };
                }
                _ => {}
            }
        }
        match self.image_error(job).await {
            Some(message) => Answer::Judged {
                phase: Phase::Inconclusive,
                message,
            },
            None => {
                let created_at = job.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
                Answer::UnderWay {
                    resume_at: next_look(created_at, now),
                }
            }
        }
    }

    /// What keeps a pod of the Job from ever starting. Only a hint: without a right to see pods, the Job's own
    /// deadline ends it.
    async fn image_error(&self, job: &Job) -> Option<String> {
        let (name, namespace) = (job.metadata.name.as_ref()?, job.metadata.namespace.as_ref()?);
        let pods: Api<Pod> = Api::namespaced(self.client().await.ok()?, namespace);
        let of_job = ListParams::default()
            .labels(&format!("job-name={name}"))
            .limit(PODS_MAX);
        let pods = pods.list(&of_job).await.ok()?;
        let statuses = pods
            .items
            .iter()
            .filter_map(|pod| pod.status.as_ref())
            .flat_map(|status| {
                let containers = status.container_statuses.iter().flatten();
                status.init_container_statuses.iter().flatten().chain(containers)
            });
        let mut waiting = statuses.filter_map(|status| {
            let waiting = status.state.as_ref()?.waiting.as_ref()?;
            let reason = waiting
                .reason
                .as_deref()
                .filter(|reason| IMAGE_ERRORS.contains(reason))?;
            let detail = waiting
                .message
                .as_deref()
                .map(|text| format!(": {text}"))
                .unwrap_or_default();
            Some(format!("container '{}' cannot start: {reason}{detail}", status.name))
        });
        waiting.next()
    }
}

/// A client for the Jobs of another cluster. The server is not asked yet.
async fn connect(kubeconfig: &str) -> Result<Client, String> {
    let mut config = if kubeconfig == IN_CLUSTER {
        Config::incluster().map_err(|error| error.to_string())?
    } else {
        let read = Kubeconfig::read_from(kubeconfig).map_err(|error| error.to_string())?;
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
        config.map_err(|error| error.to_string())?
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    Client::try_from(config).map_err(|error| error.to_string())
}

/// Deletes the Job. It is no measurement any more, whatever it was about to say.
async fn end(api: &Api<Job>, name: &str) -> Answer {
    let background = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    match api.delete(name, &background).await {
        Ok(_) => Answer::Judged {
            phase: Phase::Inconclusive,
            message: String::new(),
        },
        Err(kube::Error::Api(status)) if status.code == 404 => Answer::Judged {
            phase: Phase::Inconclusive,
            message: String::new(),
        },
        Err(error) => Answer::Error(plain(error)),
    }
}

/// The Job of a measurement: the specification as written, labelled and owned.
fn build(query: &Query, metric: &JobMetric, namespace: &str) -> Result<DynamicObject, String> {
    let Query {
        run,
        metric: whole,
        sequence,
        ..
    } = query;
    let Some(Value::Object(spec)) = &metric.spec else {
        return Err("provider.job.spec is missing".to_owned());
    };
    let mut spec = spec.clone();
    let mut labels = BTreeMap::new();
    let mut annotations = BTreeMap::new();
    if let Some(metadata) = &metric.metadata {
        labels.extend(metadata.labels.clone());
        annotations.extend(metadata.annotations.clone());
    }
    labels.insert(RUN_UID.to_owned(), run.uid.clone());
    annotations.insert(RUN_NAME.to_owned(), run.name.clone());
    annotations.insert(RUN_NAMESPACE.to_owned(), run.namespace.clone());
    annotations.insert(METRIC_NAME.to_owned(), whole.name.clone());
    let pod_labels = ["template", "metadata", "labels"]
        .iter()
        .try_fold(&mut spec, |map, field| {
            map.entry(*field)
                .or_insert_with(|| Value::Object(Map::new()))
                .as_object_mut()
        });
    let pod_labels = pod_labels.ok_or("provider.job.spec.template.metadata.labels is not an object")?;
    pod_labels.insert(RUN_UID.to_owned(), json!(run.uid));
    let mut job = DynamicObject::new(
        &job_name(&run.uid, &whole.name, *sequence),
        &ApiResource::erase::<Job>(&()),
    );
    job.metadata.namespace = Some(namespace.to_owned());
    job.metadata.labels = Some(labels);
    job.metadata.annotations = Some(annotations);
    // An owner must be in the same namespace.
    if namespace == run.namespace {
        job.metadata.owner_references = Some(vec![owner(run)]);
    }
    job.data = json!({ "spec": spec });
    Ok(job)
}

fn owner(run: &RunIdentity) -> OwnerReference {
    OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: "AnalysisRun".to_owned(),
        name: run.name.clone(),
        uid: run.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

fn is_ours(job: &DynamicObject, run: &RunIdentity) -> bool {
    job.metadata.labels.as_ref().and_then(|labels| labels.get(RUN_UID)) == Some(&run.uid)
}

/// `<uid>.<metric>.<n>`; the metric's name is cut when the whole is too long.
fn job_name(uid: &str, metric: &str, sequence: i64) -> String {
    let number = sequence.to_string();
    let room = NAME_CHARACTERS_MAX.saturating_sub(uid.len() + number.len() + 2);
    let metric: String = metric.chars().take(room).collect();
    // What is left must not end in a character that no part of a name may end in.
    let metric = metric.trim_end_matches(['-', '.', '_']);
    format!("{uid}.{metric}.{number}")
}

/// The next look at a Job: rarer and rarer, √(2·elapsed) seconds apart as in the original.
fn next_look(created_at: Timestamp, now: Timestamp) -> Timestamp {
    let elapsed = now.duration_since(created_at).as_secs_f64().max(0.0);
    let pause = SignedDuration::try_from_secs_f64((2.0 * elapsed).sqrt()).unwrap_or(POLL_MIN);
    now.checked_add(pause.clamp(POLL_MIN, POLL_MAX)).unwrap_or(now)
}

/// Whether the API server may answer the same question differently soon.
fn is_passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 408 | 429 | 500..=599),
        _ => true,
    }
}

/// Not known, for a reason that has nothing to do with the Job.
fn again_later(now: Timestamp) -> Answer {
    let resume_at = now.checked_add(RETRY).unwrap_or(now);
    Answer::UnderWay { resume_at }
}

/// What the API server said, or why it could not be asked.
fn plain(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => format!("the API server could not be asked: {other}"),
    }
}

impl Provider for Jobs {
    fn measure<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Answered> {
        Box::pin(async move {
            match tokio::time::timeout(REQUESTS_TIMEOUT, self.answer(query)).await {
                Ok(answered) => answered,
                Err(_) => match query.attempt {
                    Attempt::Begin => self.begun(query, again_later(query.now)),
                    Attempt::Resume(_) => Answered::plain(again_later(query.now)),
                    Attempt::Terminate(_) => {
                        Answered::error(format!("no answer from the API server within {REQUESTS_TIMEOUT:?}"))
                    }
                },
            }
        })
    }

    fn time_limit(&self, _: &Query) -> Duration {
        REQUESTS_TIMEOUT + Duration::from_secs(5)
    }
}

#[cfg(test)]
mod tests;
