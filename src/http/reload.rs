//! What is made of files and made anew when they change: a certificate, a token. Knows neither.

use std::error::Error;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// The files are looked at when somebody asks, and no more often than this.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub struct Renewed<T> {
    what: &'static str,
    files: Vec<PathBuf>,
    make: Box<dyn Fn() -> Result<T, Box<dyn Error>> + Send + Sync>,
    current: Mutex<Current<T>>,
}

struct Current<T> {
    value: T,
    seen: Option<Vec<Stamp>>,
    looked: Instant,
}

/// What changes when a file is written to or replaced: device, inode, size, time of change in s and ns.
type Stamp = (u64, u64, u64, i64, i64);

impl<T: Clone> Renewed<T> {
    /// `what`: its name in the log. `make` reads the `files`.
    ///
    /// # Errors
    /// What `make` says of the files as they are now.
    pub fn new<E: Error + 'static>(
        what: &'static str,
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        let seen = stamps(&files);
        let current = Mutex::new(Current {
            value: make()?,
            seen,
            looked: Instant::now(),
        });
        Ok(Self {
            what,
            files,
            make: Box::new(move || Ok(make()?)),
            current,
        })
    }

    /// The newest. Of changed files that cannot be used (one of two may still be on its way), the last good value stays.
    pub fn get(&self) -> T {
        let mut current = self
            .current
            .lock()
            .expect("nothing panics while it holds the value");
        if current.looked.elapsed() < LOOK_EVERY {
            return current.value.clone();
        }
        current.looked = Instant::now();
        let now = stamps(&self.files);
        if now != current.seen {
            match (self.make)() {
                Ok(value) => {
                    info!("the {} was read again", self.what);
                    current.value = value;
                }
                Err(e) => warn!(
                    "{}; the last {} stays in use",
                    crate::log::chain(&*e),
                    self.what
                ),
            }
            // Bad ones too: they are complained of once, and read again when they change.
            current.seen = now;
        }
        current.value.clone()
    }
}

/// `None` while one of them is missing, or is a pipe, which could be read but once.
fn stamps(files: &[PathBuf]) -> Option<Vec<Stamp>> {
    let stamp = |m: Metadata| (m.dev(), m.ino(), m.size(), m.ctime(), m.ctime_nsec());
    files
        .iter()
        .map(|path| {
            std::fs::metadata(path)
                .ok()
                .filter(Metadata::is_file)
                .map(stamp)
        })
        .collect()
}
