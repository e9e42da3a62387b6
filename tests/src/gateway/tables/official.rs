//! The routes of the official suite's tests for meshes, with what it does not look at: Location, rewritten path, host, method, HTTP/2.
//! Its cases are in `conformance/tests/mesh` of the module `sigs.k8s.io/gateway-api/conformance`.

use super::Group;

/// Where requests go.
pub(super) const ROUTING: Group = Group {
    name: "official_routing",
    services: "basic=v1 simple matching split weight query named front=v2 plain=v1 ports=v1 all-ports=v2 consumed=v1 grpc-weight",
    routes: "
== HTTPRoute simple on simple:80
    - {backendRefs: [{name: v1, port: 8080}]}
== HTTPRoute matching on matching:80
    - {backendRefs: [{name: v1, port: 8080}], matches: [{path: {type: PathPrefix, value: /}}, {headers: [{name: version, value: one}]}]}
    - {backendRefs: [{name: v2, port: 8080}], matches: [{path: {type: PathPrefix, value: /v2}}, {headers: [{name: version, value: two}]}]}
== HTTPRoute split on split
    - {backendRefs: [{name: v1, port: 80}], matches: [{path: {type: Exact, value: /v1}}]}
    - {backendRefs: [{name: v2, port: 80}], matches: [{path: {type: Exact, value: /v2}}]}
== HTTPRoute weight on weight:80
    - {backendRefs: [{name: v1, port: 8080, weight: 70}, {name: v2, port: 8080, weight: 30}]}
== HTTPRoute query on query:80
    - {backendRefs: [{name: v1, port: 8080}], matches: [{queryParams: [{name: animal, value: whale}]}]}
    - {backendRefs: [{name: v2, port: 8080}], matches: [{queryParams: [{name: animal, value: dolphin}]}]}
    - {backendRefs: [{name: v1, port: 8080}], matches: [{path: {type: PathPrefix, value: /path1}, queryParams: [{name: animal, value: whale}]}]}
    - {backendRefs: [{name: v2, port: 8080}], matches: [{headers: [{name: version, value: one}], queryParams: [{name: animal, value: whale}]}]}
    - {backendRefs: [{name: v1, port: 8080}], matches: [{path: {type: PathPrefix, value: /path3}, queryParams: [{name: animal, value: shark}]}, {headers: [{name: version, value: three}], path: {type: PathPrefix, value: /path4}, queryParams: [{name: animal, value: kraken}]}]}
    - {backendRefs: [{name: v1, port: 8080}], matches: [{path: {type: PathPrefix, value: /path5}}]}
    - {backendRefs: [{name: v2, port: 8080}], matches: [{queryParams: [{name: animal, value: hydra}]}]}
== HTTPRoute named on named:80
    - {backendRefs: [{name: v1, port: 8080}], matches: [{path: {type: PathPrefix, value: /named}}], name: named-rule}
    - {backendRefs: [{name: v2, port: 8080}], matches: [{path: {type: PathPrefix, value: /unnamed}}]}
== HTTPRoute front on front
    - {backendRefs: [{name: v2, port: 80}], filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: X-Header-Set, value: set}]}}]}
== HTTPRoute ports on ports:80
    - {backendRefs: [{name: v1, port: 80}], filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: X-Header-Set, value: v1}]}}]}
== HTTPRoute all-ports on all-ports
    - {backendRefs: [{name: v2, port: 80}], filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: X-Header-Set, value: v2}]}}]}
== HTTPRoute other/consumed on shop/consumed
    - {backendRefs: [{name: v1, namespace: shop, port: 80}], filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: X-Header-Set, value: set}]}}]}
== GRPCRoute weight on grpc-weight:7070
    - {backendRefs: [{name: v1, port: 7070, weight: 70}, {name: v2, port: 7070, weight: 30}, {name: v3, port: 7070, weight: 0}]}
",
    cases: "
GET basic/ => 200 v1
GET simple/ => 200 v1
# MeshHTTPRouteMatching
GET matching/ => 200 v1
GET matching/example => 200 v1
GET matching/ version:one => 200 v1
GET matching/v2 => 200 v2
GET matching/v2/ => 200 v2
GET matching/v2/example => 200 v2
GET matching/ version:two => 200 v2
GET matching/v2example => 200 v1
GET matching/foo/v2/example => 200 v1
# MeshTrafficSplit, MeshHTTPRouteWeight
GET split/v1 => 200 v1
GET split/v2 => 200 v2
GET split/v3 => 404 - code=E001
GET weight/ => mixed v1:70 v2:30
# MeshHTTPRouteQueryParamMatching
GET query/?animal=whale => 200 v1
GET query/?animal=dolphin => 200 v2
GET query/?animal=whale&otherparam=irrelevant => 200 v1
GET query/?animal=dolphin&color=yellow => 200 v2
GET query/?color=blue => 404 -
GET query/?animal=dog => 404 -
GET query/?animal=whaledolphin => 404 -
GET query/ => 404 -
GET query/path1?animal=whale => 200 v1
GET query/?animal=whale version:one => 200 v2
GET query/path3?animal=shark => 200 v1
GET query/path4?animal=kraken version:three => 200 v1
GET query/?animal=shark => 404 -
GET query/path4?animal=kraken => 404 -
GET query/path5?animal=hydra => 200 v1
# MeshHTTPRouteNamedRule
GET named/named => 200 v1
GET named/unnamed => 200 v2
# MeshFrontend, MeshFrontendHostname: by the address that was dialled, never by Host
GET front/ => 200 v2 answer:x-header-set=set
GET pod.v2:8080/ => 200 v2 answer:x-header-set=-
GET front/ host:plain => 200 v2 answer:x-header-set=set
GET plain/ host:front => 200 v1 answer:x-header-set=-
# MeshPorts
GET ports/ => 200 v1 answer:x-header-set=v1
GET ports:8080/ => 200 v1 answer:x-header-set=-
GET all-ports/ => 200 v2 answer:x-header-set=v2
GET all-ports:8080/ => 200 v2 answer:x-header-set=v2
# MeshConsumerRoute
@other GET consumed.shop/ => 200 v1 answer:x-header-set=set
GET consumed/ => 200 v1 answer:x-header-set=-
# MeshGRPCRouteWeight: one of weight 0 does not exist
grpc grpc-weight:7070/proto.EchoTestService/Echo => mixed v1:70 v2:30
",
};

/// What filters do.
pub(super) const FILTERS: Group = Group {
    name: "official_filters",
    services: "rule backend rewrite hosts paths ports schemes statuses grpc",
    routes: "
== HTTPRoute rule on rule:80
    - {matches: [{path: {type: PathPrefix, value: /set}}], filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Header-Set, value: set-overwrites-values}]}}], backendRefs: [{name: v1, port: 8080}]}
    - {matches: [{path: {type: PathPrefix, value: /add}}], filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: X-Header-Add, value: add-appends-values}]}}], backendRefs: [{name: v1, port: 8080}]}
    - {matches: [{path: {type: PathPrefix, value: /remove}}], filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [X-Header-Remove]}}], backendRefs: [{name: v1, port: 8080}]}
    - {matches: [{path: {type: PathPrefix, value: /multiple}}], filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Header-Set-1, value: header-set-1}, {name: X-Header-Set-2, value: header-set-2}], add: [{name: X-Header-Add-1, value: header-add-1}, {name: X-Header-Add-2, value: header-add-2}, {name: X-Header-Add-3, value: header-add-3}], remove: [X-Header-Remove-1, X-Header-Remove-2]}}], backendRefs: [{name: v1, port: 8080}]}
    - {matches: [{path: {type: PathPrefix, value: /case-insensitivity}}], filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Header-Set, value: header-set}], add: [{name: X-Header-Add, value: header-add}], remove: [X-Header-Remove]}}], backendRefs: [{name: v1, port: 8080}]}
== HTTPRoute backend on backend:80
    - {matches: [{path: {type: PathPrefix, value: /set}}], backendRefs: [{name: v1, port: 8080, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Header-Set, value: set-overwrites-values}]}}]}]}
    - {matches: [{path: {type: PathPrefix, value: /add}}], backendRefs: [{name: v1, port: 8080, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: X-Header-Add, value: add-appends-values}]}}]}]}
    - {matches: [{path: {type: PathPrefix, value: /remove}}], backendRefs: [{name: v1, port: 8080, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [X-Header-Remove]}}]}]}
    - {matches: [{path: {type: PathPrefix, value: /multiple}}], backendRefs: [{name: v1, port: 8080, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Header-Set-1, value: header-set-1}, {name: X-Header-Set-2, value: header-set-2}], add: [{name: X-Header-Add-1, value: header-add-1}, {name: X-Header-Add-2, value: header-add-2}, {name: X-Header-Add-3, value: header-add-3}], remove: [X-Header-Remove-1, X-Header-Remove-2]}}]}]}
    - {matches: [{path: {type: PathPrefix, value: /case-insensitivity}}], backendRefs: [{name: v1, port: 8080, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Header-Set, value: header-set}], add: [{name: X-Header-Add, value: header-add}], remove: [X-Header-Remove]}}]}]}
== HTTPRoute rewrite on rewrite:80
    - {matches: [{path: {type: PathPrefix, value: /prefix/one}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /one}}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /strip-prefix}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /full/one}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /one}}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /full/rewrite-path-and-modify-headers}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /test}}}, {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Header-Set, value: set-overwrites-values}], add: [{name: X-Header-Add, value: header-val-1}, {name: X-Header-Add-Append, value: header-val-2}], remove: [X-Header-Remove]}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /prefix/rewrite-path-and-modify-headers}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /prefix}}}, {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Header-Set, value: set-overwrites-values}], add: [{name: X-Header-Add, value: header-val-1}, {name: X-Header-Add-Append, value: header-val-2}], remove: [X-Header-Remove]}}], backendRefs: [{name: v1, port: 80}]}
== HTTPRoute hosts on hosts:80
    - {matches: [{path: {type: PathPrefix, value: /hostname-redirect}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: example.org}}]}
    - {matches: [{path: {type: PathPrefix, value: /host-and-status}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: example.org, statusCode: 301}}]}
== HTTPRoute paths on paths:80
    - {matches: [{path: {type: PathPrefix, value: /original-prefix}}], filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /replacement-prefix}}}]}
    - {matches: [{path: {type: PathPrefix, value: /full}}], filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /full-path-replacement}}}]}
    - {matches: [{path: {type: PathPrefix, value: /path-and-host}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: example.org, path: {type: ReplacePrefixMatch, replacePrefixMatch: /replacement-prefix}}}]}
    - {matches: [{path: {type: PathPrefix, value: /path-and-status}}], filters: [{type: RequestRedirect, requestRedirect: {statusCode: 301, path: {type: ReplacePrefixMatch, replacePrefixMatch: /replacement-prefix}}}]}
    - {matches: [{path: {type: PathPrefix, value: /full-path-and-host}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: example.org, path: {type: ReplaceFullPath, replaceFullPath: /replacement-full}}}]}
    - {matches: [{path: {type: PathPrefix, value: /full-path-and-status}}], filters: [{type: RequestRedirect, requestRedirect: {statusCode: 301, path: {type: ReplaceFullPath, replaceFullPath: /replacement-full}}}]}
== HTTPRoute ports on ports:80
    - {matches: [{path: {type: PathPrefix, value: /port}}], filters: [{type: RequestRedirect, requestRedirect: {port: 8083}}]}
    - {matches: [{path: {type: PathPrefix, value: /port-and-host}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: example.org, port: 8083}}]}
    - {matches: [{path: {type: PathPrefix, value: /port-and-status}}], filters: [{type: RequestRedirect, requestRedirect: {port: 8083, statusCode: 301}}]}
    - {matches: [{path: {type: PathPrefix, value: /port-and-host-and-status}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: example.org, port: 8083, statusCode: 302}}]}
== HTTPRoute schemes on schemes:80
    - {matches: [{path: {type: PathPrefix, value: /scheme}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]}
    - {matches: [{path: {type: PathPrefix, value: /scheme-and-host}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: example.org, scheme: https}}]}
    - {matches: [{path: {type: PathPrefix, value: /scheme-and-status}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}]}
    - {matches: [{path: {type: PathPrefix, value: /scheme-and-host-and-status}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: example.org, scheme: https, statusCode: 302}}]}
== HTTPRoute statuses on statuses:80
    - {matches: [{path: {type: PathPrefix, value: /redirect}}], filters: [{type: RequestRedirect, requestRedirect: {statusCode: 303}}]}
    - {matches: [{path: {type: PathPrefix, value: /temporary}}], filters: [{type: RequestRedirect, requestRedirect: {statusCode: 307}}]}
    - {matches: [{path: {type: PathPrefix, value: /permanent}}], filters: [{type: RequestRedirect, requestRedirect: {statusCode: 308}}]}
== GRPCRoute grpc on grpc:7070
    - {matches: [{headers: [{name: x-test-case, value: set}]}], filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-header-set, value: set-overwrites-values}]}}], backendRefs: [{name: v1, port: 7070}]}
    - {matches: [{headers: [{name: x-test-case, value: add}]}], filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: x-header-add, value: add-appends-values}]}}], backendRefs: [{name: v1, port: 7070}]}
    - {matches: [{headers: [{name: x-test-case, value: remove}]}], filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [x-header-remove]}}], backendRefs: [{name: v1, port: 7070}]}
    - {matches: [{headers: [{name: x-test-case, value: multi}]}], filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-header-set-1, value: header-set-1}, {name: x-header-set-2, value: header-set-2}], add: [{name: x-header-add-1, value: header-add-1}, {name: x-header-add-2, value: header-add-2}], remove: [x-header-remove-1, x-header-remove-2]}}], backendRefs: [{name: v2, port: 7070}]}
",
    cases: "
# MeshHTTPRouteRequestHeaderModifier
GET rule/set Some-Other-Header:val => 200 v1 seen:some-other-header=val seen:x-header-set=set-overwrites-values
GET rule/set Some-Other-Header:val X-Header-Set:some-other-value => 200 v1 seen:some-other-header=val seen:x-header-set=set-overwrites-values
GET rule/add Some-Other-Header:val => 200 v1 seen:some-other-header=val seen:x-header-add=add-appends-values
GET rule/add Some-Other-Header:val X-Header-Add:some-other-value => 200 v1 seen:x-header-add=some-other-value,add-appends-values
GET rule/remove X-Header-Remove:val => 200 v1 seen:x-header-remove=-
GET rule/multiple X-Header-Set-2:set-val-2 X-Header-Add-2:add-val-2 X-Header-Remove-2:remove-val-2 Another-Header:another-header-val => 200 v1 seen:x-header-set-1=header-set-1 seen:x-header-set-2=header-set-2 seen:x-header-add-1=header-add-1 seen:x-header-add-2=add-val-2,header-add-2 seen:x-header-add-3=header-add-3 seen:another-header=another-header-val seen:x-header-remove-1=- seen:x-header-remove-2=-
GET rule/case-insensitivity x-header-set:original-val-set x-header-add:original-val-add x-header-remove:original-val-remove Another-Header:another-header-val => 200 v1 seen:x-header-set=header-set seen:x-header-add=original-val-add,header-add seen:x-header-remove=- seen:another-header=another-header-val
# MeshHTTPRouteBackendRequestHeaderModifier
GET backend/set Some-Other-Header:val => 200 v1 seen:some-other-header=val seen:x-header-set=set-overwrites-values
GET backend/set Some-Other-Header:val X-Header-Set:some-other-value => 200 v1 seen:some-other-header=val seen:x-header-set=set-overwrites-values
GET backend/add Some-Other-Header:val => 200 v1 seen:some-other-header=val seen:x-header-add=add-appends-values
GET backend/add Some-Other-Header:val X-Header-Add:some-other-value => 200 v1 seen:x-header-add=some-other-value,add-appends-values
GET backend/remove X-Header-Remove:val => 200 v1 seen:x-header-remove=-
GET backend/multiple X-Header-Set-2:set-val-2 X-Header-Add-2:add-val-2 X-Header-Remove-2:remove-val-2 Another-Header:another-header-val => 200 v1 seen:x-header-set-1=header-set-1 seen:x-header-set-2=header-set-2 seen:x-header-add-1=header-add-1 seen:x-header-add-2=add-val-2,header-add-2 seen:x-header-add-3=header-add-3 seen:another-header=another-header-val seen:x-header-remove-1=- seen:x-header-remove-2=-
GET backend/case-insensitivity x-header-set:original-val-set x-header-add:original-val-add x-header-remove:original-val-remove Another-Header:another-header-val => 200 v1 seen:x-header-set=header-set seen:x-header-add=original-val-add,header-add seen:x-header-remove=- seen:another-header=another-header-val
# MeshHTTPRouteRewritePath
GET rewrite/prefix/one/two => 200 v1 path=/one/two
GET rewrite/strip-prefix/three => 200 v1 path=/three
GET rewrite/strip-prefix => 200 v1 path=/
GET rewrite/full/one/two => 200 v1 path=/one
GET rewrite/full/rewrite-path-and-modify-headers/test X-Header-Remove:remove-val X-Header-Add-Append:append-val-1 X-Header-Set:set-val => 200 v1 path=/test seen:x-header-add=header-val-1 seen:x-header-add-append=append-val-1,header-val-2 seen:x-header-set=set-overwrites-values seen:x-header-remove=-
GET rewrite/prefix/rewrite-path-and-modify-headers/one X-Header-Remove:remove-val X-Header-Add-Append:append-val-1 X-Header-Set:set-val => 200 v1 path=/prefix/one seen:x-header-add=header-val-1 seen:x-header-add-append=append-val-1,header-val-2 seen:x-header-set=set-overwrites-values seen:x-header-remove=-
# MeshHTTPRouteRedirectHostAndStatus
GET hosts/hostname-redirect => 302 - location=http://example.org/hostname-redirect
GET hosts/host-and-status => 301 - location=http://example.org/host-and-status
# MeshHTTPRouteRedirectPath
GET paths/original-prefix/lemon => 302 - location=http://paths/replacement-prefix/lemon
GET paths/full/path/original => 302 - location=http://paths/full-path-replacement
GET paths/path-and-host => 302 - location=http://example.org/replacement-prefix
GET paths/path-and-status => 301 - location=http://paths/replacement-prefix
GET paths/full-path-and-host => 302 - location=http://example.org/replacement-full
GET paths/full-path-and-status => 301 - location=http://paths/replacement-full
# MeshHTTPRouteRedirectPort
GET ports/port => 302 - location=http://ports:8083/port
GET ports/port-and-host => 302 - location=http://example.org:8083/port-and-host
GET ports/port-and-status => 301 - location=http://ports:8083/port-and-status
GET ports/port-and-host-and-status => 302 - location=http://example.org:8083/port-and-host-and-status
# MeshHTTPRouteSchemeRedirect
GET schemes/scheme => 302 - location=https://schemes/scheme
GET schemes/scheme-and-host => 302 - location=https://example.org/scheme-and-host
GET schemes/scheme-and-status => 301 - location=https://schemes/scheme-and-status
GET schemes/scheme-and-host-and-status => 302 - location=https://example.org/scheme-and-host-and-status
# MeshHTTPRoute303Redirect, 307, 308
GET statuses/redirect => 303 - location=http://statuses/redirect
GET statuses/temporary => 307 - location=http://statuses/temporary
GET statuses/permanent => 308 - location=http://statuses/permanent
# MeshGRPCRouteRequestHeaderModifier
grpc grpc:7070/proto.EchoTestService/Echo x-test-case:set x-header-set:old => OK v1 seen:x-header-set=set-overwrites-values
grpc grpc:7070/proto.EchoTestService/Echo x-test-case:add x-header-add:some-other-value => OK v1 seen:x-header-add=some-other-value,add-appends-values
grpc grpc:7070/proto.EchoTestService/Echo x-test-case:remove x-header-remove:val => OK v1 seen:x-header-remove=-
grpc grpc:7070/proto.EchoTestService/Echo x-test-case:multi x-header-set-2:old x-header-add-2:old x-header-remove-2:old => OK v2 seen:x-header-set-1=header-set-1 seen:x-header-set-2=header-set-2 seen:x-header-add-1=header-add-1 seen:x-header-add-2=old,header-add-2 seen:x-header-remove-2=-
",
};
