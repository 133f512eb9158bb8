//! A USB camera or microphone made of software, plugged into the kernel's virtual host controller
//! (vhci_hcd), so that the real drivers, uvcvideo and snd-usb-audio, serve it: with a serial
//! number, a port, a metadata node, and faults on demand.
//!
//! ```text
//! fakeusb camera|microphone PORT SERIAL CONTROL [JPEG…]
//! ```
//!
//! PORT is 0 to 7. CONTROL is a file holding one word, read twenty times a second: `go`; `stall`
//! (plugged in, delivers nothing); `corrupt` (camera: every fifth frame is cut in half and carries
//! the error bit); `truncate` (the same without the bit). Ending the program unplugs the device.
//! The camera sends the JPEG files in turn.
//!
//! It runs only in the test machine, as root. It knows nothing of stampcast.

mod camera;
mod descriptors;
mod microphone;
mod usbip;

use std::path::PathBuf;
use std::time::{Duration, Instant};
use usbip::{Link, Request, Submit};

/// What a device answers to a control request.
pub enum Answer {
    Data(Vec<u8>),
    Accepted,
    /// A STALL: the request is not supported.
    Refused,
}

/// What makes the one device different from the other.
pub trait Function {
    fn device_descriptor(&self) -> Vec<u8>;
    fn configuration(&self) -> Vec<u8>;
    fn product(&self) -> &'static str;
    /// A class request on endpoint 0.
    fn control(&mut self, setup: Setup, data: &[u8]) -> Answer;
    /// The host asks for data; the transfer waits in `transfers` until `deliver` fills it.
    fn deliver(
        &mut self,
        mode: Mode,
        transfers: &mut std::collections::VecDeque<Submit>,
        link: &mut Link,
    ) -> std::io::Result<Duration>;
}

/// The eight bytes of a control request (USB 2.0, 9.3).
#[derive(Clone, Copy)]
pub struct Setup {
    pub request_type: u8,
    pub request: u8,
    pub value: u16,
    pub index: u16,
    pub length: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Go,
    Stall,
    Corrupt,
    Truncate,
}

/// The control file, read at most twenty times a second.
struct Control {
    path: PathBuf,
    mode: Mode,
    read_at: Option<Instant>,
}

impl Control {
    fn mode(&mut self) -> Mode {
        if self
            .read_at
            .is_none_or(|at| at.elapsed() > Duration::from_millis(50))
        {
            self.read_at = Some(Instant::now());
            self.mode = match std::fs::read_to_string(&self.path)
                .unwrap_or_default()
                .trim()
            {
                "go" => Mode::Go,
                "stall" => Mode::Stall,
                "corrupt" => Mode::Corrupt,
                "truncate" => Mode::Truncate,
                _ => self.mode, // half written
            };
        }
        self.mode
    }
}

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, port, serial, control, jpegs @ ..] = &arguments[..] else {
        eprintln!("usage: fakeusb camera|microphone PORT SERIAL CONTROL [JPEG…]");
        std::process::exit(2);
    };
    let port: u32 = port.parse().map_err(std::io::Error::other)?;
    let mut function: Box<dyn Function> = match kind.as_str() {
        "camera" => Box::new(camera::Camera::new(
            jpegs.iter().map(std::fs::read).collect::<Result<_, _>>()?,
        )),
        _ => Box::new(microphone::Microphone::new()),
    };
    let mut control = Control {
        path: control.into(),
        mode: Mode::Go,
        read_at: None,
    };
    std::fs::write(&control.path, "go")?;

    let mut link = Link::attach(port)?;
    let mut transfers = std::collections::VecDeque::new();
    loop {
        let wait = function.deliver(control.mode(), &mut transfers, &mut link)?;
        if !link.readable_within(wait.min(Duration::from_millis(20)))? {
            continue;
        }
        match link.read()? {
            Request::Unlink { sequence, victim } => {
                let waiting = transfers.len();
                transfers.retain(|t| t.sequence != victim);
                link.unlinked(sequence, transfers.len() < waiting)?;
            }
            Request::Submit(transfer) if transfer.endpoint == 0 => {
                let answer = answer(&mut *function, &transfer, serial);
                link.answer(&transfer, answer)?;
            }
            Request::Submit(transfer) if transfer.to_host => transfers.push_back(transfer),
            Request::Submit(transfer) => link.accepted(&transfer)?,
        }
    }
}

/// Endpoint 0: the standard requests here (USB 2.0, 9.4), the class's by the function.
fn answer(function: &mut dyn Function, transfer: &Submit, serial: &str) -> Answer {
    const GET_DESCRIPTOR: u8 = 6;
    let setup = transfer.setup;
    match (setup.request_type, setup.request) {
        (0x80, GET_DESCRIPTOR) => match (setup.value >> 8, setup.value & 0xff) {
            (1, _) => Answer::Data(function.device_descriptor()),
            (2, _) => Answer::Data(function.configuration()),
            (3, 0) => Answer::Data(vec![4, 3, 0x09, 0x04]), // the one language: English
            (3, 1) => Answer::Data(descriptors::string("Acme")),
            (3, 2) => Answer::Data(descriptors::string(function.product())),
            (3, 3) => Answer::Data(descriptors::string(serial)),
            _ => Answer::Refused,
        },
        // GET_STATUS of the device, an interface or an endpoint: nothing halted, not self-powered.
        (0x80..=0x82, 0) => Answer::Data(vec![0, 0]),
        // CLEAR_FEATURE, SET_FEATURE, SET_CONFIGURATION, SET_INTERFACE.
        (0..=2, 1 | 3 | 9 | 11) => Answer::Accepted,
        _ => function.control(setup, &transfer.data),
    }
}
