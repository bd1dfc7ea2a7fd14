//! Every label, annotation, finalizer and object name that clients depend on, in one table with its meaning
//! (reference, rollouts 3 and applications 1.6, 1.7, 2.7).

/// Label on ReplicaSets and pods, key in ReplicaSet and Service selectors: the hash of the pod template.
pub const POD_TEMPLATE_HASH: &str = "rollouts-pod-template-hash";
/// Label that shards objects among controllers.
pub const INSTANCE_ID: &str = "argo-rollouts.argoproj.io/controller-instance-id";
/// Label on AnalysisRuns: `Step`, `Background`, `PrePromotion` or `PostPromotion`.
pub const ROLLOUT_TYPE: &str = "rollout-type";
/// Label on AnalysisRuns of a step: its index.
pub const STEP_INDEX: &str = "step-index";

/// Annotation on Rollouts and their children: the revision number.
pub const REVISION: &str = "rollout.argoproj.io/revision";
/// Annotation on ReplicaSets: earlier revision numbers, comma-separated.
pub const REVISION_HISTORY: &str = "rollout.argoproj.io/revision-history";
/// Annotation on ReplicaSets: `spec.replicas` of the Rollout when it was last sized.
pub const DESIRED_REPLICAS: &str = "rollout.argoproj.io/desired-replicas";
/// Annotation on Rollouts: generation of the referred workload.
pub const WORKLOAD_GENERATION: &str = "rollout.argoproj.io/workload-generation";
/// Label (`"true"`) and annotation (the record, as JSON) on a Deployment that `workloadRef.scaleDown` scaled down: who
/// did it, and how many pods it gets back. Ours alone: the original remembers nothing.
pub const SCALED_DOWN: &str = "tidegate/scaled-down";
/// Annotation on ReplicaSets: labels and annotations injected into pods, as JSON.
pub const EPHEMERAL_METADATA: &str = "rollout.argoproj.io/ephemeral-metadata";
/// Annotation on ReplicaSets: the revision number under which it was stable last, where `rollbackWindow` is used.
pub const WAS_STABLE: &str = "tidegate/was-stable";
/// Annotation on ReplicaSets: digests of the user's pod template it was made from and, where the API server made another
/// one of it, of that, as JSON.
pub const MADE_FROM: &str = "tidegate/made-from";
/// Topology key: one node.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
/// Annotation on ReplicaSets: when to scale it to zero, RFC 3339 in UTC.
pub const SCALE_DOWN_DEADLINE: &str = "scale-down-deadline";
/// Annotation on Services, DestinationRules, Mappings and VirtualNodes: the Rollout that sets which pods they lead to.
pub const MANAGED_BY_ROLLOUT: &str = "argo-rollouts.argoproj.io/managed-by-rollouts";
/// Annotation on ReplicaSets and Services of an Experiment: its name. Such a ReplicaSet is no revision of a Rollout.
pub const EXPERIMENT_NAME: &str = "experiment.argoproj.io/name";
/// Annotation on ReplicaSets and Services of an Experiment: the name of the template.
pub const EXPERIMENT_TEMPLATE_NAME: &str = "experiment.argoproj.io/template-name";
/// Annotation of `kubectl apply`; never copied to children.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Annotation of the notification engine; never copied to children.
pub const NOTIFIED: &str = "notified.notifications.argoproj.io";

/// Default prefix of the canary annotations of ingress-nginx.
pub const NGINX_PREFIX: &str = "nginx.ingress.kubernetes.io";
/// Default prefix of the annotations of the AWS load balancer controller.
pub const ALB_PREFIX: &str = "alb.ingress.kubernetes.io";
/// Annotation on Ingresses: the keys of the annotations that belong to a Rollout, by its name, as JSON.
pub const MANAGED_ALB_ANNOTATIONS: &str = "rollouts.argoproj.io/managed-alb-annotations";
/// The same under the name that old releases of the original used; read, and emptied at the next write.
pub const MANAGED_ALB_ACTIONS: &str = "rollouts.argoproj.io/managed-alb-actions";
/// Annotation of an Ingress that names its class.
pub const INGRESS_CLASS: &str = "kubernetes.io/ingress.class";

/// Annotation on managed objects: `<app>:<group>/<kind>:<namespace>/<name>`.
pub const TRACKING_ID: &str = "argocd.argoproj.io/tracking-id";
/// Annotation that asks for a refresh: `normal` or `hard`.
pub const REFRESH: &str = "argocd.argoproj.io/refresh";
/// Annotation on managed objects: comma-separated sync options.
pub const SYNC_OPTIONS: &str = "argocd.argoproj.io/sync-options";
/// Annotation on managed objects: comparison options.
pub const COMPARE_OPTIONS: &str = "argocd.argoproj.io/compare-options";
/// Annotation on managed objects: their wave.
pub const SYNC_WAVE: &str = "argocd.argoproj.io/sync-wave";
/// Annotation on managed objects: hook types.
pub const HOOK: &str = "argocd.argoproj.io/hook";
/// Annotation that suspends reconciliation of an Application.
pub const SKIP_RECONCILE: &str = "argocd.argoproj.io/skip-reconcile";
/// Annotation that keeps an object's health from counting.
pub const IGNORE_HEALTHCHECK: &str = "argocd.argoproj.io/ignore-healthcheck";
/// Label of Secrets that hold repositories, credentials or clusters.
pub const SECRET_TYPE: &str = "argocd.argoproj.io/secret-type";
/// Finalizer: delete the objects with the Application, dependents first.
pub const RESOURCES_FINALIZER: &str = "resources-finalizer.argocd.argoproj.io";
/// Finalizer: the same, spelled out.
pub const RESOURCES_FINALIZER_FOREGROUND: &str = "resources-finalizer.argocd.argoproj.io/foreground";
/// Finalizer: the same, dependents afterwards.
pub const RESOURCES_FINALIZER_BACKGROUND: &str = "resources-finalizer.argocd.argoproj.io/background";
/// Finalizer: run the PreDelete hooks before the objects are deleted.
pub const PRE_DELETE_FINALIZER: &str = "pre-delete-finalizer.argocd.argoproj.io";
/// Finalizer: remove the PreDelete hooks afterwards.
pub const PRE_DELETE_FINALIZER_CLEANUP: &str = "pre-delete-finalizer.argocd.argoproj.io/cleanup";
/// Finalizer: run the PostDelete hooks once the objects are gone.
pub const POST_DELETE_FINALIZER: &str = "post-delete-finalizer.argocd.argoproj.io";
/// Finalizer: remove the PostDelete hooks afterwards.
pub const POST_DELETE_FINALIZER_CLEANUP: &str = "post-delete-finalizer.argocd.argoproj.io/cleanup";
/// Field manager of synced objects.
pub const SYNC_MANAGER: &str = "argocd-controller";
/// URL by which the cluster itself is named as a destination.
pub const IN_CLUSTER_SERVER: &str = "https://kubernetes.default.svc";
/// Name of that destination.
pub const IN_CLUSTER_NAME: &str = "in-cluster";
