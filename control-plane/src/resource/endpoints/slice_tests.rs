//! Endpoints of services as Kubernetes describes them.

use outrigger_proto::{Key, wire};
use prost::Message;

use crate::fixture::snapshot;
use crate::resource::{closure, problems, resource};

fn service(spec: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\nspec: {{{spec}}}\n\
         ---\napiVersion: v1\nkind: Node\nmetadata: {{name: n1, labels: {{topology.kubernetes.io/zone: east}}}}\n"
    )
}

fn slice(name: &str, family: &str, ports: &str, endpoints: &str) -> String {
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {name}, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: {family}\nports: [{ports}]\nendpoints: [{endpoints}]\n"
    )
}

fn pod(name: &str, addresses: &[&str]) -> String {
    let listed: Vec<String> = addresses.iter().map(|address| format!("{{ip: '{address}'}}")).collect();
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: web}}}}\n\
         spec: {{serviceAccountName: web, nodeName: n1, initContainers: [{{name: outrigger-sidecar}}], \
         containers: [{{name: web, ports: [{{name: http, containerPort: 8080}}]}}]}}\n\
         status: {{phase: Running, podIP: '{}', podIPs: [{}]}}\n",
        addresses[0],
        listed.join(", ")
    )
}

fn endpoint(address: &str, pod: &str, conditions: &str) -> String {
    format!("{{addresses: ['{address}'], targetRef: {{kind: Pod, name: {pod}}}, conditions: {{{conditions}}}}}")
}

fn endpoints(yaml: &str, port: u16) -> Vec<wire::Endpoint> {
    let snapshot = snapshot(yaml);
    let key: Key = format!("endpoints/shop/web/{port}/0").parse().unwrap();
    let value = resource(&snapshot, &key).unwrap().value;
    wire::Endpoints::decode(value).unwrap().endpoints
}

fn addresses(yaml: &str, port: u16) -> Vec<String> {
    endpoints(yaml, port).into_iter().map(|endpoint| endpoint.address).collect()
}

const PORT: &str = "{name: '', port: 8080, protocol: TCP}";
const READY: &str = "ready: true, serving: true, terminating: false";
const LEAVING: &str = "ready: false, serving: true, terminating: true";

#[test]
fn hints_tell_who_is_to_prefer_an_endpoint_and_where_there_are_none_the_service_does() {
    let hints = "hints: {forZones: [{name: east}, {name: west}], forNodes: [{name: n1}]}";
    let hinted = endpoint("10.1.0.1", "a", READY).replace("conditions", &format!("{hints}, conditions"));
    for (about, spec, written, zones, nodes) in [
        ("hints", "", hinted.clone(), &["east", "west"][..], &["n1"][..]),
        ("hints, and the service asks", "trafficDistribution: PreferClose, ", hinted, &["east", "west"], &["n1"]),
        ("the service asks", "trafficDistribution: PreferSameZone, ", endpoint("10.1.0.1", "a", READY), &["east"], &[]),
        ("nobody asks", "", endpoint("10.1.0.1", "a", READY), &[], &[]),
    ] {
        let yaml = service(&format!("{spec}clusterIP: 10.96.0.1, ports: [{{port: 80}}]"))
            + &slice("s", "IPv4", PORT, &written)
            + &pod("a", &["10.1.0.1"]);
        let endpoint = endpoints(&yaml, 80).remove(0);
        assert_eq!(
            (&endpoint.for_zones[..], &endpoint.for_nodes[..]),
            (&strings(zones)[..], &strings(nodes)[..]),
            "{about}"
        );
    }
}

fn strings(all: &[&str]) -> Vec<String> {
    all.iter().map(|one| (*one).to_owned()).collect()
}

#[test]
fn pods_that_are_not_ready_are_counted_when_none_is() {
    let starting = "ready: false, serving: false, terminating: false";
    for (second, expected) in [(starting, 2), (READY, 0)] {
        let list = [endpoint("10.1.0.1", "a", starting), endpoint("10.1.0.2", "b", second)].join(", ");
        let yaml = service("clusterIP: 10.96.0.1, ports: [{port: 80}]")
            + &slice("s", "IPv4", PORT, &list)
            + &pod("a", &["10.1.0.1"])
            + &pod("b", &["10.1.0.2"]);
        let snapshot = snapshot(&yaml);
        let value = resource(&snapshot, &"endpoints/shop/web/80/0".parse().unwrap()).unwrap().value;
        assert_eq!(wire::Endpoints::decode(value).unwrap().not_ready, expected);
    }
}

#[test]
fn conditions_decide_who_gets_connections() {
    let starting = "ready: false, serving: false, terminating: false";
    let gone = "ready: false, serving: false, terminating: true";
    // `publishNotReadyAddresses`: ready by decree, even while it goes.
    let by_decree = "ready: true, serving: false, terminating: true";
    for (about, first, second, expected) in [
        ("both are ready", READY, READY, &["10.1.0.1:8080", "10.1.0.2:8080"][..]),
        ("nothing said means ready", "", READY, &["10.1.0.1:8080", "10.1.0.2:8080"]),
        ("one still starts", starting, READY, &["10.1.0.2:8080"]),
        ("one goes and still serves", LEAVING, READY, &["10.1.0.2:8080"]),
        ("all go and still serve", LEAVING, LEAVING, &["10.1.0.1:8080", "10.1.0.2:8080"]),
        ("one of those that go serves no more", LEAVING, gone, &["10.1.0.1:8080"]),
        ("none is ready, and none serves", starting, gone, &[]),
        ("not ready, but to be published", by_decree, gone, &["10.1.0.1:8080"]),
    ] {
        let list = [endpoint("10.1.0.1", "a", first), endpoint("10.1.0.2", "b", second)].join(", ");
        let yaml = service("clusterIP: 10.96.0.1, ports: [{port: 80}]")
            + &slice("s", "IPv4", PORT, &list)
            + &pod("a", &["10.1.0.1"])
            + &pod("b", &["10.1.0.2"]);
        assert_eq!(addresses(&yaml, 80), expected, "{about}");
    }
}

#[test]
fn named_target_ports_may_differ_from_slice_to_slice() {
    let yaml = service("clusterIP: 10.96.0.1, ports: [{name: web, port: 80, targetPort: http}, {name: x, port: 90}]")
        + &slice("old", "IPv4", "{name: web, port: 8080}, {name: x, port: 90}", &endpoint("10.1.0.1", "a", READY))
        + &slice("new", "IPv4", "{name: web, port: 9090}", &endpoint("10.1.0.2", "b", READY))
        + &pod("a", &["10.1.0.1"])
        + &pod("b", &["10.1.0.2"]);

    assert_eq!(addresses(&yaml, 80), ["10.1.0.1:8080", "10.1.0.2:9090"]);
    assert_eq!(addresses(&yaml, 90), ["10.1.0.1:90"]);
}

#[test]
fn a_pod_of_a_dual_stack_service_is_one_endpoint_of_the_first_family() {
    let both = |spec: &str| {
        service(spec)
            + &slice("v4", "IPv4", PORT, &endpoint("10.1.0.1", "a", READY))
            + &slice("v6", "IPv6", PORT, &endpoint("fd00::1", "a", READY))
            + &slice("names", "FQDN", PORT, "{addresses: [example.com]}")
            + &pod("a", &["10.1.0.1", "fd00::1"])
    };
    for (about, spec, expected) in [
        ("first IPv4", "clusterIPs: [10.96.0.1, 'fd00:96::1'], ipFamilies: [IPv4, IPv6]", "10.1.0.1:8080"),
        ("first IPv6", "clusterIPs: ['fd00:96::1', 10.96.0.1], ipFamilies: [IPv6, IPv4]", "[fd00::1]:8080"),
        ("headless, first IPv6", "clusterIP: None, ipFamilies: [IPv6]", "[fd00::1]:8080"),
        ("by the cluster IP", "clusterIP: 'fd00:96::1'", "[fd00::1]:8080"),
    ] {
        assert_eq!(addresses(&both(&format!("{spec}, ports: [{{port: 80}}]")), 80), [expected], "{about}");
    }
    let only_v4 = service("clusterIP: 'fd00:96::1', ipFamilies: [IPv6, IPv4], ports: [{port: 80}]")
        + &slice("v4", "IPv4", PORT, "{addresses: [10.9.0.1]}");
    assert_eq!(addresses(&only_v4, 80), ["10.9.0.1:8080"], "of the other family when the first has none");
}

#[test]
fn an_endpoint_has_the_identity_and_the_zone_of_its_pod() {
    let yaml = service("clusterIP: 10.96.0.1, ports: [{port: 80}]")
        + &slice("s", "IPv4", PORT, &endpoint("10.1.0.1", "a", READY))
        + &pod("a", &["10.1.0.1"]);

    let endpoint = endpoints(&yaml, 80).remove(0);

    assert_eq!(endpoint.identity, "spiffe://mesh.local/ns/shop/sa/web");
    assert_eq!((endpoint.workload.as_str(), endpoint.zone.as_str()), ("a", "east"));
}

#[test]
fn nobody_is_dialled_before_it_is_known_whether_it_is_meshed() {
    let list = [endpoint("10.1.0.1", "a", READY), endpoint("10.1.0.2", "b", READY)].join(", ");
    let yaml = service("clusterIP: 10.96.0.1, ports: [{port: 80}]")
        + &slice("s", "IPv4", PORT, &list)
        // The pod of this name is another one by now.
        + &pod("b", &["10.1.0.99"]);

    assert_eq!(addresses(&yaml, 80), [] as [&str; 0]);
}

#[test]
fn addresses_that_are_nobodys_pod_are_dialled_in_plaintext_and_workloads_as_what_they_are() {
    let list = "{addresses: [192.0.2.1]}, {addresses: [192.0.2.2]}";
    let yaml = service("clusterIP: 10.96.0.1, selector: {app: vm}, ports: [{port: 80, targetPort: 8080}]")
        + &slice("s", "IPv4", PORT, list)
        + "---\napiVersion: outrigger.io/v1alpha1\nkind: Workload\n\
           metadata: {name: vm, namespace: shop, labels: {app: vm}}\n\
           spec: {address: 192.0.2.2, serviceAccountName: vm}\n";

    let endpoints = endpoints(&yaml, 80);

    let told: Vec<_> = endpoints.iter().map(|e| (e.address.as_str(), e.identity.as_str())).collect();
    assert_eq!(told, [("192.0.2.1:8080", ""), ("192.0.2.2:8080", "spiffe://mesh.local/ns/shop/sa/vm")]);
}

#[test]
fn each_node_has_its_own_endpoints_of_a_service_for_its_own_node() {
    let on = |node: &str, endpoint: String| endpoint.replacen('{', &format!("{{nodeName: '{node}', "), 1);
    let list = [
        on("n1", endpoint("10.1.0.1", "a", READY)),
        on("n1", endpoint("10.1.0.2", "b", LEAVING)),
        on("n2", endpoint("10.1.0.3", "c", LEAVING)),
        on("", endpoint("10.1.0.4", "d", READY)),
    ];
    let pods = [("a", "10.1.0.1"), ("b", "10.1.0.2"), ("c", "10.1.0.3"), ("d", "10.1.0.4")];
    let pods: String = pods.iter().map(|(name, address)| pod(name, &[address])).collect();
    let local = "clusterIP: 10.96.0.1, internalTrafficPolicy: Local, ports: [{port: 80}]";
    let yaml = service(local) + &slice("s", "IPv4", PORT, &list.join(", ")) + &pods;

    let endpoints = endpoints(&yaml, 80);

    let told: Vec<_> = endpoints.iter().map(|e| (e.address.as_str(), e.only_node.as_str())).collect();
    assert_eq!(told, [("10.1.0.1:8080", "n1"), ("10.1.0.3:8080", "n2")], "n2 has only one that is on its way out");
}

#[test]
fn what_an_address_leads_to() {
    let on_host = pod("host", &["192.0.2.7"]).replace("nodeName: n1", "nodeName: n1, hostNetwork: true");
    let ended = pod("ended", &["10.1.0.2"]).replace("Running", "Succeeded");
    let yaml = service("clusterIPs: [10.96.0.1, 'fd00:96::1'], ports: [{port: 80}]")
        + "---\napiVersion: v1\nkind: Service\nmetadata: {name: near, namespace: shop}\n\
           spec: {clusterIP: 10.96.0.2, internalTrafficPolicy: Local, ports: [{port: 80}]}\n\
           ---\napiVersion: v1\nkind: Service\nmetadata: {name: far, namespace: shop}\n\
           spec: {type: ExternalName, externalName: example.com, ports: [{port: 80}]}\n"
        + &pod("a", &["10.1.0.1", "fd00::1"])
        + &on_host
        + &ended;
    let snapshot = snapshot(&yaml);
    let target = |address: &str| {
        let key: Key = format!("address/{address}").parse().unwrap();
        let value = resource(&snapshot, &key).unwrap().value;
        match wire::Address::decode(value).unwrap().target.unwrap() {
            wire::address::Target::Service(service) => format!("service {}:{}", service.name, service.port),
            wire::address::Target::Workload(endpoint) => format!("{} at {}", endpoint.workload, endpoint.address),
            wire::address::Target::Unknown(_) => "unknown".to_owned(),
        }
    };

    for (address, expected) in [
        ("10.96.0.1:80", "service web:80"),
        ("[fd00:96::1]:80", "service web:80"),
        ("10.96.0.1:81", "unknown"),
        ("10.1.0.1:8080", "a at 10.1.0.1:8080"),
        ("[fd00::1]:8080", "a at [fd00::1]:8080"),
        ("192.0.2.7:8080", "unknown"), // a node's address, whoever listens there
        ("10.1.0.2:8080", "unknown"),  // may be another pod's at any time
        ("10.96.0.2:80", "service near:80"),
    ] {
        assert_eq!(target(address), expected, "{address}");
    }
    assert_eq!(closure(&snapshot, &"address/[fd00:96::1]:80".parse().unwrap()).len(), 3);
}

#[test]
fn routes_to_and_from_services_without_an_address_are_problems() {
    let route = |parent: &str, backend: &str| {
        crate::fixture::route(
            "HTTPRoute",
            "r",
            parent,
            &format!("  rules: [{{backendRefs: [{{name: {backend}, port: 80}}]}}]\n"),
        )
    };
    let named = "---\napiVersion: v1\nkind: Service\nmetadata: {name: far, namespace: shop}\n\
                 spec: {type: ExternalName, externalName: example.com, ports: [{port: 80}]}\n";
    for (about, spec, parent, backend, expected) in [
        ("headless parent", "clusterIP: None", "web", "web", "is headless"),
        ("parent of type ExternalName", "clusterIP: 10.96.0.1", "far", "web", "is of type ExternalName"),
        ("backend of type ExternalName", "clusterIP: 10.96.0.1", "web", "far", "is an ExternalName"),
    ] {
        let yaml = service(&format!("{spec}, ports: [{{port: 80}}]")) + named + &route(parent, backend);
        let problems: Vec<String> = problems(&snapshot(&yaml)).iter().map(ToString::to_string).collect();
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{about}: {problems:?}");
    }
}
