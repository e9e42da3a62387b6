//! What both runners lay out: workloads, and the Services of a group.

use super::Group;

/// A Service of a group.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) namespace: &'static str,
    pub(super) name: &'static str,
    /// Whose pods it selects.
    pub(super) app: Option<&'static str>,
}

/// The Services of the workloads and those of a group.
pub(super) fn services(group: &Group) -> Vec<Service> {
    let own = APPS.iter().map(|name| Service { namespace: namespace(name), name, app: Some(name) });
    let more = group.services.split_whitespace().map(|text| {
        let (place, app) = text.split_once('=').map_or((text, None), |(place, app)| (place, Some(app)));
        let (name, namespace) = place.split_once('@').unwrap_or((place, "shop"));
        Service { namespace, name, app }
    });
    own.chain(more).collect()
}

/// The namespace of a workload.
pub(super) fn namespace(app: &str) -> &'static str {
    if app == "o1" { "other" } else { "shop" }
}

/// Where a workload is in [`APPS`].
pub(super) fn place(app: &str) -> usize {
    APPS.iter().position(|name| *name == app).unwrap_or_else(|| panic!("no workload is named {app}"))
}

impl Service {
    /// Its manifest. `addresses` is a line of the spec, for where nobody gives it an address.
    pub(super) fn yaml(&self, addresses: &str) -> String {
        let Self { namespace, name, app } = self;
        let app = app.unwrap_or("nobody");
        let mut yaml = format!(
            "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: {namespace}\nspec:\n{addresses}  \
             selector: {{app: {app}}}\n  ports:\n"
        );
        for (name, port, target, more) in PORTS {
            yaml.push_str(&format!("    - {{name: {name}, port: {port}, targetPort: {target}{more}}}\n"));
        }
        yaml
    }
}

/// The workloads.
pub(super) const APPS: [&str; 4] = ["v1", "v2", "o1", "client"];

/// Of every Service. Nothing declares what `any` and `raw` carry.
const PORTS: [(&str, u16, u16, &str); 5] = [
    ("http", 80, 8080, ""),
    ("http-alt", 8080, 8080, ""),
    ("grpc", 7070, 8080, ", appProtocol: kubernetes.io/h2c"),
    ("any", 443, 8443, ""),
    ("raw", 9091, 9091, ""),
];
