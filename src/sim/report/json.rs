//! The story as JSON: the types of `timeline`, field by field.

use crate::sim::timeline::Story;

/// The story, pretty-printed, with a line break at its end.
pub fn render(story: &Story) -> String {
    let mut text = serde_json::to_string_pretty(story).unwrap_or_default();
    text.push('\n');
    text
}
