//! Builds `Rollout.status`: the only place that does. Phase and message are in `phase`.

use super::{
    deadline, decision::Decision, duration, phase, ping_pong, progress, progress::Turn, restart, validate::Problem,
    view::View, workload,
};
use crate::{
    api::{
        replica_set::ReplicaSet,
        rollout_status::{BlueGreenStatus, CanaryStatus, RolloutCondition, RolloutStatus, WaitingFor},
        scalar::wire_time,
    },
    plan::EventKind,
};
use jiff::Timestamp;

/// Reason of the wait and of the event about a stable ReplicaSet that was deleted in the middle of an update.
const STABLE_LOST: &str = "StableReplicaSetMissing";

/// The whole new status.
pub(crate) fn of(
    view: &View<'_>,
    decision: &Decision<'_>,
    problems: &[Problem],
    events: &mut Vec<(EventKind, &'static str, String)>,
) -> RolloutStatus {
    let mut status = base(view, decision);
    counts(view, &mut status);
    conditions(view, decision, problems, &mut status, events);
    (status.phase, status.message) = phase::of(view, decision, &status);
    let moving = status.phase != "Healthy" || decision.promotion.is_some();
    status.waiting_for = (decision.waiting.clone())
        .or_else(|| decision.restart.waiting.clone())
        .or_else(|| unnamed(&status))
        .filter(|_| moving);
    let is_promoted = status.stable_rs != view.status.stable_rs;
    if let Some(lost) = view.lost_stable().filter(|_| !is_promoted) {
        name_lost(view, &lost, &mut status, events);
    }
    status
}

/// Names the stable ReplicaSet that was deleted in the middle of an update: in the message, beside what is waited for,
/// and once as an event.
fn name_lost(
    view: &View<'_>,
    lost: &str,
    status: &mut RolloutStatus,
    events: &mut Vec<(EventKind, &'static str, String)>,
) {
    let text = if status.abort {
        format!(
            "the stable ReplicaSet \"{lost}\" is gone, so there is nothing to go back to: apply its pod template again, or retry"
        )
    } else {
        format!("the stable ReplicaSet \"{lost}\" is gone, so an abort cannot go back to it")
    };
    // The message of a pause is its reason, which clients read.
    if status.phase != "Paused" {
        status.message = joined(&status.message, &text);
    }
    let waiting = status.waiting_for.get_or_insert_with(|| WaitingFor {
        reason: STABLE_LOST.to_owned(),
        ..WaitingFor::default()
    });
    waiting.message = joined(&waiting.message, &text);
    let told = |before: Option<&WaitingFor>| before.is_some_and(|before| before.message.contains(lost));
    if !told(view.status.waiting_for.as_ref()) {
        events.push((EventKind::Warning, STABLE_LOST, text));
    }
}

fn joined(message: &str, text: &str) -> String {
    match message {
        "" => text.to_owned(),
        message => format!("{message}; {text}"),
    }
}

/// Whatever is not waited for by name is waited for by what the message says (guarantee D6).
fn unnamed(status: &RolloutStatus) -> Option<WaitingFor> {
    (status.phase == "Progressing").then(|| WaitingFor {
        reason: "WaitingForReplicaSets".to_owned(),
        message: status.message.clone(),
        until: None,
    })
}

fn base(view: &View<'_>, decision: &Decision<'_>) -> RolloutStatus {
    let before = &view.status;
    let progress = &decision.progress;
    let canary_spec = view.spec.strategy.canary.as_ref();
    let steps = canary_spec.map_or(&[][..], |canary| &canary.steps);
    let mut status = before.clone();
    status.abort = progress.abort;
    status.aborted_at.clone_from(&progress.aborted_at);
    status.promote_full = progress.promote_full;
    status.pause_conditions.clone_from(&progress.pauses);
    status.controller_pause = progress.controller_pause;
    status.current_pod_hash.clone_from(&view.revisions.hash);
    status.current_step_index = (!steps.is_empty()).then(|| i32::try_from(progress.step_index).unwrap_or(i32::MAX));
    // A spelling of the hash that the original wrote stays, so that a take-over writes nothing.
    if canary_spec.is_none() {
        status.current_step_hash.clear();
    } else if !progress::is_step_hash(&before.current_step_hash, steps) {
        status.current_step_hash = progress::step_hash(steps);
    }
    status.stable_rs.clone_from(&decision.stable_rs);
    status.observed_generation = view
        .snapshot
        .rollout
        .metadata
        .generation
        .map(|generation| generation.to_string())
        .unwrap_or_default();
    status.workload_observed_generation = workload::observed_generation(view, decision.frozen);
    status.canary = Some(CanaryStatus {
        current_step_analysis_run_status: progress.step_run.clone(),
        current_background_analysis_run_status: progress.background_run.clone(),
        current_experiment: progress.experiment.clone().unwrap_or_default(),
        weights: decision.weights.clone(),
        weights_written_at: decision.weights_written_at.clone(),
        stable_ping_pong: ping_pong::to_record(view, decision),
        ..before.canary.clone().unwrap_or_default()
    });
    let selected = |service: Option<&String>| {
        service
            .and_then(|name| view.selected_hash(name))
            .unwrap_or_default()
            .to_owned()
    };
    let blue_green_spec = view.spec.strategy.blue_green.as_ref();
    status.blue_green = Some(BlueGreenStatus {
        preview_selector: selected(
            blue_green_spec
                .map(|spec| &spec.preview_service)
                .filter(|name| !name.is_empty()),
        ),
        active_selector: selected(blue_green_spec.map(|spec| &spec.active_service)),
        scale_up_preview_check_point: progress.checkpoint,
        pre_promotion_analysis_run_status: progress.pre_run.clone(),
        post_promotion_analysis_run_status: progress.post_run.clone(),
    });
    if restart::is_renewed(view) {
        status.restarted_at.clone_from(&view.spec.restart_at);
    }
    if let Some(done) = &decision.restart.done {
        status.restarted_at = Some(done.clone());
    }
    status.duration = duration::of(view, decision);
    if view.name_is_taken() && !decision.frozen {
        status.collision_count = Some(before.collision_count.unwrap_or(0).saturating_add(1));
    }
    status
}

/// Sums over ReplicaSets, as they report themselves.
fn counts(view: &View<'_>, status: &mut RolloutStatus) {
    let sets = view.revisions.all();
    let sum = |count: fn(&ReplicaSet) -> i32| sets.iter().map(|set| count(set)).sum::<i32>();
    status.replicas = sum(|set| set.status.replicas);
    status.updated_replicas = view.revisions.new.map_or(0, |set| set.status.replicas);
    status.ready_replicas = sum(|set| set.status.ready_replicas);
    status.available_replicas = sum(|set| set.status.available_replicas);
    status.hpa_replicas = status.replicas;
    let selector = view.spec.selector.as_ref().map(selector_text).unwrap_or_default();
    status.selector = selector;
    if view.spec.strategy.blue_green.is_some() {
        let active = status
            .blue_green
            .as_ref()
            .map(|status| status.active_selector.clone())
            .unwrap_or_default();
        if let Some(set) = view.revisions.with_hash(&active).filter(|_| !active.is_empty()) {
            status.ready_replicas = set.status.ready_replicas;
            status.available_replicas = set.status.available_replicas;
            status.hpa_replicas = set.status.replicas;
            status.selector = selector_text(&set.spec.selector);
        }
    }
}

pub(super) fn selector_text(selector: &k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector) -> String {
    let labels = selector
        .match_labels
        .iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value}"));
    let expressions = selector.match_expressions.iter().flatten().map(|requirement| {
        let values = requirement.values.clone().unwrap_or_default().join(",");
        match requirement.operator.as_str() {
            "In" => format!("{} in ({values})", requirement.key),
            "NotIn" => format!("{} notin ({values})", requirement.key),
            "DoesNotExist" => format!("!{}", requirement.key),
            _ => requirement.key.clone(),
        }
    });
    labels.chain(expressions).collect::<Vec<_>>().join(",")
}

fn conditions(
    view: &View<'_>,
    decision: &Decision<'_>,
    problems: &[Problem],
    status: &mut RolloutStatus,
    events: &mut Vec<(EventKind, &'static str, String)>,
) {
    let now = view.now();
    let mut list = std::mem::take(&mut status.conditions);
    invalid_spec(view, problems, &mut list, events);
    let flag = |truth: bool| if truth { "True" } else { "False" };

    let available = is_available(view, status);
    let text = if available {
        "Rollout has minimum availability"
    } else {
        "Rollout does not have minimum availability"
    };
    set_condition(&mut list, ("Available", flag(available), "AvailableReason"), text, now);
    let completed = !status.stable_rs.is_empty() && status.stable_rs == status.current_pod_hash;
    set_condition(
        &mut list,
        ("Completed", flag(completed), "RolloutCompleted"),
        "RolloutCompleted",
        now,
    );
    let paused = view.spec.paused || !status.pause_conditions.is_empty();
    let has = |list: &[RolloutCondition], r#type: &str| list.iter().any(|condition| condition.r#type == r#type);
    if !status.abort && (paused || has(&list, "Paused")) {
        set_condition(
            &mut list,
            ("Paused", flag(paused), "RolloutPaused"),
            "Rollout is paused",
            now,
        );
    }
    let healthy = is_healthy(view, decision, status);
    if healthy || has(&list, "Healthy") {
        let text = if healthy {
            "Rollout is healthy"
        } else {
            "Rollout is not healthy"
        };
        set_condition(&mut list, ("Healthy", flag(healthy), "RolloutHealthy"), text, now);
    }
    replica_failure(view, &mut list);
    if problems.is_empty() || status.abort {
        progressing(view, decision, status, (paused, healthy), &mut list);
    }
    status.conditions = list;
}

fn invalid_spec(
    view: &View<'_>,
    problems: &[Problem],
    list: &mut Vec<RolloutCondition>,
    events: &mut Vec<(EventKind, &'static str, String)>,
) {
    if problems.is_empty() {
        list.retain(|condition| condition.r#type != "InvalidSpec");
        return;
    }
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let message = format!("The Rollout \"{}\" is invalid: {}", view.name(), texts.join("; "));
    let standing = list
        .iter()
        .any(|condition| condition.r#type == "InvalidSpec" && condition.message == message);
    if !standing {
        list.retain(|condition| condition.r#type != "InvalidSpec");
        set_condition(list, ("InvalidSpec", "True", "InvalidSpec"), &message, view.now());
        events.push((EventKind::Warning, "InvalidSpec", message));
    }
}

fn is_available(view: &View<'_>, status: &RolloutStatus) -> bool {
    if view.spec.strategy.blue_green.is_some() {
        let active = status
            .blue_green
            .as_ref()
            .and_then(|status| view.revisions.with_hash(&status.active_selector));
        return active
            .is_some_and(|set| set.replicas() == view.replicas && set.status.available_replicas == view.replicas);
    }
    status.available_replicas >= view.replicas
}

fn is_healthy(view: &View<'_>, decision: &Decision<'_>, status: &RolloutStatus) -> bool {
    let complete = !status.stable_rs.is_empty() && status.stable_rs == status.current_pod_hash;
    let counted = status.updated_replicas == view.replicas && status.available_replicas == view.replicas;
    if view.spec.strategy.blue_green.is_some() {
        let selected = status.blue_green.clone().unwrap_or_default();
        let preview_follows =
            selected.preview_selector.is_empty() || selected.preview_selector == status.current_pod_hash;
        return complete && counted && selected.active_selector == status.current_pod_hash && preview_follows;
    }
    complete && counted && status.replicas == view.replicas && phase::unsettled(view, decision).is_none()
}

/// A `ReplicaFailure` of a ReplicaSet is shown as it stands, the new one's first.
fn replica_failure(view: &View<'_>, list: &mut Vec<RolloutCondition>) {
    let failing = view.revisions.all().into_iter().find_map(|set| {
        set.status
            .conditions
            .iter()
            .find(|condition| condition.r#type == "ReplicaFailure" && condition.status == "True")
    });
    match failing {
        None => list.retain(|condition| condition.r#type != "ReplicaFailure"),
        Some(failure) => {
            set_condition(
                list,
                ("ReplicaFailure", "True", &failure.reason),
                &failure.message,
                view.now(),
            );
        }
    }
}

fn progressing(
    view: &View<'_>,
    decision: &Decision<'_>,
    status: &RolloutStatus,
    (paused, healthy): (bool, bool),
    list: &mut Vec<RolloutCondition>,
) {
    let now = view.now();
    let before = view.status.condition("Progressing");
    let reason_before = before.map_or("", |condition| condition.reason.as_str());
    let name = super::conclude::new_name(view);
    // What was said about the update before does not hold for one whose ReplicaSet is there already.
    let anew = !healthy && view.progress.turn != Turn::Continue && view.revisions.new.is_some();
    let mut set = |status, reason, message: &str| set_condition(list, ("Progressing", status, reason), message, now);
    if status.abort {
        set("False", "RolloutAborted", &abort_message(view, decision));
    } else if paused {
        set("Unknown", "RolloutPaused", "Rollout is paused");
    } else if reason_before == "RolloutPaused" && !healthy {
        set("Unknown", "RolloutResumed", "Rollout is resumed");
    } else if view.progress.turn == Turn::Retry || (anew && reason_before == "RolloutAborted") {
        set("Unknown", "RolloutRetry", "Retrying Rollout after abort");
    } else if anew && reason_before == "ProgressDeadlineExceeded" {
        let message = format!("Found new replica set \"{name}\"");
        set("True", "FoundNewReplicaSet", &message);
    } else if healthy {
        set(
            "True",
            "NewReplicaSetAvailable",
            &format!("ReplicaSet \"{name}\" has successfully progressed."),
        );
    } else if view.revisions.new.is_none() && !view.name_is_taken() {
        set(
            "True",
            "NewReplicaSetCreated",
            &format!("Created new replica set \"{name}\""),
        );
    } else if has_progressed(&view.status, status) {
        let message = format!("ReplicaSet \"{name}\" is progressing.");
        set("True", "ReplicaSetUpdated", &message);
        // Every bit of progress restarts the deadline.
        if let Some(condition) = list.iter_mut().find(|condition| condition.r#type == "Progressing") {
            condition.last_update_time = Some(wire_time(now));
        }
    } else if before.is_none() {
        set(
            "True",
            "FoundNewReplicaSet",
            &format!("Found new replica set \"{name}\""),
        );
    } else if reason_before == "NewReplicaSetAvailable" {
        set(
            "True",
            "ReplicaSetNotAvailable",
            "Rollout does not have minimum availability",
        );
    } else if !decision.at_waiting_step && deadline::exceeded(view) {
        set("False", "ProgressDeadlineExceeded", &deadline::message(view));
    }
}

/// `Rollout aborted update to revision N`, and why when it is known. The message of a standing abort is kept.
fn abort_message(view: &View<'_>, decision: &Decision<'_>) -> String {
    let because = decision.aborts_because.as_deref().unwrap_or_default();
    let colon = if because.is_empty() { "" } else { ": " };
    format!(
        "Rollout aborted update to revision {}{colon}{because}",
        view.revisions.number
    )
}

fn has_progressed(before: &RolloutStatus, after: &RolloutStatus) -> bool {
    let old = |status: &RolloutStatus| status.replicas - status.updated_replicas;
    let selectors = |status: &RolloutStatus| {
        status
            .blue_green
            .as_ref()
            .map(|status| (status.active_selector.clone(), status.preview_selector.clone()))
    };
    after.updated_replicas != before.updated_replicas
        || old(after) < old(before)
        || after.ready_replicas > before.ready_replicas
        || after.available_replicas > before.available_replicas
        || after.stable_rs != before.stable_rs
        || after.current_step_index != before.current_step_index
        || after.current_step_hash != before.current_step_hash
        || (before.blue_green.is_some() && selectors(after) != selectors(before))
}

/// Sets a condition by (type, status, reason). One that already says the same keeps its times and message; a replaced
/// one goes to the end, so that the order of conditions tells recency.
pub(crate) fn set_condition(
    list: &mut Vec<RolloutCondition>,
    (r#type, status, reason): (&str, &str, &str),
    message: &str,
    now: Timestamp,
) {
    let before = list
        .iter()
        .position(|condition| condition.r#type == r#type)
        .map(|position| (position, list.get(position)));
    let now = wire_time(now);
    let mut last_transition_time = Some(now.clone());
    if let Some((position, Some(before))) = before {
        if before.status == status && before.reason == reason {
            return;
        }
        if before.status == status {
            last_transition_time.clone_from(&before.last_transition_time);
        }
        list.remove(position);
    }
    list.push(RolloutCondition {
        last_transition_time,
        last_update_time: Some(now),
        message: message.to_owned(),
        reason: reason.to_owned(),
        status: status.to_owned(),
        r#type: r#type.to_owned(),
    });
}

/// Events about the end of a pass: pause, resume, abort, promotion.
pub(crate) fn closing_events(view: &View<'_>, decision: &Decision<'_>) -> Vec<(EventKind, &'static str, String)> {
    let mut events = Vec::new();
    let number = view.revisions.number;
    let progress = &decision.progress;
    for pause in &progress.pauses {
        if !view
            .status
            .pause_conditions
            .iter()
            .any(|before| before.reason == pause.reason)
        {
            events.push((
                EventKind::Normal,
                "RolloutPaused",
                format!("Rollout is paused ({})", pause.reason),
            ));
        }
    }
    let was_paused = view.status.controller_pause;
    if was_paused && progress.pauses.is_empty() && !progress.controller_pause && !progress.abort {
        events.push((EventKind::Normal, "RolloutResumed", "Rollout is resumed".to_owned()));
    }
    if decision.aborts_because.is_some() && !decision.frozen {
        events.push((EventKind::Warning, "RolloutAborted", abort_message(view, decision)));
    }
    if let Some(reason) = &decision.promotion {
        let text = format!(
            "Rollout completed update to revision {number} ({}): {reason}",
            view.revisions.hash
        );
        events.push((EventKind::Normal, "RolloutCompleted", text));
    }
    events
}
