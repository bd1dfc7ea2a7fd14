//! The writing verbs, the same for clients and for writes within the process.

use super::{
    Change,
    commit::{By, Inner, Ownership, metadata_of},
    defaults,
    kinds::{Key, Kind},
    ownership::{
        apply::{self, Conflicts},
        compare::{fields_of, fields_of_new},
        managed::{Managed, Operation},
        shape::Place,
    },
    patch::{may_replace_blindly, patch},
    refusal::{Refused, already_exists, bad_request, conflict, invalid, not_found, refused},
    state::{meta, uid_of},
    stored::Stored,
};
use crate::json::At as _;
use kube::core::response::{StatusCause, StatusDetails};
use serde_json::{Value, json};
use std::sync::Arc;

impl Inner {
    /// `POST`. The namespace is the path's; the object's own must agree or be absent.
    pub(super) fn create(
        &mut self,
        by: &By,
        kind: Kind,
        namespace: &str,
        object: Value,
    ) -> Result<Arc<Stored>, Refused> {
        let (key, object) = self.identified(kind, namespace, object)?;
        if self.state.stored(&key).is_some() {
            return Err(already_exists(kind, &key.name));
        }
        let owned = |object: &Value| fields_of_new(object, &mut Place::root(kind));
        self.begin(by, &key, object, Operation::Update, owned)
    }

    /// The key of a new object, from its body and its path; gives a name where one is asked for.
    fn identified(&mut self, kind: Kind, namespace: &str, mut object: Value) -> Result<(Key, Value), Refused> {
        let facts = kind.facts();
        if !object.is_object() {
            return Err(bad_request("the body must be an object"));
        }
        for (field, served) in [("apiVersion", facts.api_version), ("kind", facts.kind)] {
            let found = object.get(field).and_then(Value::as_str).unwrap_or_default();
            if found != served {
                return Err(bad_request(format!(
                    "the {field} in the data ({found}) does not match the expected {field} ({served})"
                )));
            }
        }
        let found = meta(&object, "namespace");
        if !found.is_empty() && found != namespace {
            return Err(bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        if facts.namespaced && namespace.is_empty() {
            return Err(bad_request("an empty namespace may not be set during creation"));
        }
        let mut name = meta(&object, "name").to_owned();
        if name.is_empty() {
            let prefix = meta(&object, "generateName");
            if prefix.is_empty() {
                let key = Key::new(kind, namespace, "");
                let message = "Required value: name or generateName is required";
                return Err(invalid(&key, &[("metadata.name", message.to_owned())]));
            }
            self.state.serial += 1;
            name = format!("{prefix}{}", suffix(self.state.serial));
            if let Some(metadata) = metadata_of(&mut object) {
                metadata.insert("name".to_owned(), json!(name));
            }
        }
        Ok((Key::new(kind, namespace, name), object))
    }

    /// Stores a new object. `owned` says which fields the writer owns, of the object as sent.
    fn begin(
        &mut self,
        by: &By,
        key: &Key,
        mut object: Value,
        operation: Operation,
        owned: impl FnOnce(&Value) -> super::ownership::set::FieldSet,
    ) -> Result<Arc<Stored>, Refused> {
        let facts = key.kind.facts();
        self.check_namespace(key)?;
        let sent_status = object.as_object_mut().and_then(|object| object.remove("status"));
        if !facts.has_status
            && let (Some(status), Some(object)) = (sent_status, object.as_object_mut())
        {
            object.insert("status".to_owned(), status);
        }
        let mut managed = Managed::default();
        managed.replace(&by.manager(key.kind, operation), owned(&object));
        managed.date(&self.now());
        if let (Some(status), Some(object)) = (defaults::first_status(key.kind), object.as_object_mut()) {
            object.insert("status".to_owned(), status);
        }
        self.state.serial += 1;
        let uid = format!("00000000-0000-4000-8000-{:012x}", self.state.serial);
        let now = self.now();
        if let Some(metadata) = metadata_of(&mut object) {
            metadata.retain(|field, value| {
                !value.is_null()
                    && !matches!(
                        field.as_str(),
                        "deletionTimestamp"
                            | "deletionGracePeriodSeconds"
                            | "managedFields"
                            | "selfLink"
                            | "generation"
                            | "resourceVersion"
                    )
            });
            metadata.insert("uid".to_owned(), json!(uid));
            metadata.insert("creationTimestamp".to_owned(), json!(now));
            if facts.namespaced {
                metadata.insert("namespace".to_owned(), json!(key.namespace));
            }
            if facts.has_generation {
                metadata.insert("generation".to_owned(), json!(1));
            }
        }
        defaults::fill(key.kind, &mut object, &mut self.state.serial);
        self.show_managed(&mut object, &managed);
        self.check(key, None, &object)?;
        Ok(self.commit(by, key, None, Some((object, Arc::new(managed)))))
    }

    fn check_namespace(&self, key: &Key) -> Result<(), Refused> {
        if !key.kind.facts().namespaced {
            return Ok(());
        }
        match self.state.get(&Key::new(Kind::Namespace, "", key.namespace.as_str())) {
            Some(namespace) if super::commit::is_deleting(namespace) => Err(refused(
                403,
                "Forbidden",
                format!(
                    "{} \"{}\" is forbidden: unable to create new content in namespace {} because it is being terminated",
                    key.kind.facts().resource(),
                    key.name,
                    key.namespace
                ),
            )),
            None if self.options.require_namespaces => Err(not_found(Kind::Namespace, &key.namespace)),
            _ => Ok(()),
        }
    }

    /// `PUT`, on the object or its status.
    pub(super) fn update(&mut self, by: &By, key: &Key, object: Value) -> Result<Arc<Stored>, Refused> {
        let before = self.existing(key)?;
        self.serves(key, by.subresource)?;
        if meta(&object, "name").is_empty() {
            return Err(bad_request("the name of the object must be given in its metadata"));
        }
        if !may_replace_blindly(key.kind) && meta(&object, "resourceVersion").is_empty() {
            let message = "Invalid value: 0: must be specified for an update";
            return Err(invalid(key, &[("metadata.resourceVersion", message.to_owned())]));
        }
        self.finish(by, key, &before, object, Ownership::Changed)
    }

    /// `PATCH` other than server-side apply.
    pub(super) fn patch(&mut self, by: &By, key: &Key, change: &Change) -> Result<Arc<Stored>, Refused> {
        let before = self.existing(key)?;
        self.serves(key, by.subresource)?;
        let mut object = match (by.subresource, change) {
            // The rest would be dropped again.
            ("status", Change::Merge(_)) => without_spec(&before.value),
            _ => Value::clone(&before.value),
        };
        patch(key, &mut object, change)?;
        self.finish(by, key, &before, object, Ownership::Changed)
    }

    /// Server-side apply.
    pub(super) fn apply(&mut self, by: &By, key: &Key, mut config: Value, force: bool) -> Result<Arc<Stored>, Refused> {
        self.serves(key, by.subresource)?;
        if config
            .at("/metadata/managedFields")
            .is_some_and(|managed| !managed.is_null())
        {
            return Err(bad_request("metadata.managedFields must be nil"));
        }
        let Some(before) = self.state.stored(key).cloned() else {
            return self.apply_new(by, key, config);
        };
        let guard = |field: &str| config.at("/metadata").and_then(|metadata| metadata.get(field)).cloned();
        let (uid, version) = (guard("uid"), guard("resourceVersion"));
        let facts = key.kind.facts();
        for (field, served) in [("apiVersion", facts.api_version), ("kind", facts.kind)] {
            if config.get(field).and_then(Value::as_str) != Some(served) {
                return Err(bad_request(format!("{field} must be {served}")));
            }
        }
        let name = meta(&config, "name");
        if !name.is_empty() && name != key.name {
            return Err(bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                key.name
            )));
        }
        apply::strip(&mut config);
        keep_endpoint(key.kind, by.subresource, &mut config);
        let manager = by.manager(key.kind, Operation::Apply);
        let applied = apply::apply(key.kind, &before.value, &before.managed, &config, &manager, force)
            .map_err(|conflicts| self.ownership_conflict(&conflicts))?;
        let mut object = applied.object;
        if let Some(metadata) = metadata_of(&mut object) {
            for (field, value) in [("uid", uid), ("resourceVersion", version)] {
                if let Some(value) = value {
                    metadata.insert(field.to_owned(), value);
                }
            }
        }
        self.finish(by, key, &before, object, Ownership::Applied(applied.managed))
    }

    fn apply_new(&mut self, by: &By, key: &Key, mut config: Value) -> Result<Arc<Stored>, Refused> {
        let uid = uid_of(&config).to_owned();
        if !by.subresource.is_empty() {
            return Err(not_found(key.kind, &key.name));
        }
        // A version alone does not keep the real server from creating the object; a uid does.
        if !uid.is_empty() {
            let why = format!("Precondition failed: the object with UID {uid} does not exist");
            return Err(conflict(key.kind, &key.name, &why));
        }
        if let Some(metadata) = metadata_of(&mut config) {
            metadata.insert("name".to_owned(), json!(key.name));
        }
        let (key, config) = self.identified(key.kind, &key.namespace, config)?;
        let owned = |object: &Value| {
            let mut config = object.clone();
            apply::strip(&mut config);
            fields_of(&config, &mut Place::root(key.kind))
        };
        self.begin(by, &key, config, Operation::Apply, owned)
    }

    fn ownership_conflict(&self, conflicts: &Conflicts) -> Refused {
        let causes: Vec<StatusCause> = conflicts
            .iter()
            .flat_map(|(manager, paths)| {
                paths.iter().map(move |path| StatusCause {
                    reason: "FieldManagerConflict".to_owned(),
                    message: format!("conflict with {manager}"),
                    field: path.clone(),
                })
            })
            .collect();
        let shown = match causes.as_slice() {
            [one] => format!("Apply failed with 1 conflict: {}: {}", one.message, one.field),
            many => {
                let blocks = conflicts.iter().map(|(manager, paths)| {
                    let lines: String = paths.iter().map(|path| format!("\n- {path}")).collect();
                    format!("conflicts with {manager}:{lines}")
                });
                let blocks: Vec<String> = blocks.collect();
                format!("Apply failed with {} conflicts: {}", many.len(), blocks.join("\n"))
            }
        };
        let mut status = refused(409, "Conflict", shown);
        status.details = Some(StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes,
            retry_after_seconds: 0,
        });
        status
    }

    pub(super) fn existing(&self, key: &Key) -> Result<Arc<Stored>, Refused> {
        let stored = self.state.stored(key).cloned();
        stored.ok_or_else(|| not_found(key.kind, &key.name))
    }

    /// Whether the kind has this subresource.
    pub(super) fn serves(&self, key: &Key, subresource: &str) -> Result<(), Refused> {
        let facts = key.kind.facts();
        let is_served = match subresource {
            "" => true,
            "status" => facts.has_status,
            "scale" => facts.scale.is_some(),
            _ => false,
        };
        if is_served {
            return Ok(());
        }
        Err(refused(
            404,
            "NotFound",
            "the server could not find the requested resource",
        ))
    }
}

/// A copy of what a patch of the status may look at and change.
fn without_spec(object: &Value) -> Value {
    let fields = object.as_object().into_iter().flatten();
    let kept = fields.filter(|(field, _)| matches!(field.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
    Value::Object(kept.map(|(field, value)| (field.clone(), value.clone())).collect())
}

/// What an endpoint takes of an applied object.
fn keep_endpoint(kind: Kind, subresource: &str, config: &mut Value) {
    let Some(object) = config.as_object_mut() else { return };
    match subresource {
        "status" => object.retain(|field, _| field == "status"),
        _ if kind.facts().has_status => {
            object.remove("status");
        }
        _ => {}
    }
}

/// Five characters that differ for each number, in the letters the real server uses.
fn suffix(number: u64) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut rest = number;
    let mut letters = Vec::new();
    for _ in 0..5 {
        let index = usize::try_from(rest % 27).unwrap_or_default();
        letters.push(LETTERS.get(index).copied().unwrap_or(b'b'));
        rest /= 27;
    }
    letters.into_iter().rev().map(char::from).collect()
}
