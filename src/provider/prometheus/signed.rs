//! Queries to Amazon Managed Service for Prometheus, which wants a signature over each request (`authentication.sigv4`).

use super::{Prometheus, Request};
use crate::provider::{
    aws::Account,
    http::{self, HttpError},
};
use reqwest::header::CONTENT_TYPE;

/// What the signatures are made out to.
const AWS_SERVICE: &str = "aps";

impl Prometheus {
    /// The same exchange with a signature over each request, which the client library has no place for.
    pub(super) async fn exchange_signed(&self, request: Request, signer: &Account) -> Result<(u16, Vec<u8>), String> {
        let is_range = request.parameters.len() > 1;
        let path = if is_range { "api/v1/query_range" } else { "api/v1/query" };
        let url = http::below(&request.address, path)?;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&request.parameters)
            .finish();
        let client = match request.insecure {
            true => self.transport.client(true),
            // Another host must not see the session's token.
            false => self.transport.unredirected(),
        };
        let post = client
            .post(url.clone())
            .headers(request.headers.clone())
            .body(form.clone());
        let post = post.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let mut response = self.send_signed(client, post, signer).await?;
        if matches!(response.status().as_u16(), 405 | 501) {
            let mut url = url;
            url.set_query(Some(&form));
            let get = client.get(url).headers(request.headers);
            response = self.send_signed(client, get, signer).await?;
        }
        let status = response.status().as_u16();
        let body = http::body(response).await.map_err(|error| error.to_string())?;
        Ok((status, body))
    }

    async fn send_signed(
        &self,
        client: &reqwest::Client,
        request: reqwest::RequestBuilder,
        signer: &Account,
    ) -> Result<reqwest::Response, String> {
        let request = request
            .build()
            .map_err(HttpError::Request)
            .map_err(|error| error.to_string())?;
        let request = self.aws.sign(request, AWS_SERVICE, signer).await?;
        let response = client.execute(request).await.map_err(HttpError::Request);
        response.map_err(|error| error.to_string())
    }
}
