//! WebSocket frame headers, server to client (RFC 6455, section 5.2): one final, unmasked frame per message. Reading, and
//! the answers to pings and closes, are tungstenite's.

/// The longest header that a server writes.
pub const MAX_HEADER_LEN: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Text = 1,
    Binary = 2,
    Close = 8,
}

/// Appends the header of a message of `len` bytes.
pub fn append_header(out: &mut Vec<u8>, opcode: Opcode, len: usize) {
    const FIN: u8 = 0x80;
    out.push(FIN | opcode as u8);
    match len {
        0..=125 => out.push(len as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

/// Appends a whole message.
pub fn append_message(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    append_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a close frame (section 5.5.1). A reason longer than a control frame holds is cut.
pub fn append_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    const MAX_REASON: usize = 123;
    let end = (0..=reason.len().min(MAX_REASON))
        .rev()
        .find(|&at| reason.is_char_boundary(at));
    let reason = &reason[..end.unwrap_or(0)];
    append_header(out, Opcode::Close, 2 + reason.len());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}
