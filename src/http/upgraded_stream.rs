//! A connection's stream after an upgrade, TCP or TLS: readiness, and reads and writes that never
//! block.

use super::tls::session::Session;
use socket2::{SockRef, TcpKeepalive};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;

/// Bytes that the kernel may hold unsent before the socket stops being writable: about one frame.
/// Without this limit it buffers seconds of frames, and a slow viewer sees old ones. 16 to 40 KB
/// measured alike.
const UNSENT_BYTES: u32 = 32 * 1024;
/// Detects a peer that vanished within about a minute, also while nothing is sent to it.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);

pub struct UpgradedStream {
    tcp: TcpStream,
    /// `None`: no TLS.
    tls: Option<Box<Mutex<Session>>>,
}

/// Sets the options that every connection has from the start. The kernel ends a connection whose
/// peer acknowledges nothing for `stalled` although there is something to send.
///
/// # Errors
/// Those of setsockopt(2).
pub(super) fn set_options(stream: &TcpStream, stalled: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(3);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(stalled))?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)
}

impl UpgradedStream {
    pub(crate) fn plain(tcp: TcpStream) -> Self {
        Self { tcp, tls: None }
    }

    /// `session`: its handshake is done.
    pub(super) fn tls(tcp: TcpStream, session: Session) -> Self {
        let tls = Some(Box::new(Mutex::new(session)));
        Self { tcp, tls }
    }

    fn session(&self) -> Option<MutexGuard<'_, Session>> {
        let tls = self.tls.as_ref()?;
        Some(tls.lock().expect("no panic while the session is held"))
    }

    /// Ready when [`try_read`](Self::try_read) may return data, the end or an error.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self
            .session()
            .is_some_and(|mut session| session.has_plaintext())
        {
            return Poll::Ready(Ok(()));
        }
        self.tcp.poll_read_ready(cx)
    }

    /// Ready when [`try_write`](Self::try_write) or [`flush`](Self::flush) may make progress.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp.poll_write_ready(cx)
    }

    /// Waits until [`try_read`](Self::try_read) may return data, the end or an error.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_readable(cx)).await
    }

    /// Waits until [`try_write`](Self::try_write) or [`flush`](Self::flush) may make progress.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_writable(cx)).await
    }

    /// Like read(2) on a non-blocking socket; 0 at the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock`, those of recv(2), and `InvalidData` for what is not TLS.
    pub(crate) fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(mut session) = self.session() {
            return session.try_read(&self.tcp, buf);
        }
        self.tcp.try_read(buf)
    }

    /// Writes as much of two slices as fits: nothing (`WouldBlock`) while too much is unsent. Over
    /// TLS a part may wait in the session: see [`flush`](Self::flush).
    ///
    /// # Errors
    /// `WouldBlock`, and those of send(2).
    pub(crate) fn try_write(&self, slices: [&[u8]; 2]) -> io::Result<usize> {
        if let Some(mut session) = self.session() {
            session.flush(&self.tcp)?;
            // What is encrypted counts as written even if the kernel then takes none of it, so
            // the kernel is asked first.
            self.check_writable()?;
            return session.try_write(&self.tcp, slices);
        }
        match slices {
            [[], one] | [one, []] => self.tcp.try_write(one),
            [one, two] => self
                .tcp
                .try_write_vectored(&[IoSlice::new(one), IoSlice::new(two)]),
        }
    }

    /// `WouldBlock` when the kernel would not take a byte now; [`poll_writable`] then tells when it
    /// would. tokio's readiness is not enough: after a write it still says writable, although the
    /// unsent bytes have reached their limit.
    ///
    /// [`poll_writable`]: Self::poll_writable
    fn check_writable(&self) -> io::Result<()> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        use std::os::fd::AsFd;
        self.tcp.try_io(tokio::io::Interest::WRITABLE, || {
            let mut fds = [PollFd::new(self.tcp.as_fd(), PollFlags::POLLOUT)];
            // An error or a hang-up counts as writable: the write that follows reports it.
            match poll(&mut fds, PollTimeout::ZERO) {
                Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
                Ok(_) => Ok(()),
                Err(errno) => Err(errno.into()),
            }
        })
    }

    /// Passes what TLS has encrypted to the kernel; `WouldBlock` when it does not take all of it.
    ///
    /// # Errors
    /// `WouldBlock`, and those of send(2).
    pub(crate) fn flush(&self) -> io::Result<()> {
        if let Some(mut session) = self.session() {
            return session.flush(&self.tcp);
        }
        Ok(())
    }

    /// Closes the sending direction.
    ///
    /// # Errors
    /// `WouldBlock`, and those of send(2) and shutdown(2).
    pub(crate) fn shut_down_write(&self) -> io::Result<()> {
        if let Some(mut session) = self.session() {
            session.close(&self.tcp)?;
        }
        SockRef::from(&self.tcp).shutdown(std::net::Shutdown::Write)
    }
}
