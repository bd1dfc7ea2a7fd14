//! The end of an attempt: success, another try, or giving up.

use super::OperationPhase;
use crate::{
    api::{application_status::OperationState, scalar::wire_time},
    sync::retry,
};
use jiff::Timestamp;

/// Ends an attempt. A failure that may be retried leaves the operation running with `finishedAt` set until then.
pub fn finish(
    state: &OperationState,
    phase: OperationPhase,
    message: &str,
    now: Timestamp,
    may_retry: bool,
) -> OperationState {
    let mut state = state.clone();
    let is_failure = matches!(phase, OperationPhase::Failed | OperationPhase::Error);
    state.finished_at = Some(wire_time(now));
    state.waiting = None;
    if is_failure && may_retry && retry::is_allowed(&state.operation.retry, state.retry_count) {
        let next = now
            .saturating_add(retry::delay(&state.operation.retry, state.retry_count))
            .unwrap_or(now);
        state.retry_count += 1;
        state.phase = OperationPhase::Running.name().into();
        state.message = format!(
            "{message}. Retrying attempt #{} at {}.",
            state.retry_count,
            retry::clock_time(next)
        );
        return state;
    }
    state.phase = phase.name().into();
    state.message = match state.retry_count {
        retries if is_failure && retries > 0 && may_retry => format!("{message} (retried {retries} times)."),
        _ => message.to_owned(),
    };
    state
}
