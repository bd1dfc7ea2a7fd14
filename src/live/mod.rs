//! The live state that Applications are compared with, and the writes to it.

pub mod discovery;
pub mod index;
pub mod writer;

use crate::{
    api::{app_project::AppProject, application::Application},
    k8s::store::Stored,
};

impl Stored for Application {}
impl Stored for AppProject {}
