//! HPACK, the compression of header fields (RFC 7541). What is indexed holds ready names and values, so that a field which repeats costs
//! two cheap clones on its way in and a byte on its way out. Huffman codes are read, never written: they save bytes and cost time.

mod decoder;
mod encoder;
mod field;
mod huffman;
mod integer;
mod table;
#[cfg(test)]
mod tests;

pub(super) use decoder::{Decoder, Sink};
pub(super) use encoder::Encoder;
pub(super) use field::{Field, Kind};

/// The size of a dynamic table in both directions: what RFC 9113 §6.5.2 begins with, which we never raise.
pub(super) const TABLE_SIZE: usize = 4096;

/// What a field counts beyond its octets (RFC 7541 §4.1).
pub(super) const FIELD_OVERHEAD: usize = 32;
