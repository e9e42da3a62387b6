//! What only the kubelet knows, and who may read the pod: without it the port for probes answers nobody.

use std::fmt;

use data_encoding::HEXLOWER;

/// The part of the paths of a pod's probes that cannot be guessed.
pub struct ProbeSecret(String);

impl ProbeSecret {
    /// Makes a new one, of 128 random bits.
    ///
    /// # Panics
    /// When the system has no random numbers; then it has no TLS either.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.secure_random.fill(&mut bytes).expect("the system has random numbers");
        Self(HEXLOWER.encode(&bytes))
    }

    /// Makes one that is known, for tests of what is written.
    #[must_use]
    pub fn fixed(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for ProbeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ProbeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProbeSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_another() {
        let [one, other] = [ProbeSecret::random(), ProbeSecret::random()].map(|secret| secret.to_string());

        assert_eq!(one.len(), 32);
        assert_ne!(one, other);
    }
}
