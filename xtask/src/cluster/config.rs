//! The configuration files of the parts: templates in `tests/cluster/config`, with this machine's paths and our addresses.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::json;

use super::places::{Places, make_folder, read, write_changed};
use super::{image, network};

/// What the templates' names in double braces stand for.
#[derive(Debug)]
pub(super) struct Values(Vec<(&'static str, String)>);

impl Values {
    pub(super) fn new(places: &Places, proxy_mode: &str) -> Self {
        let text = |value: &str| value.to_owned();
        Self(vec![
            ("run", places.run().display().to_string()),
            ("pki", places.certificates().display().to_string()),
            ("cluster", text(network::CLUSTER)),
            ("node", text(network::NODE)),
            ("pods4", text(network::PODS_V4)),
            ("pods6", text(network::PODS_V6)),
            ("dns4", text(network::DNS_V4)),
            ("host4", text(network::HOST_V4)),
            ("host6", text(network::HOST_V6)),
            ("proxy_mode", text(proxy_mode)),
            ("pause_image", text(image::PAUSE)),
            ("coredns_image", text(image::COREDNS)),
            ("metrics_server_image", text(image::METRICS_SERVER)),
        ])
    }

    /// A template with its values.
    fn render(&self, template: &str) -> Result<String> {
        let mut text = template.to_owned();
        for (name, value) in &self.0 {
            text = text.replace(&format!("{{{{{name}}}}}"), value);
        }
        let unknown = text.lines().find(|line| line.contains("{{"));
        ensure!(unknown.is_none(), "a template has a name that nobody gives a value: {}", unknown.unwrap_or_default());
        Ok(text)
    }
}

/// Writes the configuration of every part.
pub(super) fn write_all(places: &Places, values: &Values) -> Result<()> {
    make_folder(&places.run().join("cni"))?;
    for (template, file) in FILES {
        let path = places.sources().join("config").join(template);
        write_changed(&places.run().join(file), &values.render(&read(&path)?)?)?;
    }
    for (name, _) in KUBECONFIGS {
        write_kubeconfig(places, name, &places.run().join(format!("{name}.kubeconfig")))?;
    }
    Ok(())
}

/// Writes what a client connects with, by the certificate of that name.
pub(super) fn write_kubeconfig(places: &Places, client: &str, file: &Path) -> Result<()> {
    let key = |suffix: &str| places.certificates().join(format!("{client}.{suffix}"));
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": network::CLUSTER,
        "clusters": [{ "name": network::CLUSTER, "cluster": {
            "server": format!("https://{}:6443", network::NODE_V4),
            "certificate-authority": places.certificates().join("ca.crt"),
        }}],
        "users": [{ "name": client, "user": { "client-certificate": key("crt"), "client-key": key("key") }}],
        "contexts": [{ "name": network::CLUSTER, "context": { "cluster": network::CLUSTER, "user": client }}],
    });
    write_changed(file, &format!("{config:#}\n"))
}

/// The clients among the parts, and their names in the subject of their certificate.
pub(super) const KUBECONFIGS: [(&str, &str); 4] = [
    ("kube-controller-manager", "/CN=system:kube-controller-manager"),
    ("kube-scheduler", "/CN=system:kube-scheduler"),
    ("kube-proxy", "/CN=system:kube-proxy"),
    ("kubelet", "/O=system:nodes/CN=system:node:outrigger"),
];

/// Templates, and their names where the cluster runs.
const FILES: [(&str, &str); 7] = [
    ("containerd.toml", "containerd.toml"),
    ("cni.json", "cni/network.conflist"),
    ("kubelet.yaml", "kubelet.yaml"),
    ("kube-proxy.yaml", "kube-proxy.yaml"),
    ("resolv.conf", "resolv.conf"),
    ("coredns.yaml", "coredns.yaml"),
    ("metrics-server.yaml", "metrics-server.yaml"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_every_name_and_refuses_an_unknown_one() {
        let values = Values(vec![("run", "/x".to_owned()), ("node", "n".to_owned())]);

        assert_eq!(values.render("{{run}}/a {{node}} {{run}}").unwrap(), "/x/a n /x");
        assert!(values.render("ok\nmode: {{nobody}}").unwrap_err().to_string().contains("mode: {{nobody}}"));
    }

    #[test]
    fn every_template_renders() {
        let places = Places::new().unwrap();
        let values = Values::new(&places, "nftables");

        for (template, _) in FILES {
            let text = read(&places.sources().join("config").join(template)).unwrap();
            values.render(&text).unwrap_or_else(|error| panic!("{template}: {error}"));
        }
    }

    #[test]
    fn the_kubelet_is_named_as_its_node() {
        let (_, subject) = KUBECONFIGS[3];

        assert!(subject.ends_with(&format!(":{}", network::NODE)));
    }
}
