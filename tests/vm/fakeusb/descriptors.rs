//! Building USB descriptors: each begins with its own length, which nobody should have to count.

/// One descriptor: the length byte, then `parts` one after another.
pub fn descriptor(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut bytes = vec![body.len() as u8 + 1];
    bytes.extend(body);
    bytes
}

/// UTF-16, as string descriptors are.
pub fn string(text: &str) -> Vec<u8> {
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    descriptor(&[&[3], &utf16])
}

/// The device descriptor (USB 2.0, 9.6.1): one configuration; manufacturer, product and serial are
/// strings 1, 2 and 3.
pub fn device(class: [u8; 3], vendor: u16, product: u16) -> Vec<u8> {
    descriptor(&[
        &[1, 0x00, 0x02],
        &class,
        &[64],
        &vendor.to_le_bytes(),
        &product.to_le_bytes(),
        &[0x00, 0x01, 1, 2, 3, 1],
    ])
}

/// The configuration descriptor with everything that belongs to it: two interfaces, bus-powered,
/// 100 mA.
pub fn configuration(interfaces: &[Vec<u8>]) -> Vec<u8> {
    let body = interfaces.concat();
    let total = (9 + body.len()) as u16;
    let mut bytes = descriptor(&[&[2], &total.to_le_bytes(), &[2, 1, 0, 0x80, 50]]);
    bytes.extend(body);
    bytes
}

/// An interface descriptor (9.6.5).
pub fn interface(number: u8, alternate: u8, endpoints: u8, class: [u8; 2]) -> Vec<u8> {
    descriptor(&[&[4, number, alternate, endpoints], &class, &[0, 0]])
}
