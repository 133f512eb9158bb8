//! Tokens given as options or in the environment: removed from what the kernel shows of this
//! process (`ps`, /proc/PID/environ) and from its memory, before anything copies them.
//!
//! Workers are forked from the supervisor: a secret that never was in the supervisor's heap is not
//! in theirs either. Secrets are kept in anonymous files (memfd_create(2)), which only the server
//! reads and which the workers close.
#![allow(unsafe_code)]

use nix::sys::memfd::{MFdFlags, memfd_create};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Fills the place of a token, byte for byte, so that the strings around it do not move.
const MASK: u8 = b'x';

/// A text that is never logged, and is in the memory of a process only while that process reads it.
#[derive(Clone)]
pub struct Secret(Arc<File>);

impl Secret {
    /// # Errors
    /// What memfd_create(2) and write(2) say.
    pub fn new(text: &str) -> io::Result<Self> {
        let file = File::from(memfd_create("secret", MFdFlags::MFD_CLOEXEC)?);
        file.write_all_at(text.as_bytes(), 0)?;
        Ok(Self(Arc::new(file)))
    }

    /// The text, overwritten when it is dropped.
    ///
    /// # Errors
    /// What pread(2) says.
    pub fn read(&self) -> io::Result<Zeroizing<String>> {
        let length = self.0.metadata()?.len();
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| ErrorKind::FileTooLarge)?];
        self.0.read_exact_at(&mut bytes, 0)?;
        String::from_utf8(bytes)
            .map(Zeroizing::new)
            .map_err(|_| ErrorKind::InvalidData.into())
    }
}

/// A token file's first line, without surrounding white space.
///
/// # Errors
/// The file cannot be read, or its first line is empty.
pub fn first_line(file: &Path) -> Result<Zeroizing<String>, TokenFileError> {
    let path = || file.to_path_buf();
    let text = std::fs::read_to_string(file).map_err(|source| TokenFileError::Unreadable {
        path: path(),
        source,
    })?;
    let text = Zeroizing::new(text);
    match text.lines().next().map(str::trim) {
        None | Some("") => Err(TokenFileError::Empty { path: path() }),
        Some(token) => Ok(Zeroizing::new(token.to_owned())),
    }
}

/// A file without a usable token.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    #[error("the token file {path} cannot be read")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the token file {path} is empty; write the token into its first line")]
    Empty { path: PathBuf },
}

impl AsRawFd for Secret {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The options whose values are secret, by their ids. `--whip` too: some services have the key in
/// the URL.
pub(crate) const SECRET_OPTIONS: [&str; 4] = ["token", "video_token", "whip", "whip_token"];

/// The secrets that [`take`] removed from the arguments and the environment.
#[derive(Debug, Default)]
pub struct Tokens(BTreeMap<&'static str, Secret>);

impl Tokens {
    /// Removes the tokens from NUL-terminated strings and leaves a mask of the same length. A
    /// value on the command line precedes one of the environment, as it does for the parser, which
    /// also refuses the same option given twice.
    fn take_from(&mut self, area: &mut [u8]) {
        let mut before: &[u8] = b"";
        for string in area.split_mut(|byte| *byte == 0) {
            let joined = string.iter().position(|byte| *byte == b'=');
            match joined {
                Some(at) if secret_option(&string[..at]).is_some() => {
                    let (name, value) = string.split_at_mut(at);
                    self.take_value(name, &mut value[1..]);
                }
                // What looks like an option is not a value: the parser will say that one is
                // missing.
                _ if !string.starts_with(b"-") => self.take_value(before, string),
                _ => {}
            }
            before = string;
        }
    }

    fn take_value(&mut self, name: &[u8], value: &mut [u8]) {
        let Some(option) = secret_option(name) else {
            return;
        };
        // An invalid token stays: the parser refuses it.
        let Some(text) = std::str::from_utf8(value)
            .ok()
            .filter(|text| !text.trim().is_empty())
        else {
            return;
        };
        // Without memory it stays too: the parser fails in the same way and says so.
        let Ok(secret) = Secret::new(text) else {
            return;
        };
        self.0.entry(option).or_insert(secret);
        value.fill(MASK);
    }

    /// Replaces a mask that the parser saw as the value of `option` (an id of
    /// [`SECRET_OPTIONS`]) by the secret. Does nothing where nothing was taken, and where what was
    /// seen is no mask: then it came from a file, which precedes the variable that was taken.
    pub fn unmask(&mut self, option: &str, seen: Option<&mut Secret>) {
        if let (Some(seen), Some(taken)) = (seen, self.0.remove(option))
            && seen
                .read()
                .is_ok_and(|text| text.bytes().all(|byte| byte == MASK))
        {
            *seen = taken;
        }
    }
}

/// The option that an argument (`--token`) or a variable (`STAMPCAST_TOKEN`) names, if its value is
/// secret.
fn secret_option(name: &[u8]) -> Option<&'static str> {
    let name = std::str::from_utf8(name).ok()?;
    let id = match (name.strip_prefix("--"), name.strip_prefix("STAMPCAST_")) {
        (Some(option), _) => option.replace('-', "_"),
        (_, Some(variable)) if !variable.contains(char::is_lowercase) => variable.to_lowercase(),
        _ => return None,
    };
    SECRET_OPTIONS.into_iter().find(|option| *option == id)
}

/// Whether [`take`] takes the value of the option `--name`.
pub(crate) fn is_secret(name: &str) -> bool {
    secret_option(format!("--{name}").as_bytes()).is_some()
}

/// Takes the secrets out of this process's arguments and environment. To be called before anything
/// else, in a process with one thread. Without procfs they stay where they are.
pub fn take() -> Tokens {
    let mut tokens = Tokens::default();
    for (start, end) in areas().unwrap_or_default() {
        let Some(length) = end
            .checked_sub(start)
            .filter(|&length| length > 0 && start != 0)
        else {
            continue;
        };
        // SAFETY: the kernel says that this is where this process's own arguments or environment
        // are: mapped, writable, and there for the process's whole life. This is its only thread,
        // and nothing holds a reference into them (the standard library keeps raw pointers and
        // copies). NULs are never written nor overwritten, so every string stays one.
        let area = unsafe {
            std::slice::from_raw_parts_mut(
                std::ptr::with_exposed_provenance_mut::<u8>(start),
                length,
            )
        };
        tokens.take_from(area);
    }
    tokens
}

/// Arguments, environment: proc_pid_stat(5), fields 48 to 51.
fn areas() -> Option<[(usize, usize); 2]> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may hold anything; the first field behind it is the third.
    let fields: Vec<usize> = stat
        .rsplit_once(')')?
        .1
        .split_whitespace()
        .map(|f| f.parse().unwrap_or(0))
        .collect();
    let field = |n: usize| fields.get(n - 3).copied();
    Some([(field(48)?, field(49)?), (field(50)?, field(51)?)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(area: &str) -> (String, [Option<String>; 2]) {
        let (mut tokens, mut bytes) = (Tokens::default(), area.as_bytes().to_vec());
        tokens.take_from(&mut bytes);
        let read =
            |secret: Option<Secret>| secret.map(|s| s.read().expect("it is in memory").to_string());
        (
            String::from_utf8(bytes).expect("masks are ASCII"),
            ["token", "video_token"].map(|option| read(tokens.0.remove(option))),
        )
    }

    #[test]
    fn take_from_arguments_and_environment_masks_only_tokens() {
        let area = "stampcast\0--token\0a\0--video-token=bc\0--fps\0a\0PATH=/a\0STAMPCAST_TOKEN=def\0STAMPCAST_TOKEN_FILE=/a\0";
        let left = "stampcast\0--token\0x\0--video-token=xx\0--fps\0a\0PATH=/a\0STAMPCAST_TOKEN=xxx\0STAMPCAST_TOKEN_FILE=/a\0";
        assert_eq!(
            taken(area),
            (left.into(), [Some("a".into()), Some("bc".into())])
        );
        assert_eq!(taken("--token\0a=b\0").1[0].as_deref(), Some("a=b"));
    }

    #[test]
    fn take_from_invalid_token_leaves_it_for_the_parser() {
        for area in [
            "--token\0--fps\x003\0",
            "--token\0 \0",
            "--token=\0",
            "STAMPCAST_TOKEN=\0",
            "--token",
        ] {
            assert_eq!(taken(area), (area.into(), [None, None]));
        }
    }

    #[test]
    fn unmask_seen_mask_is_replaced_by_the_secret() {
        let secret = |text: &str| Some(Secret::new(text).expect("memory"));
        let read = |secret: &Option<Secret>| {
            secret
                .as_ref()
                .map(|t| t.read().expect("it is in memory").to_string())
        };
        let (mut seen, mut given) = (secret("xxx"), None::<Secret>);
        let mut tokens = Tokens([("token", secret("abc").expect("memory"))].into());
        tokens.unmask("token", given.as_mut());
        let mut tokens = Tokens([("token", secret("abc").expect("memory"))].into());
        tokens.unmask("token", seen.as_mut());
        assert_eq!((read(&seen).as_deref(), read(&given)), (Some("abc"), None));
        let mut of_file = secret("of a file");
        let mut tokens = Tokens([("token", secret("abc").expect("memory"))].into());
        tokens.unmask("token", of_file.as_mut());
        assert_eq!(read(&of_file).as_deref(), Some("of a file"));
        assert_eq!(format!("{seen:?}").matches("abc").count(), 0);
    }

    #[test]
    fn take_from_whip_url_is_taken_too() {
        let (mut tokens, mut bytes) = (
            Tokens::default(),
            b"--whip\0http://h/k?a=b\0--whip-token-file\0/a\0STAMPCAST_WHIP_TOKEN=t\0".to_vec(),
        );
        tokens.take_from(&mut bytes);
        assert_eq!(
            String::from_utf8_lossy(&bytes),
            "--whip\0xxxxxxxxxxxxxx\0--whip-token-file\0/a\0STAMPCAST_WHIP_TOKEN=x\0"
        );
        let read =
            |secret: Option<Secret>| secret.map(|s| s.read().expect("it is in memory").to_string());
        assert_eq!(
            (
                read(tokens.0.remove("whip")).as_deref(),
                read(tokens.0.remove("whip_token")).as_deref()
            ),
            (Some("http://h/k?a=b"), Some("t"))
        );
    }
}
