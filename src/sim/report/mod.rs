//! A story as text for a terminal, as JSON for programs, and as a picture.

pub mod json;
pub mod svg;
pub mod text;
