//! From a header block to fields (RFC 7541 §3 and §6).

use super::field::{Field, Name};
use super::table::{Entry, Table};
use super::{FIELD_OVERHEAD, huffman, integer};

/// Decodes the header blocks of one direction of a connection, in their order.
#[derive(Debug)]
pub(in crate::http2) struct Decoder {
    table: Table,
    /// Where Huffman codes are undone.
    scratch: Vec<u8>,
}

/// Takes the fields of a block.
pub(in crate::http2) trait Sink {
    /// Whether a field that counts `size` shall be handed over, of which `referred` came as a reference to the table; it is decoded all the same.
    fn admits(&mut self, size: usize, referred: usize) -> bool;
    fn take(&mut self, field: Field);
}

impl Decoder {
    pub(in crate::http2) fn new() -> Self {
        Self { table: Table::new(), scratch: Vec::new() }
    }

    /// `None` if the block is broken: then the table is lost, and the connection with it (RFC 7541 §2.2).
    pub(in crate::http2) fn decode(&mut self, block: &[u8], sink: &mut impl Sink) -> Option<()> {
        let mut at = 0;
        let mut begun = false;
        while let Some(&first) = block.get(at) {
            if first & 0x80 != 0 {
                let entry = self.table.entry(integer::decode(block, &mut at, 7)?)?;
                if sink.admits(entry.size, entry.size) {
                    sink.take(entry.field.clone());
                }
            } else if first & 0xc0 == 0x40 {
                let (entry, referred) = self.literal(block, &mut at, 6, false)?;
                if sink.admits(entry.size, referred) {
                    sink.take(entry.field.clone());
                }
                self.table.insert(entry);
            } else if first & 0xe0 == 0x20 {
                // RFC 7541 §4.2: only where a block begins.
                if begun || !self.table.resize(integer::decode(block, &mut at, 5)?) {
                    return None;
                }
                continue;
            } else {
                let (entry, referred) = self.literal(block, &mut at, 4, first & 0x10 != 0)?;
                if sink.admits(entry.size, referred) {
                    sink.take(entry.field);
                }
            }
            begun = true;
        }
        Some(())
    }

    /// Lets go what only a connection at work needs.
    pub(in crate::http2) fn rest(&mut self) {
        self.scratch = Vec::new();
    }

    /// A field whose value is written out, and how long its name is if that is a reference.
    fn literal(&mut self, block: &[u8], at: &mut usize, prefix: u32, sensitive: bool) -> Option<(Entry, usize)> {
        let index = integer::decode(block, at, prefix)?;
        let name = if index == 0 {
            Name::parse(string(block, at, &mut self.scratch)?)
        } else {
            self.table.entry(index)?.field.name()
        };
        let value = string(block, at, &mut self.scratch)?;
        let length = name.length();
        let referred = if index == 0 { 0 } else { length };
        let size = length + value.len() + FIELD_OVERHEAD;
        Some((Entry { field: Field::new(name, value, sensitive), size }, referred))
    }
}

fn string<'a>(block: &'a [u8], at: &mut usize, scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let coded = *block.get(*at)? & 0x80 != 0;
    let length = integer::decode(block, at, 7)?;
    let end = at.checked_add(length)?;
    let octets = block.get(*at..end)?;
    *at = end;
    if !coded {
        return Some(octets);
    }
    scratch.clear();
    huffman::decode(octets, scratch)?;
    Some(scratch)
}
