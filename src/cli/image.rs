//! What `set image` writes. Pure.

use std::str::FromStr;

use serde_json::{Value, json};

use super::error::{CliError, Kind};
use crate::api::rollout::Rollout;

/// `CONTAINER=IMAGE`; `*` stands for every container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Name of the container, or `*`.
    pub container: String,
    /// The new image.
    pub image: String,
}

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((container, image)) if !container.is_empty() && !image.is_empty() => Ok(Self {
                container: container.to_owned(),
                image: image.to_owned(),
            }),
            _ => Err(format!("expected CONTAINER=IMAGE, found `{text}`")),
        }
    }
}

/// JSON patch operations that set the images; each also tests that the container is still where it was found. Empty
/// when all images are set already.
pub fn operations(rollout: &Rollout, changes: &[Change]) -> Result<Vec<Value>, CliError> {
    if let Some(workload) = &rollout.spec.workload_ref {
        let (kind, name) = (workload.kind.to_lowercase(), &workload.name);
        return Err(CliError::new(
            Kind::Request,
            "the pod template of this rollout is that of its workloadRef",
        )
        .hint(format!("run `kubectl set image {kind}/{name} …`")));
    }
    let mut operations = Vec::new();
    for change in changes {
        let mut found = false;
        for list in ["containers", "initContainers", "ephemeralContainers"] {
            let containers = rollout
                .spec
                .template
                .as_ref()
                .and_then(|template| template.pointer(&format!("/spec/{list}")));
            for (index, container) in containers.and_then(Value::as_array).into_iter().flatten().enumerate() {
                let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
                if change.container != "*" && change.container != name {
                    continue;
                }
                found = true;
                if container.get("image").and_then(Value::as_str) == Some(&change.image) {
                    continue;
                }
                let path = format!("/spec/template/spec/{list}/{index}");
                operations.push(json!({"op": "test", "path": format!("{path}/name"), "value": name}));
                operations.push(json!({"op": "add", "path": format!("{path}/image"), "value": change.image}));
            }
        }
        if !found {
            return Err(unknown(rollout, &change.container));
        }
    }
    Ok(operations)
}

fn unknown(rollout: &Rollout, container: &str) -> CliError {
    let containers = rollout
        .spec
        .template
        .as_ref()
        .and_then(|template| template.pointer("/spec/containers"));
    let names: Vec<String> = containers
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|container| container.get("name").and_then(Value::as_str).map(str::to_owned))
        .collect();
    let error = CliError::new(Kind::Request, format!("unable to find container named \"{container}\""));
    match super::near::closest(container, &names) {
        Some(closest) => error.hint(format!("did you mean `{closest}`?")),
        None => error.hint(format!("the containers are: {}", names.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout() -> Rollout {
        let template = json!({"spec": {"initContainers": [{"name": "init", "image": "i:1"}],
            "containers": [{"name": "web", "image": "w:1"}, {"name": "proxy", "image": "p:1"}]}});
        serde_json::from_value(json!({"spec": {"template": template}})).unwrap()
    }

    fn check(changes: &[&str], expect: Result<&[(&str, &str)], &str>) {
        let changes: Vec<Change> = changes.iter().map(|text| text.parse().unwrap()).collect();
        let found = operations(&rollout(), &changes).map_err(|error| error.to_string());
        let found = found.as_ref().map(|operations| {
            let adds = operations.iter().filter(|operation| operation["op"] == "add");
            adds.map(|add| (add["path"].as_str().unwrap(), add["value"].as_str().unwrap()))
                .collect::<Vec<_>>()
        });
        assert_eq!(found.as_deref().map_err(|error| error.as_str()), expect);
    }

    #[test]
    fn images_are_set_where_the_container_is() {
        check(&["proxy=p:2"], Ok(&[("/spec/template/spec/containers/1/image", "p:2")]));
        check(
            &["init=i:2"],
            Ok(&[("/spec/template/spec/initContainers/0/image", "i:2")]),
        );
        check(&["web=w:1"], Ok(&[]));
        check(
            &["*=x:1"],
            Ok(&[
                ("/spec/template/spec/containers/0/image", "x:1"),
                ("/spec/template/spec/containers/1/image", "x:1"),
                ("/spec/template/spec/initContainers/0/image", "x:1"),
            ]),
        );
        check(
            &["wbe=w:2"],
            Err("Error: unable to find container named \"wbe\"\nhint: did you mean `web`?"),
        );
        assert!("web".parse::<Change>().is_err() && "web=".parse::<Change>().is_err());
    }

    #[test]
    fn every_change_tests_the_name_first() {
        let operations = operations(&rollout(), &["web=w:2".parse().unwrap()]).unwrap();
        assert_eq!(
            operations[0],
            json!({"op": "test", "path": "/spec/template/spec/containers/0/name", "value": "web"})
        );
    }
}
