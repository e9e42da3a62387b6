//! What unit tests start from.

use outrigger_identity::TrustBundle;
use outrigger_proto::model::{Egress, InboundMode};

use crate::objects;
use crate::resource::Published;
use crate::state::{Event, Reading, Settings, State};

pub(crate) fn settings() -> Settings {
    let key = rcgen::KeyPair::generate().unwrap();
    let root = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    let bundle = TrustBundle::new("mesh.local".parse().unwrap(), vec![root.der().clone()]).unwrap();
    Settings { bundle, egress: Egress::Allow, inbound: InboundMode::Permissive }
}

pub(crate) fn state(yaml: &str) -> State {
    let mut state = State::new(settings());
    for object in objects::read(yaml).unwrap().objects {
        state.apply(Event::Put(object));
    }
    state.apply(Event::Synced(Reading::Wholly));
    state
}

pub(crate) fn snapshot(yaml: &str) -> Published {
    Published::new(state(yaml), None)
}

/// The snapshot after `previous`, with the objects of `yaml` put in.
pub(crate) fn next(previous: &Published, yaml: &str) -> Published {
    let mut state = previous.state.clone();
    for object in objects::read(yaml).unwrap().objects {
        state.apply(Event::Put(object));
    }
    Published::new(state, Some(previous))
}

pub(crate) fn service(name: &str, address: &str) -> String {
    service_in("shop", name, address)
}

pub(crate) fn service_in(namespace: &str, name: &str, address: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  \
         clusterIP: {address}\n  selector: {{app: {name}}}\n  ports:\n  - {{name: http, port: 80, targetPort: 8080}}\n  \
         - {{name: admin, port: 9000}}\n"
    )
}

pub(crate) fn workload(name: &str, app: &str, address: &str) -> String {
    format!(
        "---\napiVersion: outrigger.io/v1alpha1\nkind: Workload\n\
         metadata: {{name: {name}, namespace: shop, labels: {{app: {app}}}}}\n\
         spec: {{address: {address}, serviceAccountName: {app}}}\n"
    )
}

/// A route of `shop` attached to a service of `shop`; `spec` is indented by two.
pub(crate) fn route(kind: &str, name: &str, parent: &str, spec: &str) -> String {
    route_in("shop", kind, name, &format!("{{group: '', kind: Service, namespace: shop, name: {parent}}}"), spec)
}

pub(crate) fn route_in(namespace: &str, kind: &str, name: &str, parent: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec:\n  parentRefs: [{parent}]\n{spec}"
    )
}
