//! Stands in for TLS in builds without the feature `tls`, so that no other file tells the two
//! apart. No value of these types exists.

use crate::config;
use hyper::upgrade::Upgraded;
use session::Session;
use std::io;
use tokio::net::TcpStream;

pub enum Tls {}

#[derive(Debug, thiserror::Error)]
#[error("TLS is not included in this build")]
pub struct TlsError;

impl Tls {
    /// # Errors
    /// Always.
    pub fn load(_: &config::Tls) -> Result<Self, TlsError> {
        Err(TlsError)
    }

    /// # Errors
    /// Never returns.
    pub(crate) async fn accept(&self, _: TcpStream) -> io::Result<TcpStream> {
        match *self {}
    }
}

/// # Errors
/// Always, with the connection.
pub(crate) fn downcast(upgraded: Upgraded) -> Result<(TcpStream, Session, Vec<u8>), Upgraded> {
    Err(upgraded)
}

pub(crate) mod session {
    use std::io;
    use tokio::net::TcpStream;

    /// Its methods never return, since there is no session.
    pub(crate) enum Session {}

    impl Session {
        pub(crate) fn has_plaintext(&mut self) -> bool {
            match *self {}
        }

        pub(crate) fn try_read(&mut self, _: &TcpStream, _: &mut [u8]) -> io::Result<usize> {
            match *self {}
        }

        pub(crate) fn try_write(&mut self, _: &TcpStream, _: [&[u8]; 2]) -> io::Result<usize> {
            match *self {}
        }

        pub(crate) fn flush(&mut self, _: &TcpStream) -> io::Result<()> {
            match *self {}
        }

        pub(crate) fn close(&mut self, _: &TcpStream) -> io::Result<()> {
            match *self {}
        }
    }
}
