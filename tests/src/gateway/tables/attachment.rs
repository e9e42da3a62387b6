//! Whose requests a route is for: which Service, which port, which clients, which kind of route.

use super::Group;

/// Services and ports.
pub(super) const PARENTS: Group = Group {
    name: "parents",
    services: "none=v1 web=v1 port=v1 section=v1 both=v1 mismatch=v1 unknown=v1 every=v1 core=v1 first=v1 second=v1 chain=v1 chained",
    routes: "
== HTTPRoute web on web
    - {matches: [{path: {type: PathPrefix, value: /routed}}], backendRefs: [{name: v2, port: 80}]}
== HTTPRoute port on port:80
    - {backendRefs: [{name: v2, port: 80}]}
== HTTPRoute section on section#http-alt
    - {backendRefs: [{name: v2, port: 80}]}
== HTTPRoute both on both:80#http
    - {backendRefs: [{name: v2, port: 80}]}
== HTTPRoute mismatch on mismatch:80#http-alt
    - {backendRefs: [{name: v2, port: 80}]}
== HTTPRoute unknown on unknown:81
    - {backendRefs: [{name: v2, port: 80}]}
== HTTPRoute every on every
    - {backendRefs: [{name: v2, port: 80}]}
== HTTPRoute two on first second
    - {backendRefs: [{name: v2, port: 80}]}
== HTTPRoute chain on chain
    - {backendRefs: [{name: v2, port: 80}]}
== HTTPRoute chained on chained
    - {backendRefs: [{name: chain, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: core
  namespace: shop
spec:
  parentRefs: [{group: core, kind: Service, name: core}]
  hostnames: [never.looked.at]
  rules: [{backendRefs: [{group: core, kind: Service, name: v2, port: 80}]}]
",
    cases: "
# Without a route: plain Kubernetes. With one: only what it matches.
GET none/ => 200 v1
GET none/?answer=x-own:1 host:any.example => 200 v1 answer:x-own=1
GET web/routed => 200 v2
GET web/ => 404 - code=E001
# The address that was dialled says which Service it is, never Host.
GET web/routed host:none => 200 v2
GET web/routed host:v1.shop.svc.cluster.local => 200 v2
GET none/ host:web => 200 v1
GET none/routed host:web => 200 v1
v6 GET web/routed => 200 v2
v6 GET web/ => 404 -
v6 GET none/ => 200 v1
GET pod.v1:8080/ => 200 v1
GET pod.v1:8080/ host:web => 200 v1
GET port/ => 200 v2
GET port:8080/ => 200 v1
GET section:8080/ => 200 v2
GET section/ => 200 v1
GET both/ => 200 v2
GET both:8080/ => 200 v1
GET mismatch/ => 200 v1
GET mismatch:8080/ => 200 v1
GET unknown/ => 200 v1
GET every/ => 200 v2
GET every:8080/ => 200 v2
h2 GET every:7070/ => 200 v2
grpc every:7070/any.Service/Method => OK v2
GET first/ => 200 v2
GET second/ => 200 v2
# `core` is another word for the group without a name; host names mean nothing.
GET core/ => 200 v2
# A backend is its endpoints: routes of that Service have no say.
GET chain/ => 200 v2
GET chained/ => 200 v1
",
};

/// Routes of the Service's own namespace and of its clients'.
pub(super) const CONSUMERS: Group = Group {
    name: "consumers",
    services: "both=v1 solo=v1 home=v1 split=v1 far@other=o1 both@other=o1",
    routes: "
== HTTPRoute producer on both
    - {matches: [{path: {type: PathPrefix, value: /x}}, {path: {type: PathPrefix, value: /producer}}], filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-route, value: producer}]}}], backendRefs: [{name: v1, port: 80}]}
== HTTPRoute other/consumer on shop/both
    - {matches: [{path: {type: PathPrefix, value: /x}}, {path: {type: PathPrefix, value: /consumer}}], filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-route, value: consumer}]}}], backendRefs: [{name: v2, namespace: shop, port: 80}]}
== HTTPRoute other/solo on shop/solo
    - {backendRefs: [{name: o1, port: 80}]}
== HTTPRoute home on home
    - {filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-route, value: home}]}}], backendRefs: [{name: o1, namespace: other, port: 80}]}
== HTTPRoute other/by-port on shop/split:80
    - {backendRefs: [{name: v2, namespace: shop, port: 80}]}
",
    cases: "
GET both/x => 200 v1 answer:x-route=producer
@other GET both.shop/x => 200 v2 answer:x-route=consumer
# Sets are never merged: a consumer's takes the place of the producer's.
GET both/producer => 200 v1 answer:x-route=producer
GET both/consumer => 404 -
@other GET both.shop/consumer => 200 v2 answer:x-route=consumer
@other GET both.shop/producer => 404 -
# A Service of the same name in another namespace is another Service.
@other GET both.other/x => 200 o1 answer:x-route=-
GET both.other/x => 200 o1 answer:x-route=-
GET solo/ => 200 v1
@other GET solo.shop/ => 200 o1
# A producer's route is for the clients of all namespaces, and its backend may be in any, without a ReferenceGrant.
GET home/ => 200 o1 answer:x-route=home
@other GET home.shop/ => 200 o1 answer:x-route=home
@other GET split.shop/ => 200 v2
@other GET split.shop:8080/ => 200 v1
GET split/ => 200 v1
GET far.other/ => 200 o1
",
};

/// GRPCRoute before HTTPRoute before TLSRoute before TCPRoute, whichever is older.
pub(super) const KINDS: Group = Group {
    name: "kinds",
    services: "grpc-http http-tls http-tcp tls-tcp tcp tcp-http tcp-split tcp-none tls tls-none ports",
    routes: "
== HTTPRoute grpc-http on grpc-http, oldest
    - {backendRefs: [{name: v2, port: 7070}]}
== GRPCRoute grpc-http on grpc-http
    - {backendRefs: [{name: v1, port: 7070}]}
== TCPRoute http-tcp on http-tcp, oldest
    - {backendRefs: [{name: v2, port: 80}]}
== HTTPRoute http-tcp on http-tcp
    - {matches: [{path: {type: PathPrefix, value: /x}}], backendRefs: [{name: v1, port: 80}]}
== TCPRoute tls-tcp on tls-tcp:443, oldest
    - {backendRefs: [{name: v2, port: 443}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata:
  name: tls-tcp
  namespace: shop
spec:
  parentRefs: [{group: '', kind: Service, name: tls-tcp}, {group: '', kind: Service, name: tls}]
  hostnames: [never.looked.at]
  rules: [{backendRefs: [{name: v1, port: 443}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata:
  name: http-tls
  namespace: shop
spec:
  parentRefs: [{group: '', kind: Service, name: http-tls}]
  hostnames: [never.looked.at]
  rules: [{backendRefs: [{name: v2, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata:
  name: tls-none
  namespace: shop
spec:
  parentRefs: [{group: '', kind: Service, name: tls-none}]
  hostnames: [never.looked.at]
  rules: [{backendRefs: [{name: missing, port: 443}]}]
== HTTPRoute http-tls on http-tls
    - {matches: [{path: {type: PathPrefix, value: /x}}], backendRefs: [{name: v1, port: 80}]}
== TCPRoute tcp on tcp:9091
    - {backendRefs: [{name: v2, port: 9091}]}
== TCPRoute tcp-http on tcp-http:80
    - {backendRefs: [{name: v2, port: 80}]}
== TCPRoute tcp-split on tcp-split:9091
    - {backendRefs: [{name: v1, port: 9091, weight: 70}, {name: v2, port: 9091, weight: 30}]}
== TCPRoute tcp-none on tcp-none:9091
    - {backendRefs: [{name: missing, port: 9091}]}
== HTTPRoute ports-http on ports:80
    - {backendRefs: [{name: v1, port: 80}]}
== GRPCRoute ports-grpc on ports:7070
    - {backendRefs: [{name: v2, port: 7070}]}
== TCPRoute ports-tcp on ports:9091
    - {backendRefs: [{name: v2, port: 9091}]}
",
    cases: "
grpc grpc-http:7070/a.B/C => OK v1
GET http-tcp/x => 200 v1
GET http-tcp/y => 404 -
GET http-tls/x => 200 v1
GET http-tls/y => 404 -
tls tls-tcp:443/x => 200 v1
tls tls:443/x => 200 v1
tls tls:443/x host:other.example => 200 v1
tls tls-none:443/ => closed -
tcp tcp:9091 => open v2
tcp tcp-split:9091 => mixed v1:70 v2:30
tcp tcp-none:9091 => closed -
# HTTP that nobody looks into.
GET tcp-http/x => 200 v2
# On another port each kind is alone.
GET ports/ => 200 v1
grpc ports:7070/a.B/C => OK v2
tcp ports:9091 => open v2
",
};
