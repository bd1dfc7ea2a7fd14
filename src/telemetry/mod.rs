//! Logs and metrics.

pub mod application_metrics;
pub mod logging;
pub mod metrics;
pub mod process_metrics;
pub mod requests;
