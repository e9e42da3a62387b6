//! What filters do to requests and answers.

use super::Group;

/// Header modifiers of rules and of backends, on the way there and back.
pub(super) const HEADERS: Group = Group {
    name: "headers",
    services: "web",
    routes: "
== HTTPRoute web on web
    - {matches: [{path: {type: PathPrefix, value: /request}}], filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Set, value: s}], add: [{name: x-Add, value: a}], remove: [X-GONE]}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /response}}], filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: X-Set, value: s}], add: [{name: x-Add, value: a}], remove: [X-GONE]}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /backend}}], backendRefs: [{name: v1, port: 80, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: s}], add: [{name: x-add, value: a}], remove: [x-gone]}}, {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-set, value: s}], add: [{name: x-add, value: a}], remove: [x-gone]}}]}]}
    - {matches: [{path: {type: PathPrefix, value: /both}}], filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: rule}], add: [{name: x-add, value: rule}]}}, {type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: x-add, value: rule}]}}], backendRefs: [{name: v1, port: 80, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: backend}], add: [{name: x-add, value: backend}]}}, {type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: x-add, value: backend}]}}]}]}
    - {matches: [{path: {type: PathPrefix, value: /own}}], backendRefs: [{name: v1, port: 80, weight: 0, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-to, value: v1}]}}]}, {name: v2, port: 80, weight: 1, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-to, value: v2}]}}]}]}
    - {matches: [{path: {type: PathPrefix, value: /several}}], filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-1, value: a}, {name: x-2, value: b}], add: [{name: x-3, value: c}, {name: x-4, value: d}], remove: [x-5, x-6]}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /cookie}}], backendRefs: [{name: v1, port: 80, filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: Set-Cookie, value: session=1}]}}]}]}
    - {matches: [{path: {type: PathPrefix, value: /missing}}], filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-set, value: s}]}}], backendRefs: [{name: missing, port: 80}]}
",
    cases: "
GET web/request => 200 v1 seen:x-set=s seen:x-add=a seen:x-gone=-
GET web/request x-set:old => 200 v1 seen:x-set=s
GET web/request x-set:old x-set:older => 200 v1 seen:x-set=s
GET web/request X-SET:old => 200 v1 seen:x-set=s
GET web/request x-add:old => 200 v1 seen:x-add=old,a
GET web/request x-add:old x-add:older => 200 v1 seen:x-add=old,older,a
GET web/request X-Add:old => 200 v1 seen:x-add=old,a
GET web/request x-gone:1 x-gone:2 X-Gone:3 x-kept:1 => 200 v1 seen:x-gone=- seen:x-kept=1
GET web/response?answer=x-set:old&answer=x-add:old&answer=x-gone:1 => 200 v1 answer:x-set=s answer:x-add=old,a answer:x-gone=- seen:x-set=-
GET web/response?answer=x-set:1&answer=x-set:2&answer=x-add:1&answer=x-add:2&answer=x-gone:1&answer=x-gone:2 => 200 v1 answer:x-set=s answer:x-add=1,2,a answer:x-gone=-
GET web/response => 200 v1 answer:x-set=s answer:x-add=a answer:x-gone=-
GET web/response?status=503 => 503 v1 answer:x-set=s
GET web/backend?answer=x-set:old&answer=x-add:old&answer=x-gone:1 x-set:old x-add:old x-gone:1 => 200 v1 seen:x-set=s seen:x-add=old,a seen:x-gone=- answer:x-set=s answer:x-add=old,a answer:x-gone=-
GET web/both x-set:old x-add:old => 200 v1 seen:x-set=backend seen:x-add=old,rule,backend
GET web/both?answer=x-add:old => 200 v1 answer:x-add=old,backend,rule
GET web/own => 200 v2 seen:x-to=v2
GET web/several x-1:old x-3:old x-5:old x-6:old => 200 v1 seen:x-1=a seen:x-2=b seen:x-3=old,c seen:x-4=d seen:x-5=- seen:x-6=-
GET web/cookie?answer=set-cookie:own=2 => 200 v1 answer:set-cookie=own=2,session=1
GET web/missing => 500 - code=E021
",
};

/// The path and the host that the application sees.
pub(super) const REWRITES: Group = Group {
    name: "rewrites",
    services: "web prefix",
    routes: "
== HTTPRoute web on web
    - {matches: [{path: {type: PathPrefix, value: /full}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /new/path}}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: Exact, value: /exact}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /new}}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /host}}], filters: [{type: URLRewrite, urlRewrite: {hostname: new.example}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /both}}], filters: [{type: URLRewrite, urlRewrite: {hostname: new.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /long}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /long/er}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /newer}}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /backend}}], backendRefs: [{name: v1, port: 80, filters: [{type: URLRewrite, urlRewrite: {hostname: new.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]}]}
    - {filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /everything}}}], backendRefs: [{name: v2, port: 80}]}
== HTTPRoute prefix on prefix
    - {matches: [{path: {type: PathPrefix, value: /foo}, headers: [{name: row, value: '1'}]}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /xyz}}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /foo}, headers: [{name: row, value: '2'}]}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /xyz/}}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /foo/}, headers: [{name: row, value: '3'}]}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /xyz}}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /foo/}, headers: [{name: row, value: '4'}]}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /xyz/}}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /foo}, headers: [{name: row, value: '5'}]}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /xyz}}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /foo}, headers: [{name: row, value: '6'}]}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /xyz}}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /foo}, headers: [{name: row, value: '7'}]}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: ''}}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /foo}, headers: [{name: row, value: '8'}]}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: ''}}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /foo}, headers: [{name: row, value: '9'}]}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: ''}}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /foo}, headers: [{name: row, value: '10'}]}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /foo}, headers: [{name: row, value: '11'}]}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}], backendRefs: [{name: v1, port: 80}]}
",
    cases: "
GET web/full => 200 v1 path=/new/path
GET web/full/any/more?q=1&r=2 => 200 v1 path=/new/path?q=1&r=2
GET web/exact => 200 v1 path=/new
GET web/host/x?q=1 => 200 v1 host=new.example
GET web/host/x host:old.example:8080 => 200 v1 host=new.example
POST web/both/x?q=1 body=some => 200 v1 path=/new/x?q=1 host=new.example
GET web/both => 200 v1 path=/new host=new.example
GET web/long/x => 200 v1 path=/new/x
GET web/long/er/x => 200 v1 path=/newer/x
GET web/long/erx => 200 v1 path=/new/erx
GET web/backend/x?q=1 => 200 v1 path=/new/x?q=1 host=new.example
GET web/any/path => 200 v2 path=/everything/any/path
GET web/ => 200 v2 path=/everything/
h1 GET web/any host:kept.example => 200 v2 path=/everything/any
GET web/both/a%20b => 200 v1 path=/new/a%20b host=new.example
# The table of HTTPPathModifier.replacePrefixMatch.
GET prefix/foo/bar row:1 => 200 v1 path=/xyz/bar
GET prefix/foo/bar row:2 => 200 v1 path=/xyz/bar
GET prefix/foo/bar row:3 => 200 v1 path=/xyz/bar
GET prefix/foo/bar row:4 => 200 v1 path=/xyz/bar
GET prefix/foo row:5 => 200 v1 path=/xyz
GET prefix/foo/ row:6 => 200 v1 path=/xyz/
GET prefix/foo/bar row:7 => 200 v1 path=/bar
GET prefix/foo/ row:8 => 200 v1 path=/
GET prefix/foo row:9 => 200 v1 path=/
GET prefix/foo/ row:10 => 200 v1 path=/
GET prefix/foo row:11 => 200 v1 path=/
",
};

/// Copies of requests, whose answers are nobody's.
pub(super) const MIRRORS: Group = Group {
    name: "mirrors",
    services: "web empty grpc",
    routes: "
== HTTPRoute web on web
    - {matches: [{path: {type: PathPrefix, value: /one}}], timeouts: {request: 6s}, filters: [{type: RequestMirror, requestMirror: {backendRef: {name: v2, port: 80}}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /two}}], filters: [{type: RequestMirror, requestMirror: {backendRef: {name: v2, port: 80}, percent: 100}}, {type: RequestMirror, requestMirror: {backendRef: {name: o1, namespace: other, port: 80}, fraction: {numerator: 7, denominator: 7}}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /never}}], filters: [{type: RequestMirror, requestMirror: {backendRef: {name: v2, port: 80}, percent: 0}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /missing}}], filters: [{type: RequestMirror, requestMirror: {backendRef: {name: missing, port: 80}}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /empty}}], filters: [{type: RequestMirror, requestMirror: {backendRef: {name: empty, port: 80}}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /changed}}], filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: s}]}}, {type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}, {type: RequestMirror, requestMirror: {backendRef: {name: v2, port: 80}}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /backend}}], backendRefs: [{name: v1, port: 80, filters: [{type: RequestMirror, requestMirror: {backendRef: {name: v2, port: 80}}}]}]}
== GRPCRoute grpc on grpc:7070
    - {filters: [{type: RequestMirror, requestMirror: {backendRef: {name: v2, port: 7070}}}], backendRefs: [{name: v1, port: 7070}]}
== GRPCRoute grpc-backend on grpc:8080
    - {backendRefs: [{name: v1, port: 7070, filters: [{type: RequestMirror, requestMirror: {backendRef: {name: v2, port: 7070}}}]}]}
",
    cases: "
GET web/one?q=1 x-own:1 => 200 v1 count:v1=1 count:v2=1 v2:path=/one?q=1 v2:method=GET v2:host=web v2:seen:x-own=1
POST web/one body=hello => 200 v1 count:v1=1 count:v2=1 v2:method=POST v2:body=hello
# Their answer is nobody's, and nobody waits for it.
GET web/one?only=v2&status=503 => 200 v1 count:v2=1
GET web/one?only=v2&delay=20s => 200 v1 count:v2=1
GET web/one?only=v1&status=500 => 500 v1 count:v2=1
POST web/two body=hello => 200 v1 count:v1=1 count:v2=1 count:o1=1 v2:body=hello o1:body=hello
GET web/never => 200 v1 count:v1=1 count:v2=0
GET web/missing => 200 v1 count:v1=1
GET web/empty => 200 v1 count:v1=1
POST web/changed/x body=some x-set:old => 200 v1 path=/new/x seen:x-set=s count:v2=1 v2:path=/new/x v2:seen:x-set=s v2:body=some
POST web/backend body=hello => 200 v1 count:v1=1 count:v2=1 v2:body=hello
grpc grpc:8080/a.B/C => OK v1 count:v1=1 count:v2=1
grpc grpc:7070/a.B/C x-own:1 => OK v1 count:v1=1 count:v2=1 v2:path=/a.B/C v2:seen:x-own=1
",
};

/// Answers to pages of other origins.
pub(super) const CORS: Group = Group {
    name: "cors",
    services: "web",
    routes: "
== HTTPRoute web on web
    - {matches: [{path: {type: PathPrefix, value: /shop}}], filters: [{type: CORS, cors: {allowOrigins: ['https://shop.example', 'https://*.shop.example'], allowMethods: [PUT, DELETE], allowHeaders: [x-own], exposeHeaders: [x-app], allowCredentials: true, maxAge: 60}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /open}}], filters: [{type: CORS, cors: {allowOrigins: ['*'], allowMethods: [GET]}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /backend}}], backendRefs: [{name: v1, port: 80, filters: [{type: CORS, cors: {allowOrigins: ['https://shop.example'], allowMethods: [PUT]}}]}]}
",
    cases: "
OPTIONS web/shop origin:https://shop.example access-control-request-method:PUT access-control-request-headers:x-own => 204 - answer:access-control-allow-origin=https://shop.example answer:access-control-allow-methods=PUT,DELETE answer:access-control-allow-headers=x-own answer:access-control-allow-credentials=true answer:access-control-max-age=60
OPTIONS web/shop origin:https://a.shop.example access-control-request-method:PUT => 204 - answer:access-control-allow-origin=https://a.shop.example
OPTIONS web/shop origin:https://evil.example access-control-request-method:PUT => 204 - answer:access-control-allow-origin=-
OPTIONS web/shop origin:http://shop.example access-control-request-method:PUT => 204 - answer:access-control-allow-origin=-
OPTIONS web/shop origin:https://shop.example => 200 v1 answer:access-control-allow-origin=https://shop.example
PUT web/shop origin:https://shop.example body=some => 200 v1 answer:access-control-allow-origin=https://shop.example answer:access-control-allow-credentials=true answer:access-control-expose-headers=x-app
PUT web/shop?answer=access-control-allow-origin:https://evil.example origin:https://evil.example body=some => 200 v1 answer:access-control-allow-origin=-
GET web/shop => 200 v1 answer:access-control-allow-origin=-
GET web/open origin:https://any.example => 200 v1 answer:access-control-allow-origin=*
OPTIONS web/backend origin:https://shop.example access-control-request-method:PUT => 204 - answer:access-control-allow-origin=https://shop.example
PUT web/backend origin:https://shop.example body=some => 200 v1 answer:access-control-allow-origin=https://shop.example
PUT web/backend origin:https://evil.example body=some => 200 v1 answer:access-control-allow-origin=-
OPTIONS web/open origin:https://any.example access-control-request-method:GET => 204 - answer:access-control-allow-origin=* answer:access-control-allow-methods=GET
",
};
