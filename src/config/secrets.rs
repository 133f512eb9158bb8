//! Tokens given as options or in the environment: taken out of what the kernel shows of this process (`ps`,
//! /proc/PID/environ) and out of its memory, before anything copies them. Knows the options' names.
//!
//! A worker is forked from the supervisor, so what the supervisor never had in its heap no worker finds in its own. The
//! tokens wait in files without a name (memfd_create(2)), which the server alone reads and the workers close.
#![allow(unsafe_code)]

use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// As long as the token was, so that what else stands in the area stays where it is.
const MASK: u8 = b'x';

/// A text that no log line shows, and that is in no process's memory but in that of the one that reads it.
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

/// A token file's first line, without white space around it.
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

/// Why there is no token in a file.
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

/// What [`take`] found.
#[derive(Debug, Default)]
pub struct Tokens {
    pub token: Option<Secret>,
    pub video_token: Option<Secret>,
    /// The address too: some services have the key in it.
    pub whip: Option<Secret>,
    pub whip_token: Option<Secret>,
}

impl Tokens {
    /// Where a token that follows `name` belongs.
    fn place(&mut self, name: &[u8]) -> Option<&mut Option<Secret>> {
        match name {
            b"--token" | b"STAMPCAST_TOKEN" => Some(&mut self.token),
            b"--video-token" | b"STAMPCAST_VIDEO_TOKEN" => Some(&mut self.video_token),
            b"--whip" | b"STAMPCAST_WHIP" => Some(&mut self.whip),
            b"--whip-token" | b"STAMPCAST_WHIP_TOKEN" => Some(&mut self.whip_token),
            _ => None,
        }
    }

    /// Takes the tokens out of NUL-terminated strings, and leaves a mask of the same length. An option's counts before the
    /// environment's, as it does for the parser; of the same option twice the parser complains.
    fn take_from(&mut self, area: &mut [u8]) {
        let mut before: &[u8] = b"";
        for string in area.split_mut(|byte| *byte == 0) {
            let joined = string.iter().position(|byte| *byte == b'=');
            match joined {
                Some(at) if self.place(&string[..at]).is_some() => {
                    let (name, value) = string.split_at_mut(at);
                    self.take_value(name, &mut value[1..]);
                }
                // What looks like an option is none's value: the parser will say that a value is missing.
                _ if !string.starts_with(b"-") => self.take_value(before, string),
                _ => {}
            }
            before = string;
        }
    }

    fn take_value(&mut self, name: &[u8], value: &mut [u8]) {
        let Some(place) = self.place(name) else {
            return;
        };
        // What is no token stays, for the parser to complain of.
        let Some(text) = std::str::from_utf8(value)
            .ok()
            .filter(|text| !text.trim().is_empty())
        else {
            return;
        };
        // Where the kernel has no memory for it, it stays too, and the parser's own try says so.
        let Ok(secret) = Secret::new(text) else {
            return;
        };
        place.get_or_insert(secret);
        value.fill(MASK);
    }
}

/// Whether [`take`] takes the value of the option `--name`.
pub fn is_taken(name: &str) -> bool {
    Tokens::default()
        .place(format!("--{name}").as_bytes())
        .is_some()
}

/// Puts what was taken where the parser of the options saw its mask.
pub fn unmask(seen: &mut Option<Secret>, taken: Option<Secret>) {
    if seen.is_some() && taken.is_some() {
        *seen = taken;
    }
}

/// To be called before anything else, by a process with one thread. Where procfs does not say where the arguments are, they
/// stay.
pub fn take() -> Tokens {
    let mut tokens = Tokens::default();
    for (start, end) in areas().unwrap_or_default() {
        let Some(length) = end
            .checked_sub(start)
            .filter(|&length| length > 0 && start != 0)
        else {
            continue;
        };
        // SAFETY: the kernel says that this is where this process's own arguments or environment are: mapped, writable, and
        // there for the process's whole life. This is its only thread, and nothing holds a reference into them (the standard
        // library keeps raw pointers and copies). NULs are never written nor overwritten, so every string stays one.
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
            [read(tokens.token), read(tokens.video_token)],
        )
    }

    #[test]
    fn only_tokens_are_taken_and_nothing_moves() {
        let area = "stampcast\0--token\0a\0--video-token=bc\0--fps\0a\0PATH=/a\0STAMPCAST_TOKEN=def\0STAMPCAST_TOKEN_FILE=/a\0";
        let left = "stampcast\0--token\0x\0--video-token=xx\0--fps\0a\0PATH=/a\0STAMPCAST_TOKEN=xxx\0STAMPCAST_TOKEN_FILE=/a\0";
        assert_eq!(
            taken(area),
            (left.into(), [Some("a".into()), Some("bc".into())])
        );
        assert_eq!(taken("--token\0a=b\0").1[0].as_deref(), Some("a=b"));
    }

    #[test]
    fn what_is_no_token_is_left_for_the_parser_to_complain_of() {
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
    fn a_mask_is_replaced_by_what_it_stands_for() {
        let secret = |text: &str| Some(Secret::new(text).expect("memory"));
        let read = |secret: &Option<Secret>| {
            secret
                .as_ref()
                .map(|t| t.read().expect("it is in memory").to_string())
        };
        let (mut seen, mut given) = (secret("xxx"), None);
        unmask(&mut seen, secret("abc"));
        unmask(&mut given, secret("abc"));
        assert_eq!((read(&seen).as_deref(), read(&given)), (Some("abc"), None));
        assert_eq!(format!("{seen:?}").matches("abc").count(), 0);
    }

    #[test]
    fn an_address_with_a_key_in_it_is_taken_too() {
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
                read(tokens.whip).as_deref(),
                read(tokens.whip_token).as_deref()
            ),
            (Some("http://h/k?a=b"), Some("t"))
        );
    }
}
