//! Log lines on standard error, for people or for machines.

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum LogFormat {
    /// One line of words.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The log filter is not one.
#[derive(Debug, thiserror::Error)]
#[error("`{filter}` is not a log level or filter: {source}")]
pub struct FilterError {
    filter: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Starts logging. A process that logs already goes on as it does.
pub fn start(format: LogFormat, filter: &str) -> Result<(), FilterError> {
    let parsed = EnvFilter::try_new(filter).map_err(|source| FilterError {
        filter: filter.to_owned(),
        source,
    })?;
    let registry = tracing_subscriber::registry().with(parsed);
    let started = match format {
        LogFormat::Text => registry.with(fmt::layer().with_writer(std::io::stderr)).try_init(),
        LogFormat::Json => registry
            .with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr))
            .try_init(),
    };
    if started.is_err() {
        tracing::debug!("Logging was started before.");
    }
    Ok(())
}
