//! The name of the Raspberry Pi that this is, for messages.

use std::path::Path;

/// Where the kernel shows the firmware's name of the board, ended by a NUL (Devicetree
/// Specification, root node property "model").
const MODEL: &str = "/proc/device-tree/model";

/// "Raspberry Pi 4 Model B Rev 1.4", or `None` where this is not a Raspberry Pi. Reads a file: ask
/// once and keep the answer.
pub fn name() -> Option<String> {
    read_model(Path::new(MODEL))
}

fn read_model(file: &Path) -> Option<String> {
    let model = std::fs::read(file).ok()?;
    let model = String::from_utf8_lossy(&model);
    let model = model.trim_matches(|c: char| c.is_control() || c.is_whitespace());
    model.starts_with("Raspberry Pi").then(|| model.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_model_of_a_raspberry_pi_is_its_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (content, expected) in [
            (
                &b"Raspberry Pi 4 Model B Rev 1.4\0"[..],
                Some("Raspberry Pi 4 Model B Rev 1.4"),
            ),
            (b"Radxa ROCK 5B\0", None),
            (b"", None),
        ] {
            std::fs::write(file.path(), content).unwrap();
            assert_eq!(read_model(file.path()).as_deref(), expected);
        }
        assert_eq!(read_model(Path::new("/nonexistent/model")), None);
    }
}
