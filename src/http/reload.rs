//! Values made from files and reloaded when those change: a certificate, a token.

use std::error::Error;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// The files are checked when the value is asked for, at most this often.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// A value made from files, remade when they change.
pub(crate) struct Reloading<T> {
    what: &'static str,
    files: Vec<PathBuf>,
    make: Box<dyn Fn() -> Result<T, Box<dyn Error>> + Send + Sync>,
    current: Mutex<Current<T>>,
}

struct Current<T> {
    value: T,
    /// Of the files that `value` was made from, or that were refused since.
    versions: Option<Vec<FileVersion>>,
    checked: Instant,
}

/// Changes when a file is written to or replaced: device, inode, size, time of change in s and ns.
type FileVersion = (u64, u64, u64, i64, i64);

impl<T: Clone> Reloading<T> {
    /// `what`: its name in the log. `make` reads the `files`.
    ///
    /// # Errors
    /// Those of `make`, for the files as they are now.
    pub(crate) fn new<E: Error + 'static>(
        what: &'static str,
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        let versions = file_versions(&files);
        let current = Mutex::new(Current {
            value: make()?,
            versions,
            checked: Instant::now(),
        });
        Ok(Self {
            what,
            files,
            make: Box::new(move || Ok(make()?)),
            current,
        })
    }

    /// The newest value. While changed files cannot be used (one of two may not be written yet),
    /// the last good one.
    pub(crate) fn get(&self) -> T {
        let mut current = self
            .current
            .lock()
            .expect("no panic while the value is held");
        if current.checked.elapsed() < CHECK_EVERY {
            return current.value.clone();
        }
        current.checked = Instant::now();
        let now = file_versions(&self.files);
        if now != current.versions {
            match (self.make)() {
                Ok(value) => {
                    info!("reloaded the {}", self.what);
                    current.value = value;
                }
                Err(e) => warn!(
                    "{}; the previous {} stays in use",
                    crate::log::chain(&*e),
                    self.what
                ),
            }
            // Of bad files too: they are logged once, and read again when they change.
            current.versions = now;
        }
        current.value.clone()
    }
}

/// `None` while one of them is missing, or is a pipe, which can be read only once.
fn file_versions(files: &[PathBuf]) -> Option<Vec<FileVersion>> {
    let version = |m: Metadata| (m.dev(), m.ino(), m.size(), m.ctime(), m.ctime_nsec());
    files
        .iter()
        .map(|path| {
            std::fs::metadata(path)
                .ok()
                .filter(Metadata::is_file)
                .map(version)
        })
        .collect()
}
