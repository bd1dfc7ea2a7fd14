//! Health of an application: the worst of the objects it manages itself (reference, applications 5.6).

use super::{Code, Health};
use crate::sync::resource::ResourceKey;

/// Causes named in the message.
const CAUSES_MAX: usize = 3;

/// What one object contributes.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// The object.
    pub key: &'a ResourceKey,
    /// Whether it exists.
    pub is_live: bool,
    /// Its health; absent when its kind has no check.
    pub health: Option<&'a Health>,
    /// Annotated so that it does not count, or the application itself.
    pub is_ignored: bool,
}

/// The health of an application with these non-hook objects.
pub fn of_application(members: &[Member<'_>]) -> Health {
    if !members.is_empty() && members.iter().all(|member| !member.is_live) {
        return Code::Missing.into();
    }
    let counted: Vec<(&ResourceKey, Code)> = members
        .iter()
        .filter(|member| member.is_live && !member.is_ignored)
        .filter_map(|member| Some((member.key, member.health?.code)))
        .filter(|(key, code)| !(is_child(key) && matches!(code, Code::Missing | Code::Unknown)))
        .collect();
    let worst = counted.iter().map(|(_, code)| *code).max().unwrap_or(Code::Healthy);
    if worst == Code::Healthy {
        return worst.into();
    }
    let causes: Vec<&ResourceKey> = counted
        .iter()
        .filter(|(_, code)| *code == worst)
        .map(|(key, _)| *key)
        .collect();
    let named: Vec<String> = causes
        .iter()
        .take(CAUSES_MAX)
        .map(|key| format!("{}/{}:{}/{}", key.group, key.kind, key.namespace, key.name))
        .collect();
    let more = match causes.len().saturating_sub(CAUSES_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Health::new(worst, format!("Caused by {}{more}", named.join(", ")))
}

fn is_child(key: &ResourceKey) -> bool {
    key.group == crate::api::GROUP && key.kind == "Application"
}
