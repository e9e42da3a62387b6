//! Files that somebody else writes and changes: the webhook's certificate and the trust anchors.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use outrigger_daemon::Drain;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tracing::{info, warn};

/// What the files say, as soon and as long as they are good.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// For the listener.
    pub(crate) tls: ArcSwapOption<ServerConfig>,
    /// For sidecars.
    pub(crate) trust_anchors: ArcSwapOption<String>,
}

impl Files {
    /// Whether there is enough to serve with.
    pub(crate) fn complete(&self) -> bool {
        self.tls.load().is_some() && self.trust_anchors.load().is_some()
    }
}

/// Reads the files again and again: the kubelet swaps the links of mounted volumes, and tells nobody.
pub(crate) async fn watch(files: Arc<Files>, tls_dir: PathBuf, trust_anchors: PathBuf, drain: Drain) {
    let mut seen = (Vec::new(), Vec::new());
    let mut complained = false;
    loop {
        match read(&tls_dir, &trust_anchors).await {
            Ok((pair, anchors)) => {
                complained = false;
                if pair != seen.0 {
                    match server_config(&pair) {
                        Ok(config) => {
                            files.tls.store(Some(Arc::new(config)));
                            info!("certificate in force");
                        }
                        Err(error) => warn!(%error, "the certificate cannot be used; the one before stays"),
                    }
                }
                if anchors != seen.1 {
                    match String::from_utf8(anchors.clone()) {
                        Ok(pem) if pem.contains("BEGIN CERTIFICATE") => {
                            files.trust_anchors.store(Some(Arc::new(pem)));
                            info!("trust anchors in force");
                        }
                        _ => warn!("the trust anchors are not PEM; those before stay"),
                    }
                }
                seen = (pair, anchors);
            }
            Err(error) if !complained => {
                complained = true;
                info!(%error, "waiting for the control plane to write the certificate and the trust anchors");
            }
            Err(_) => {}
        }
        let pause = if files.complete() { LOOK } else { LOOK_FIRST };
        tokio::select! {
            () = drain.started() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// The certificate with its key, and the trust anchors, as they are on disk.
async fn read(tls_dir: &Path, trust_anchors: &Path) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let file = |path: PathBuf| async move {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        tokio::fs::read(&path).await.map_err(named)
    };
    let mut pair = file(tls_dir.join("tls.crt")).await?;
    pair.push(b'\n');
    pair.extend(file(tls_dir.join("tls.key")).await?);
    Ok((pair, file(trust_anchors.to_owned()).await?))
}

fn server_config(pair: &[u8]) -> Result<ServerConfig, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pair).collect();
    let chain = chain.map_err(|error| format!("tls.crt: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(pair).map_err(|error| format!("tls.key: {error}"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

const LOOK: Duration = Duration::from_secs(10);
const LOOK_FIRST: Duration = Duration::from_millis(200);
