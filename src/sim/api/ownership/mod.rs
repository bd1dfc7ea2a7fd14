//! Who owns which field: sets of fields, the shape of lists and maps, differences, and server-side apply.

pub(in crate::sim::api) mod apply;
pub(in crate::sim::api) mod compare;
pub(in crate::sim::api) mod managed;
pub(in crate::sim::api) mod set;
pub(in crate::sim::api) mod shape;
