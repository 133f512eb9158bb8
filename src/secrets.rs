//! Takes the tokens out of what the kernel shows of this process: its arguments (`ps`) and its first environment
//! (/proc/PID/environ), which every child inherits too. Knows the options' names.
//!
//! Copies that the shell, the service file or the argument parser's freed memory hold are out of reach: docs/security.md.
#![allow(unsafe_code)]

/// `--whip` too: some services have the key in the address.
const OPTIONS: [&[u8]; 4] = [b"--token", b"--video-token", b"--whip-token", b"--whip"];
const ASSIGNMENTS: [&[u8]; 8] = [
    b"--token=",
    b"--video-token=",
    b"--whip-token=",
    b"--whip=",
    b"STAMPCAST_TOKEN=",
    b"STAMPCAST_VIDEO_TOKEN=",
    b"STAMPCAST_WHIP_TOKEN=",
    b"STAMPCAST_WHIP=",
];
/// As long as the token was, so that what else stands in the area stays where it is.
const MASK: u8 = b'x';

/// To be called once the options are read, by a process with one thread. Where procfs does not say where the arguments are,
/// they stay.
pub fn hide() {
    for (start, end) in areas().unwrap_or_default() {
        let Some(length) = end.checked_sub(start).filter(|&length| length > 0 && start != 0) else { continue };
        // SAFETY: the kernel says that this is where this process's own arguments or environment are: mapped, writable, and
        // there for the process's whole life. This is its only thread, and nothing holds a reference into them (the standard
        // library keeps raw pointers and copies). NULs are never written nor overwritten, so every string stays one.
        let area = unsafe { std::slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut::<u8>(start), length) };
        mask(area);
    }
}

/// Arguments, environment: proc_pid_stat(5), fields 48 to 51.
fn areas() -> Option<[(usize, usize); 2]> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may hold anything; the first field behind it is the third.
    let fields: Vec<usize> = stat.rsplit_once(')')?.1.split_whitespace().map(|f| f.parse().unwrap_or(0)).collect();
    let field = |n: usize| fields.get(n - 3).copied();
    Some([(field(48)?, field(49)?), (field(50)?, field(51)?)])
}

/// Overwrites the tokens among NUL-terminated strings.
fn mask(area: &mut [u8]) {
    let mut is_value = false;
    for string in area.split_mut(|byte| *byte == 0) {
        if is_value {
            string.fill(MASK);
        } else if let Some(name) = ASSIGNMENTS.iter().find(|name| string.starts_with(name)) {
            string[name.len()..].fill(MASK);
        }
        is_value = OPTIONS.contains(&&*string);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_are_masked_and_nothing_moves() {
        let mut area =
            *b"stampcast\0--token\0a\0--video-token=bc\0--fps\0a\0--whip\0h\0--whip-token-file\0/a\0PATH=/a\0STAMPCAST_TOKEN=abc\0STAMPCAST_TOKEN_FILE=/a\0--token\0";
        mask(&mut area);
        let expected =
            b"stampcast\0--token\0x\0--video-token=xx\0--fps\0a\0--whip\0x\0--whip-token-file\0/a\0PATH=/a\0STAMPCAST_TOKEN=xxx\0STAMPCAST_TOKEN_FILE=/a\0--token\0";
        assert_eq!(String::from_utf8_lossy(&area), String::from_utf8_lossy(expected));
    }
}
