//! A TLS session over a non-blocking TCP stream: reads and writes that never block.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ServerConnection;

/// The most plaintext that is encrypted at once, bytes. What the kernel does not take of it is
/// kept in the session.
const MAX_PLAINTEXT: usize = 32 * 1024;

/// Reads from the kernel, of 4 KiB each, per read of plaintext.
const READS: usize = 4;

pub(crate) struct Session {
    tls: ServerConnection,
}

impl Session {
    pub(crate) fn new(mut tls: ServerConnection) -> Self {
        tls.set_buffer_limit(Some(MAX_PLAINTEXT));
        Self { tls }
    }

    /// Whether plaintext can be read without asking the kernel.
    pub(crate) fn has_plaintext(&mut self) -> bool {
        self.tls
            .process_new_packets()
            .is_ok_and(|state| state.plaintext_bytes_to_read() > 0)
    }

    /// Like read(2) on a non-blocking socket; 0 at the end, orderly or not. `WouldBlock` also when
    /// a few reads gave only empty records: the socket then stays readable, and the caller's turn
    /// ends.
    ///
    /// # Errors
    /// `WouldBlock`, those of recv(2), and `InvalidData` for what is not TLS.
    pub(crate) fn try_read(&mut self, tcp: &TcpStream, buf: &mut [u8]) -> io::Result<usize> {
        for _ in 0..READS {
            match self.tls.reader().read(buf) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            self.tls.read_tls(&mut Tcp(tcp))?;
            let processed = self.tls.process_new_packets();
            // Sends what the protocol answers (an alert, new keys), as far as it fits.
            match self.flush(tcp) {
                Err(e) if e.kind() != ErrorKind::WouldBlock => return Err(e),
                _ => {}
            }
            processed.map_err(|e| io::Error::new(ErrorKind::InvalidData, e))?;
        }
        match self.tls.reader().read(buf) {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(0),
            read => read,
        }
    }

    /// Like writev(2) on a non-blocking socket, for a caller that has [`flush`](Self::flush)ed.
    /// What the kernel does not take of the ciphertext waits for the next flush.
    ///
    /// # Errors
    /// `WouldBlock` before anything was taken, and those of send(2).
    pub(crate) fn try_write(&mut self, tcp: &TcpStream, slices: [&[u8]; 2]) -> io::Result<usize> {
        let taken = self
            .tls
            .writer()
            .write_vectored(&slices.map(IoSlice::new))?;
        match self.flush(tcp) {
            Err(e) if e.kind() != ErrorKind::WouldBlock => Err(e),
            _ => Ok(taken),
        }
    }

    /// Passes all ciphertext to the kernel; `WouldBlock` when it does not take all of it.
    ///
    /// # Errors
    /// `WouldBlock`, and those of send(2).
    pub(crate) fn flush(&mut self, tcp: &TcpStream) -> io::Result<()> {
        while self.tls.wants_write() {
            if self.tls.write_tls(&mut Tcp(tcp))? == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Sends the alert that ends the stream.
    ///
    /// # Errors
    /// `WouldBlock`, and those of send(2).
    pub(crate) fn close(&mut self, tcp: &TcpStream) -> io::Result<()> {
        self.tls.send_close_notify();
        self.flush(tcp)
    }
}

/// The stream's non-blocking side as the I/O traits that rustls takes.
struct Tcp<'a>(&'a TcpStream);

impl Read for Tcp<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }
}

impl Write for Tcp<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
