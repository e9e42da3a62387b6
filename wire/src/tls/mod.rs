//! TLS streams that hold no buffer when they have nothing to say.
