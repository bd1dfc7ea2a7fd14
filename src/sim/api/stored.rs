//! One version of one object, encoded at most once for each form in which it is sent.

use super::{kinds::Kind, ownership::managed::Managed};
use axum::body::Bytes;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};

/// The form in which a client wants objects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// As they are.
    Whole,
    /// `PartialObjectMetadata`.
    Metadata,
}

/// One version of an object.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) value: Arc<Value>,
    pub(super) managed: Arc<Managed>,
    whole: OnceLock<Bytes>,
    item: OnceLock<Bytes>,
    metadata: OnceLock<Bytes>,
}

impl Stored {
    pub(super) fn new(value: Arc<Value>, managed: Arc<Managed>) -> Self {
        Self {
            value,
            managed,
            whole: OnceLock::new(),
            item: OnceLock::new(),
            metadata: OnceLock::new(),
        }
    }

    /// The same object at another version: how a watch shows what is gone.
    pub(super) fn at_version(&self, version: u64) -> Self {
        let mut value = Value::clone(&self.value);
        if let Some(field) = value.pointer_mut("/metadata/resourceVersion") {
            *field = version.to_string().into();
        }
        Self::new(Arc::new(value), Arc::clone(&self.managed))
    }

    /// As the answer to a request for it, and in watch events.
    pub(super) fn encoded(&self, form: Form) -> &Bytes {
        match form {
            Form::Whole => self.whole.get_or_init(|| encode(&*self.value)),
            Form::Metadata => self.metadata.get_or_init(|| {
                let metadata = self.value.get("metadata");
                encode(&json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}))
            }),
        }
    }

    /// As an item of a list: built-in kinds lack `apiVersion` and `kind` there.
    pub(super) fn item(&self, kind: Kind, form: Form) -> &Bytes {
        match form {
            Form::Whole if !kind.facts().is_custom => self.item.get_or_init(|| encode(&WithoutType(&self.value))),
            Form::Whole | Form::Metadata => self.encoded(form),
        }
    }
}

struct WithoutType<'a>(&'a Value);

impl Serialize for WithoutType<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let fields = self.0.as_object().into_iter().flatten();
        for (name, value) in fields.filter(|(name, _)| !matches!(name.as_str(), "apiVersion" | "kind")) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// JSON values always encode.
pub(super) fn encode(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}
