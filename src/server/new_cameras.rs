//! Receives and acknowledges cameras that the supervisor adds while the server runs. Nothing adds
//! any yet, and the list of hubs is fixed: reloading a configuration file will use this channel.

use crate::hub::EventFd;
use crate::ipc::descriptors::{ChannelError, DescriptorReceiver, Request};
use std::io;
use std::os::fd::AsFd;

/// Receives until the channel ends, which is logged once; then never returns, since the server goes
/// on without it.
///
/// # Errors
/// None.
pub(super) async fn receive(channel: DescriptorReceiver) -> io::Result<()> {
    match receive_until_end(channel).await {
        // The supervisor has exited, or is about to end this process.
        ChannelError::Closed => {}
        e => tracing::warn!(
            "no cameras can be added until the server restarts: {}",
            crate::log::chain(&e)
        ),
    }
    std::future::pending().await
}

async fn receive_until_end(mut channel: DescriptorReceiver) -> ChannelError {
    let readable = match EventFd::new(channel.as_fd()) {
        Ok(readable) => readable,
        Err(e) => return ChannelError::Io(e),
    };
    let mut received = 0;
    loop {
        match channel.receive() {
            Ok(Some(new)) => {
                received += 1;
                tracing::debug!("camera {} was received", new.camera);
                if let Err(e) = channel.request(Request::CamerasReceived(received)) {
                    return e;
                }
            }
            Ok(None) => {
                if let Err(e) = readable.notified().await {
                    return ChannelError::Io(e);
                }
            }
            Err(e) => return e,
        }
    }
}
