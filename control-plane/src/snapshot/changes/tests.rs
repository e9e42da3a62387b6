//! However a state came about, its resources are those of a state that was made at once; and what differs is told.

use outrigger_proto::Key;
use proptest::prelude::*;

use crate::fixture::{route, service, settings, workload};
use crate::objects::{self, Kind, ObjectId};
use crate::resource::{Published, Resource, closure, resource};
use crate::state::{Event, Reading, State};

fn pod(name: &str, app: &str, address: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {app}}}}}\n\
         spec: {{serviceAccountName: {app}, nodeName: n1, initContainers: [{{name: outrigger-sidecar}}], \
         containers: [{{name: web, ports: [{{name: http, containerPort: 8080}}]}}]}}\n\
         status: {{phase: Running, podIP: {address}, podIPs: [{{ip: {address}}}]}}\n"
    )
}

fn slice(name: &str, service: &str, address: &str, pod: Option<&str>) -> String {
    let target = pod.map_or_else(String::new, |pod| format!(", targetRef: {{kind: Pod, name: {pod}}}"));
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {name}, namespace: shop, labels: {{kubernetes.io/service-name: {service}}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: 8080}}]\n\
         endpoints: [{{addresses: [{address}], conditions: {{ready: true}}{target}}}]\n"
    )
}

const APPS: [&str; 3] = ["web", "cart", "none"];
const ADDRESSES: [&str; 4] = ["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4"];
const NAMES: [&str; 3] = ["one", "two", "three"];

fn removed(kind: Kind) -> impl Strategy<Value = Event> {
    let id = move |name: &str| ObjectId { kind, namespace: "shop".into(), name: name.into() };
    prop::sample::select(&NAMES[..]).prop_map(move |name| Event::Remove(id(name)))
}

fn put(yaml: &str) -> Event {
    Event::Put(objects::read(yaml).unwrap().objects.remove(0))
}

/// Something that happens to pods and endpoints, most of the time, and now and then to the rest.
fn event() -> impl Strategy<Value = Event> {
    let app = || prop::sample::select(&APPS[..]);
    let address = || prop::sample::select(&ADDRESSES[..]);
    let name = || prop::sample::select(&NAMES[..]);
    let zone = prop::sample::select(&["east", "west"][..]);
    let service_of = |app: &str| service(app, if app == "web" { "10.96.0.1" } else { "10.96.0.2" });
    prop_oneof![
        4 => (name(), app(), address()).prop_map(|(name, app, address)| put(&workload(name, app, address))),
        4 => (name(), app(), address()).prop_map(|(name, app, address)| put(&pod(name, app, address))),
        4 => (name(), app(), address(), prop::option::of(name()))
            .prop_map(|(name, app, address, pod)| put(&slice(name, app, address, pod))),
        2 => removed(Kind::Workload),
        2 => removed(Kind::Pod),
        2 => removed(Kind::EndpointSlice),
        2 => app().prop_map(move |app| put(&service_of(app))),
        1 => app().prop_map(|app| {
            Event::Remove(ObjectId { kind: Kind::Service, namespace: "shop".into(), name: app.into() })
        }),
        1 => app().prop_map(|app| {
            put(&route("HTTPRoute", "r", "web", &format!("  rules: [{{backendRefs: [{{name: {app}, port: 80}}]}}]\n")))
        }),
        1 => zone.prop_map(|zone| {
            let labels = format!("labels: {{topology.kubernetes.io/zone: {zone}}}");
            put(&format!("---\napiVersion: v1\nkind: Node\nmetadata: {{name: n1, {labels}}}\n"))
        }),
    ]
}

fn keys() -> Vec<Key> {
    let mut texts = vec!["mesh".to_owned()];
    texts.extend(NAMES.map(|name| format!("workload/shop/{name}")));
    for address in ADDRESSES.iter().chain(&["10.96.0.1", "10.96.0.2"]) {
        texts.extend([format!("address/{address}:80"), format!("address/{address}:8080")]);
    }
    for app in APPS {
        texts.extend([format!("service/shop/{app}/80"), format!("endpoints/shop/{app}/80/0")]);
    }
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// What each key gives, and what it leads to.
fn told(snapshot: &Published) -> Vec<(Option<Resource>, Vec<Key>)> {
    keys().iter().map(|key| (resource(snapshot, key), closure(snapshot, key))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_taken_over_is_what_would_be_made_and_what_differs_is_told(
        batches in prop::collection::vec(prop::collection::vec(event(), 1..4), 1..24),
    ) {
        let mut state = State::new(settings());
        state.apply(Event::Synced(Reading::Wholly));
        // All services are there from the start: only what happens to them later is told as everything.
        for (app, address) in [("web", "10.96.0.1"), ("cart", "10.96.0.2")] {
            state.apply(put(&service(app, address)));
        }
        let mut snapshot = Published::new(state.clone(), None);
        let mut now = told(&snapshot);
        let mut history = vec![(snapshot.version, now.clone())];
        for batch in batches {
            for event in batch {
                state.apply(event);
            }
            snapshot = Published::new(state.clone(), Some(&snapshot));
            now = told(&snapshot);
            prop_assert_eq!(&now, &told(&Published::new(state.clone(), None)));
            history.push((snapshot.version, now.clone()));
        }
        // Whoever has seen any of the snapshots learns of what differs from it.
        for (version, then) in &history {
            for ((key, then), now) in keys().iter().zip(then).zip(&now) {
                if then != now {
                    let held = then.1.iter().chain([key]);
                    prop_assert!(snapshot.touches(*version, held), "{} since {}", key, version);
                }
            }
        }
        prop_assert!(!snapshot.touches(snapshot.version, keys().iter()));
    }
}
