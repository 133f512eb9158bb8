//! WebSocket frames, server to client (RFC 6455, section 5.2): one final, unmasked frame per
//! message. tungstenite reads the client's frames and answers its pings and closes.

/// The longest header that a server writes, bytes.
pub const MAX_HEADER_LEN: usize = 10;

/// Kind of a frame (section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// UTF-8 text.
    Text = 1,
    /// Bytes.
    Binary = 2,
    /// Code and reason; the last frame of a connection.
    Close = 8,
}

/// Appends the header of a message with `len` bytes of payload.
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

/// Appends a message: header and payload.
pub fn append_message(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    append_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a close frame (section 5.5.1). A reason of more than 123 bytes is truncated between
/// characters.
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
