//! The HTTP client against servers with prepared responses, some of them hostile.

use super::*;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Responds to each connection with the next of `responses`, and keeps the requests.
struct Stub {
    url: Uri,
    requests: Arc<Mutex<Vec<String>>>,
    _task: JoinHandle<()>,
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|l| {
                l.to_ascii_lowercase()
                    .strip_prefix("content-length: ")
                    .map(str::to_owned)
            });
            if body.len() >= length.map_or(0, |l| l.parse().expect("a number")) {
                return text;
            }
        }
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer).await.expect("readable");
        assert!(n > 0, "incomplete request: {text}");
        bytes.extend_from_slice(&buffer[..n]);
    }
}

impl Stub {
    async fn start(responses: Vec<String>) -> Self {
        Self::start_at("127.0.0.1", responses).await
    }

    async fn start_at(ip: &str, responses: Vec<String>) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.expect("a free port");
        let url = format!("http://{}/app/whip", listener.local_addr().expect("bound"))
            .parse()
            .expect("a URL");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let sink = requests.clone();
        let task = tokio::spawn(async move {
            for response in responses {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let request = read_request(&mut stream).await;
                sink.lock().expect("not poisoned").push(request);
                stream
                    .write_all(response.as_bytes())
                    .await
                    .expect("writable");
            }
        });
        Self {
            url,
            requests,
            _task: task,
        }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("not poisoned").clone()
    }
}

fn created(location: &str) -> String {
    format!(
        "HTTP/1.1 201 Created\r\nLocation: {location}\r\nContent-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0"
    )
}

fn redirect(status: u16, location: &str) -> String {
    format!("HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

async fn post(url: &Uri, token: &str) -> Result<Response, HttpError> {
    let body = Some(("application/sdp", "the offer".to_owned()));
    send(
        &Request {
            method: Method::POST,
            uri: url,
            token: Some(token),
            token_origin: url,
            nearest: AddressScope::Loopback,
            body,
        },
        &TlsSettings::new(None),
    )
    .await
}

#[tokio::test]
async fn send_post_has_body_and_token() {
    let stub = Stub::start(vec![created("sessions/1?x=2")]).await;
    let response = post(&stub.url, "s3cret").await.expect("a response");
    assert_eq!(
        (response.status, &response.body[..]),
        (StatusCode::CREATED, &b"v=0"[..])
    );
    assert_eq!(
        response
            .location()
            .expect("a Location")
            .path_and_query()
            .expect("a path"),
        "/app/sessions/1?x=2"
    );
    let requests = &stub.requests()[0];
    assert!(
        requests.starts_with("POST /app/whip HTTP/1.1\r\n")
            && requests.ends_with("\r\n\r\nthe offer"),
        "{requests}"
    );
    let head = requests.to_ascii_lowercase();
    for line in [
        "authorization: bearer s3cret",
        "content-type: application/sdp",
        "content-length: 9",
        "host: 127.0.0.1:",
    ] {
        assert!(head.contains(line), "{line} is not in {requests}");
    }
}

#[tokio::test]
async fn send_redirect_keeps_body_and_withholds_token_from_other_host() {
    let other = Stub::start(vec![created("/sessions/1")]).await;
    let stub = Stub::start(vec![
        redirect(307, "second"),
        redirect(308, &other.url.to_string()),
    ])
    .await;
    let response = post(&stub.url, "s3cret").await.expect("a response");
    assert_eq!(response.uri, other.url);
    assert_eq!(
        response.location().expect("a Location").authority(),
        other.url.authority()
    );
    let requests = stub.requests();
    assert!(
        requests[1].starts_with("POST /app/second ") && requests[1].contains("the offer"),
        "{requests:?}"
    );
    assert!(
        requests
            .iter()
            .all(|request| request.contains("Bearer s3cret") || request.contains("bearer s3cret")),
        "{requests:?}"
    );
    let last = &other.requests()[0];
    assert!(
        last.contains("the offer") && !last.contains("s3cret"),
        "{last}"
    );
}

#[tokio::test]
async fn send_endless_or_invalid_response_is_error() {
    let round = Stub::start(vec![redirect(307, "whip"); 6]).await;
    assert!(matches!(
        post(&round.url, "t").await,
        Err(HttpError::TooManyRedirects)
    ));
    assert_eq!(round.requests().len(), 6);
    let nowhere = Stub::start(vec![redirect(307, "ftp://example.net/")]).await;
    assert!(matches!(
        post(&nowhere.url, "t").await,
        Err(HttpError::BadLocation)
    ));
    let large = Stub::start(vec![format!(
        "HTTP/1.1 201 Created\r\nContent-Length: 70000\r\n\r\n{}",
        "x".repeat(70_000)
    )])
    .await;
    assert!(matches!(post(&large.url, "t").await, Err(HttpError::Body)));
    let short = Stub::start(vec![
        "HTTP/1.1 201 Created\r\nContent-Length: 10\r\n\r\nv=0".into(),
    ])
    .await;
    assert!(matches!(post(&short.url, "t").await, Err(HttpError::Body)));
    let noise = Stub::start(vec!["220 mail.example.net ESMTP\r\n".into()]).await;
    assert!(matches!(
        post(&noise.url, "t").await,
        Err(HttpError::Protocol(_))
    ));
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port")
        .local_addr()
        .expect("bound");
    assert!(matches!(
        post(&format!("http://{closed}/").parse().expect("a URL"), "t").await,
        Err(HttpError::Connect(_))
    ));
}

/// 127.0.0.2 stands for a private network, 127.0.0.3 for the Internet.
fn scope_of(ip: IpAddr) -> AddressScope {
    match ip.to_string().as_str() {
        "127.0.0.2" => AddressScope::Local,
        "127.0.0.3" => AddressScope::Global,
        _ => AddressScope::Loopback,
    }
}

async fn post_by(url: &Uri, nearest: AddressScope) -> Result<Response, HttpError> {
    let request = Request {
        method: Method::POST,
        uri: url,
        token: None,
        token_origin: url,
        nearest,
        body: None,
    };
    send_by(&request, &TlsSettings::new(None), &scope_of).await
}

#[tokio::test]
async fn send_redirect_leads_as_far_or_farther_only() {
    for (server, target, is_followed) in [
        ("127.0.0.1", "127.0.0.1", true),
        ("127.0.0.1", "127.0.0.2", true),
        ("127.0.0.1", "127.0.0.3", true),
        ("127.0.0.2", "127.0.0.1", false),
        ("127.0.0.2", "127.0.0.2", true),
        ("127.0.0.2", "127.0.0.3", true),
        ("127.0.0.3", "127.0.0.1", false),
        ("127.0.0.3", "127.0.0.2", false),
        ("127.0.0.3", "127.0.0.3", true),
    ] {
        let case = format!("from {server} to {target}");
        let last = Stub::start_at(target, vec![created("/1")]).await;
        let location = last.url.to_string().replace("//", "//user:s3cret@");
        let first = Stub::start_at(server, vec![redirect(307, &location)]).await;
        match post_by(&first.url, AddressScope::Loopback).await {
            Ok(response) => {
                assert!(is_followed, "{case}");
                // Also for what this response names in turn.
                assert_eq!(
                    response.server_scope,
                    scope_of(target.parse().expect("IPv4"))
                );
            }
            Err(HttpError::PointsNearer { url, ip }) => {
                assert!(!is_followed, "{case}");
                assert_eq!(ip.to_string(), target);
                assert!(url.starts_with(&format!("http://{target}:")), "{url}");
                assert!(!url.contains("s3cret") && !url.contains("whip"), "{url}");
            }
            Err(e) => panic!("{case}: {e}"),
        }
        assert_eq!(last.requests().len(), usize::from(is_followed), "{case}");
    }
}

/// The name in the second redirect resolves to another address than the server's.
#[tokio::test]
async fn send_redirect_by_way_of_the_internet_leads_no_nearer() {
    let last = Stub::start(vec![created("/1")]).await;
    let by_name = last.url.to_string().replace("127.0.0.1", "localhost");
    let second = Stub::start_at("127.0.0.3", vec![redirect(308, &by_name)]).await;
    let first = Stub::start_at("127.0.0.3", vec![redirect(307, &second.url.to_string())]).await;
    let outcome = post_by(&first.url, AddressScope::Loopback).await;
    assert!(matches!(outcome, Err(HttpError::PointsNearer { .. })));
    assert_eq!((second.requests().len(), last.requests().len()), (1, 0));
}

/// Each server is allowed by the first one, but the last one is nearer than the second.
#[tokio::test]
async fn send_redirect_from_the_internet_does_not_return_to_a_private_network() {
    let last = Stub::start_at("127.0.0.2", vec![created("/1")]).await;
    let second = Stub::start_at("127.0.0.3", vec![redirect(308, &last.url.to_string())]).await;
    let first = Stub::start_at("127.0.0.2", vec![redirect(307, &second.url.to_string())]).await;
    let outcome = post_by(&first.url, AddressScope::Loopback).await;
    assert!(matches!(outcome, Err(HttpError::PointsNearer { .. })));
    assert_eq!((second.requests().len(), last.requests().len()), (1, 0));
}

/// A session's resource has a URL that the server chose.
#[tokio::test]
async fn send_url_nearer_than_allowed_is_not_connected_to() {
    let stub = Stub::start(vec![created("/1")]).await;
    for nearest in [AddressScope::Local, AddressScope::Global] {
        let outcome = post_by(&stub.url, nearest).await;
        assert!(matches!(outcome, Err(HttpError::PointsNearer { .. })));
    }
    assert!(stub.requests().is_empty());
    assert!(post_by(&stub.url, AddressScope::Loopback).await.is_ok());
}

#[cfg(feature = "tls")]
mod tls {
    use super::*;
    use std::io::Write;
    use std::path::PathBuf;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::aws_lc_rs;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    /// A server with a self-signed certificate, and a file of that certificate.
    async fn start(response: String) -> (Uri, tempfile::NamedTempFile) {
        let made =
            rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(made.cert.pem().as_bytes())
            .expect("writable");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(vec![made.cert.der().clone()], key)
            });
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config.expect("a configuration")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!(
            "https://localhost:{}/whip",
            listener.local_addr().expect("bound").port()
        );
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                read_request(&mut stream).await;
                stream
                    .write_all(response.as_bytes())
                    .await
                    .expect("writable");
            }
        });
        (url.parse().expect("a URL"), file)
    }

    async fn post(url: &Uri, extra: Option<PathBuf>) -> Result<Response, HttpError> {
        let request = Request {
            method: Method::POST,
            uri: url,
            token: None,
            token_origin: url,
            nearest: AddressScope::Loopback,
            body: None,
        };
        send(&request, &TlsSettings::new(extra)).await
    }

    #[tokio::test]
    async fn tls_self_signed_server_needs_its_certificate_file() {
        let (url, file) = start(created("/1")).await;
        assert!(matches!(
            post(&url, None).await,
            Err(HttpError::Certificate(_))
        ));
        let response = post(&url, Some(file.path().to_owned()))
            .await
            .expect("a response");
        assert_eq!(
            response.location().expect("a Location").scheme_str(),
            Some("https")
        );
        let empty = tempfile::NamedTempFile::new().expect("a file");
        assert!(matches!(
            post(&url, Some(empty.path().to_owned())).await,
            Err(HttpError::Trust(_))
        ));
    }

    #[tokio::test]
    async fn tls_server_without_tls_is_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("https://{}/", listener.local_addr().expect("bound"))
            .parse()
            .expect("a URL");
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .await
                .expect("writable");
            stream
        };
        let (outcome, _stream) = tokio::join!(post(&url, None), server);
        assert!(matches!(outcome, Err(HttpError::Tls(_))));
    }

    #[tokio::test]
    async fn tls_redirect_to_http_is_not_followed() {
        let (url, file) = start(redirect(307, "http://localhost/whip")).await;
        assert!(matches!(
            post(&url, Some(file.path().to_owned())).await,
            Err(HttpError::Downgrade)
        ));
    }

    #[tokio::test]
    async fn tls_location_with_http_is_error() {
        let (url, file) = start(created("http://localhost/sessions/1")).await;
        let response = post(&url, Some(file.path().to_owned()))
            .await
            .expect("a response");
        assert!(matches!(response.location(), Err(HttpError::Downgrade)));
    }
}
