//! Cryptography.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The one cryptography provider, always passed explicitly so that a second one in the graph changes nothing.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<Arc<CryptoProvider>> = std::sync::OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())).clone()
}
