//! Every field of a route's spec in the standard channel of the Gateway API v1.7.0, and what else is read. A row is for the field and for
//! all that is in it; `tests/src/peers/tests.rs` compares them with the custom resources themselves.

/// `kinds | field | what is supported | since | test`: kinds by the first letter of HTTP, GRPC, TLS and TCP (`C`); a test as a table of
/// `tests/src/gateway`, or as `file::function`.
pub(super) const FIELDS: &str = r#"
HGTC | parentRefs[].group | `""`, and `core` as another word for it | 0.1.0 | parents
HGTC | parentRefs[].kind | `Service`; parents of other kinds are ignored (their controllers handle them) | 0.1.0 | parents
HGTC | parentRefs[].name | yes | 0.1.0 | parents
HGTC | parentRefs[].namespace | any: with another namespace than its own the route is for that namespace's clients only | 0.1.0 | consumers
HGTC | parentRefs[].port | yes | 0.1.0 | parents
HGTC | parentRefs[].sectionName | the port's name | 0.1.0 | parents
HG | hostnames[] | ignored, as a Service is matched by its address; `Accepted` says so | 0.1.0 | parents
T | hostnames[] | ignored, as a Service is matched by its address; `Accepted` says so | 0.1.0 | kinds
HG | rules[].name | in metrics, logs, traces and errors | 0.1.0 | tests/tests/netns/routing.rs::a_request_timeout_ends_at_its_time_and_names_its_rule
TC | rules[].name | in metrics and logs; bytes have no traces | 0.1.0 | tests/tests/netns/opaque.rs::a_copied_connection_is_told_with_its_rule_its_peers_and_its_bytes
H | rules[].matches[].path.type | `Exact`, `PathPrefix`, `RegularExpression` (the whole path, in linear time) | 0.1.0 | paths
H | rules[].matches[].path.value | yes | 0.1.0 | paths
H | rules[].matches[].headers[].name | yes; `host` too | 0.1.0 | conditions
H | rules[].matches[].headers[].type | `Exact`, `RegularExpression` (the whole value) | 0.1.0 | conditions
H | rules[].matches[].headers[].value | yes | 0.1.0 | conditions
H | rules[].matches[].queryParams[].name | yes | 0.1.0 | conditions
H | rules[].matches[].queryParams[].type | `Exact`, `RegularExpression` (the whole value) | 0.1.0 | conditions
H | rules[].matches[].queryParams[].value | yes | 0.1.0 | conditions
H | rules[].matches[].method | yes | 0.1.0 | conditions
G | rules[].matches[].method.type | `Exact`, `RegularExpression` (the whole name) | 0.1.0 | grpc
G | rules[].matches[].method.service | yes | 0.1.0 | grpc
G | rules[].matches[].method.method | yes | 0.1.0 | grpc
G | rules[].matches[].headers[].name | yes | 0.1.0 | grpc
G | rules[].matches[].headers[].type | `Exact`, `RegularExpression` (the whole value) | 0.1.0 | grpc
G | rules[].matches[].headers[].value | yes | 0.1.0 | grpc
H | rules[].filters[].type | all but `ExtensionRef` | 0.1.0 | backends
G | rules[].filters[].type | all but `ExtensionRef` | 0.1.0 | grpc
H | rules[].filters[].requestHeaderModifier | `set`, `add`, `remove` | 0.1.0 | headers
G | rules[].filters[].requestHeaderModifier | `set`, `add`, `remove` | 0.1.0 | grpc
H | rules[].filters[].responseHeaderModifier | `set`, `add`, `remove` | 0.1.0 | headers
G | rules[].filters[].responseHeaderModifier | `set`, `add`, `remove` | 0.1.0 | grpc
H | rules[].filters[].requestRedirect.scheme | `http`, `https` | 0.1.0 | redirects
H | rules[].filters[].requestRedirect.hostname | yes | 0.1.0 | redirects
H | rules[].filters[].requestRedirect.port | yes; without it the scheme's, or the one that was dialled; `:80` and `:443` are left out | 0.1.0 | redirects
H | rules[].filters[].requestRedirect.path | `ReplaceFullPath`, `ReplacePrefixMatch` | 0.1.0 | redirects
H | rules[].filters[].requestRedirect.statusCode | 301, 302, 303, 307, 308 | 0.1.0 | redirects
H | rules[].filters[].urlRewrite.hostname | yes | 0.1.0 | rewrites
H | rules[].filters[].urlRewrite.path | `ReplaceFullPath`, `ReplacePrefixMatch` | 0.1.0 | rewrites
H | rules[].filters[].requestMirror | several; `percent`, `fraction`; Services of all namespaces | 0.1.0 | mirrors
G | rules[].filters[].requestMirror | several; `percent`, `fraction`; Services of all namespaces | 0.1.0 | mirrors
H | rules[].filters[].cors | yes | 0.1.0 | cors
HG | rules[].filters[].extensionRef | no: requests of the rule get E021, `PartiallyInvalid` names it | | backends
HG | rules[].backendRefs[].group | `""`, and `core` as another word for it; others take their share with E021 | 0.1.0 | backends
TC | rules[].backendRefs[].group | `""`, and `core` as another word for it; connections of others are closed | 0.1.0 | kinds
HG | rules[].backendRefs[].kind | `Service`; others take their share with E021 | 0.1.0 | backends
TC | rules[].backendRefs[].kind | `Service`; connections of others are closed | 0.1.0 | kinds
HG | rules[].backendRefs[].name | yes | 0.1.0 | backends
TC | rules[].backendRefs[].name | yes | 0.1.0 | kinds
HG | rules[].backendRefs[].namespace | any, without a ReferenceGrant | 0.1.0 | consumers
TC | rules[].backendRefs[].namespace | any, without a ReferenceGrant | 0.1.0 | consumers
HG | rules[].backendRefs[].port | yes | 0.1.0 | backends
TC | rules[].backendRefs[].port | yes | 0.1.0 | kinds
HG | rules[].backendRefs[].weight | yes | 0.1.0 | backends
TC | rules[].backendRefs[].weight | yes, by connection | 0.1.0 | kinds
H | rules[].backendRefs[].filters[].type | all but `RequestRedirect` and `ExtensionRef` | 0.1.0 | headers
G | rules[].backendRefs[].filters[].type | all but `ExtensionRef` | 0.1.0 | grpc
H | rules[].backendRefs[].filters[].requestHeaderModifier | `set`, `add`, `remove`; after those of the rule | 0.1.0 | headers
G | rules[].backendRefs[].filters[].requestHeaderModifier | `set`, `add`, `remove`; after those of the rule | 0.1.0 | grpc
H | rules[].backendRefs[].filters[].responseHeaderModifier | `set`, `add`, `remove`; before those of the rule | 0.1.0 | headers
G | rules[].backendRefs[].filters[].responseHeaderModifier | `set`, `add`, `remove`; before those of the rule | 0.1.0 | grpc
H | rules[].backendRefs[].filters[].urlRewrite | as in a rule | 0.1.0 | rewrites
HG | rules[].backendRefs[].filters[].requestMirror | as in a rule | 0.1.0 | mirrors
H | rules[].backendRefs[].filters[].cors | as in a rule | 0.1.0 | cors
H | rules[].backendRefs[].filters[].requestRedirect | no: requests of the rule get E021, `PartiallyInvalid` names it | | backends
HG | rules[].backendRefs[].filters[].extensionRef | no: requests of the rule get E021, `PartiallyInvalid` names it | | backends
H | rules[].timeouts.request | yes; `0s` is no limit | 0.1.0 | timeouts
H | rules[].timeouts.backendRequest | yes; `0s` is no limit | 0.1.0 | timeouts
H | rules[].retry.codes[] | 400 to 599 | 0.1.0 | retries
H | rules[].retry.attempts | yes; 1 when unset, 0 for none; always within the retry budget | 0.1.0 | retries
H | rules[].retry.backoff | the least wait | 0.1.0 | retries
"#;
