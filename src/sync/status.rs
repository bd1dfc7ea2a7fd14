//! The only file that builds an Application's status, and the events about its changes.

use super::{
    compare::{Comparison, SyncCode},
    health::{self, Code, Health, worst::Member},
    images,
    resource::{ResourceKey, annotation, text},
    revisions::Revisions,
};
use crate::{
    api::{
        API_VERSION, GROUP,
        application::Application,
        application_status::{
            ApplicationCondition, ApplicationStatus, ApplicationSummary, ComparedTo, HealthStatus, OperationState,
            ResourceStatus, RevisionHistory, SyncStatus,
        },
        scalar::wire_time,
        well_known::IGNORE_HEALTHCHECK,
    },
    json::At as _,
    plan::{EventKind, EventRecord, ObjectRef},
};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;

/// Entries of `status.history` kept when the specification does not say.
const HISTORY_DEFAULT: i64 = 10;
/// Conditions of one type; more would only repeat it.
const CONDITIONS_OF_TYPE_MAX: usize = 10;

/// A condition to be: type and message.
pub type Finding = (&'static str, String);

/// The conditions of these findings. One that was there before keeps its time.
pub fn conditions(findings: &[Finding], before: &[ApplicationCondition], now: Timestamp) -> Vec<ApplicationCondition> {
    let mut built: Vec<ApplicationCondition> = Vec::new();
    for (kind, message) in findings {
        let of_type = built.iter().filter(|condition| condition.r#type == *kind);
        if of_type.clone().count() >= CONDITIONS_OF_TYPE_MAX
            || of_type.clone().any(|condition| condition.message == *message)
        {
            continue;
        }
        let kept = before
            .iter()
            .find(|condition| condition.r#type == *kind && condition.message == *message);
        built.push(kept.cloned().unwrap_or_else(|| ApplicationCondition {
            r#type: (*kind).to_owned(),
            message: message.clone(),
            last_transition_time: Some(wire_time(now)),
        }));
    }
    built
}

/// `status.sync`.
pub fn sync(app: &Application, code: SyncCode, revisions: &Revisions) -> SyncStatus {
    SyncStatus {
        status: code.name().to_owned(),
        compared_to: ComparedTo {
            source: if app.spec.sources.is_empty() {
                app.spec.source.clone()
            } else {
                None
            },
            destination: app.spec.destination.clone(),
            sources: app.spec.sources.clone(),
            ignore_differences: app.spec.ignore_differences.clone(),
        },
        revision: revisions.single.clone(),
        revisions: revisions.several.clone(),
    }
}

/// Whether the application as a whole is as its source says.
pub fn sync_code(comparisons: &[Comparison]) -> SyncCode {
    if comparisons
        .iter()
        .any(|comparison| comparison.counts && comparison.sync == SyncCode::OutOfSync)
    {
        SyncCode::OutOfSync
    } else {
        SyncCode::Synced
    }
}

/// `status.resources`, by key.
pub fn resources(comparisons: &[Comparison]) -> Vec<ResourceStatus> {
    comparisons.iter().map(resource).collect()
}

fn resource(comparison: &Comparison) -> ResourceStatus {
    let key = &comparison.key;
    let health = match (&comparison.live, &comparison.health) {
        (None, _) => Some(Health::from(Code::Missing)),
        (Some(_), health) => health.clone(),
    };
    ResourceStatus {
        group: key.group.clone(),
        version: comparison.version.clone(),
        kind: key.kind.clone(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        status: if comparison.is_hook {
            String::new()
        } else {
            comparison.sync.name().to_owned()
        },
        health: health.map(|health| wire_health(&health)),
        hook: comparison.is_hook,
        requires_pruning: comparison.requires_pruning(),
        sync_wave: comparison.wave,
        requires_deletion_confirmation: comparison.options.delete_confirm || comparison.options.prune_confirm,
    }
}

fn wire_health(health: &Health) -> HealthStatus {
    HealthStatus {
        status: health.code.name().to_owned(),
        message: health.message.clone(),
        last_transition_time: None,
    }
}

/// The application's health by its objects.
pub fn health(app: &Application, comparisons: &[Comparison]) -> Health {
    let members: Vec<Member<'_>> = comparisons
        .iter()
        .filter(|comparison| !comparison.is_hook)
        .map(|comparison| Member {
            key: &comparison.key,
            is_live: comparison.live.is_some(),
            health: comparison.health.as_ref(),
            is_ignored: is_self(app, &comparison.key) || comparison.live.as_deref().is_some_and(is_not_counted),
        })
        .collect();
    health::worst::of_application(&members)
}

/// The health of the objects of the last good comparison as they are now, for the time the source cannot be rendered.
pub fn retained(
    app: &Application,
    before: &[ResourceStatus],
    live: &super::compare::LiveObjects,
) -> (Vec<ResourceStatus>, Health) {
    let mut kept = before.to_vec();
    let keys: Vec<ResourceKey> = kept.iter().map(key_of).collect();
    let states: Vec<Option<Health>> = keys
        .iter()
        .map(|key| live.get(key).and_then(|object| health::of_object(object)))
        .collect();
    for ((entry, key), health) in kept.iter_mut().zip(&keys).zip(&states) {
        entry.health = match (live.contains_key(key), health) {
            (false, _) => Some(wire_health(&Code::Missing.into())),
            (true, health) => health.as_ref().map(wire_health),
        };
    }
    let members: Vec<Member<'_>> = keys
        .iter()
        .zip(&states)
        .zip(before)
        .filter(|(_, entry)| !entry.hook)
        .map(|((key, health), _)| Member {
            key,
            is_live: live.contains_key(key),
            health: health.as_ref(),
            is_ignored: is_self(app, key) || live.get(key).is_some_and(|object| is_not_counted(object)),
        })
        .collect();
    let worst = if members.is_empty() {
        Code::Unknown.into()
    } else {
        health::worst::of_application(&members)
    };
    (kept, worst)
}

/// The key of an entry of `status.resources`.
pub fn key_of(entry: &ResourceStatus) -> ResourceKey {
    ResourceKey {
        group: entry.group.clone(),
        kind: entry.kind.clone(),
        namespace: entry.namespace.clone(),
        name: entry.name.clone(),
    }
}

fn is_self(app: &Application, key: &ResourceKey) -> bool {
    key.group == GROUP
        && key.kind == "Application"
        && app.metadata.name.as_deref() == Some(&key.name)
        && app.metadata.namespace.as_deref() == Some(&key.namespace)
}

fn is_not_counted(object: &Value) -> bool {
    annotation(object, IGNORE_HEALTHCHECK) == Some("true")
}

/// `status.health`; its time is that of the last change of the word.
pub fn application_health(health: &Health, before: &HealthStatus, now: Timestamp) -> HealthStatus {
    let is_same = before.status == health.code.name() && before.last_transition_time.is_some();
    HealthStatus {
        last_transition_time: if is_same {
            before.last_transition_time.clone()
        } else {
            Some(wire_time(now))
        },
        ..wire_health(health)
    }
}

/// `status.history` with an operation that succeeded.
pub fn history(app: &Application, before: &[RevisionHistory], state: &OperationState) -> Vec<RevisionHistory> {
    use crate::api::application_status::HistoryId;
    let Some(result) = &state.sync_result else {
        return before.to_vec();
    };
    let limit = usize::try_from(app.spec.revision_history_limit.unwrap_or(HISTORY_DEFAULT).max(0)).unwrap_or(0);
    let mut history = before.to_vec();
    history.push(RevisionHistory {
        revision: result.revision.clone(),
        deployed_at: state.finished_at.clone(),
        id: HistoryId(before.last().map_or(0, |last| last.id.0 + 1)),
        source: result.source.clone(),
        deploy_started_at: state.started_at.clone(),
        sources: result.sources.clone(),
        revisions: result.revisions.clone(),
        initiated_by: state.operation.initiated_by.clone(),
    });
    let surplus = history.len().saturating_sub(limit);
    history.drain(..surplus);
    history
}

/// `status.summary`.
pub fn summary(comparisons: &[Comparison]) -> ApplicationSummary {
    let mut found_images = BTreeSet::new();
    let mut urls = BTreeSet::new();
    let mut is_app_of_apps = false;
    for comparison in comparisons {
        let Some(object) = comparison.live.as_deref().or(comparison.target.as_deref()) else {
            continue;
        };
        found_images.extend(images::of_object(object));
        is_app_of_apps |= comparison.key.group == GROUP && comparison.key.kind == "Application";
        if comparison.key.kind == "Ingress" {
            urls.extend(ingress_urls(object));
        }
    }
    ApplicationSummary {
        external_urls: urls.into_iter().collect(),
        images: found_images.into_iter().collect(),
        is_app_of_apps,
    }
}

fn ingress_urls(ingress: &Value) -> Vec<String> {
    let list = |pointer: &str| ingress.at(pointer).and_then(Value::as_array).into_iter().flatten();
    let secured: Vec<&str> = list("/spec/tls")
        .filter_map(|tls| tls.get("hosts")?.as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    list("/spec/rules")
        .map(|rule| text(rule, "/host"))
        .filter(|host| !host.is_empty())
        .map(|host| format!("{}://{host}/", if secured.contains(&host) { "https" } else { "http" }))
        .collect()
}

/// Whether two statuses differ in more than the time of the comparison.
pub fn differs(before: &ApplicationStatus, after: &ApplicationStatus) -> bool {
    let mut same_time = after.clone();
    same_time.reconciled_at.clone_from(&before.reconciled_at);
    same_time != *before
}

/// Events about what changed between two statuses.
pub fn events(app: &Application, before: &ApplicationStatus, after: &ApplicationStatus) -> Vec<EventRecord> {
    let mut found = Vec::new();
    if before.sync.status != after.sync.status {
        let message = format!("Updated sync status: {} -> {}", before.sync.status, after.sync.status);
        found.push(event(app, EventKind::Normal, "ResourceUpdated", message));
    }
    if before.health.status != after.health.status {
        let cause = match after.health.message.as_str() {
            "" => String::new(),
            cause => format!(" ({cause})"),
        };
        let message = format!(
            "Updated health status: {} -> {}{cause}",
            before.health.status, after.health.status
        );
        found.push(event(app, EventKind::Normal, "ResourceUpdated", message));
    }
    operation_events(app, before, after, &mut found);
    match (&before.hold, &after.hold) {
        (None, Some(hold)) => found.push(event(app, EventKind::Warning, "SyncHeld", super::hold::message(hold))),
        (Some(hold), Some(new)) if hold.revision != new.revision => {
            found.push(event(app, EventKind::Warning, "SyncHeld", super::hold::message(new)));
        }
        (Some(hold), None) => {
            let message = format!("Automation no longer holds back commit {}", hold.revision);
            found.push(event(app, EventKind::Normal, "SyncHoldReleased", message));
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
    found
}

/// Phase of an operation that ended between two statuses, and whether it was a dry run.
pub fn ended(before: Option<&ApplicationStatus>, after: &ApplicationStatus) -> Option<(String, bool)> {
    let state = after.operation_state.as_ref()?;
    let old = before.and_then(|before| before.operation_state.as_ref());
    let is_over = |state: &OperationState| super::operation::OperationPhase::is_over(&state.phase);
    let was_over = old.is_some_and(|old| old.started_at == state.started_at && is_over(old));
    let is_dry = state.operation.sync.as_ref().is_some_and(|sync| sync.dry_run);
    (is_over(state) && !was_over).then(|| (state.phase.clone(), is_dry))
}

fn operation_events(
    app: &Application,
    before: &ApplicationStatus,
    after: &ApplicationStatus,
    found: &mut Vec<EventRecord>,
) {
    let Some(state) = &after.operation_state else { return };
    let old = before.operation_state.as_ref();
    let is_new = old.is_none_or(|old| old.started_at != state.started_at || old.operation != state.operation);
    let result = state.sync_result.clone().unwrap_or_default();
    let revisions = Revisions::of_result(&result);
    if is_new {
        let by = &state.operation.initiated_by;
        let message = if by.automated {
            format!("Initiated automated sync to '{revisions}'")
        } else {
            format!(
                "{} initiated sync to '{revisions}'",
                if by.username.is_empty() {
                    "unknown user"
                } else {
                    &by.username
                }
            )
        };
        found.push(event(app, EventKind::Normal, "OperationStarted", message));
    }
    let was_over = !is_new && old.is_some_and(|old| super::operation::OperationPhase::is_over(&old.phase));
    if super::operation::OperationPhase::is_over(&state.phase) && !was_over {
        let is_partial = state
            .operation
            .sync
            .as_ref()
            .is_some_and(|sync| !sync.resources.is_empty());
        let what = if is_partial {
            "Partial sync operation"
        } else {
            "Sync operation"
        };
        let (kind, message) = match state.phase.as_str() {
            "Succeeded" => (EventKind::Normal, format!("{what} to {revisions} succeeded")),
            _ => (
                EventKind::Warning,
                format!("{what} to {revisions} failed: {}", state.message),
            ),
        };
        found.push(event(app, kind, "OperationCompleted", message));
    }
}

/// An event about an application.
pub fn event(app: &Application, kind: EventKind, reason: &str, message: String) -> EventRecord {
    let metadata = &app.metadata;
    EventRecord {
        about: ObjectRef {
            api_version: API_VERSION.to_owned(),
            kind: "Application".to_owned(),
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone().unwrap_or_default(),
        },
        uid: metadata.uid.clone(),
        kind,
        reason: reason.to_owned(),
        message,
    }
}
