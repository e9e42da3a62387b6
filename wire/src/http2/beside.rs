//! What is said of a stream beside its messages: that the client of an HTTP/1 request has ended its side, and responses that only inform.
//!
//! The first has no form in HTTP/2: a stream's own end comes with the request, and its reset takes the response away. It is a frame of a kind of
//! its own, which others pass over (RFC 9113 §5.5), and only a sidecar that carries HTTP/1 sends it.

use std::sync::atomic::Ordering;

use http::response;

use super::error::Fatal;
use super::frame::{self, Head};
use super::send::ENOUGH;
use super::state::{Role, Shared, State};
use super::stream::Key;
use crate::aside::{self, Aside};

/// Interim responses of a stream that wait to be read; more are passed over.
const MOST: usize = 32;

impl Shared {
    /// For who waits for a response: tells the peer once that the client has ended its side.
    pub(super) fn tell_end(&self, key: Key) {
        if aside::has_ended() {
            self.with(|state| state.tell_end(key));
        }
    }

    /// What is known of the client that a worker answers.
    pub(super) fn aside(&self, key: Key) -> Aside {
        let ended = self.ended.load(Ordering::Relaxed)
            && self.lock().streams.get(key).is_some_and(|stream| stream.client_ended);
        Aside { ended, informed: true, ..Aside::default() }
    }

    /// Sends what only informs.
    pub(super) fn inform(&self, key: Key, aside: &mut Aside) {
        if aside.interim.is_empty() {
            return;
        }
        let mut state = self.lock();
        aside.interim.drain(..).for_each(|interim| state.inform(key, &interim));
    }
}

impl State {
    fn tell_end(&mut self, key: Key) {
        if self.role == Role::Server {
            return;
        }
        let Some(stream) = self.streams.get(key).filter(|stream| stream.open && !stream.client_ended) else { return };
        stream.client_ended = true;
        frame::head(self.out.frames(), 0, frame::CLIENT_ENDED, 0, key.id);
        self.stirred = true;
    }

    /// The client of this stream's request has ended its side: who works for it shall know.
    pub(super) fn client_ended(&mut self, head: Head) -> Result<(), Fatal> {
        self.glitch()?;
        if let Some((key, stream)) = self.streams.find(head.id) {
            stream.client_ended = true;
            self.ended.store(true, Ordering::Relaxed);
            self.work.poll.push(key.slot);
        }
        Ok(())
    }

    fn inform(&mut self, key: Key, interim: &response::Parts) {
        // Nothing is lost that anybody may rely on.
        let sending = self.streams.get(key).is_some_and(|stream| stream.sending);
        if !sending || self.out.length() >= ENOUGH {
            return;
        }
        let begin = self.begin_block();
        self.encoder.response(interim.status, &aside::end_to_end(&interim.headers), self.out.frames());
        self.out.finish_block(begin, key.id, false, self.peer_payload);
        self.stirred = true;
    }

    /// An interim response has come.
    pub(super) fn informed(&mut self, key: Key, interim: http::Response<()>) {
        if let Some(stream) = self.streams.get(key).filter(|stream| stream.interim.len() < MOST) {
            stream.interim.push(interim.into_parts().0);
            self.work.wakes.extend(stream.waker.take());
        }
    }

    /// Passes on what has come before the response.
    pub(super) fn take_interim(&mut self, key: Key) {
        if let Some(stream) = self.streams.get(key) {
            stream.interim.drain(..).for_each(aside::inform);
        }
    }
}
