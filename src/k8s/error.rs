//! What can go wrong at the API server, and what that means for trying again.

use crate::class::Class;
use std::time::Duration;

/// The answer of the API server to a request that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The API server refused the request.
    #[error("{message} ({reason}, HTTP {code})")]
    Refused {
        /// HTTP status code.
        code: u16,
        /// `Status.reason`, for instance `Invalid`.
        reason: String,
        /// `Status.message`.
        message: String,
        /// Seconds after which the server wants to be asked again.
        retry_after_seconds: Option<u32>,
    },
    /// No usable answer came back.
    #[error("the API server could not be asked: {0}")]
    Unreachable(#[source] Box<kube::Error>),
    /// No answer came back in time.
    #[error("no answer from the API server within {0:?}")]
    TimedOut(Duration),
    /// The request could not be put together.
    #[error("the request could not be built: {0}")]
    Malformed(String),
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused {
                code: status.code,
                retry_after_seconds: status
                    .details
                    .as_ref()
                    .map(|details| details.retry_after_seconds)
                    .filter(|s| *s > 0),
                reason: status.reason,
                message: status.message,
            },
            kube::Error::BuildRequest(error) => Self::Malformed(error.to_string()),
            other => Self::Unreachable(Box::new(other)),
        }
    }
}

impl ApiError {
    /// What this means for trying again.
    pub fn class(&self) -> Class {
        match self {
            Self::Refused {
                code,
                reason,
                retry_after_seconds,
                ..
            } => match (*code, reason.as_str()) {
                (409, "AlreadyExists") => Class::Permanent,
                (409 | 412, _) => Class::Conflict,
                (429, _) => Class::Throttled(Duration::from_secs(u64::from(retry_after_seconds.unwrap_or(1)))),
                (401 | 403, _) => Class::Denied,
                (404 | 410, _) => Class::NotFound,
                (408 | 500..=599, _) => Class::Transient,
                _ => Class::Permanent,
            },
            Self::Unreachable(_) | Self::TimedOut(_) => Class::Transient,
            Self::Malformed(_) => Class::Permanent,
        }
    }

    /// One word for metrics and event reasons.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "Unreachable",
            Self::TimedOut(_) => "TimedOut",
            Self::Malformed(_) => "Malformed",
            Self::Refused { .. } => match self.class() {
                Class::Conflict => "Conflict",
                Class::Transient => "ServerError",
                Class::Throttled(_) => "Throttled",
                Class::Denied => "Denied",
                Class::NotFound => "NotFound",
                Class::Permanent => "Rejected",
            },
        }
    }

    /// Whether the server said that an object of this name is there already.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Self::Refused { code: 409, reason, .. } if reason == "AlreadyExists")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_the_status_code() {
        let class = |code, reason: &str| {
            ApiError::Refused {
                code,
                reason: reason.to_owned(),
                message: String::new(),
                retry_after_seconds: Some(7),
            }
            .class()
        };
        assert_eq!(class(409, "Conflict"), Class::Conflict);
        assert_eq!(class(409, "AlreadyExists"), Class::Permanent);
        assert_eq!(class(403, "Forbidden"), Class::Denied);
        assert_eq!(class(404, "NotFound"), Class::NotFound);
        assert_eq!(class(422, "Invalid"), Class::Permanent);
        assert_eq!(class(429, "TooManyRequests"), Class::Throttled(Duration::from_secs(7)));
        assert_eq!(class(503, "ServiceUnavailable"), Class::Transient);
    }
}
