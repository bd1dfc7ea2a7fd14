//! Container images in an object.

use crate::json::At as _;
use serde_json::Value;

/// Places of pod templates.
const TEMPLATES: &[&str] = &["/spec", "/spec/template/spec", "/spec/jobTemplate/spec/template/spec"];

/// The images of an object's containers, sorted, without repetition.
pub fn of_object(object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for template in TEMPLATES {
        for list in ["initContainers", "containers"] {
            let containers = object.at(&format!("{template}/{list}")).and_then(Value::as_array);
            let images = containers
                .into_iter()
                .flatten()
                .filter_map(|container| container.get("image")?.as_str());
            found.extend(images.map(str::to_owned));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}
