//! Small languages that people write inside manifests. Each has `parse` and an evaluation, each has a limit, and none
//! does input or output.

pub mod duration;
pub mod expr;
pub mod field_path;
pub mod glob;
pub mod hash;
pub mod jsonpath;
pub mod quantity;
pub mod template;
pub mod yaml;
