//! Proof that what is measured is encrypted: looks at the frames on the wire between the pods for a text that every request holds.

use std::io::Read as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

/// All kinds of frames (linux/if_ether.h).
const ETH_P_ALL: u16 = 3;

/// `outrigger-bench sniff`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The text to look for.
    #[arg(long)]
    marker: String,
    /// How long.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

/// What was on the wire.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Frames that show the text.
    pub(crate) clear: u64,
    /// Frames with a TLS record of application data.
    pub(crate) encrypted: u64,
}

/// Counts frames and prints the counts as JSON.
pub(crate) fn run(args: &Args) -> Result<()> {
    let all = Protocol::from(i32::from(ETH_P_ALL.to_be()));
    let mut socket = Socket::new(Domain::PACKET, Type::RAW, Some(all))?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut frame = vec![0; 1 << 17];
    let mut seen = Seen::default();
    let until = Instant::now() + Duration::from_secs_f64(args.seconds);
    while Instant::now() < until {
        if let Ok(length) = socket.read(&mut frame) {
            look(&frame[..length], args.marker.as_bytes(), &mut seen);
        }
    }
    crate::print_json(&seen)
}

fn look(frame: &[u8], marker: &[u8], seen: &mut Seen) {
    // Loopback frames have no hardware addresses; between the sidecar and its own app all is clear text, by design.
    if frame.get(..12).is_none_or(|addresses| addresses.iter().all(|byte| *byte == 0)) {
        return;
    }
    let holds = |text: &[u8]| frame.windows(text.len()).any(|window| window == text);
    if holds(marker) {
        seen.clear += 1;
    }
    // Record type 23, version 3.3 (RFC 8446 section 5.1).
    if holds(&[0x17, 0x03, 0x03]) {
        seen.encrypted += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_clear_text_on_the_wire_but_not_on_loopback() {
        let mut seen = Seen::default();

        look(b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02..GET / marker-1..", b"marker-1", &mut seen);
        look(b"\0\0\0\0\0\0\0\0\0\0\0\0..GET / marker-1..", b"marker-1", &mut seen);
        look(b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02..\x17\x03\x03\x01\x00..", b"marker-1", &mut seen);

        assert_eq!((seen.clear, seen.encrypted), (1, 1));
    }
}
