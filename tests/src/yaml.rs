//! The YAML of the tests' meshes. Everything is in the namespace `shop`.

/// A workload with one label, `app`, and the service account of the same name.
#[must_use]
pub fn workload(name: &str, app: &str, ip: &str, metadata: &str) -> String {
    format!(
        "---\napiVersion: outrigger.io/v1alpha1\nkind: Workload\nmetadata:\n  name: {name}\n  namespace: shop\n  labels:\n    \
         app: {app}\n{metadata}spec:\n  address: {ip}\n  serviceAccountName: {app}\n"
    )
}

/// A service of one port that selects workloads by `app: <name>`. Nothing declares its protocol.
#[must_use]
pub fn service(name: &str, cluster_ip: &str, port: u16, target_port: u16) -> String {
    service_with(name, cluster_ip, port, target_port, "")
}

/// As [`service`], with more lines for the port, such as `      appProtocol: http\n`.
#[must_use]
pub fn service_with(name: &str, cluster_ip: &str, port: u16, target_port: u16, port_lines: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: shop\nspec:\n  clusterIP: {cluster_ip}\n  \
         selector:\n    app: {name}\n  ports:\n    - port: {port}\n      targetPort: {target_port}\n{port_lines}"
    )
}

/// An HTTPRoute whose parent is a service; `rules` is the YAML of the list, indented by four.
#[must_use]
pub fn http_route(name: &str, parent: &str, rules: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: {name}\n  namespace: shop\nspec:\n  \
         parentRefs:\n    - group: \"\"\n      kind: Service\n      name: {parent}\n  rules:\n{rules}"
    )
}
