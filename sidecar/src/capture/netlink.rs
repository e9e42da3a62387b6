//! A netlink socket to nftables: commits a batch, dumps what the kernel holds.
//!
//! The kernel handles a request inside `send`, so its answer is there when `send` returns; the receive timeout is
//! only a guard.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use libc::{NFPROTO_INET, NLM_F_DUMP, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use super::encode::{self, Message};
use super::error::CaptureError;
use super::uapi::{NFGENMSG_LEN, NLMSG_HEADER_LEN};

/// A socket of the network namespace that opened it.
#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

impl Socket {
    pub(super) fn open() -> Result<Self, CaptureError> {
        // Never bound or connected: a netlink socket without a peer talks to the kernel.
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::NETFILTER),
        )
        .map_err(|errno| match errno {
            Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT => {
                CaptureError::refused("the rules".into(), "nfnetlink, nf_tables", errno)
            }
            errno => failed("open", errno),
        })?;
        sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIMEOUT))
            .map_err(|errno| failed("set the receive timeout", errno))?;
        Ok(Self(socket))
    }

    /// Applies `messages` wholly or not at all.
    pub(super) fn commit(&mut self, messages: &[Message]) -> Result<(), CaptureError> {
        let last = messages.len() as u32;
        self.send(&encode::batch(messages))?;
        loop {
            let datagram = self.receive()?;
            for reply in Replies(&datagram) {
                let reply = reply?;
                if i32::from(reply.kind) != NLMSG_ERROR {
                    continue;
                }
                match (reply.errno()?, reply.sequence) {
                    (Some(errno), sequence) => return Err(blamed(messages, sequence, errno)),
                    (None, sequence) if sequence == last => return Ok(()),
                    (None, _) => {}
                }
            }
        }
    }

    /// Every object that the `request` kind of message lists in the inet family: their attributes, one each.
    pub(super) fn dump(&mut self, request: i32, attributes: &[u8]) -> Result<Vec<Vec<u8>>, CaptureError> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(objects) = self.try_dump(request, attributes)? {
                return Ok(objects);
            }
        }
        Err(CaptureError::Malformed { problem: "nftables changed during every attempt to read it" })
    }

    /// One attempt at a dump; `None` when the kernel says that the rules changed meanwhile.
    fn try_dump(&mut self, request: i32, attributes: &[u8]) -> Result<Option<Vec<Vec<u8>>>, CaptureError> {
        let mut message = Vec::new();
        let family = [NFPROTO_INET as u8, 0, 0, 0];
        encode::put_message(&mut message, encode::nft_kind(request), NLM_F_DUMP as u16, 1, family, attributes);
        self.send(&message)?;
        let mut objects = Vec::new();
        let mut interrupted = false;
        loop {
            let datagram = self.receive()?;
            for reply in Replies(&datagram) {
                let reply = reply?;
                interrupted |= i32::from(reply.flags) & NLM_F_DUMP_INTR != 0;
                match i32::from(reply.kind) {
                    NLMSG_DONE => return Ok((!interrupted).then_some(objects)),
                    NLMSG_ERROR => match reply.errno()? {
                        Some(Errno::INTR) => return Ok(None),
                        Some(errno) => {
                            return Err(CaptureError::refused("reading nftables".into(), "nf_tables", errno));
                        }
                        None => {}
                    },
                    _ => objects.push(reply.body.get(NFGENMSG_LEN..).unwrap_or_default().to_vec()),
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), CaptureError> {
        let sent = rustix::net::send(&self.0, bytes, SendFlags::empty()).map_err(|errno| failed("send", errno))?;
        if sent == bytes.len() { Ok(()) } else { Err(CaptureError::Malformed { problem: "a batch was cut short" }) }
    }

    fn receive(&self) -> Result<Vec<u8>, CaptureError> {
        let mut buffer = vec![0; DATAGRAM_LEN];
        let len = loop {
            match rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::TRUNC) {
                Ok((_, len)) => break len,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failed("receive the kernel's answer", errno)),
            }
        };
        if len > buffer.len() {
            return Err(CaptureError::Malformed { problem: "longer than the buffer" });
        }
        buffer.truncate(len);
        Ok(buffer)
    }
}

/// One message of the kernel's answer.
#[derive(Debug)]
struct Reply<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

impl Reply<'_> {
    /// What an NLMSG_ERROR says: `None` is an acknowledgement.
    fn errno(&self) -> Result<Option<Errno>, CaptureError> {
        let Some((code, _)) = self.body.split_first_chunk() else {
            return Err(CaptureError::Malformed { problem: "an error without a code" });
        };
        match i32::from_ne_bytes(*code) {
            0 => Ok(None),
            code => Ok(Some(Errno::from_raw_os_error(code.wrapping_neg()))),
        }
    }
}

/// The messages of one datagram.
struct Replies<'a>(&'a [u8]);

impl<'a> Iterator for Replies<'a> {
    type Item = Result<Reply<'a>, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Some((reply, rest)) = first_reply(self.0) else {
            self.0 = &[];
            return Some(Err(CaptureError::Malformed { problem: "a message that does not fit its datagram" }));
        };
        self.0 = rest;
        Some(Ok(reply))
    }
}

fn first_reply(datagram: &[u8]) -> Option<(Reply<'_>, &[u8])> {
    let (header, _) = datagram.split_first_chunk::<NLMSG_HEADER_LEN>()?;
    let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
    let len = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
    let reply = Reply {
        kind: u16::from_ne_bytes([k0, k1]),
        flags: u16::from_ne_bytes([f0, f1]),
        sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
        body: datagram.get(NLMSG_HEADER_LEN..len)?,
    };
    Some((reply, datagram.get(len.next_multiple_of(4)..).unwrap_or_default()))
}

/// The error for the message that the kernel refused. A refusal of the batch as a whole carries no message's number.
fn blamed(messages: &[Message], sequence: u32, errno: Errno) -> CaptureError {
    match (sequence as usize).checked_sub(1).and_then(|index| messages.get(index)) {
        Some(message) => CaptureError::refused(message.subject.clone(), message.modules, errno),
        None => CaptureError::refused("the rules".into(), "nf_tables", errno),
    }
}

fn failed(step: &'static str, errno: Errno) -> CaptureError {
    match errno {
        Errno::PERM | Errno::ACCESS => CaptureError::NotPermitted,
        errno => CaptureError::Netlink { step, source: io::Error::from(errno) },
    }
}

/// The kernel never sends a larger dump datagram than this (NLMSG_GOODSIZE grows to at most 32 KiB).
const DATAGRAM_LEN: usize = 64 * 1024;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Another program that edits nftables at the same time interrupts a dump.
const DUMP_ATTEMPTS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_an_answer_whose_lengths_do_not_add_up() {
        let mut datagram = Vec::new();
        encode::put_message(&mut datagram, 3, 0, 1, [0; 4], &[]);
        assert_eq!(Replies(&datagram).filter(Result::is_ok).count(), 1);
        for cut in 1..datagram.len() {
            assert!(Replies(&datagram[..cut]).any(|reply| reply.is_err()), "{cut}");
        }
        for len in [0_u32, 15, 21, u32::MAX] {
            let mut broken = datagram.clone();
            broken[..4].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(Replies(&broken).map(|reply| reply.is_err()).collect::<Vec<_>>(), [true], "{len}");
        }
    }

    #[test]
    fn blames_the_object_that_was_refused() {
        let messages = encode::removal();
        let error = blamed(&messages, 1, Errno::INVAL).to_string();
        assert!(error.contains("table `outrigger`"), "{error}");
        assert!(blamed(&messages, 0, Errno::INVAL).to_string().contains("the rules"));
        assert!(blamed(&messages, 9, Errno::INVAL).to_string().contains("the rules"));
    }
}
