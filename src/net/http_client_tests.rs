//! The HTTP client against servers that say what the test wants, some of it hostile.

use super::*;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Answers each connection with the next of `answers`; what was asked is kept.
struct Stub {
    url: Uri,
    asked: Arc<Mutex<Vec<String>>>,
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
        let n = stream.read(&mut buffer).await.expect("it can be read");
        assert!(n > 0, "the request ends early: {text}");
        bytes.extend_from_slice(&buffer[..n]);
    }
}

impl Stub {
    async fn start(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let url = format!(
            "http://{}/app/whip",
            listener.local_addr().expect("it is bound")
        )
        .parse()
        .expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let sink = asked.clone();
        let task = tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("it listens");
                let request = read_request(&mut stream).await;
                sink.lock().expect("nobody panicked").push(request);
                stream
                    .write_all(answer.as_bytes())
                    .await
                    .expect("it can be written");
            }
        });
        Self {
            url,
            asked,
            _task: task,
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panicked").clone()
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

async fn post(url: &Uri, token: &str) -> Result<Answer, HttpError> {
    let body = Some(("application/sdp", "the offer".to_owned()));
    send(
        &Call {
            method: Method::POST,
            uri: url,
            token: Some(token),
            trusted: url,
            body,
        },
        &Roots::default(),
    )
    .await
}

#[tokio::test]
async fn an_offer_arrives_whole_with_its_token() {
    let stub = Stub::start(vec![created("sessions/1?x=2")]).await;
    let answer = post(&stub.url, "s3cret").await.expect("it is answered");
    assert_eq!(
        (answer.status, &answer.body[..]),
        (StatusCode::CREATED, &b"v=0"[..])
    );
    assert_eq!(
        location(&answer)
            .expect("a Location")
            .path_and_query()
            .expect("a path"),
        "/app/sessions/1?x=2"
    );
    let asked = &stub.asked()[0];
    assert!(
        asked.starts_with("POST /app/whip HTTP/1.1\r\n") && asked.ends_with("\r\n\r\nthe offer"),
        "{asked}"
    );
    let head = asked.to_ascii_lowercase();
    for line in [
        "authorization: bearer s3cret",
        "content-type: application/sdp",
        "content-length: 9",
        "host: 127.0.0.1:",
    ] {
        assert!(head.contains(line), "{line} is not in {asked}");
    }
}

#[tokio::test]
async fn a_redirect_keeps_the_offer_and_keeps_the_token_from_another_host() {
    let other = Stub::start(vec![created("/sessions/1")]).await;
    let stub = Stub::start(vec![
        redirect(307, "second"),
        redirect(308, &other.url.to_string()),
    ])
    .await;
    let answer = post(&stub.url, "s3cret").await.expect("it is answered");
    assert_eq!(answer.from, other.url);
    assert_eq!(
        location(&answer).expect("a Location").authority(),
        other.url.authority()
    );
    let asked = stub.asked();
    assert!(
        asked[1].starts_with("POST /app/second ") && asked[1].contains("the offer"),
        "{asked:?}"
    );
    assert!(
        asked
            .iter()
            .all(|request| request.contains("Bearer s3cret") || request.contains("bearer s3cret")),
        "{asked:?}"
    );
    let last = &other.asked()[0];
    assert!(
        last.contains("the offer") && !last.contains("s3cret"),
        "{last}"
    );
}

#[tokio::test]
async fn what_does_not_end_or_leads_nowhere_is_an_error() {
    let round = Stub::start(vec![redirect(307, "whip"); 6]).await;
    assert!(matches!(
        post(&round.url, "t").await,
        Err(HttpError::TooManyRedirects)
    ));
    assert_eq!(round.asked().len(), 6);
    let nowhere = Stub::start(vec![redirect(307, "ftp://example.net/")]).await;
    assert!(matches!(
        post(&nowhere.url, "t").await,
        Err(HttpError::BadRedirect)
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
        Err(HttpError::Http(_))
    ));
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free")
        .local_addr()
        .expect("it is bound");
    assert!(matches!(
        post(
            &format!("http://{closed}/").parse().expect("an address"),
            "t"
        )
        .await,
        Err(HttpError::Connect(_))
    ));
}

#[test]
fn references_are_resolved_as_the_rfc_does() {
    let base: Uri = "https://a.example:8443/b/c/d?q"
        .parse()
        .expect("an address");
    // RFC 3986, section 5.4, as far as it is about http.
    for (reference, expected) in [
        ("g", "https://a.example:8443/b/c/g"),
        ("./g", "https://a.example:8443/b/c/g"),
        ("g/", "https://a.example:8443/b/c/g/"),
        ("/g", "https://a.example:8443/g"),
        ("//h.example/g", "https://h.example/g"),
        ("?y", "https://a.example:8443/b/c/d?y"),
        ("g?y", "https://a.example:8443/b/c/g?y"),
        ("g?y/../x", "https://a.example:8443/b/c/g?y/../x"),
        ("#s", "https://a.example:8443/b/c/d?q"),
        ("", "https://a.example:8443/b/c/d?q"),
        (".", "https://a.example:8443/b/c/"),
        ("..", "https://a.example:8443/b/"),
        ("../g", "https://a.example:8443/b/g"),
        ("../../../g", "https://a.example:8443/g"),
        ("http://h.example/x/../y", "http://h.example/x/../y"),
    ] {
        assert_eq!(
            resolve(&base, reference)
                .map(|uri| uri.to_string())
                .as_deref(),
            Some(expected),
            "{reference}"
        );
    }
    for reference in [
        "mailto:a@example.net",
        "http://",
        "https:///x",
        "http://[::1",
        "a b",
        "ftp://h/",
    ] {
        assert_eq!(resolve(&base, reference), None, "{reference}");
    }
}

#[test]
fn an_origin_is_scheme_host_and_port() {
    let same = |a: &str, b: &str| {
        same_origin(
            &a.parse().expect("an address"),
            &b.parse().expect("an address"),
        )
    };
    assert!(same("https://a.example/x", "https://A.example:443/y?z"));
    assert!(!same("https://a.example", "http://a.example"));
    assert!(!same("https://a.example", "https://a.example:8443"));
    assert!(!same("https://a.example", "https://a.example.evil.example"));
}

#[cfg(feature = "tls")]
mod tls {
    use super::*;
    use std::io::Write;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::aws_lc_rs;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    /// A server with a certificate of its own, and that certificate.
    async fn start(answer: String) -> (Uri, tempfile::NamedTempFile) {
        let made =
            rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(made.cert.pem().as_bytes())
            .expect("it can be written");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(vec![made.cert.der().clone()], key)
            });
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config.expect("a configuration")));
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let url = format!(
            "https://localhost:{}/whip",
            listener.local_addr().expect("it is bound").port()
        );
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("it listens");
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                read_request(&mut stream).await;
                stream
                    .write_all(answer.as_bytes())
                    .await
                    .expect("it can be written");
            }
        });
        (url.parse().expect("an address"), file)
    }

    async fn post(url: &Uri, more: Option<PathBuf>) -> Result<Answer, HttpError> {
        let call = Call {
            method: Method::POST,
            uri: url,
            token: None,
            trusted: url,
            body: None,
        };
        send(&call, &Roots::new(more)).await
    }

    #[tokio::test]
    async fn a_server_is_believed_by_the_file_alone() {
        let (url, file) = start(created("/1")).await;
        assert!(matches!(
            post(&url, None).await,
            Err(HttpError::Certificate(_))
        ));
        let answer = post(&url, Some(file.path().to_owned()))
            .await
            .expect("it is answered");
        assert_eq!(
            location(&answer).expect("a Location").scheme_str(),
            Some("https")
        );
        let empty = tempfile::NamedTempFile::new().expect("a file");
        assert!(matches!(
            post(&url, Some(empty.path().to_owned())).await,
            Err(HttpError::Roots(_))
        ));
    }

    #[tokio::test]
    async fn a_server_without_tls_is_said_to_be_one() {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let url = format!("https://{}/", listener.local_addr().expect("it is bound"))
            .parse()
            .expect("an address");
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("it listens");
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .await
                .expect("it can be written");
            stream
        };
        let (outcome, _stream) = tokio::join!(post(&url, None), server);
        assert!(matches!(outcome, Err(HttpError::Tls(_))));
    }

    #[tokio::test]
    async fn a_redirect_into_the_clear_is_not_followed() {
        let (url, file) = start(redirect(307, "http://localhost/whip")).await;
        assert!(matches!(
            post(&url, Some(file.path().to_owned())).await,
            Err(HttpError::Downgrade)
        ));
    }

    #[tokio::test]
    async fn a_session_in_the_clear_has_no_address_to_speak_to() {
        let (url, file) = start(created("http://localhost/sessions/1")).await;
        let answer = post(&url, Some(file.path().to_owned()))
            .await
            .expect("it is answered");
        assert!(matches!(location(&answer), Err(HttpError::Downgrade)));
    }
}
