//! The authorization layer with clients of any address.

use super::access::Access;
use super::auth_layer::auth_layer;
use super::connection::ClientAddr;
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
use std::time::{Duration, Instant};

const NEAR: &str = "192.168.1.20:40000";
const FAR: &str = "[2606:4700::1111]:40000";
const FAR_MAPPED: &str = "[::ffff:8.8.8.8]:40000";
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

impl Served {
    async fn answer(&self, peer: &str, method: Method, path: &str) -> Response<Body> {
        let client: SocketAddr = peer.parse().expect("an address");
        let request = Request::builder()
            .method(method)
            .uri(path.replace(' ', "%20"))
            .extension(ClientAddr(client))
            .header(header::ORIGIN, "http://localhost")
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET")
            .body(Body::empty())
            .expect("a request");
        self.0.call(request).await.expect("infallible")
    }

    async fn status(&self, peer: &str, path: &str) -> StatusCode {
        self.answer(peer, Method::GET, path).await.status()
    }
}

#[tokio::test]
async fn layer_without_token_serves_clients_that_are_near() {
    let served = served(open());
    for path in ["/info", "/no/such/path", "/info?token=x"] {
        for far in [FAR, FAR_MAPPED, "203.0.113.9:1"] {
            for method in [Method::GET, Method::HEAD, Method::POST, Method::OPTIONS] {
                let answer = served.answer(far, method.clone(), path).await;
                assert_eq!(answer.status(), 403, "{method} {path} from {far}");
                let cors = answer.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
                assert_eq!(cors, None);
            }
        }
    }
    let refused = served.answer(FAR, Method::GET, "/info").await;
    let reason = to_bytes(refused.into_body(), 1000).await.expect("a body");
    let reason = String::from_utf8_lossy(&reason);
    for option in ["--token-file", "--allow-public"] {
        assert!(reason.contains(option), "{reason}");
    }
    for near in [NEAR, "127.0.0.1:1", "[::1]:1", "[::ffff:10.0.0.1]:1"] {
        assert_eq!(served.status(near, "/info").await, 200, "{near}");
    }
    assert_eq!(served.status(FAR, "/healthz").await, 200);
}

#[tokio::test]
async fn layer_with_token_or_allow_public_serves_every_address() {
    let with_token = served(guarded());
    let path = format!("/info?token={TOKEN}");
    assert_eq!(with_token.status(FAR, &path).await, 200);
    assert_eq!(with_token.status(FAR, "/info").await, 401);
    let public = served(config::Access {
        public_clients: true,
        ..open()
    });
    assert_eq!(public.status(FAR, "/info").await, 200);
}

#[tokio::test]
async fn layer_wrong_tokens_delay_their_address_and_no_other() {
    let served = served(guarded());
    let right = format!("/info?token={TOKEN}");
    let mut slowest = Duration::ZERO;
    for n in 0.. {
        let began = Instant::now();
        assert_eq!(served.status(FAR, &format!("/info?token={n}")).await, 401);
        slowest = slowest.max(began.elapsed());
        if slowest >= Duration::from_secs(1) {
            break;
        }
        assert!(n < 10_000, "no request is delayed");
    }
    // The next pause is twice as long: while the guesser waits, others are answered.
    let guess = served.status(FAR, "/info?token=again");
    let other = async {
        for _ in 0..10 {
            assert_eq!(served.status(NEAR, &right).await, 200);
        }
    };
    tokio::select! {
        biased;
        status = guess => panic!("the guess was answered first: {status}"),
        () = other => {}
    }
    assert_eq!(served.status(FAR, &right).await, 200, "after its pause");
}

#[tokio::test]
async fn layer_too_many_guesses_at_once_are_refused() {
    let served = Arc::new(served(guarded()));
    let mut guesses = tokio::task::JoinSet::new();
    for n in 0..200 {
        let served = served.clone();
        guesses.spawn(async move { served.status(FAR, &format!("/info?token={n}")).await });
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
    assert_eq!(served.status(NEAR, &right).await, 200);
}

#[tokio::test]
async fn layer_every_answer_has_nosniff_and_the_token_form_a_policy() {
    let served = served(guarded());
    let right = format!("/info?token={TOKEN}");
    for path in ["/info", "/healthz", "/no/such/path", &right] {
        let answer = served.answer(NEAR, Method::GET, path).await;
        let nosniff = answer.headers().get(header::X_CONTENT_TYPE_OPTIONS);
        assert_eq!(nosniff.expect("the header"), "nosniff", "{path}");
    }
    let request = Request::builder()
        .uri("/")
        .extension(ClientAddr(NEAR.parse().expect("an address")))
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
