//! Reads both streams with this crate's decoder: `cargo run --example read_stream [HOST:PORT]`.
//!
//! In your own program: `stampcast = { git = "…", default-features = false }` and `tungstenite`.

use stampcast::wire::stamp::Seconds;
use stampcast::wire::{Message, binary};
use std::error::Error;

/// Calls `each` with every message, until the server closes the connection.
fn read(server: &str, mut each: impl FnMut(&Message)) -> Result<(), Box<dyn Error>> {
    // window=1: the server sends the next frame only after "ack", so that no frame waits in the
    // network's buffers.
    let (mut stream, _) = tungstenite::connect(format!(
        "ws://{server}/stream?format=binary&events=1&window=1"
    ))?;
    loop {
        match stream.read()? {
            tungstenite::Message::Binary(bytes) => {
                let message = binary::decode(&bytes)?;
                each(&message);
                if matches!(message, Message::Video { .. }) {
                    stream.send("ack".into())?;
                }
            }
            tungstenite::Message::Close(_) => return Ok(()),
            _ => {}
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let server = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "localhost:8080".into());
    read(&server, |message| match message {
        Message::Video {
            stamp,
            width,
            height,
            jpeg,
            ..
        } => println!(
            "{}  frame of {width}x{height}: {} bytes",
            Seconds(*stamp),
            jpeg.len()
        ),
        Message::Audio {
            stamp,
            format: Some(format),
            pcm,
            ..
        } => println!(
            "{}  audio: {} samples at {} Hz",
            Seconds(*stamp),
            pcm.len() / 2 / usize::from(format.channels),
            format.rate_hz
        ),
        Message::Event { stamp, event } => println!("{}  {event:?}", Seconds(*stamp)),
        // Text only: audio without its format, answers to pings.
        Message::Audio { format: None, .. } | Message::Pong { .. } => {}
    })
}
