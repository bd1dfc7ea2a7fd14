use super::*;
use axum::{
    Router,
    body::Body,
    http::header,
    response::{IntoResponse, Redirect},
    routing::get,
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn quick() -> HttpOptions {
    HttpOptions {
        timeout: Duration::from_millis(500),
        ..HttpOptions::default()
    }
}

#[tokio::test]
async fn a_body_is_read_up_to_the_limit_announced_or_not() {
    let stream = || {
        Body::from_stream(futures::stream::iter(
            (0..10).map(|_| Ok::<_, std::io::Error>("0123456789")),
        ))
    };
    let router = Router::new()
        .route("/announced", get(|| async { "0123456789".repeat(10) }))
        .route("/streamed", get(move || async move { stream() }));
    let address = serve(router).await;
    let client = client(&quick()).unwrap();
    for path in ["announced", "streamed"] {
        let url = format!("http://{address}/{path}");
        let whole = body(client.get(&url).send().await.unwrap(), 100).await.unwrap();
        assert_eq!(whole.len(), 100, "{path}");
        let error = body(client.get(&url).send().await.unwrap(), 99).await.unwrap_err();
        assert_eq!(error.to_string(), "response is larger than 99 bytes", "{path}");
    }
}

#[tokio::test]
async fn redirects_are_bounded_and_do_not_carry_credentials_to_another_host() {
    let other = serve(Router::new().route(
        "/",
        get(|headers: axum::http::HeaderMap| async move { format!("{:?}", headers.get(header::AUTHORIZATION)) }),
    ))
    .await;
    let elsewhere = format!("http://localhost:{}/", other.port());
    let router = Router::new()
        .route("/loop", get(|| async { Redirect::temporary("/loop") }))
        .route(
            "/away",
            get(move || async move { Redirect::temporary(&elsewhere).into_response() }),
        );
    let address = serve(router).await;
    let client = client(&quick()).unwrap();
    let error = HttpError::from(client.get(format!("http://{address}/loop")).send().await.unwrap_err());
    assert!(error.to_string().contains("too many redirects"), "{error}");
    let response = client
        .get(format!("http://{address}/away"))
        .basic_auth("user", Some("secret"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.text().await.unwrap(), "None");
}

#[tokio::test]
async fn a_silent_server_is_a_timeout_and_the_url_stays_out_of_the_text() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://user:secret@{}/", listener.local_addr().unwrap());
    let options = HttpOptions {
        timeout: Duration::from_millis(50),
        ..HttpOptions::default()
    };
    let error = HttpError::from(client(&options).unwrap().get(url).send().await.unwrap_err());
    assert_eq!(
        (error.to_string().as_str(), error.label()),
        ("request timed out", "http_timeout")
    );
    assert_eq!(error.class(), Class::Transient);
    let error = HttpError::from(
        client(&quick())
            .unwrap()
            .get("http://user:secret@127.0.0.1:1/")
            .send()
            .await
            .unwrap_err(),
    );
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
}

async fn serve_tls(key: &CertifiedKey<rcgen::KeyPair>) -> SocketAddr {
    install_crypto_provider();
    let private = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut buffer = [0; 1024];
                let _ = stream.read(&mut buffer).await;
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
                    .await;
                let _ = stream.shutdown().await;
            });
        }
    });
    address
}

#[tokio::test]
async fn tls_verify_not_skippable_by_default() {
    let key = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let address = serve_tls(&key).await;
    let url = format!("https://localhost:{}/", address.port());
    let get = |options: HttpOptions| {
        let url = url.clone();
        async move { client(&options).unwrap().get(url).send().await.map_err(HttpError::from) }
    };
    let error = get(quick()).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    let ca_pem = Some(key.cert.pem().into_bytes());
    assert_eq!(get(HttpOptions { ca_pem, ..quick() }).await.unwrap().status(), 200);
    assert_eq!(
        get(HttpOptions {
            insecure: true,
            ..quick()
        })
        .await
        .unwrap()
        .status(),
        200
    );
    let nonsense = HttpOptions {
        ca_pem: Some(b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n".to_vec()),
        ..quick()
    };
    assert!(matches!(client(&nonsense), Err(HttpError::Certificates(_))));
}

#[test]
fn statuses_have_classes() {
    for (status, class) in [
        (401, Class::Denied),
        (404, Class::NotFound),
        (409, Class::Conflict),
        (429, Class::Throttled(Duration::from_secs(30))),
        (503, Class::Transient),
        (400, Class::Permanent),
    ] {
        assert_eq!(
            class_of_status(StatusCode::from_u16(status).unwrap()),
            class,
            "{status}"
        );
    }
}
