//! What is done when a Rollout is gone: what it left behind is released, once the server says as well that it is gone.
//!
//! A store may be behind, or have lost an event: on its word alone no selector is touched. A server that does not answer
//! has not said that the Rollout is gone.

use super::{log_reasons, look};
use crate::{
    api::rollout::Rollout,
    class::Class,
    controllers::{Context, drive::Next, retry::ReconcileError},
    k8s::{
        apply::Applied,
        lease::Fence,
        ledger::Subject,
        observe::{Observation, Observed, instance_id},
        store::ObjectKey,
        stores::Stores,
    },
    plan::{EventKind, EventRecord, ObjectRef},
    rollout::departure,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Releases what a Rollout that is gone has left behind.
pub(super) async fn give_back(context: &Context, key: ObjectKey) -> Result<Next, ReconcileError> {
    let Some(fence) = context.leadership.fence() else {
        return Ok(Next::AwaitChange);
    };
    match release(context, &fence, key).await? {
        Some(_) => Ok(Next::AwaitChange),
        None => Ok(Next::In(Duration::ZERO)),
    }
}

/// Releases what other Rollouts, which are gone, have left of the objects that this one names, so that it finds them free
/// before it decides. Says whether to look again.
///
/// # Errors
/// When somebody else changes them at the same time. Any other failure leaves them as they are: nothing else that the
/// Rollout does, an abort above all, waits for them.
pub(super) async fn take_over(context: &Context, observed: &Observed) -> Result<bool, ReconcileError> {
    let gone = observed.gone_managers(&context.stores);
    let Some(fence) = context.leadership.fence().filter(|_| !gone.is_empty()) else {
        return Ok(false);
    };
    for manager in gone {
        let applied = match release(context, &fence, manager.clone()).await {
            Ok(applied) => applied.unwrap_or_default(),
            Err(error) if error.class == Class::Conflict => return Err(error),
            Err(error) => {
                tracing::warn!(rollout = %manager, %error, "What a Rollout that is gone has left could not be released.");
                continue;
            }
        };
        // Whoever wants them need not wait for the watch.
        for (target, _) in &applied.writes {
            if let Err(error) = context.stores.reread(&context.client, target).await {
                tracing::debug!(%target, %error, "A released object could not be read again.");
            }
        }
    }
    Ok(true)
}

/// `None` where there is nothing to release after all.
async fn release(context: &Context, fence: &Fence, key: ObjectKey) -> Result<Option<Applied>, ReconcileError> {
    let rollout = ObjectRef::namespaced(crate::api::API_VERSION, "Rollout", &key.namespace, &key.name);
    let subject = Subject::new("Rollout", key);
    context.reread(&subject, &[rollout]).await?;
    let Observation::Left(left) = look(context, &subject.key) else {
        return Ok(None);
    };
    let plan = departure::plan(&left.remains(&subject.key));
    log_reasons(&subject.key, &plan);
    Ok(Some(context.apply(fence, &subject, &plan).await?))
}

/// Rollouts whose deletion a watch has shown and that no pass has come to since, with the event that says so.
#[derive(Debug, Default)]
pub(super) struct Deletions(Mutex<BTreeMap<ObjectKey, EventRecord>>);

impl Deletions {
    /// Notes deletions from now on. Each wakes a pass, which takes the note: they do not add up.
    pub(super) fn of(stores: &Stores, of_instance: &str) -> Arc<Self> {
        let deletions = Arc::new(Self::default());
        let (noted, of_instance) = (Arc::clone(&deletions), of_instance.to_owned());
        stores.rollouts.listen(move |change| {
            if let (Some(before), None) = (&change.before, &change.after)
                && instance_id(before) == of_instance
            {
                noted.lock().insert(change.key.clone(), deleted(&change.key, before));
            }
        });
        deletions
    }

    /// Records the event, if this replica writes.
    pub(super) async fn tell(&self, context: &Context, key: &ObjectKey) {
        let event = self.lock().remove(key);
        if let Some(event) = event
            && context.leadership.fence().is_some()
        {
            context.record(&[event]).await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ObjectKey, EventRecord>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn deleted(key: &ObjectKey, rollout: &Rollout) -> EventRecord {
    EventRecord {
        about: ObjectRef::namespaced(crate::api::API_VERSION, "Rollout", &key.namespace, &key.name),
        uid: rollout.metadata.uid.clone(),
        kind: EventKind::Normal,
        reason: "RolloutDeleted".to_owned(),
        message: format!("Rollout {key} is deleted."),
    }
}
