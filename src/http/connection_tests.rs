//! How requests share the runtime's thread.

use super::access::Access;
use super::{HttpConfig, serve};
use crate::config;
use crate::config::Limits;
use axum::Router;
use axum::routing::get;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Without the pause before each answer, hyper answers all that it has read in one turn.
#[tokio::test]
async fn connection_pipelined_requests_are_answered_one_per_turn() {
    const REQUESTS: usize = 100;
    let answered = Arc::new(AtomicUsize::new(0));
    let count = answered.clone();
    let router = Router::new().route(
        "/",
        get(async move || {
            count.fetch_add(1, Relaxed);
        }),
    );
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let config = HttpConfig {
        access: Access::new(&config::Access::default()).expect("rules"),
        limits: Limits::default(),
        tls: None,
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = serve(listener, router, config, async {
        let _ = stopped.await;
    });
    // As a viewer's task: it is ready in each turn.
    let seen = answered.clone();
    let viewer = tokio::spawn(async move {
        let (mut before, mut most) = (0, 0);
        while before < REQUESTS {
            tokio::task::yield_now().await;
            let now = seen.load(Relaxed);
            most = most.max(now - before);
            before = now;
        }
        most
    });
    let ask = async {
        let mut client = TcpStream::connect(address).await.expect("it listens");
        let requests = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(REQUESTS);
        client
            .write_all(requests.as_bytes())
            .await
            .expect("it reads");
        let most = viewer.await.expect("no panic");
        assert!(most <= 2, "{most} answers between two turns of a viewer");
        client.shutdown().await.expect("a socket");
        let mut answers = Vec::new();
        client.read_to_end(&mut answers).await.expect("answers");
        let answers = String::from_utf8_lossy(&answers);
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), REQUESTS);
        stop.send(()).expect("it serves");
    };
    tokio::join!(server, ask);
}
