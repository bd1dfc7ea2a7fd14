//! Lists: selection, pages, and versions.

use super::{
    commit::Inner,
    kinds::Kind,
    log::Selection,
    refusal::{Refused, bad_request, expired, refused},
    state::{Place, Table},
    stored::{Form, Stored, encode},
};
use axum::body::Bytes;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

/// What a list asks for besides its selection.
#[derive(Clone, Debug, Default)]
pub(super) struct Paging {
    pub(super) limit: usize,
    /// Token of the page before.
    pub(super) continued: Option<String>,
    pub(super) version: Option<u64>,
    /// Whether exactly this version is wanted.
    pub(super) is_exact: bool,
}

impl Inner {
    /// The answer to a list.
    pub(super) fn list(
        &self,
        kind: Kind,
        selection: &Selection,
        paging: &Paging,
        form: Form,
    ) -> Result<Bytes, Refused> {
        let now = self.state.version;
        let (version, after) = match &paging.continued {
            Some(token) => {
                let (version, after) = read_token(token)?;
                (version, Some(after))
            }
            None if paging.is_exact => (paging.version.unwrap_or(now), None),
            None => (now, None),
        };
        if version > now || paging.version.is_some_and(|wanted| wanted > now) {
            let wanted = paging.version.unwrap_or(version);
            return Err(refused(
                504,
                "Timeout",
                format!("Too large resource version: {wanted}, current: {now}"),
            ));
        }
        let mut page = Page::default();
        let limit = if paging.limit == 0 { usize::MAX } else { paging.limit };
        let mut visit = |place: (&str, &str), stored: &Arc<Stored>| {
            let is_before = after
                .as_ref()
                .is_some_and(|(namespace, name)| place <= (namespace.as_str(), name.as_str()));
            if is_before || !selection.matches(stored) {
                return;
            }
            if page.taken == limit {
                page.remaining += 1;
                return;
            }
            page.taken += 1;
            page.last = Some((place.0.to_owned(), place.1.to_owned()));
            if page.taken > 1 {
                page.items.push(b',');
            }
            page.items.extend_from_slice(stored.item(kind, form));
        };
        let namespace = selection.namespace.as_deref();
        match self
            .state
            .tables
            .get(&kind)
            .filter(|table| table.changed_since(version))
        {
            None => self
                .state
                .all(kind, namespace)
                .for_each(|(namespace, name, stored)| visit((namespace, name), stored)),
            Some(table) => {
                let then = table.as_of(version)?;
                let wanted = then
                    .iter()
                    .filter(|((there, _), _)| namespace.is_none_or(|namespace| namespace == there));
                wanted.for_each(|((namespace, name), stored)| visit((namespace, name), stored));
            }
        }
        Ok(page.encoded(kind, form, version, selection))
    }
}

#[derive(Default)]
struct Page {
    items: Vec<u8>,
    taken: usize,
    remaining: usize,
    last: Option<Place>,
}

impl Page {
    fn encoded(self, kind: Kind, form: Form, version: u64, selection: &Selection) -> Bytes {
        let facts = kind.facts();
        let (list, api_version) = match form {
            Form::Whole => (format!("{}List", facts.kind), facts.api_version),
            Form::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1"),
        };
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if facts.is_custom
            && form == Form::Whole
            && let Some(metadata) = metadata.as_object_mut()
        {
            metadata.insert("continue".to_owned(), json!(""));
        }
        if self.remaining > 0
            && let (Some(metadata), Some(last)) = (metadata.as_object_mut(), &self.last)
        {
            metadata.insert("continue".to_owned(), json!(token(version, last)));
            if selection.is_everything() {
                metadata.insert("remainingItemCount".to_owned(), json!(self.remaining));
            }
        }
        let mut text = format!("{{\"kind\":\"{list}\",\"apiVersion\":\"{api_version}\",\"metadata\":").into_bytes();
        text.extend_from_slice(&encode(&metadata));
        text.extend_from_slice(b",\"items\":[");
        text.extend_from_slice(&self.items);
        text.extend_from_slice(b"]}");
        text.into()
    }
}

impl Table {
    fn changed_since(&self, version: u64) -> bool {
        let newest = self.log.events.back().map_or(self.log.floor, |event| event.version);
        newest > version
    }

    /// The objects as they were at a version, if the log goes back that far.
    fn as_of(&self, version: u64) -> Result<BTreeMap<Place, Arc<Stored>>, Refused> {
        if version < self.log.floor {
            return Err(expired(
                "The provided continue parameter is too old to display a consistent list result. You must start a new list without the continue parameter.",
            ));
        }
        let mut then: BTreeMap<Place, Arc<Stored>> = BTreeMap::new();
        for (namespace, objects) in &self.objects {
            for (name, stored) in objects {
                then.insert((namespace.clone(), name.clone()), Arc::clone(stored));
            }
        }
        for event in self.log.events.iter().rev().take_while(|event| event.version > version) {
            let place = (event.namespace.clone(), event.name.clone());
            match &event.before {
                Some(before) => then.insert(place, Arc::clone(before)),
                None => then.remove(&place),
            };
        }
        Ok(then)
    }
}

fn token(version: u64, (namespace, name): &Place) -> String {
    URL_SAFE_NO_PAD.encode(format!("{version}:{namespace}/{name}"))
}

fn read_token(token: &str) -> Result<(u64, Place), Refused> {
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let (version, place) = text.split_once(':')?;
        let (namespace, name) = place.split_once('/')?;
        Some((version.parse().ok()?, (namespace.to_owned(), name.to_owned())))
    };
    read().ok_or_else(|| bad_request("continue key is not valid"))
}
