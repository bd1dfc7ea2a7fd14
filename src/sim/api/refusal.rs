//! The `Status` objects with which the server refuses a request, in the words of the real one.

use super::kinds::{Key, Kind};
use kube::core::response::{Status, StatusCause, StatusDetails, StatusSummary};

/// Why a request was refused: a `metav1.Status` with its HTTP code.
pub type Refused = Box<Status>;

/// A refusal with these words.
pub fn refused(code: u16, reason: &str, message: impl Into<String>) -> Refused {
    Box::new(Status {
        status: Some(StatusSummary::Failure),
        code,
        reason: reason.to_owned(),
        message: message.into(),
        ..Status::default()
    })
}

fn about(kind: Kind, name: &str, code: u16, reason: &str, message: String) -> Refused {
    let mut status = refused(code, reason, message);
    status.details = Some(StatusDetails {
        name: name.to_owned(),
        group: kind.facts().group().to_owned(),
        // The real server names the plural here, too.
        kind: kind.facts().plural.to_owned(),
        uid: String::new(),
        causes: Vec::new(),
        retry_after_seconds: 0,
    });
    status
}

pub(super) fn not_found(kind: Kind, name: &str) -> Refused {
    let message = format!("{} \"{name}\" not found", kind.facts().resource());
    about(kind, name, 404, "NotFound", message)
}

pub(super) fn already_exists(kind: Kind, name: &str) -> Refused {
    let message = format!("{} \"{name}\" already exists", kind.facts().resource());
    about(kind, name, 409, "AlreadyExists", message)
}

pub(super) fn conflict(kind: Kind, name: &str, why: &str) -> Refused {
    let message = format!(
        "Operation cannot be fulfilled on {} \"{name}\": {why}",
        kind.facts().resource()
    );
    about(kind, name, 409, "Conflict", message)
}

pub(super) fn stale(kind: Kind, name: &str) -> Refused {
    let why = "the object has been modified; please apply your changes to the latest version and try again";
    conflict(kind, name, why)
}

/// 422 with one cause for each `(field, message)`.
pub fn invalid(key: &Key, causes: &[(&str, String)]) -> Refused {
    let facts = key.kind.facts();
    let shown: Vec<String> = causes
        .iter()
        .map(|(field, message)| format!("{field}: {message}"))
        .collect();
    let shown = match shown.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    let kind = match facts.group() {
        "" => facts.kind.to_owned(),
        group => format!("{}.{group}", facts.kind),
    };
    let message = format!("{kind} \"{}\" is invalid: {shown}", key.name);
    let mut status = about(key.kind, &key.name, 422, "Invalid", message);
    if let Some(details) = &mut status.details {
        details.kind = facts.kind.to_owned();
        details.causes = causes
            .iter()
            .map(|(field, message)| StatusCause {
                reason: "FieldValueInvalid".to_owned(),
                message: message.clone(),
                field: (*field).to_owned(),
            })
            .collect();
    }
    status
}

pub(super) fn bad_request(message: impl Into<String>) -> Refused {
    refused(400, "BadRequest", message)
}

pub(super) fn expired(message: impl Into<String>) -> Refused {
    refused(410, "Expired", message)
}

pub(super) fn unsupported(what: &str) -> Refused {
    refused(
        415,
        "UnsupportedMediaType",
        format!("the body of the request was in an unknown format - {what}"),
    )
}
