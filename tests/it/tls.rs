//! https:// and wss:// of the running program, with a client that verifies the certificate.

use crate::common::viewer::{Text, parse, unix_now};
use crate::common::{PATIENCE, Program, run, until};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_RSA_SHA256,
    RsaKeySize,
};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tungstenite::{Message, WebSocket};

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A certificate authority and the files that the program is given.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    home: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
            .expect("a certificate");
        let authority = Self {
            issuer,
            home: tempfile::tempdir().expect("a directory"),
        };
        authority.renew();
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Replaces the certificate, each file by rename, as renewal tools do; returns it.
    fn renew(&self) -> CertificateDer<'static> {
        self.certify(&KeyPair::generate().expect("a key"))
    }

    fn certify(&self, key: &KeyPair) -> CertificateDer<'static> {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let cert = CertificateParams::new(names)
            .expect("names")
            .signed_by(key, &self.issuer)
            .expect("a certificate");
        self.put("key.pem", &key.serialize_pem());
        self.put("cert.pem", &cert.pem());
        cert.der().clone()
    }

    fn put(&self, name: &str, text: &str) {
        let next = self.path("next");
        std::fs::write(&next, text).expect("it is writable");
        std::fs::rename(next, self.path(name)).expect("it is there");
    }

    fn start(&self, more: &[&str]) -> Program {
        let (cert, key) = (self.path("cert.pem"), self.path("key.pem"));
        let tls = [
            "--tls-cert",
            text(&cert),
            "--tls-key",
            text(&key),
            "--camera-type",
            "test",
            "--enable-audio",
        ];
        Program::start(&[&tls[..], more].concat())
    }

    fn client(&self) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.issuer.der().clone())
            .expect("it is a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        ClientConnection::new(Arc::new(config), name).expect("a name")
    }

    fn connect(&self, program: &Program) -> Stream {
        let tcp = TcpStream::connect(("127.0.0.1", program.port())).expect("the server listens");
        tcp.set_read_timeout(Some(PATIENCE))
            .expect("a timeout is settable");
        let mut stream = StreamOwned::new(self.client(), tcp);
        stream
            .conn
            .complete_io(&mut stream.sock)
            .expect("the handshake passes");
        stream
    }

    fn watch(&self, program: &Program) -> WebSocket<Stream> {
        let url = format!("wss://127.0.0.1:{}/stream?audio=0", program.port());
        tungstenite::client(url, self.connect(program))
            .expect("it is a WebSocket")
            .0
    }

    /// The certificate that a new connection gets.
    fn shown(&self, program: &Program) -> CertificateDer<'static> {
        self.connect(program)
            .conn
            .peer_certificates()
            .expect("the server has one")[0]
            .clone()
            .into_owned()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn frame(viewer: &mut WebSocket<Stream>) -> (f64, Vec<u8>) {
    loop {
        match viewer.read() {
            Ok(Message::Text(text)) => match parse(&text) {
                Text::Video { stamp, jpeg, .. } => return (stamp, jpeg),
                other => panic!("not a frame: {other:?}"),
            },
            Ok(_) => {}
            Err(tungstenite::Error::Io(e)) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => panic!("the stream ended: {e}"),
        }
    }
}

#[test]
fn tls_page_and_stream_share_the_port() {
    let authority = Authority::new();
    let program = authority.start(&[]);
    program.line(&["listening on https://", "wss://"]);
    let mut viewer = authority.watch(&program);
    for _ in 0..20 {
        let (_, jpeg) = frame(&mut viewer);
        assert!(
            jpeg.starts_with(&[0xff, 0xd8]) && jpeg.ends_with(&[0xff, 0xd9]),
            "a whole JPEG"
        );
    }
    let mut page = authority.connect(&program);
    page.write_all(b"GET /info HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        .expect("the server reads");
    let mut answer = String::new();
    page.read_to_string(&mut answer)
        .expect("the server answers and takes its leave");
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"video\""),
        "{answer}"
    );

    viewer.close(None).expect("it is open");
    let ended = loop {
        match viewer.read() {
            Ok(_) => {}
            Err(e) => break e,
        }
    };
    assert!(
        matches!(ended, tungstenite::Error::ConnectionClosed),
        "an orderly end, not {ended}"
    );
}

#[test]
fn tls_port_answers_plain_http_with_a_hint() {
    let authority = Authority::new();
    let program = authority.start(&[]);
    let mut tcp = TcpStream::connect(("127.0.0.1", program.port())).expect("the server listens");
    tcp.set_read_timeout(Some(PATIENCE))
        .expect("a timeout is settable");
    tcp.write_all(b"GET /info HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        .expect("the server reads");
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).expect("the server answers");
    assert!(
        answer.starts_with("HTTP/1.1 400 ")
            && answer.ends_with("use https:// or wss:// in the address\n"),
        "{answer}"
    );
}

#[test]
fn tls_viewer_stalled_continues_with_whole_frames_and_the_newest() {
    let authority = Authority::new();
    let program = authority.start(&["--fps", "60"]);
    let mut viewer = authority.watch(&program);
    frame(&mut viewer);
    let mut witness = authority.watch(&program);
    let stalled = Instant::now();
    while stalled.elapsed() < Duration::from_secs(2) {
        frame(&mut witness);
    }
    // First what the sockets hold, then new frames; a cut frame would be a TLS or WebSocket error.
    until("the present", || {
        (unix_now() - frame(&mut viewer).0 < 1.0).then_some(())
    });
    for _ in 0..60 {
        frame(&mut viewer);
    }
}

/// Each costs the server a signature before any token was checked.
#[test]
fn tls_handshake_flood_does_not_starve_viewers() {
    let authority = Authority::new();
    authority
        .certify(&KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096).expect("a key"));
    let program = authority.start(&[
        "--fps",
        "100",
        "--width",
        "320",
        "--height",
        "240",
        "--handshake-timeout",
        "60",
    ]);
    let mut viewer = authority.watch(&program);
    frame(&mut viewer);
    let mut hello = Vec::new();
    authority
        .client()
        .write_tls(&mut hello)
        .expect("memory takes it");
    let knock = |_| TcpStream::connect(("127.0.0.1", program.port())).expect("the server listens");
    let mut strangers: Vec<_> = (0..500).map(knock).collect();
    strangers
        .iter_mut()
        .for_each(|tcp| tcp.write_all(&hello).expect("the kernel has room"));
    let waiting = std::thread::spawn(move || {
        let answered = |tcp: &mut TcpStream| {
            tcp.set_read_timeout(Some(PATIENCE))
                .expect("a timeout is settable");
            matches!(tcp.read(&mut [0]), Ok(1))
        };
        strangers
            .iter_mut()
            .map(answered)
            .filter(|answered| *answered)
            .count()
    });
    let mut frames = 0;
    while !waiting.is_finished() {
        frame(&mut viewer);
        frames += 1;
    }
    assert_eq!(
        waiting.join().expect("it passes"),
        500,
        "strangers get their answer too"
    );
    // Queued behind all 500 signatures, of 0.5 to 4 ms each, it would be one or two.
    assert!(frames > 5, "{frames} frames meanwhile");
}

#[test]
fn tls_certificate_renewed_is_used_and_half_renewed_is_not() {
    let authority = Authority::new();
    let program = authority.start(&[]);
    let mut viewer = authority.watch(&program);
    let first = authority.shown(&program);
    let second = authority.renew();
    assert_ne!(first, second);
    until("the renewed certificate", || {
        (authority.shown(&program) == second).then_some(())
    });
    authority.put("key.pem", "no key\n");
    until("a word of the bad key", || {
        assert_eq!(authority.shown(&program), second, "the last good one stays");
        program
            .lines()
            .iter()
            .any(|l| l.contains("key.pem") && l.contains("stays in use"))
            .then_some(())
    });
    let third = authority.renew();
    until("the renewed certificate", || {
        (authority.shown(&program) == third).then_some(())
    });
    frame(&mut viewer);
}

#[test]
fn tls_unusable_files_end_the_program_with_one_line() {
    let authority = Authority::new();
    let (cert, key, garbage) = (
        authority.path("cert.pem"),
        authority.path("key.pem"),
        authority.path("garbage.pem"),
    );
    std::fs::write(&garbage, "garbage").expect("it is writable");
    let other = KeyPair::generate().expect("a key").serialize_pem();
    let stranger = authority.path("stranger.pem");
    std::fs::write(&stranger, other).expect("it is writable");
    let missing = Path::new("/no/such/file");
    for (cert, key, said) in [
        (missing, &*key, "--tls-cert /no/such/file"),
        (&cert, missing, "--tls-key /no/such/file"),
        (&garbage, &key, "contains no PEM certificate"),
        (&cert, &garbage, "contains no PEM private key"),
        (&cert, &stranger, "is not the key of"),
    ] {
        let (code, log) = run(&[
            "--camera-type",
            "test",
            "--port",
            "0",
            "--quiet",
            "--tls-cert",
            text(cert),
            "--tls-key",
            text(key),
        ]);
        let lines: Vec<&str> = log
            .lines()
            .filter(|line| !line.contains(" WARN "))
            .collect();
        assert_eq!((code, lines.len()), (Some(2), 1), "{log}");
        assert!(lines[0].contains(said), "{log}");
    }
    let (code, log) = run(&["--camera-type", "test", "--tls-cert", text(&cert)]);
    assert_eq!(
        (code, log.trim_end().lines().count()),
        (Some(2), 1),
        "{log}"
    );
}

/// Output and exit code of `stampcast doctor`.
fn doctor(more: &[&str]) -> (Option<i32>, String) {
    run(&[&["doctor", "--seconds", "1"], more].concat())
}

#[test]
fn doctor_tls_connects_to_a_trusted_server_only() {
    let authority = Authority::new();
    let program = authority.start(&[]);
    let at = format!("wss://127.0.0.1:{}/stream", program.port());
    let ca = authority.path("ca.pem");
    std::fs::write(&ca, authority.issuer.pem()).expect("it is writable");
    let sees = |at: &str, ca: &Path| {
        until("pictures for the doctor", || {
            (doctor(&[at, "--ca", text(ca), "--min-fps", "1"]).0 == Some(0)).then_some(())
        });
    };
    sees(&at, &ca);
    // A self-signed certificate, as `openssl req -x509` makes it.
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.put("key.pem", &key.serialize_pem());
    authority.put(
        "cert.pem",
        &params.self_signed(&key).expect("a certificate").pem(),
    );
    let alone = authority.start(&[]);
    let at_alone = format!("https://127.0.0.1:{}", alone.port());
    sees(&at_alone, &authority.path("cert.pem"));

    let missing = authority.path("missing.pem");
    for (args, expected) in [
        (vec![at_alone.as_str()], "--ca FILE"),
        (
            vec![&at_alone, "--ca", text(&ca)],
            "the certificate is not trusted",
        ),
        (
            vec![
                &at_alone.replace("127.0.0.1", "localhost"),
                "--ca",
                text(&authority.path("cert.pem")),
            ],
            "not valid for name",
        ),
        (
            vec![&at, "--ca", text(&missing)],
            "missing.pem cannot be read",
        ),
        (
            vec![&at, "--ca", text(&authority.path("key.pem"))],
            "contains no certificate",
        ),
        (vec![&at.replace("wss", "ws")], "use https:// or wss://"),
    ] {
        let (code, said) = doctor(&args);
        assert_eq!(
            (code, said.trim_end().lines().count()),
            (Some(2), 1),
            "{args:?}: {said}"
        );
        assert!(said.contains(expected), "{args:?}: {said}");
    }
}
