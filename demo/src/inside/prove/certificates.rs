//! The CA that was made, and the identities that it issued.

use std::fs;

use anyhow::Context as _;
use aws_lc_rs::digest;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::Proof;
use crate::inside::mesh::{ControlPlane, Mesh};

/// Reads the root certificate that sidecars are given to trust.
pub(in crate::inside) fn ca(control_plane: &ControlPlane) -> anyhow::Result<Proof> {
    let path = control_plane.paths().trust_anchors();
    let pem = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let roots: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>()?;
    let [root] = roots.as_slice() else { anyhow::bail!("{} roots instead of one", roots.len()) };
    let fingerprint = fingerprint(root);
    Ok(Proof {
        ok: true,
        summary: format!("made for this mesh: SHA-256 {}…", &fingerprint[..23]),
        details: Vec::new(),
        values: json!({"fingerprintSha256": fingerprint}),
    })
}

/// Reads each sidecar's own word on its certificate.
pub(super) async fn identities(mesh: &Mesh) -> anyhow::Result<Proof> {
    let mut details = Vec::new();
    let mut issued = Vec::new();
    for running in &mesh.members {
        let workload = running.member.workload;
        let (_, page) = mesh.sidecar_page(running, "/config").await?;
        let page: Value = serde_json::from_str(&page).with_context(|| format!("/config of {workload}"))?;
        let certificate = &page["certificate"];
        let (Some(identity), Some(seconds)) =
            (certificate["identity"].as_str(), certificate["expiresInSeconds"].as_u64())
        else {
            anyhow::bail!("the sidecar of {workload} has no certificate: {certificate}");
        };
        details.push(format!("{workload:<14}{identity}"));
        issued.push(json!({"workload": workload, "identity": identity, "expiresInSeconds": seconds}));
    }
    let hours = issued.iter().filter_map(|one| one["expiresInSeconds"].as_u64()).min().unwrap_or(0).div_ceil(3600);
    Ok(Proof {
        ok: issued.len() == mesh.members.len(),
        summary: format!("{} issued, valid for {hours} h, each key made by its sidecar and kept there", issued.len()),
        details,
        values: json!({"issued": issued}),
    })
}

/// `12:AB:…`.
fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digest = digest::digest(&digest::SHA256, certificate);
    digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}
