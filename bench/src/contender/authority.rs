//! What contenders need that have no control plane: certificates, and rules of the kernel that take the pods' traffic over.

use std::path::Path;

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};

use crate::pods::{Place, Pods, User};

const CAPTURE: &str = include_str!("../../envoy/capture.nft");

/// Takes over the traffic of both pods.
pub(super) async fn capture(pods: &Pods, folder: &Path) -> Result<()> {
    std::fs::write(folder.join("capture.nft"), CAPTURE)?;
    for place in [Place::A, Place::B] {
        let nft = pods.command(place, User::Root, Path::new("nft")).arg("-f").arg(folder.join("capture.nft")).spawn();
        let status = nft.context("run `nft` (package nftables)")?.wait().await?;
        anyhow::ensure!(status.success(), "nft ended with {status}");
    }
    Ok(())
}

/// Certificates like ours: ECDSA P-256, one SPIFFE id each, one authority.
pub(super) fn issue(folder: &Path) -> Result<()> {
    let anchor_key = KeyPair::generate()?;
    let mut anchor = CertificateParams::new(Vec::new())?;
    anchor.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    anchor.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    std::fs::write(folder.join("anchor.pem"), anchor.self_signed(&anchor_key)?.pem())?;
    let issuer = Issuer::new(anchor, anchor_key);
    for name in ["client", "server"] {
        let key = KeyPair::generate()?;
        let mut leaf = CertificateParams::new(Vec::new())?;
        let id = SanType::URI(format!("spiffe://mesh.local/ns/bench/sa/{name}").try_into()?);
        // The floors know names only.
        leaf.subject_alt_names = vec![id, SanType::DnsName(name.try_into()?)];
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        std::fs::write(folder.join(format!("{name}.pem")), leaf.signed_by(&key, &issuer)?.pem())?;
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem())?;
    }
    Ok(())
}
