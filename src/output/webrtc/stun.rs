//! STUN messages (RFC 8489) as far as they are needed to route them, and binding requests for our
//! public address. Pure; str0m has its own for ICE.

use std::net::{IpAddr, SocketAddr};

pub const USERNAME: u16 = 0x0006;
const MAPPED_ADDRESS: u16 = 0x0001;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_RESPONSE: u16 = 0x0101;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// Matches a response to its request; whoever does not see the request cannot guess it.
pub type TransactionId = [u8; 12];

/// A message as in section 5.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    kind: u16,
    pub id: TransactionId,
    attributes: &'a [u8],
}

impl<'a> Message<'a> {
    /// `None`: it is not STUN.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, attributes) = bytes.split_at_checked(20)?;
        // The two highest bits are 0; DTLS and RTP on the same port have others (RFC 7983).
        if header[0] > 3 || header[4..8] != COOKIE {
            return None;
        }
        let mut id = TransactionId::default();
        id.copy_from_slice(&header[8..]);
        Some(Self {
            kind: u16::from_be_bytes([header[0], header[1]]),
            id,
            attributes,
        })
    }

    /// Whether its class (section 5) is request.
    pub fn is_request(&self) -> bool {
        self.kind & 0x0110 == 0
    }

    /// Whether its class is success or error response.
    pub fn is_response(&self) -> bool {
        self.kind & 0x0100 != 0
    }

    /// Types and values, up to the first that exceeds the message.
    pub fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut rest = self.attributes;
        std::iter::from_fn(move || {
            let (head, after) = rest.split_at_checked(4)?;
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let value = after.get(..length)?;
            rest = after.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some((u16::from_be_bytes([head[0], head[1]]), value))
        })
    }

    /// The source address of our request, if this is a binding response.
    pub fn mapped_address(&self) -> Option<SocketAddr> {
        if self.kind != BINDING_RESPONSE {
            return None;
        }
        let of = |wanted| {
            self.attributes()
                .find(|(kind, _)| *kind == wanted)
                .map(|(_, value)| value)
        };
        // Servers older than RFC 5389 send MAPPED-ADDRESS only.
        of(XOR_MAPPED_ADDRESS)
            .and_then(|value| address(value, &mask(&self.id)))
            .or_else(|| address(of(MAPPED_ADDRESS)?, &[0; 16]))
    }
}

/// A binding request without attributes.
pub fn binding_request(id: &TransactionId) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[..2].copy_from_slice(&BINDING_REQUEST.to_be_bytes());
    bytes[4..8].copy_from_slice(&COOKIE);
    bytes[8..].copy_from_slice(id);
    bytes
}

/// What the address in XOR-MAPPED-ADDRESS is XORed with (section 14.2); the port with its first
/// two bytes.
fn mask(id: &TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&COOKIE);
    mask[4..].copy_from_slice(id);
    mask
}

/// Decodes a reserved byte, the family, the port and the address.
fn address(value: &[u8], mask: &[u8; 16]) -> Option<SocketAddr> {
    let (&[_, family, high, low], ip) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([high ^ mask[0], low ^ mask[1]]);
    let plain = |n: usize| {
        ip.get(..n)
            .map(|ip| ip.iter().zip(mask).map(|(a, b)| a ^ b).collect::<Vec<u8>>())
    };
    let ip: IpAddr = match family {
        1 => <[u8; 4]>::try_from(plain(4)?).ok()?.into(),
        2 => <[u8; 16]>::try_from(plain(16)?).ok()?.into(),
        _ => return None,
    };
    let usable = port != 0 && !ip.is_unspecified() && !ip.is_multicast();
    usable.then_some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 5769, sections 2.2 and 2.3: sample responses, here up to XOR-MAPPED-ADDRESS.
    const ID: TransactionId = [
        0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
    ];
    const SOFTWARE: &[u8] = b"\x80\x22\x00\x0btest vector\x20";

    fn response(attributes: &[u8]) -> Vec<u8> {
        let length = attributes.len() as u16;
        [&[1, 1][..], &length.to_be_bytes(), &COOKIE, &ID, attributes].concat()
    }

    fn mapped(bytes: &[u8]) -> Option<SocketAddr> {
        Message::parse(bytes)?.mapped_address()
    }

    #[test]
    fn message_sample_responses_of_the_rfc_have_their_address() {
        let v4 = [
            SOFTWARE,
            b"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43",
        ]
        .concat();
        assert_eq!(
            mapped(&response(&v4)),
            Some("192.0.2.1:32853".parse().expect("an address"))
        );
        let v6 = [SOFTWARE, b"\x00\x20\x00\x14\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9"].concat();
        let expected = "[2001:db8:1234:5678:11:2233:4455:6677]:32853"
            .parse()
            .expect("an address");
        assert_eq!(mapped(&response(&v6)), Some(expected));
        let plain = b"\x00\x01\x00\x08\x00\x01\x80\x55\xc0\x00\x02\x01";
        assert_eq!(
            mapped(&response(plain)),
            Some("192.0.2.1:32853".parse().expect("an address"))
        );
    }

    #[test]
    fn message_without_response_or_usable_address_has_none() {
        let mut request = response(b"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43");
        request[0] = 0;
        assert_eq!(mapped(&request), None);
        for attributes in [
            &b""[..],
            b"\x00\x20\x00\x00",
            b"\x00\x20\x00\x08\x00\x03\xa1\x47\xe1\x12\xa6\x43",
            b"\x00\x20\x00\x08\x00\x02\xa1\x47\xe1\x12\xa6\x43",
            b"\x00\x01\x00\x08\x00\x01\x00\x00\x01\x02\x03\x04",
            b"\x00\x01\x00\x08\x00\x01\x00\x01\x00\x00\x00\x00",
        ] {
            assert_eq!(mapped(&response(attributes)), None, "{attributes:?}");
        }
        assert_eq!(mapped(&binding_request(&ID)), None);
        assert!(Message::parse(&binding_request(&ID)).is_some_and(|message| message.id == ID));
        assert!(Message::parse(&[22; 40]).is_none());
    }

    proptest! {
        #[test]
        fn message_arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), attributes in proptest::collection::vec(any::<u8>(), 0..80)) {
            mapped(&bytes);
            mapped(&response(&attributes));
            if let Some(message) = Message::parse(&response(&attributes)) {
                message.attributes().for_each(drop);
            }
        }
    }
}
