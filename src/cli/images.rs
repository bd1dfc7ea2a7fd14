//! The images of pod templates and the roles of the versions they belong to. Pure.

use serde_json::{Value, json};

use super::picture::Piece;
use super::style::clean;

/// Images, each with its roles, in the order they were found.
pub(crate) type Images = Vec<(String, Vec<&'static str>)>;

/// Adds the images of a pod template.
pub(crate) fn collect_images(template: &Value, roles: &[&'static str], images: &mut Images) {
    let containers = template.pointer("/spec/containers").and_then(Value::as_array);
    for container in containers.into_iter().flatten() {
        let image = clean(container.get("image").and_then(Value::as_str).unwrap_or_default());
        let known = match images.iter_mut().find(|(known, _)| *known == image) {
            Some((_, known)) => known,
            None => {
                images.push((image, Vec::new()));
                let Some((_, last)) = images.last_mut() else { continue };
                last
            }
        };
        for role in roles {
            if !known.contains(role) {
                known.push(role);
            }
        }
    }
}

/// `Images:` and, below it, lines without a label.
pub(crate) fn image_lines(images: &Images) -> Vec<(&'static str, Piece)> {
    let lines = images.iter().enumerate().map(|(index, (image, roles))| {
        let text = if roles.is_empty() {
            image.clone()
        } else {
            format!("{image} ({})", roles.join(", "))
        };
        (if index == 0 { "Images:" } else { "" }, Piece::plain(text))
    });
    lines.collect()
}

pub(crate) fn images_json(images: &Images) -> Value {
    images
        .iter()
        .map(|(image, roles)| json!({"image": image, "roles": roles}))
        .collect()
}
