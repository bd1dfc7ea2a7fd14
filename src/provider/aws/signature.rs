//! Signatures of requests to AWS (version 4), with AWS' own implementation.

use super::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use jiff::Timestamp;
use reqwest::{
    Request,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use std::{fmt, time::SystemTime};

/// The request with a signature over its method, URL, body, and the headers that say what it is.
pub(super) fn signed(
    mut request: Request,
    credentials: &Credentials,
    (region, service): (&str, &str),
    at: Timestamp,
) -> Result<Request, String> {
    let problem = |error: &dyn fmt::Display| format!("failed to sign the request: {error}");
    let keys = aws_credential_types::Credentials::new(
        credentials.access_key_id.as_str(),
        credentials.secret_access_key.as_str(),
        credentials.session_token.clone(),
        None,
        "tidegate",
    );
    let identity = keys.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(SystemTime::from(at))
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| problem(&error))?
        .into();
    let instructions = {
        let signable = request.headers().iter().filter(|(name, _)| {
            let name = name.as_str();
            *name == *CONTENT_TYPE.as_str() || name.starts_with("x-amz-")
        });
        let headers = signable.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        let method = request.method().as_str();
        let signable = SignableRequest::new(method, request.url().as_str(), headers, SignableBody::Bytes(body))
            .map_err(|error| problem(&error))?;
        let output = sign(signable, &parameters).map_err(|error| problem(&error))?;
        output.into_parts().0
    };
    let (headers, _) = instructions.into_parts();
    for header in headers {
        let name: HeaderName = header.name().parse().map_err(|error| problem(&error))?;
        let mut value: HeaderValue = header.value().parse().map_err(|error| problem(&error))?;
        value.set_sensitive(true);
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}
