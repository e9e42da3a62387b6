//! Time limits and repeated requests, to the number.

use super::Group;

/// For the whole request and for one attempt. What is late takes far longer than any limit.
pub(super) const TIMEOUTS: Group = Group {
    name: "timeouts",
    services: "web",
    routes: "
== HTTPRoute web on web
    - {matches: [{path: {type: PathPrefix, value: /request}}], timeouts: {request: 3s}, backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /attempt}}], timeouts: {backendRequest: 3s}, backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /both}}], timeouts: {request: 4s, backendRequest: 3000ms}, backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /off}}], timeouts: {request: 0s, backendRequest: 0s}, backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /body}}], timeouts: {request: 0h0m3s}, backendRefs: [{name: v1, port: 80}]}
",
    cases: "
GET web/request?delay=22s => 504 - code=E008 count:v1=1
GET web/request => 200 v1
GET web/attempt?delay=22s => 504 - code=E008 count:v1=1
GET web/attempt => 200 v1
POST web/both?delay=22s body=some => 504 - code=E008 count:v1=1 v1:body=some
GET web/off?delay=4s => 200 v1 count:v1=1
POST web/body?delay=22s body=some => 504 - code=E008 count:v1=1
# An application's own 504 is its answer.
GET web/request?status=504 => 504 v1 count:v1=1
",
};

/// Codes and attempts. Connection errors are in `netns/routing.rs`.
pub(super) const RETRIES: Group = Group {
    name: "retries",
    services: "web",
    routes: "
== HTTPRoute web on web
    - {matches: [{path: {type: PathPrefix, value: /two}}], retry: {codes: [500, 503], attempts: 2, backoff: 10ms}, backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /default}}], retry: {codes: [503], backoff: 10ms}, backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /zero}}], retry: {codes: [503], attempts: 0}, backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /none}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /late}}], timeouts: {request: 20s, backendRequest: 3s}, retry: {codes: [504], attempts: 1, backoff: 10ms}, backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {type: PathPrefix, value: /rewritten}}], filters: [{type: URLRewrite, urlRewrite: {hostname: new.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}, {type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: x-add, value: one}]}}], retry: {codes: [503], attempts: 1, backoff: 10ms}, backendRefs: [{name: v1, port: 80}]}
",
    cases: "
GET web/two => 200 v1 count:v1=1
GET web/two?status=503&fail=1 => 200 v1 count:v1=2
GET web/two?status=503&fail=2 => 200 v1 count:v1=3
GET web/two?status=503 => 503 v1 count:v1=3
GET web/two?status=500&fail=1 => 200 v1 count:v1=2
# The last answer counts, whichever came before.
GET web/two?status=503,500,503 => 503 v1 count:v1=3
GET web/two?status=500,503,500 => 500 v1 count:v1=3
GET web/two?status=503,502 => 502 v1 count:v1=2
# Other statuses are answers.
GET web/two?status=502 => 502 v1 count:v1=1
GET web/two?status=404 => 404 v1 count:v1=1
# All methods that the rule lets pass, with the whole body.
POST web/two?status=503&fail=2 body=some => 200 v1 count:v1=3
PUT web/two?status=503 body=some => 503 v1 count:v1=3
GET web/default?status=503 => 503 v1 count:v1=2
GET web/zero?status=503 => 503 v1 count:v1=1
GET web/none?status=503 => 503 v1 count:v1=1
GET web/late?delay=22s&late=1 => 200 v1 count:v1=2
GET web/late?delay=22s => 504 - count:v1=2
# Filters are applied to the request, not to each attempt.
GET web/rewritten/x?status=503&fail=1 x-add:zero => 200 v1 path=/new/x?status=503&fail=1 host=new.example seen:x-add=zero,one count:v1=2
",
};
