//! Hooks: objects that run at a point of an operation instead of being kept (reference, applications 2.3).

use super::{
    health::HOOK_FINALIZER,
    order::Phase,
    resource::{annotation, text},
};
use crate::{api::well_known::HOOK, json::At as _};
use jiff::Timestamp;
use serde_json::Value;

const DELETE_POLICY: &str = "argocd.argoproj.io/hook-delete-policy";
const HELM_HOOK: &str = "helm.sh/hook";
const HELM_DELETE_POLICY: &str = "helm.sh/hook-delete-policy";

/// What an object is to an operation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Role {
    /// Kept in sync.
    Resource,
    /// Run in these phases.
    Hook(Vec<Phase>),
    /// Left alone: `Skip`, and hook types nobody knows.
    Ignored,
}

/// When a hook is deleted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DeletePolicies {
    /// When the operation ends, if the hook succeeded.
    pub on_success: bool,
    /// When the operation ends, if the hook failed.
    pub on_failure: bool,
    /// Before it is created again.
    pub before_creation: bool,
}

/// The role of an object. Argo's annotation wins over Helm's.
pub fn role(object: &Value) -> Role {
    if let Some(list) = annotation(object, HOOK) {
        let entries: Vec<&str> = list
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .collect();
        let phases: Vec<Phase> = entries.iter().filter_map(|entry| Phase::parse(entry)).collect();
        return if phases.is_empty() {
            Role::Ignored
        } else {
            Role::Hook(phases)
        };
    }
    let Some(list) = annotation(object, HELM_HOOK) else {
        return Role::Resource;
    };
    let mut phases = Vec::new();
    for entry in list.split(',').map(str::trim) {
        match entry {
            "pre-install" | "pre-upgrade" => phases.push(Phase::PreSync),
            "post-install" | "post-upgrade" => phases.push(Phase::PostSync),
            "pre-delete" => phases.push(Phase::PreDelete),
            "post-delete" => phases.push(Phase::PostDelete),
            "crd-install" => return Role::Resource,
            _ => {}
        }
    }
    phases.sort_unstable();
    phases.dedup();
    if phases.is_empty() {
        Role::Ignored
    } else {
        Role::Hook(phases)
    }
}

/// Whether an object is a hook of this phase.
pub fn runs_in(object: &Value, phase: Phase) -> bool {
    matches!(role(object), Role::Hook(phases) if phases.contains(&phase))
}

/// Whether an object is a hook of any kind, whatever its phase.
pub fn is_hook(object: &Value) -> bool {
    role(object) != Role::Resource
}

/// The delete policies of a hook; `BeforeHookCreation` when it names none.
pub fn delete_policies(object: &Value) -> DeletePolicies {
    let mut found = DeletePolicies::default();
    let lists = [DELETE_POLICY, HELM_DELETE_POLICY].map(|key| annotation(object, key).unwrap_or_default());
    for entry in lists.iter().flat_map(|list| list.split(',')).map(str::trim) {
        match entry {
            "HookSucceeded" | "hook-succeeded" => found.on_success = true,
            "HookFailed" | "hook-failed" => found.on_failure = true,
            "BeforeHookCreation" | "before-hook-creation" => found.before_creation = true,
            _ => {}
        }
    }
    if found == DeletePolicies::default() {
        found.before_creation = true;
    }
    found
}

/// Whether a live hook is kept from going away until its end was seen.
pub fn is_held(object: &Value) -> bool {
    object
        .at("/metadata/finalizers")
        .and_then(Value::as_array)
        .is_some_and(|finalizers| finalizers.iter().any(|finalizer| finalizer == HOOK_FINALIZER))
}

/// The object of a hook in one phase: named, of this phase only where its name was made for it, and held until its end
/// was seen. `None` when it has no name of any sort.
pub fn object(hook: &Value, revision: &str, phase: Phase, started: Timestamp) -> Option<Value> {
    let name = name(hook, revision, phase, started)?;
    let mut object = hook.clone();
    let generated = text(&object, "/metadata/name").is_empty();
    let metadata = object.pointer_mut("/metadata")?.as_object_mut()?;
    metadata.remove("generateName");
    metadata.insert("name".into(), name.into());
    if generated && let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.insert(HOOK.into(), phase.name().into());
    }
    let finalizers = metadata.entry("finalizers").or_insert(Value::Null);
    if !finalizers.is_array() {
        *finalizers = Value::Array(Vec::new());
    }
    if let Some(finalizers) = finalizers.as_array_mut()
        && !finalizers.iter().any(|finalizer| finalizer == HOOK_FINALIZER)
    {
        finalizers.push(HOOK_FINALIZER.into());
    }
    Some(object)
}

/// The name of a hook in an operation: as written, or made from `generateName`, the commit, the phase and the start.
pub fn name(object: &Value, revision: &str, phase: Phase, started: Timestamp) -> Option<String> {
    let given = text(object, "/metadata/name");
    if !given.is_empty() {
        return Some(given.to_owned());
    }
    let prefix = text(object, "/metadata/generateName");
    let short: String = revision.chars().take(7).collect();
    (!prefix.is_empty()).then(|| {
        format!(
            "{prefix}{short}-{}-{}",
            phase.name().to_lowercase(),
            started.as_second()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn annotated(key: &str, value: &str) -> Value {
        json!({"metadata": {"annotations": {key: value}}})
    }

    #[test]
    fn roles() {
        for (key, value, expected) in [
            (HOOK, "PreSync", Role::Hook(vec![Phase::PreSync])),
            (HOOK, "Sync, PostSync", Role::Hook(vec![Phase::Sync, Phase::PostSync])),
            (HOOK, "Skip", Role::Ignored),
            (HOOK, "PreDelete", Role::Hook(vec![Phase::PreDelete])),
            (
                HELM_HOOK,
                "post-delete,pre-delete",
                Role::Hook(vec![Phase::PreDelete, Phase::PostDelete]),
            ),
            (HOOK, "Nonsense", Role::Ignored),
            (HELM_HOOK, "pre-install,pre-upgrade", Role::Hook(vec![Phase::PreSync])),
            (HELM_HOOK, "crd-install", Role::Resource),
            (HELM_HOOK, "test", Role::Ignored),
            ("other", "x", Role::Resource),
        ] {
            assert_eq!(role(&annotated(key, value)), expected, "{key}: {value}");
        }
    }

    #[test]
    fn delete_policy_defaults_to_before_creation() {
        assert!(delete_policies(&json!({})).before_creation);
        let policies = delete_policies(&annotated(DELETE_POLICY, "HookSucceeded,HookFailed"));
        assert!(policies.on_success && policies.on_failure && !policies.before_creation);
    }

    #[test]
    fn generated_names_are_the_same_for_the_same_operation() {
        let started = Timestamp::from_second(1_700_000_000).unwrap();
        let object = json!({"metadata": {"generateName": "migrate-"}});
        assert_eq!(
            name(&object, "0123456789abcdef", Phase::PreSync, started).as_deref(),
            Some("migrate-0123456-presync-1700000000")
        );
        assert_eq!(
            name(&json!({"metadata": {"name": "x"}}), "", Phase::Sync, started).as_deref(),
            Some("x")
        );
    }
}
