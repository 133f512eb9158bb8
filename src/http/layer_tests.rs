//! The authorization layer with clients of any address.

use super::access::Access;
use super::auth_layer::auth_layer;
use super::connection::{Busy, ClientAddr};
use crate::config;
use crate::config::secrets::Secret;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, Response, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

const LOCAL: &str = "192.168.1.20:40000";
const REMOTE: &str = "[2606:4700::1111]:40000";
const REMOTE_MAPPED: &str = "[::ffff:8.8.8.8]:40000";
const TOKEN: &str = "correct horse battery staple";

struct Served(TowerToHyperService<Router>);

fn served(config: config::Access) -> Served {
    let access = Arc::new(Access::new(&config).expect("rules"));
    let answer = get(async || "here");
    let router = Router::new()
        .route("/info", answer.clone())
        .route("/healthz", answer)
        .layer(from_fn_with_state(access, auth_layer));
    Served(TowerToHyperService::new(router))
}

fn open() -> config::Access {
    config::Access {
        file_origin: true,
        ..config::Access::default()
    }
}

fn guarded() -> config::Access {
    config::Access {
        token: Some(Secret::new(TOKEN).expect("memory")),
        ..open()
    }
}

fn request(peer: &str, method: Method, path: &str) -> Request<Body> {
    let client: SocketAddr = peer.parse().expect("an address");
    Request::builder()
        .method(method)
        .uri(path.replace(' ', "%20"))
        .extension(ClientAddr(client))
        .header(header::ORIGIN, "http://localhost")
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET")
        .body(Body::empty())
        .expect("a request")
}

impl Served {
    async fn answer(&self, peer: &str, method: Method, path: &str) -> Response<Body> {
        let request = request(peer, method, path);
        self.0.call(request).await.expect("infallible")
    }

    async fn status(&self, peer: &str, path: &str) -> StatusCode {
        self.answer(peer, Method::GET, path).await.status()
    }
}

#[tokio::test]
async fn layer_without_token_serves_local_clients() {
    let served = served(open());
    for path in ["/info", "/no/such/path", "/info?token=x"] {
        for remote in [REMOTE, REMOTE_MAPPED, "203.0.113.9:1"] {
            for method in [Method::GET, Method::HEAD, Method::POST, Method::OPTIONS] {
                let answer = served.answer(remote, method.clone(), path).await;
                assert_eq!(answer.status(), 403, "{method} {path} from {remote}");
                let cors = answer.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
                assert_eq!(cors, None);
            }
        }
    }
    let refused = served.answer(REMOTE, Method::GET, "/info").await;
    let reason = to_bytes(refused.into_body(), 1000).await.expect("a body");
    let reason = String::from_utf8_lossy(&reason);
    for option in ["--token-file", "--allow-public"] {
        assert!(reason.contains(option), "{reason}");
    }
    for local in [LOCAL, "127.0.0.1:1", "[::1]:1", "[::ffff:10.0.0.1]:1"] {
        assert_eq!(served.status(local, "/info").await, 200, "{local}");
    }
    assert_eq!(served.status(REMOTE, "/healthz").await, 200);
}

#[tokio::test]
async fn layer_without_token_refuses_requests_through_a_proxy() {
    let public = config::Access {
        public_clients: true,
        ..open()
    };
    let (open, public, guarded) = (served(open()), served(public), served(guarded()));
    let right = format!("/info?token={TOKEN}");
    for (name, value) in [
        ("forwarded", "for=203.0.113.9"),
        ("x-forwarded-for", "192.168.1.20"),
        ("via", "1.1 proxy"),
    ] {
        let answer = async |served: &Served, path: &str| {
            let mut request = request("127.0.0.1:1", Method::GET, path);
            let value = value.parse().expect("a header");
            request.headers_mut().insert(name, value);
            served.0.call(request).await.expect("infallible")
        };
        let refused = answer(&open, "/info").await;
        assert_eq!(refused.status(), 403, "{name}");
        let reason = to_bytes(refused.into_body(), 1000).await.expect("a body");
        let reason = String::from_utf8_lossy(&reason);
        for part in ["proxy", "--token-file", "--allow-public"] {
            assert!(reason.contains(part), "{reason}");
        }
        assert_eq!(answer(&open, "/healthz").await.status(), 200, "{name}");
        assert_eq!(answer(&public, "/info").await.status(), 200, "{name}");
        assert_eq!(answer(&guarded, &right).await.status(), 200, "{name}");
    }
}

#[tokio::test]
async fn layer_with_token_or_allow_public_serves_every_address() {
    let with_token = served(guarded());
    let path = format!("/info?token={TOKEN}");
    assert_eq!(with_token.status(REMOTE, &path).await, 200);
    assert_eq!(with_token.status(REMOTE, "/info").await, 401);
    let public = served(config::Access {
        public_clients: true,
        ..open()
    });
    assert_eq!(public.status(REMOTE, "/info").await, 200);
}

#[tokio::test]
async fn layer_wrong_tokens_delay_their_address_and_no_other() {
    let served = served(guarded());
    let right = format!("/info?token={TOKEN}");
    let (mut slowest, mut last) = (Duration::ZERO, 0);
    for n in 0.. {
        last = n;
        let began = Instant::now();
        assert_eq!(
            served.status(REMOTE, &format!("/info?token={n}")).await,
            401
        );
        slowest = slowest.max(began.elapsed());
        if slowest >= Duration::from_secs(1) {
            break;
        }
        assert!(n < 10_000, "no request is delayed");
    }
    // The next pause is twice as long: while the guesser waits, others are answered.
    let busy = Busy(Arc::new(AtomicBool::new(true)));
    let mut guess = request(REMOTE, Method::GET, "/info?token=again");
    guess.extensions_mut().insert(busy.clone());
    let mut guess = std::pin::pin!(served.0.call(guess));
    let other = async {
        for _ in 0..10 {
            assert_eq!(served.status(LOCAL, &right).await, 200);
        }
        assert!(!busy.0.load(Relaxed), "it may be evicted while it waits");
        // A program with an old token.
        let stale = format!("/info?token={last}");
        assert_eq!(served.status(REMOTE, &stale).await, 401);
    };
    tokio::select! {
        biased;
        _ = &mut guess => panic!("the guess was answered first"),
        () = other => {}
    }
    assert_eq!(guess.await.expect("infallible").status(), 401);
    assert!(busy.0.load(Relaxed), "as before");
    assert_eq!(served.status(REMOTE, &right).await, 200, "after its pause");
}

#[tokio::test]
async fn layer_too_many_guesses_at_once_are_refused() {
    let served = Arc::new(served(guarded()));
    let mut guesses = tokio::task::JoinSet::new();
    for n in 0..200 {
        let served = served.clone();
        guesses.spawn(async move { served.status(REMOTE, &format!("/info?token={n}")).await });
    }
    let mut refused = 0;
    while let Some(status) = guesses.join_next().await {
        let status = status.expect("a task");
        assert!(status == 401 || status == 429, "{status}");
        if status == 429 {
            refused += 1;
            break;
        }
    }
    assert_eq!(refused, 1);
    let right = format!("/info?token={TOKEN}");
    assert_eq!(served.status(LOCAL, &right).await, 200);
}

#[tokio::test]
async fn layer_every_answer_has_nosniff_and_the_token_form_a_policy() {
    let served = served(guarded());
    let right = format!("/info?token={TOKEN}");
    for path in ["/info", "/healthz", "/no/such/path", &right] {
        let answer = served.answer(LOCAL, Method::GET, path).await;
        let nosniff = answer.headers().get(header::X_CONTENT_TYPE_OPTIONS);
        assert_eq!(nosniff.expect("the header"), "nosniff", "{path}");
    }
    let request = Request::builder()
        .uri("/")
        .extension(ClientAddr(LOCAL.parse().expect("an address")))
        .header(header::ACCEPT, "text/html")
        .body(Body::empty())
        .expect("a request");
    let form = served.0.call(request).await.expect("infallible");
    assert_eq!(form.status(), 401);
    let policy = form.headers()[header::CONTENT_SECURITY_POLICY].to_str();
    let policy = policy.expect("ASCII").to_owned();
    let html = to_bytes(form.into_body(), 100_000).await.expect("a body");
    let html = String::from_utf8_lossy(&html);
    let inline = html.matches("<script").count() + html.matches("<style").count();
    assert_eq!(policy.matches("'sha256-").count(), inline, "{policy}");
    for directive in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "form-action 'self'",
    ] {
        assert!(policy.contains(directive), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
}
