//! Which requests a rule is for, and which of several rules has a request.

use super::Group;

/// Paths: exact, by element, by pattern.
pub(super) const PATHS: Group = Group {
    name: "paths",
    services: "web",
    routes: "
== HTTPRoute paths on web
    - {matches: [{path: {type: Exact, value: /exact}}], backendRefs: [{name: v2, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /v2}}, {path: {type: PathPrefix, value: /slash/}}], backendRefs: [{name: v2, port: 80}]}
    - {matches: [{path: {type: RegularExpression, value: '/item/[0-9]+'}}], backendRefs: [{name: v2, port: 80}]}
    - {matches: [{path: {value: /default-type}}, {path: {type: Exact, value: /item}}], backendRefs: [{name: v1, port: 80}]}
",
    cases: "
GET web/exact => 200 v2
GET web/exact?q=1 => 200 v2
GET web/exact/ => 404 - code=E001
GET web/exact/more => 404 -
GET web/EXACT => 404 -
GET web/v2 => 200 v2
GET web/v2/ => 200 v2
GET web/v2/a/b?c=d => 200 v2
GET web/v2?c=d => 200 v2
GET web/v2a => 404 -
GET web/foo/v2 => 404 -
GET web/V2 => 404 -
GET web/slash => 200 v2
GET web/slash/ => 200 v2
GET web/slash/a => 200 v2
GET web/slasha => 404 -
GET web/item/12 => 200 v2
GET web/item/12?q=1 => 200 v2
GET web/item/12/more => 404 -
GET web/item/x => 404 -
GET web/an/item/12 => 404 -
GET web/item => 200 v1
GET web/default-type/x => 200 v1
GET web/ => 404 -
# What the rules saw is what the application gets, where the target as it was written is of another rule.
GET web/a/../exact => 200 v2 path=/exact
# This one redirects what it takes for untidy, as without a mesh.
GET web/v2/./b => 307 - location=/v2/b
GET web/v2/x/../b => 307 - location=/v2/b
GET web/v2/../item => 200 v1 path=/item
GET web/v2/%2e%2e/item => 200 v1 path=/item
GET web/v2%2f..%2fitem => 400 - code=E016
GET web/v2/a%20b => 200 v2
",
};

/// Headers, query parameters and methods, alone and together.
pub(super) const CONDITIONS: Group = Group {
    name: "conditions",
    services: "headers query methods",
    routes: "
== HTTPRoute headers on headers
    - {matches: [{headers: [{name: version, value: two}]}], backendRefs: [{name: v2, port: 80}]}
    - {matches: [{headers: [{name: X-Color, value: blue}, {name: x-size, value: big}]}], backendRefs: [{name: v2, port: 80}]}
    - {matches: [{headers: [{type: RegularExpression, name: cookie, value: '(.*; )?canary=(yes|always)(;.*)?'}]}], backendRefs: [{name: v2, port: 80}]}
    - {matches: [{headers: [{name: host, value: special.example}]}], backendRefs: [{name: v2, port: 80}]}
    - {matches: [{headers: [{name: dup, value: a}, {name: DUP, value: b}]}], backendRefs: [{name: v2, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /v1}}, {headers: [{name: either, value: one}]}], backendRefs: [{name: v1, port: 80}]}
== HTTPRoute query on query
    - {matches: [{queryParams: [{name: v, value: '2'}]}], backendRefs: [{name: v2, port: 80}]}
    - {matches: [{queryParams: [{name: a, value: x}, {name: b, value: 'y'}]}], backendRefs: [{name: v2, port: 80}]}
    - {matches: [{queryParams: [{type: RegularExpression, name: id, value: '[0-9]{1,3}'}]}], backendRefs: [{name: v2, port: 80}]}
== HTTPRoute methods on methods
    - {matches: [{method: POST}, {method: DELETE, path: {type: PathPrefix, value: /deletable}}], backendRefs: [{name: v2, port: 80}]}
    - {matches: [{method: HEAD}, {method: OPTIONS}, {method: PATCH, headers: [{name: x-a, value: b}]}], backendRefs: [{name: v1, port: 80}]}
",
    cases: "
GET headers/ version:two => 200 v2
GET headers/ VERSION:two => 200 v2
GET headers/ version:TWO => 404 -
GET headers/ version:twofold => 404 -
GET headers/ => 404 -
GET headers/ x-color:blue x-size:big => 200 v2
GET headers/ X-SIZE:big x-other:1 X-color:blue => 200 v2
GET headers/ x-color:blue => 404 -
GET headers/ x-color:blue x-size:small => 404 -
GET headers/ cookie:canary=yes => 200 v2
GET headers/ cookie:canary=always;x=1 => 200 v2
GET headers/ cookie:nocanary=yes => 404 -
GET headers/ cookie:canary=yesterday => 404 -
GET headers/ host:special.example => 200 v2
GET headers/ host:other.example => 404 -
# Of two conditions on one name the first counts.
GET headers/ dup:a => 200 v2
GET headers/ dup:b => 404 -
GET headers/v1 => 200 v1
GET headers/ either:one => 200 v1
GET query/?v=2 => 200 v2
GET query/any/path?v=2 => 200 v2
GET query/?x=1&v=2&y=3 => 200 v2
GET query/?v=22 => 404 -
GET query/?V=2 => 404 -
GET query/?v= => 404 -
GET query/ => 404 -
GET query/?b=y&a=x => 200 v2
GET query/?a=x => 404 -
GET query/?id=123 => 200 v2
GET query/?id=1234 => 404 -
GET query/?id=12a => 404 -
POST methods/ body=some => 200 v2
POST methods/ => 200 v2
GET methods/ => 404 -
PUT methods/ body=some => 404 -
DELETE methods/deletable/1 => 200 v2
DELETE methods/ => 404 -
OPTIONS methods/ => 200 v1
HEAD methods/ => 200 v1
PATCH methods/ x-a:b body=some => 200 v1
PATCH methods/ body=some => 404 -
",
};

/// Exact path, longest prefix, method, most headers, most query parameters; then the oldest route, its name, the rules' order. Rules
/// that lose come first.
pub(super) const PRECEDENCE: Group = Group {
    name: "precedence",
    services: "one age name merged",
    routes: "
== HTTPRoute one on one
    - {matches: [{path: {type: PathPrefix, value: /a}, method: GET, headers: [{name: h1, value: a}], queryParams: [{name: q1, value: a}]}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: Exact, value: /a}}], backendRefs: [{name: v2, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /p}, method: GET, headers: [{name: h1, value: a}]}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /p/q}}], backendRefs: [{name: v2, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /m}, headers: [{name: h1, value: a}, {name: h2, value: a}], queryParams: [{name: q1, value: a}]}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /m}, method: GET}], backendRefs: [{name: v2, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /h}, headers: [{name: h1, value: a}], queryParams: [{name: q1, value: a}, {name: q2, value: a}]}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /h}, headers: [{name: h1, value: a}, {name: h2, value: a}]}], backendRefs: [{name: v2, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /q}, queryParams: [{name: q1, value: a}]}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /q}, queryParams: [{name: q1, value: a}, {name: q2, value: a}]}], backendRefs: [{name: v2, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /tie}}], backendRefs: [{name: v2, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /tie}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{headers: [{name: h3, value: a}]}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: Exact, value: /a}, headers: [{name: h4, value: a}]}], backendRefs: [{name: o1, namespace: other, port: 80}]}
== HTTPRoute b-older on age, oldest
    - {matches: [{path: {type: PathPrefix, value: /x}}], backendRefs: [{name: v2, port: 80}]}
== HTTPRoute a-newer on age
    - {matches: [{path: {type: PathPrefix, value: /x}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /x/y}}], backendRefs: [{name: v1, port: 80}]}
== HTTPRoute a-name on name
    - {matches: [{path: {type: PathPrefix, value: /x}}], backendRefs: [{name: v2, port: 80}]}
== HTTPRoute b-name on name
    - {matches: [{path: {type: PathPrefix, value: /x}}], backendRefs: [{name: v1, port: 80}]}
== HTTPRoute merged-1 on merged
    - {matches: [{path: {type: PathPrefix, value: /one}}], backendRefs: [{name: v1, port: 80}]}
== HTTPRoute merged-2 on merged
    - {matches: [{path: {type: PathPrefix, value: /two}}], backendRefs: [{name: v2, port: 80}]}
== HTTPRoute merged-3 on merged
    - {matches: [{path: {type: PathPrefix, value: /one}, headers: [{name: canary, value: 'yes'}]}], backendRefs: [{name: v2, port: 80}]}
",
    cases: "
GET one/a?q1=a h1:a => 200 v2
GET one/a/b?q1=a h1:a => 200 v1
GET one/p/q h1:a => 200 v2
GET one/p/r h1:a => 200 v1
GET one/m?q1=a h1:a h2:a => 200 v2
POST one/m?q1=a h1:a h2:a body=some => 200 v1
GET one/h?q1=a&q2=a h1:a h2:a => 200 v2
GET one/h?q1=a&q2=a h1:a => 200 v1
GET one/q?q1=a&q2=a => 200 v2
GET one/q?q1=a => 200 v1
GET one/tie => 200 v2
GET one/tie h3:a => 200 v2
GET one/a h4:a => 200 o1
GET one/a h3:a => 200 v2
GET one/else h3:a => 200 v1
GET age/x => 200 v2
GET age/x/y => 200 v1
GET name/x => 200 v2
GET merged/one => 200 v1
GET merged/two => 200 v2
GET merged/one canary:yes => 200 v2
GET merged/three => 404 -
",
};
