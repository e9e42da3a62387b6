//! What a client reports of a message.

/// The kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// HTTP/1 GET on kept connections.
    Get,
    /// HTTP/1 POST on kept connections.
    Post,
    /// HTTP/2 POST.
    Http2,
    /// A message on a WebSocket.
    WebSocket,
    /// A unary gRPC call.
    Unary,
    /// A message on a gRPC stream.
    Stream,
    /// A line on a connection of bytes.
    Bytes,
    /// A new connection of bytes and its first line.
    Dial,
}

/// Where messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// HTTP.
    Web,
    /// gRPC.
    Calls,
    /// Bytes.
    Live,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 8] =
        [Self::Get, Self::Post, Self::Http2, Self::WebSocket, Self::Unary, Self::Stream, Self::Bytes, Self::Dial];

    /// As the client writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Http2 => "http2",
            Self::WebSocket => "websocket",
            Self::Unary => "unary",
            Self::Stream => "stream",
            Self::Bytes => "bytes",
            Self::Dial => "dial",
        }
    }

    /// Where it goes.
    #[must_use]
    pub fn service(self) -> Service {
        match self {
            Self::Get | Self::Post | Self::Http2 | Self::WebSocket => Service::Web,
            Self::Unary | Self::Stream => Service::Calls,
            Self::Bytes | Self::Dial => Service::Live,
        }
    }
}

/// A message, and what became of it. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Its kind.
    pub kind: Kind,
    /// CALLER:KIND:NUMBER.
    pub id: String,
    /// When its stream or connection was opened; a request is its own.
    pub opened: f64,
    /// When it was sent.
    pub sent: f64,
    /// When it was answered or failed.
    pub ended: f64,
    /// `ok`; `status-502`, `grpc-14`: an answer of the mesh or the server; `ended`: its connection ended; `refused`; `deadline`: no answer
    /// while the client waited; `wrong`: another answer than was due.
    pub outcome: String,
    /// What the client saw.
    pub text: String,
}

impl Message {
    /// Whether it was answered as it should be.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.outcome == "ok"
    }

    /// The name of the client that sent it.
    #[must_use]
    pub fn caller(&self) -> &str {
        self.id.split(':').next().unwrap_or_default()
    }

    /// The code of the mesh's error, when it is one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.text.split_once("outrigger: ")?.1.get(..4)
    }
}

/// Reads what a client printed; other lines are skipped.
#[must_use]
pub fn read(printed: &str) -> Vec<Message> {
    printed.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Message> {
    let mut words = line.strip_prefix("message ")?.splitn(7, ' ');
    let mut next = || words.next();
    let (kind, id) = (next()?, next()?.to_owned());
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind)?;
    let opened: f64 = next()?.parse().ok()?;
    let sent: f64 = next()?.parse().ok()?;
    let micros: f64 = next()?.parse().ok()?;
    let (outcome, text) = (next()?.to_owned(), next().unwrap_or_default().to_owned());
    Some(Message { kind, id, opened, sent, ended: sent + micros / 1000.0, outcome, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_client_prints() {
        let printed = "message get c1:get:201 1000 1000 2500 ok \n\
                       message post c1:post:7 1000 1000 3000 status-502 status-502: outrigger: E005 connection_terminated: 10.77.0.12:8080\nend\n";
        let all = read(printed);
        assert_eq!(all.len(), 2);
        assert!(all[0].is_ok() && all[0].code().is_none());
        assert_eq!((all[1].caller(), all[1].code(), all[1].ended), ("c1", Some("E005"), 1003.0));
    }
}
