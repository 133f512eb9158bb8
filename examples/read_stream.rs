//! Both streams in Rust, with this crate's own decoder: `cargo run --example read_stream [HOST:PORT]`.
//!
//! In a program of yours: `stampcast = { git = "…", default-features = false }` and `tungstenite`.

use stampcast::wire::stamp::Seconds;
use stampcast::wire::{Message, binary};
use std::error::Error;

/// Calls `each` for what arrives, until the server closes.
fn read(server: &str, mut each: impl FnMut(&Message)) -> Result<(), Box<dyn Error>> {
    // window=1: the server sends the next picture only after "ack", so none grows old in the network's buffers.
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
        } => {
            println!(
                "{}  picture of {width}x{height}: {} bytes",
                Seconds(*stamp),
                jpeg.len()
            );
        }
        Message::Audio {
            stamp, rate, pcm, ..
        } => {
            let (hz, channels) = rate.unwrap_or((0, 1));
            println!(
                "{}  sound: {} samples at {hz} Hz",
                Seconds(*stamp),
                pcm.len() / 2 / usize::from(channels)
            );
        }
        Message::Event { stamp, event } => println!("{}  {event:?}", Seconds(*stamp)),
        Message::Pong { .. } => {}
    })
}
