//! The board's name, for diagnostics: the only file that knows rppal.

/// "Raspberry Pi 4 B", or `None` on a machine that rppal does not know.
pub fn name() -> Option<String> {
    rppal::system::DeviceInfo::new()
        .ok()
        .map(|info| info.model().to_string())
}
