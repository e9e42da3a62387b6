//! Integers with a prefix of a few bits (RFC 7541 §5.1).

/// Reads an integer whose first octet is at `at` and has `prefix` bits for it; moves `at` behind it. `None` if it is cut off or too large.
pub(super) fn decode(block: &[u8], at: &mut usize, prefix: u32) -> Option<usize> {
    let mask = (1usize << prefix) - 1;
    let first = usize::from(*block.get(*at)?) & mask;
    *at += 1;
    if first < mask {
        return Some(first);
    }
    let mut value = mask;
    // Four octets of seven bits are more than any table or frame here needs; a fifth is an attack or a mistake.
    for shift in [0, 7, 14, 21] {
        let octet = usize::from(*block.get(*at)?);
        *at += 1;
        value += (octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Writes `value` with a prefix of `prefix` bits; `tag` holds the bits before it.
pub(super) fn encode(out: &mut Vec<u8>, tag: u8, prefix: u32, value: usize) {
    let mask = (1usize << prefix) - 1;
    if value < mask {
        out.push(tag | low(value));
        return;
    }
    out.push(tag | low(mask));
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(0x80 | low(rest & 0x7f));
        rest >>= 7;
    }
    out.push(low(rest));
}

fn low(value: usize) -> u8 {
    value.to_le_bytes()[0]
}
