//! rustls's state machine, of either side, as three questions: what do these bytes say, encrypt this, say goodbye.

use std::fmt;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus, WriteTraffic};
use rustls::{CommonState, Error};

/// One connection's keys and protocol state.
pub(super) enum Conn {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// Why [`Conn::process`] stopped.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// Every whole record has been processed.
    NeedsInput,
    /// The peer sent its close_notify; what follows it is ignored.
    PeerClosed,
}

/// What to encrypt.
#[derive(Clone, Copy)]
pub(super) enum Seal<'a> {
    Data(&'a [u8]),
    CloseNotify,
}

impl Conn {
    /// Processes every whole record in `input`. Plaintext goes to `deliver`; answers of the protocol are appended to `outgoing`.
    ///
    /// Returns how much of the front of `input` is done with; the rest must come again, in front of what is received next. After an
    /// error nothing may be processed any more.
    pub(super) fn process(
        &mut self,
        input: &mut [u8],
        outgoing: &mut Vec<u8>,
        mut deliver: impl FnMut(&[u8]),
    ) -> (usize, Result<Stopped, Error>) {
        let mut used = 0;
        loop {
            let (discard, step) = match self {
                Self::Client(conn) => step(conn.process_tls_records(&mut input[used..]), outgoing, &mut deliver),
                Self::Server(conn) => step(conn.process_tls_records(&mut input[used..]), outgoing, &mut deliver),
            };
            used += discard;
            match step {
                // The usual end of a read. Asking again would only confirm it.
                Ok(Step::Delivered) if used == input.len() && !self.common().wants_write() => {
                    return (used, Ok(Stopped::NeedsInput));
                }
                Ok(Step::Delivered | Step::Again) => {}
                Ok(Step::Stop(Stopped::PeerClosed)) => return (input.len(), Ok(Stopped::PeerClosed)),
                Ok(Step::Stop(Stopped::NeedsInput)) => return (used, Ok(Stopped::NeedsInput)),
                Err(error) => {
                    self.take_alert(outgoing);
                    return (used, Err(error));
                }
            }
        }
    }

    /// Encrypts into `out`, whole or not at all, and returns the length. `incoming` is what [`process`](Self::process) left over.
    pub(super) fn seal(&mut self, incoming: &mut [u8], what: Seal<'_>, out: &mut [u8]) -> Result<usize, Error> {
        let mut written = 0;
        loop {
            let sealed = match self {
                Self::Client(conn) => seal_step(conn.process_tls_records(incoming), what, &mut out[written..])?,
                Self::Server(conn) => seal_step(conn.process_tls_records(incoming), what, &mut out[written..])?,
            };
            match sealed {
                Sealed::Done(length) => return Ok(written + length),
                Sealed::Again(length) => written += length,
            }
        }
    }

    pub(super) fn is_client(&self) -> bool {
        matches!(self, Self::Client(_))
    }

    /// What rustls knows of the connection.
    pub(super) fn common(&self) -> &CommonState {
        match self {
            Self::Client(conn) => conn,
            Self::Server(conn) => conn,
        }
    }

    /// Appends the alert that tells the peer of an error.
    fn take_alert(&mut self, outgoing: &mut Vec<u8>) {
        // rustls hands out what it has queued before it looks at any input, and after an error it must not see the input again.
        while self.common().wants_write() {
            let (_, step) = match self {
                Self::Client(conn) => step(conn.process_tls_records(&mut []), outgoing, &mut |_| {}),
                Self::Server(conn) => step(conn.process_tls_records(&mut []), outgoing, &mut |_| {}),
            };
            if step.is_err() {
                return;
            }
        }
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client(_) => "Client",
            Self::Server(_) => "Server",
        })
    }
}

enum Step {
    /// Plaintext was delivered.
    Delivered,
    Again,
    Stop(Stopped),
}

fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    outgoing: &mut Vec<u8>,
    deliver: &mut impl FnMut(&[u8]),
) -> (usize, Result<Step, Error>) {
    let mut discard = status.discard;
    let step = match status.state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    discard += record.discard;
                    deliver(record.payload);
                }
                Some(Err(error)) => break Err(error),
                None => break Ok(Step::Delivered),
            }
        },
        Ok(ConnectionState::EncodeTlsData(data)) => encode(data, outgoing).map(|()| Step::Again),
        // `outgoing` is sent before anything else is: for rustls it is as good as transmitted.
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) | ConnectionState::Closed) => {
            Ok(Step::Stop(Stopped::NeedsInput))
        }
        Ok(ConnectionState::PeerClosed) => Ok(Step::Stop(Stopped::PeerClosed)),
        Ok(ConnectionState::ReadEarlyData(_)) => Err(Error::General("early data is not supported".to_owned())),
        Ok(_) => Err(unknown_state()),
        Err(error) => Err(error),
    };
    (discard, step)
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, outgoing: &mut Vec<u8>) -> Result<(), Error> {
    // The length is only known from an attempt without room.
    let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) else { return Ok(()) };
    let start = outgoing.len();
    outgoing.resize(start + size.required_size, 0);
    data.encode(&mut outgoing[start..]).map(drop).map_err(|error| Error::General(error.to_string()))
}

enum Sealed {
    Done(usize),
    Again(usize),
}

fn seal_step<Data>(status: UnbufferedStatus<'_, '_, Data>, what: Seal<'_>, out: &mut [u8]) -> Result<Sealed, Error> {
    match status.state? {
        ConnectionState::WriteTraffic(traffic) => seal_with(traffic, what, out).map(Sealed::Done),
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Sealed::Again(0))
        }
        ConnectionState::EncodeTlsData(mut data) => {
            data.encode(out).map(Sealed::Again).map_err(|error| Error::General(error.to_string()))
        }
        // Everything whole was processed when it was received, so no other state is to be met while we may write.
        _ => Err(unknown_state()),
    }
}

fn seal_with<Data>(mut traffic: WriteTraffic<'_, Data>, what: Seal<'_>, out: &mut [u8]) -> Result<usize, Error> {
    match what {
        Seal::Data(plain) => traffic.encrypt(plain, out),
        Seal::CloseNotify => traffic.queue_close_notify(out),
    }
    .map_err(|error| Error::General(error.to_string()))
}

fn unknown_state() -> Error {
    Error::General("rustls is in a state that this stream does not know".to_owned())
}
