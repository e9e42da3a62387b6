//! The cluster's keys and certificates: one authority for servers and clients, one for the front proxy, one key for tokens.

use std::process::Command;

use anyhow::Result;

use super::places::{Places, make_folder};
use super::{config, network, process};

/// Makes those that are not there.
pub(super) fn make(places: &Places) -> Result<()> {
    let folder = places.certificates();
    if folder.join(LAST).is_file() {
        return Ok(());
    }
    make_folder(&folder)?;
    for (authority, name) in [("ca", "/CN=outrigger-cluster"), ("front-proxy-ca", "/CN=outrigger-cluster-front-proxy")]
    {
        authority_certificate(places, authority, name)?;
    }
    let api_names = format!(
        "subjectAltName=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
         DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:{},IP:{},IP:{}",
        network::API_V4,
        network::NODE_V4,
        network::NODE_V6
    );
    let node_names = format!("subjectAltName=DNS:{},IP:{},IP:{}", network::NODE, network::NODE_V4, network::NODE_V6);
    leaf(places, "ca", "kube-apiserver", "/CN=kube-apiserver", &api_names)?;
    leaf(places, "ca", "kubelet-server", "/O=system:nodes/CN=system:node:outrigger", &node_names)?;
    leaf(places, "ca", "admin", "/O=system:masters/CN=admin", CLIENT)?;
    leaf(places, "ca", "kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client", CLIENT)?;
    leaf(places, "front-proxy-ca", "front-proxy", "/CN=front-proxy", CLIENT)?;
    for (name, subject) in config::KUBECONFIGS {
        leaf(places, "ca", name, subject, CLIENT)?;
    }
    let key = folder.join("service-accounts.key");
    process::quiet(Command::new("openssl").args(["genpkey", "-quiet"]).args(NEW_KEY).arg("-out").arg(&key))?;
    process::quiet(
        Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&key).arg("-out").arg(folder.join(LAST)),
    )
}

fn authority_certificate(places: &Places, name: &str, subject: &str) -> Result<()> {
    let mut request = request(places, name, subject);
    request.args(["-addext", "basicConstraints=critical,CA:TRUE"]);
    process::quiet(request.args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"]))
}

fn leaf(places: &Places, authority: &str, name: &str, subject: &str, extension: &str) -> Result<()> {
    let folder = places.certificates();
    let mut request = request(places, name, subject);
    request.arg("-CA").arg(folder.join(format!("{authority}.crt")));
    request.arg("-CAkey").arg(folder.join(format!("{authority}.key")));
    request.args(["-addext", "basicConstraints=critical,CA:FALSE", "-addext", extension]);
    process::quiet(&mut request)
}

/// A new key and a certificate for it; without an authority it signs itself.
fn request(places: &Places, name: &str, subject: &str) -> Command {
    let folder = places.certificates();
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-noenc", "-days", "365", "-newkey", "ec", "-pkeyopt", NEW_KEY[3], "-subj", subject]);
    // Without a file of defaults: the machine's own may add extensions of its own.
    openssl.args(["-config", "/dev/null"]);
    openssl.arg("-keyout").arg(folder.join(format!("{name}.key")));
    openssl.arg("-out").arg(folder.join(format!("{name}.crt")));
    openssl
}

const NEW_KEY: [&str; 4] = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
const CLIENT: &str = "extendedKeyUsage=clientAuth";
/// Written last: what is complete has it.
const LAST: &str = "service-accounts.pub";
