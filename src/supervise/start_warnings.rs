//! Warnings at start about rights that the program does not need: those of root, and those to other
//! files beside the token's.

use super::sandbox;
use crate::config::Config;
use std::path::{Path, PathBuf};

/// Logs a warning for each of them.
pub(super) fn log(config: &Config) {
    if nix::unistd::geteuid().is_root() {
        tracing::warn!(
            "running as root, which is not needed: run it as another user, in the groups video and \
             audio"
        );
    }
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let Some(file) = config.access.token_file.as_ref().filter(|_| config.sandbox) else {
        return;
    };
    for directory in sandbox::directories(file) {
        if has_other_files(&directory, home.as_deref()) {
            tracing::warn!(
                "the server may read all files in {}, the directory of --token-file; put the token \
                 into a directory of its own",
                directory.display()
            );
        }
    }
}

/// Whether it is a home directory or /etc.
fn has_other_files(directory: &Path, home: Option<&Path>) -> bool {
    let is = |path: &str| directory == Path::new(path);
    is("/etc")
        || is("/root")
        || home == Some(directory)
        || directory.parent() == Some(Path::new("/home"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_other_files_home_directories_and_etc() {
        let home = Some(Path::new("/var/lib/cam"));
        for (directory, expected) in [
            ("/etc", true),
            ("/root", true),
            ("/home/pi", true),
            ("/var/lib/cam", true),
            ("/etc/stampcast", false),
            ("/home/pi/stampcast", false),
            ("/run/credentials/stampcast.service", false),
        ] {
            let found = has_other_files(Path::new(directory), home);
            assert_eq!(found, expected, "{directory}");
        }
        assert!(!has_other_files(Path::new("/var/lib/cam"), None));
    }
}
