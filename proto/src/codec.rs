//! How messages are put into bytes.

use std::fmt;
use std::marker::PhantomData;

use prost::Message;
use tonic::codec::BufferSettings;
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// Protobuf over gRPC, as `ProstCodec` has it, but with buffers that begin empty: theirs begin at 8 KiB in each direction of each
/// call, and there are calls that stay open for hours.
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> fmt::Debug for Codec<T, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Codec")
    }
}

impl<T: Message + 'static, U: Message + Default + 'static> tonic::codec::Codec for Codec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstCodec::<T, U>::raw_encoder(small())
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstCodec::<T, U>::raw_decoder(small())
    }
}

fn small() -> BufferSettings {
    BufferSettings::new(0, WRITE_AT_ONCE)
}

/// Small messages that wait are written together up to so many bytes.
const WRITE_AT_ONCE: usize = 32 * 1024;
