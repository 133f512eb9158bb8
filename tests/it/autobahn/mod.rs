//! The cases of the Autobahn test suite's fuzzing client (github.com/crossbario/autobahn-testsuite,
//! 0.8), against the running program. That client needs Python 2, so the cases are written out
//! here, under their own numbers.
//!
//! Autobahn expects an echo. This server answers what means something to it, and what is sent here
//! is chosen so: a text that is `ping:<id>` comes back as `pong:<id>:…`, and where that cannot be,
//! a message that was read whole and well is one that is refused for its meaning (1008: no such
//! command; 1003: binary), not for its form (1002, 1007, 1009).

mod cases;
mod client;
mod utf8;

use self::cases::Case;
use self::client::Client;
use crate::common::Program;

/// How many cases Autobahn has in each section; 12 and 13, compression, are told apart by what is
/// offered.
const SECTIONS: [(&str, usize); 8] = [
    ("1", 16),
    ("2", 11),
    ("3", 7),
    ("4", 10),
    ("5", 20),
    ("6", 145),
    ("7", 37),
    ("9", 54),
];

#[test]
fn autobahn_every_case_is_answered_as_the_protocol_requires() {
    let program = Program::start(&[
        "--camera-type",
        "test",
        "--width",
        "160",
        "--height",
        "120",
        "--fps",
        "5",
    ]);
    let server = program.child("stampcast-serve", None);
    let cases: Vec<Case> = cases::all();
    for (section, count) in SECTIONS {
        let found = cases
            .iter()
            .filter(|case| case.number.split('.').next() == Some(section))
            .count();
        assert_eq!(found, count, "cases of section {section}");
    }
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| run(&program, case).err())
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} cases:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    assert_eq!(
        program.child("stampcast-serve", None),
        server,
        "the server is the same"
    );
    eprintln!("{} cases, none wrong", cases.len());
}

fn run(program: &Program, case: &Case) -> Result<(), String> {
    let client =
        Client::connect(program.port(), "").map_err(|e| format!("{}: {e}", case.number))?;
    assert_eq!(client.extensions, None, "none was offered");
    let found = client.exchange(&case.writes, case.expected.close.is_none());
    if found == case.expected {
        Ok(())
    } else {
        Err(format!(
            "{}: {found:?} instead of {:?}",
            case.number, case.expected
        ))
    }
}

/// Sections 12 and 13: compression is not supported. The offer is ignored, as RFC 7692 allows; the
/// connection works without it; a compressed message is an error.
#[test]
fn compression_offered_is_declined_and_connection_works() {
    let program = Program::start(&[
        "--camera-type",
        "test",
        "--width",
        "160",
        "--height",
        "120",
        "--fps",
        "5",
    ]);
    for (number, offer) in cases::OFFERS {
        let connect = || {
            Client::connect(
                program.port(),
                &format!("Sec-WebSocket-Extensions: {offer}\r\n"),
            )
            .expect(number)
        };
        let client = connect();
        assert_eq!(client.extensions, None, "{number}: {offer}");
        let plain = cases::Case::says(number, "declined");
        assert_eq!(
            client.exchange(&plain.writes, true),
            plain.expected,
            "{number}"
        );
        let compressed = cases::Case::compressed(number);
        assert_eq!(
            connect().exchange(&compressed.writes, false),
            compressed.expected,
            "{number}"
        );
    }
}
