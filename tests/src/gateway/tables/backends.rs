//! Where a rule leads, and what becomes of its share when that is nowhere.

use super::Group;

/// Weights, and backends that are missing, empty or of no use.
pub(super) const BACKENDS: Group = Group {
    name: "backends",
    services: "web empty grpc",
    routes: "
---
apiVersion: v1
kind: Service
metadata:
  name: alias
  namespace: shop
spec:
  type: ExternalName
  externalName: example.org
== HTTPRoute web on web
    - {matches: [{path: {type: PathPrefix, value: /split}}], backendRefs: [{name: v1, port: 80, weight: 3}, {name: v2, port: 80, weight: 1}]}
    - {matches: [{path: {type: PathPrefix, value: /equal}}], backendRefs: [{name: v1, port: 80}, {name: v2, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /zero}}], backendRefs: [{name: v1, port: 80, weight: 0}, {name: v2, port: 80, weight: 1}]}
    - {matches: [{path: {type: PathPrefix, value: /all-zero}}], backendRefs: [{name: v1, port: 80, weight: 0}, {name: v2, port: 80, weight: 0}]}
    - {matches: [{path: {type: PathPrefix, value: /missing}}], backendRefs: [{name: missing, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /half-missing}}], backendRefs: [{name: missing, port: 80}, {name: v2, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /zero-missing}}], backendRefs: [{name: missing, port: 80, weight: 0}, {name: v2, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /no-port}}], backendRefs: [{name: v1, port: 81}]}
    - {matches: [{path: {type: PathPrefix, value: /no-namespace}}], backendRefs: [{name: v1, namespace: nowhere, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /no-kind}}], backendRefs: [{kind: Secret, name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /no-group}}], backendRefs: [{group: example.org, kind: Service, name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /no-backend}}]}
    - {matches: [{path: {type: PathPrefix, value: /empty}}], backendRefs: [{name: empty, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /alias}}], backendRefs: [{name: alias, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /elsewhere}}], backendRefs: [{name: o1, namespace: other, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /unknown-filter}}], filters: [{type: ExtensionRef, extensionRef: {group: example.org, kind: Any, name: any}}], backendRefs: [{name: v1, port: 80}]}
== HTTPRoute web-2 on web
    - {matches: [{path: {type: PathPrefix, value: /backend-filter}}], backendRefs: [{name: v1, port: 80, filters: [{type: ExtensionRef, extensionRef: {group: example.org, kind: Any, name: any}}]}]}
    - {matches: [{path: {type: PathPrefix, value: /backend-redirect}}], backendRefs: [{name: v1, port: 80, filters: [{type: RequestRedirect, requestRedirect: {hostname: new.example}}]}]}
== GRPCRoute grpc on grpc
    - {matches: [{method: {service: a.Filter}}], filters: [{type: ExtensionRef, extensionRef: {group: example.org, kind: Any, name: any}}], backendRefs: [{name: v1, port: 7070}]}
    - {matches: [{method: {service: a.BackendFilter}}], backendRefs: [{name: v1, port: 7070, filters: [{type: ExtensionRef, extensionRef: {group: example.org, kind: Any, name: any}}]}]}
    - {matches: [{method: {service: a.Missing}}], backendRefs: [{name: missing, port: 7070}]}
    - {matches: [{method: {service: a.Empty}}], backendRefs: [{name: empty, port: 7070}]}
    - {matches: [{method: {service: a.NoBackend}}]}
    - {matches: [{method: {service: a.Half}}], backendRefs: [{name: missing, port: 7070}, {name: v2, port: 7070}]}
    - {matches: [{method: {service: a.Zero}}], backendRefs: [{name: missing, port: 7070, weight: 0}, {name: v2, port: 7070}]}
",
    cases: "
GET web/split => mixed v1:75 v2:25
h1 GET web/equal => mixed v1:50 v2:50
h1 GET web/zero => mixed v2:100
GET web/all-zero => 500 - code=E021
GET web/missing => 500 - code=E021
h1 GET web/half-missing => mixed 500:50 v2:50
h1 GET web/zero-missing => mixed v2:100
GET web/no-port => 500 - code=E021
GET web/no-namespace => 500 - code=E021
GET web/no-kind => 500 - code=E021
GET web/no-group => 500 - code=E021
GET web/no-backend => 500 - code=E021
GET web/empty => 503 - code=E002
GET empty/ => 503 - code=E002
GET web/alias => 500 - code=E021
GET web/elsewhere => 200 o1
# A filter that cannot be applied is never skipped.
GET web/unknown-filter => 500 - code=E021
GET web/backend-filter => 500 - code=E021
GET web/backend-redirect => 500 - code=E021
grpc grpc:7070/a.Filter/M => UNAVAILABLE - code=E021
grpc grpc:7070/a.BackendFilter/M => UNAVAILABLE - code=E021
grpc grpc:7070/a.Missing/M => UNAVAILABLE - code=E021
grpc grpc:7070/a.Empty/M => UNAVAILABLE - code=E002
grpc grpc:7070/a.NoBackend/M => UNAVAILABLE - code=E021
grpc grpc:7070/a.Nobody/M => UNIMPLEMENTED - code=E001
grpc grpc:7070/a.Half/M => mixed v2:50 200:50
grpc grpc:7070/a.Zero/M => OK v2
grpc web:7070/missing.S/M => UNIMPLEMENTED - code=E001
grpc web:7070/missing => UNAVAILABLE - code=E021
",
};
