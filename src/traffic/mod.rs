//! Routers: each turns wanted weights into edits of its own objects, as a pure function of those objects as read.

pub mod nginx;

use crate::plan::Action;

/// What a router was asked to make true.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Weights {
    /// Share of requests for the canary.
    pub canary: i32,
    /// What "all" is; 100 unless `maxTrafficWeight` says otherwise.
    pub total: i32,
}

/// What a router has to do, and what its objects say now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routing {
    /// Edits of objects and entries it owns; empty when nothing differs.
    pub edits: Vec<Action>,
    /// Events to record: reason and message.
    pub events: Vec<(&'static str, String)>,
    /// The canary's weight in its objects as read, the highest of several; 0 when they do not exist yet.
    pub observed: i32,
    /// Whether the edits change what share of requests goes where.
    pub reweighted: bool,
    /// Whether every object carries exactly the wanted weight.
    pub written: bool,
    /// What is wrong, one sentence for each object that is missing, foreign, or does not fit. An object that is wrong
    /// keeps no other from being edited.
    pub problems: Vec<String>,
}
