//! GRPCRoute, and gRPC through an HTTPRoute.

use super::Group;

/// Methods and metadata.
pub(super) const GRPC: Group = Group {
    name: "grpc",
    services: "methods order http rest",
    routes: "
== GRPCRoute methods on methods:7070
    - {matches: [{method: {service: shop.Cart}}], backendRefs: [{name: v1, port: 7070}]}
    - {matches: [{method: {method: Ping}}], backendRefs: [{name: v2, port: 7070}]}
    - {matches: [{method: {service: shop.Orders, method: Add}}], backendRefs: [{name: v2, port: 7070}]}
    - {matches: [{method: {type: RegularExpression, service: 'stock\\.v[0-9]+\\..*'}}], backendRefs: [{name: v2, port: 7070}]}
    - {matches: [{method: {type: RegularExpression, service: 'tax\\.(A|B)', method: 'Get.*'}}], backendRefs: [{name: v1, port: 7070}]}
    - {matches: [{headers: [{name: tier, value: gold}]}, {headers: [{type: RegularExpression, name: tier, value: 'silver-[0-9]'}, {name: x-b, value: c}]}], backendRefs: [{name: v2, port: 7070}]}
== GRPCRoute order on order:7070
    - {backendRefs: [{name: v1, port: 7070}]}
    - {matches: [{method: {method: Find}, headers: [{name: x-a, value: b}, {name: x-b, value: b}]}], backendRefs: [{name: v1, port: 7070}]}
    - {matches: [{method: {service: a.Service}}], backendRefs: [{name: v2, port: 7070}]}
    - {matches: [{method: {service: a.Service, method: Add}}], backendRefs: [{name: v1, port: 7070}]}
    - {matches: [{method: {service: a.Service}, headers: [{name: x-a, value: b}]}], backendRefs: [{name: o1, namespace: other, port: 7070}]}
    - {matches: [{method: {service: tie.Service}}], backendRefs: [{name: v2, port: 7070}]}
    - {matches: [{method: {service: tie.Service}}], backendRefs: [{name: v1, port: 7070}]}
== GRPCRoute rest on rest:7070
    - {filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: rule}], add: [{name: x-add, value: rule}], remove: [x-gone]}}, {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-answer, value: rule}]}}], backendRefs: [{name: v1, port: 7070, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: x-add, value: backend}]}}, {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-back, value: backend}]}}]}]}
== HTTPRoute http on http
    - {matches: [{path: {type: PathPrefix, value: /shop.Cart}}], backendRefs: [{name: v1, port: 7070}]}
    - {matches: [{path: {type: Exact, value: /shop.Orders/Add}}], backendRefs: [{name: v2, port: 7070}]}
",
    cases: "
grpc methods:7070/shop.Cart/Add => OK v1
grpc methods:7070/shop.Cart/Other => OK v1
grpc methods:7070/shop.Carts/Add => UNIMPLEMENTED - code=E001
grpc methods:7070/shop.cart/Add => UNIMPLEMENTED -
grpc methods:7070/any.Service/Ping => OK v2
grpc methods:7070/any.Service/Pong => UNIMPLEMENTED -
grpc methods:7070/shop.Orders/Add => OK v2
grpc methods:7070/shop.Orders/Remove => UNIMPLEMENTED -
grpc methods:7070/stock.v12.Items/Any => OK v2
grpc methods:7070/stock.vx.Items/Any => UNIMPLEMENTED -
grpc methods:7070/restock.v1.Items/Any => UNIMPLEMENTED -
grpc methods:7070/tax.A/GetAll => OK v1
grpc methods:7070/tax.C/GetAll => UNIMPLEMENTED -
grpc methods:7070/tax.A/Set => UNIMPLEMENTED -
grpc methods:7070/any.Service/Any tier:gold => OK v2
grpc methods:7070/any.Service/Any tier:golden => UNIMPLEMENTED -
grpc methods:7070/any.Service/Any tier:silver-1 x-b:c => OK v2
grpc methods:7070/any.Service/Any tier:silver-1 => UNIMPLEMENTED -
# Another port is plain Kubernetes, and this Service has no endpoints.
grpc methods/shop.Cart/Add => UNAVAILABLE - code=E002
# Most characters of the service, then of the method, then most headers, then order.
grpc order:7070/a.Service/Find x-a:b x-b:b => OK o1
grpc order:7070/a.Service/Find => OK v2
grpc order:7070/a.Service/Add x-a:b => OK v1
grpc order:7070/b.Service/Find x-a:b x-b:b => OK v1
grpc order:7070/tie.Service/Any => OK v2
grpc order:7070/other.Service/Any => OK v1
grpc rest:7070/a.S/M x-set:old x-add:old x-gone:old => OK v1 seen:x-set=rule seen:x-add=old,rule,backend seen:x-gone=- answer:x-answer=rule answer:x-back=backend
grpc http:7070/shop.Cart/Add => OK v1
grpc http:7070/shop.Orders/Add => OK v2
grpc http:7070/shop.Orders/Remove => UNIMPLEMENTED - code=E001
grpc http/shop.Cart/Add => OK v1
",
};
