//! Takes a connection over from HTTP after an upgrade.

use super::connection::ClientAddr;
use super::tls;
use super::upgraded_stream::UpgradedStream;
use futures_util::future::BoxFuture;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::sync::{Arc, Mutex};
use tokio::net::TcpStream;

/// A connection after its upgrade.
pub struct Upgraded {
    pub stream: UpgradedStream,
    /// What was read from the connection beyond the request.
    pub read_ahead: Vec<u8>,
    pub client: ClientAddr,
}

type Handler = Box<dyn FnOnce(Upgraded) -> BoxFuture<'static, ()> + Send>;

/// Passes the handler of an accepted upgrade from the request handler, which finds the slot in the
/// request's extensions, to the task that owns the connection.
///
/// One task serves both phases of a connection: it stays counted, aborted and drained like every
/// other connection, and an upgraded connection costs one task, not two. hyper gives the stream
/// away only when the connection's future has returned, so the request handler cannot wait for it.
#[derive(Clone, Default)]
pub struct UpgradeSlot(Arc<Mutex<Option<Accepted>>>);

/// An upgrade that was agreed to.
pub(super) struct Accepted {
    on_upgrade: OnUpgrade,
    handler: Handler,
}

impl UpgradeSlot {
    /// To be called before the answer 101 is returned. `on_upgrade` is the request's.
    pub fn accept<F>(&self, on_upgrade: OnUpgrade, handler: F)
    where
        F: FnOnce(Upgraded) -> BoxFuture<'static, ()> + Send + 'static,
    {
        let handler = Box::new(handler);
        *self.0.lock().expect("no panic while the slot is held") = Some(Accepted {
            on_upgrade,
            handler,
        });
    }

    pub(super) fn take(&self) -> Option<Accepted> {
        self.0
            .lock()
            .expect("no panic while the slot is held")
            .take()
    }
}

impl Accepted {
    /// Serves the connection to its end.
    ///
    /// # Errors
    /// The client left before the answer was sent.
    pub(super) async fn serve(self, client: ClientAddr) -> hyper::Result<()> {
        let (stream, read_ahead) = into_stream(self.on_upgrade.await?);
        let upgraded = Upgraded {
            stream,
            read_ahead,
            client,
        };
        (self.handler)(upgraded).await;
        Ok(())
    }
}

/// The stream, and a copy of what hyper had read from it: converted, it would keep hyper's buffer
/// of 8 KB for as long as the connection lasts.
fn into_stream(upgraded: hyper::upgrade::Upgraded) -> (UpgradedStream, Vec<u8>) {
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => {
            let stream = UpgradedStream::plain(parts.io.into_inner());
            (stream, parts.read_buf.to_vec())
        }
        Err(upgraded) => {
            let Ok((tcp, session, read_ahead)) = tls::downcast(upgraded) else {
                unreachable!("a connection is served over plain TCP or TLS");
            };
            (UpgradedStream::tls(tcp, session), read_ahead)
        }
    }
}
