//! The server's periodic tasks. None of them ends.

use crate::hub::Hubs;
use crate::ipc::control::{ControlWriter, UNIX_OFFSET, UNIX_OFFSET_SLOT};
use crate::ipc::ring::StatusWriter;
use crate::media::MonoNs;
use crate::media::clock::{Clock, ClockSample};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// A step of the UNIX clock is found within this time (docs/time.md).
const CLOCK_INTERVAL: Duration = Duration::from_millis(100);
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);
/// By then everything is set up, and the first viewers are connected.
const STARTUP: Duration = Duration::from_secs(2);

/// Shows the supervisor that the runtime is running: a server that hangs is killed as a worker is.
///
/// # Errors
/// None.
pub(super) async fn heartbeat(own: StatusWriter) -> io::Result<()> {
    loop {
        own.set_heartbeat(MonoNs::now());
        sleep(HEARTBEAT_INTERVAL).await;
    }
}

/// Returns the memory that only the start needed to the kernel.
///
/// # Errors
/// None.
pub(super) async fn trim_memory() -> io::Result<()> {
    sleep(STARTUP).await;
    crate::malloc_trim::trim();
    std::future::pending().await
}

/// Samples the clocks: for the stamps, for the hubs, which report steps, and for the time that
/// workers draw into test images.
///
/// The clock and the hubs change together as the rest of the server sees it: there is no `await`
/// between them, and the runtime has one thread.
///
/// # Errors
/// None.
pub(super) async fn sample_clocks(
    clock: Arc<Clock>,
    hubs: Hubs,
    controls: Vec<ControlWriter>,
) -> io::Result<()> {
    loop {
        if let Some(step) = clock.observe(ClockSample::read()) {
            hubs.clock_stepped(step);
        }
        // Written every time: a worker may have damaged its control page.
        let offset_ns = clock.offset_ns();
        for control in &controls {
            control.keep(UNIX_OFFSET_SLOT, UNIX_OFFSET, offset_ns as u64);
        }
        sleep(CLOCK_INTERVAL).await;
    }
}
