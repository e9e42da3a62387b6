//! The Huffman code of HPACK (RFC 7541 appendix B). It is canonical: the lengths of the codes are all there is to know.

/// Decodes `coded` to the end of `out`; `None` if it is no valid code or not padded as RFC 7541 §5.2 says.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Option<()> {
    // The shortest code has five bits.
    out.reserve(coded.len() * 8 / 5);
    let mut rest = coded;
    // The next bits, from the top; `held` of them are there.
    let mut bits: u64 = 0;
    let mut held: u32 = 0;
    loop {
        if held <= 32 {
            if let Some((four, after)) = rest.split_first_chunk::<4>() {
                bits |= u64::from(u32::from_be_bytes(*four)) << (32 - held);
                held += 32;
                rest = after;
            } else {
                for octet in std::mem::take(&mut rest) {
                    bits |= u64::from(*octet) << (56 - held);
                    held += 8;
                }
            }
        }
        let (symbol, length) = TABLES.short[usize::from(bits.to_be_bytes()[0])];
        if length != 0 && u32::from(length) <= held {
            out.push(symbol);
            bits <<= length;
            held -= u32::from(length);
            continue;
        }
        if held < 8 {
            // What remains must be the beginning of the code of the end, which is all ones, and shorter than an octet.
            return (bits >> (64 - 8) == (0xff_u64 << (8 - held)) & 0xff).then_some(());
        }
        let (symbol, length) = long(bits)?;
        if length > held {
            return None;
        }
        out.push(symbol);
        bits <<= length;
        held -= length;
    }
}

/// A code of more than eight bits; `None` for the code of the end, which must not be there.
fn long(bits: u64) -> Option<(u8, u32)> {
    let top = u32::try_from(bits >> 32).unwrap_or(u32::MAX);
    let mut length: u32 = 9;
    while length <= LONGEST {
        let group = &TABLES.groups[length as usize];
        if group.count > 0 {
            let code = top >> (32 - length);
            if code < group.first + group.count {
                let at = group.offset + (code - group.first);
                return Some((*TABLES.symbols.get(at as usize)?, length));
            }
        }
        length += 1;
    }
    None
}

/// The codes of one length: the first of them, how many, and where their symbols begin.
#[derive(Clone, Copy)]
struct Group {
    first: u32,
    count: u32,
    offset: u32,
}

struct Tables {
    /// By the next eight bits: the symbol and the length of its code, or 0 if that is longer.
    short: [(u8, u8); 256],
    groups: [Group; LONGEST as usize + 1],
    /// In the order of their codes.
    symbols: [u8; 256],
}

static TABLES: Tables = build();

#[expect(clippy::cast_possible_truncation, reason = "symbols and lengths are below 256; a const fn has no try_from")]
const fn build() -> Tables {
    let mut tables = Tables {
        short: [(0, 0); 256],
        groups: [Group { first: 0, count: 0, offset: 0 }; LONGEST as usize + 1],
        symbols: [0; 256],
    };
    let mut code: u32 = 0;
    let mut placed: u32 = 0;
    let mut length: u32 = 5;
    while length <= LONGEST {
        tables.groups[length as usize] = Group { first: code, count: 0, offset: placed };
        let mut symbol = 0;
        while symbol < 256 {
            if LENGTHS[symbol] as u32 == length {
                tables.symbols[placed as usize] = symbol as u8;
                tables.groups[length as usize].count += 1;
                if length <= 8 {
                    let mut fill = 0;
                    while fill < 1 << (8 - length) {
                        tables.short[((code << (8 - length)) + fill) as usize] = (symbol as u8, length as u8);
                        fill += 1;
                    }
                }
                placed += 1;
                code += 1;
            }
            symbol += 1;
        }
        code <<= 1;
        length += 1;
    }
    tables
}

/// The longest code; the end of a string has one of these too, the last.
const LONGEST: u32 = 30;

/// How many bits the code of each octet has.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
