//! The answer to each redirect, with its Location.

use super::Group;

/// Every combination of scheme, host, port and path; statuses; which ports are written.
pub(super) const REDIRECTS: Group = Group {
    name: "redirects",
    services: "combined statuses ports prefix",
    routes: "
== HTTPRoute combined-1 on combined
    - {matches: [{path: {type: PathPrefix, value: /to}}], filters: [{type: RequestRedirect, requestRedirect: {statusCode: 302}}]}
    - {matches: [{path: {type: PathPrefix, value: /to-full}}], filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /new}}}]}
    - {matches: [{path: {type: PathPrefix, value: /to-prefix}}], filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]}
    - {matches: [{path: {type: PathPrefix, value: /to-port}}], filters: [{type: RequestRedirect, requestRedirect: {port: 8443}}]}
    - {matches: [{path: {type: PathPrefix, value: /to-port-full}}], filters: [{type: RequestRedirect, requestRedirect: {port: 8443, path: {type: ReplaceFullPath, replaceFullPath: /new}}}]}
    - {matches: [{path: {type: PathPrefix, value: /to-port-prefix}}], filters: [{type: RequestRedirect, requestRedirect: {port: 8443, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]}
    - {matches: [{path: {type: PathPrefix, value: /to-host}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: new.example}}]}
    - {matches: [{path: {type: PathPrefix, value: /to-host-full}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: new.example, path: {type: ReplaceFullPath, replaceFullPath: /new}}}]}
    - {matches: [{path: {type: PathPrefix, value: /to-host-prefix}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: new.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]}
    - {matches: [{path: {type: PathPrefix, value: /to-host-port}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: new.example, port: 8443}}]}
    - {matches: [{path: {type: PathPrefix, value: /to-host-port-full}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: new.example, port: 8443, path: {type: ReplaceFullPath, replaceFullPath: /new}}}]}
    - {matches: [{path: {type: PathPrefix, value: /to-host-port-prefix}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: new.example, port: 8443, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]}
== HTTPRoute combined-2 on combined
    - {matches: [{path: {type: PathPrefix, value: /to-scheme}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]}
    - {matches: [{path: {type: PathPrefix, value: /to-scheme-full}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https, path: {type: ReplaceFullPath, replaceFullPath: /new}}}]}
    - {matches: [{path: {type: PathPrefix, value: /to-scheme-prefix}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]}
    - {matches: [{path: {type: PathPrefix, value: /to-scheme-port}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https, port: 8443}}]}
    - {matches: [{path: {type: PathPrefix, value: /to-scheme-port-full}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https, port: 8443, path: {type: ReplaceFullPath, replaceFullPath: /new}}}]}
    - {matches: [{path: {type: PathPrefix, value: /to-scheme-port-prefix}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https, port: 8443, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]}
    - {matches: [{path: {type: PathPrefix, value: /to-scheme-host}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: new.example}}]}
    - {matches: [{path: {type: PathPrefix, value: /to-scheme-host-full}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: new.example, path: {type: ReplaceFullPath, replaceFullPath: /new}}}]}
    - {matches: [{path: {type: PathPrefix, value: /to-scheme-host-prefix}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: new.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]}
    - {matches: [{path: {type: PathPrefix, value: /to-scheme-host-port}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: new.example, port: 8443}}]}
    - {matches: [{path: {type: PathPrefix, value: /to-scheme-host-port-full}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: new.example, port: 8443, path: {type: ReplaceFullPath, replaceFullPath: /new}}}]}
    - {matches: [{path: {type: PathPrefix, value: /to-scheme-host-port-prefix}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: new.example, port: 8443, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]}
== HTTPRoute statuses on statuses
    - {matches: [{path: {type: PathPrefix, value: /301}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: new.example, statusCode: 301}}]}
    - {matches: [{path: {type: PathPrefix, value: /302}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: new.example, statusCode: 302}}]}
    - {matches: [{path: {type: PathPrefix, value: /303}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: new.example, statusCode: 303}}]}
    - {matches: [{path: {type: PathPrefix, value: /307}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: new.example, statusCode: 307}}]}
    - {matches: [{path: {type: PathPrefix, value: /308}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: new.example, statusCode: 308}}]}
== HTTPRoute ports on ports
    - {matches: [{path: {type: PathPrefix, value: /keep}}], filters: [{type: RequestRedirect, requestRedirect: {statusCode: 302}}]}
    - {matches: [{path: {type: PathPrefix, value: /http}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: http}}]}
    - {matches: [{path: {type: PathPrefix, value: /https}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]}
    - {matches: [{path: {type: PathPrefix, value: /http-80}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: http, port: 80}}]}
    - {matches: [{path: {type: PathPrefix, value: /https-443}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https, port: 443}}]}
    - {matches: [{path: {type: PathPrefix, value: /http-443}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: http, port: 443}}]}
    - {matches: [{path: {type: PathPrefix, value: /https-80}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https, port: 80}}]}
    - {matches: [{path: {type: PathPrefix, value: /80}}], filters: [{type: RequestRedirect, requestRedirect: {port: 80}}]}
    - {matches: [{path: {type: PathPrefix, value: /443}}], filters: [{type: RequestRedirect, requestRedirect: {port: 443}}]}
    - {matches: [{path: {type: PathPrefix, value: /host}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: new.example}}]}
== HTTPRoute prefix on prefix
    - {matches: [{path: {type: PathPrefix, value: /foo}, headers: [{name: row, value: '1'}]}], filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /xyz}}}]}
    - {matches: [{path: {type: PathPrefix, value: /foo}, headers: [{name: row, value: '2'}]}], filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /xyz/}}}]}
    - {matches: [{path: {type: PathPrefix, value: /foo/}, headers: [{name: row, value: '3'}]}], filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /xyz}}}]}
    - {matches: [{path: {type: PathPrefix, value: /foo/}, headers: [{name: row, value: '4'}]}], filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /xyz/}}}]}
    - {matches: [{path: {type: PathPrefix, value: /foo}, headers: [{name: row, value: '5'}]}], filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /xyz}}}]}
    - {matches: [{path: {type: PathPrefix, value: /foo}, headers: [{name: row, value: '6'}]}], filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /xyz}}}]}
    - {matches: [{path: {type: PathPrefix, value: /foo}, headers: [{name: row, value: '7'}]}], filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: ''}}}]}
    - {matches: [{path: {type: PathPrefix, value: /foo}, headers: [{name: row, value: '8'}]}], filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: ''}}}]}
    - {matches: [{path: {type: PathPrefix, value: /foo}, headers: [{name: row, value: '9'}]}], filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: ''}}}]}
    - {matches: [{path: {type: PathPrefix, value: /foo}, headers: [{name: row, value: '10'}]}], filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]}
    - {matches: [{path: {type: PathPrefix, value: /foo}, headers: [{name: row, value: '11'}]}], filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]}
",
    cases: "
GET combined/to/x?q=1 => 302 - location=http://combined/to/x?q=1
GET combined/to-full/x?q=1 => 302 - location=http://combined/new?q=1
GET combined/to-prefix/x?q=1 => 302 - location=http://combined/new/x?q=1
GET combined/to-port/x?q=1 => 302 - location=http://combined:8443/to-port/x?q=1
GET combined/to-port-full/x?q=1 => 302 - location=http://combined:8443/new?q=1
GET combined/to-port-prefix/x?q=1 => 302 - location=http://combined:8443/new/x?q=1
GET combined/to-host/x?q=1 => 302 - location=http://new.example/to-host/x?q=1
GET combined/to-host-full/x?q=1 => 302 - location=http://new.example/new?q=1
GET combined/to-host-prefix/x?q=1 => 302 - location=http://new.example/new/x?q=1
GET combined/to-host-port/x?q=1 => 302 - location=http://new.example:8443/to-host-port/x?q=1
GET combined/to-host-port-full/x?q=1 => 302 - location=http://new.example:8443/new?q=1
GET combined/to-host-port-prefix/x?q=1 => 302 - location=http://new.example:8443/new/x?q=1
GET combined/to-scheme/x?q=1 => 302 - location=https://combined/to-scheme/x?q=1
GET combined/to-scheme-full/x?q=1 => 302 - location=https://combined/new?q=1
GET combined/to-scheme-prefix/x?q=1 => 302 - location=https://combined/new/x?q=1
GET combined/to-scheme-port/x?q=1 => 302 - location=https://combined:8443/to-scheme-port/x?q=1
GET combined/to-scheme-port-full/x?q=1 => 302 - location=https://combined:8443/new?q=1
GET combined/to-scheme-port-prefix/x?q=1 => 302 - location=https://combined:8443/new/x?q=1
GET combined/to-scheme-host/x?q=1 => 302 - location=https://new.example/to-scheme-host/x?q=1
GET combined/to-scheme-host-full/x?q=1 => 302 - location=https://new.example/new?q=1
GET combined/to-scheme-host-prefix/x?q=1 => 302 - location=https://new.example/new/x?q=1
GET combined/to-scheme-host-port/x?q=1 => 302 - location=https://new.example:8443/to-scheme-host-port/x?q=1
GET combined/to-scheme-host-port-full/x?q=1 => 302 - location=https://new.example:8443/new?q=1
GET combined/to-scheme-host-port-prefix/x?q=1 => 302 - location=https://new.example:8443/new/x?q=1
GET statuses/301/x => 301 - location=http://new.example/301/x
POST statuses/301/x => 301 - location=http://new.example/301/x
GET statuses/302/x => 302 - location=http://new.example/302/x
POST statuses/302/x => 302 - location=http://new.example/302/x
GET statuses/303/x => 303 - location=http://new.example/303/x
POST statuses/303/x => 303 - location=http://new.example/303/x
GET statuses/307/x => 307 - location=http://new.example/307/x
POST statuses/307/x => 307 - location=http://new.example/307/x
GET statuses/308/x => 308 - location=http://new.example/308/x
POST statuses/308/x => 308 - location=http://new.example/308/x
GET ports/keep => 302 - location=http://ports/keep
GET ports:8080/keep => 302 - location=http://ports:8080/keep
GET ports:443/keep => 302 - location=http://ports:443/keep
GET ports:8080/http => 302 - location=http://ports/http
GET ports:8080/https => 302 - location=https://ports/https
GET ports/https => 302 - location=https://ports/https
GET ports/http-80 => 302 - location=http://ports/http-80
GET ports:8080/http-80 => 302 - location=http://ports/http-80
GET ports/https-443 => 302 - location=https://ports/https-443
GET ports/http-443 => 302 - location=http://ports:443/http-443
GET ports/https-80 => 302 - location=https://ports:80/https-80
GET ports:8080/80 => 302 - location=http://ports/80
GET ports/443 => 302 - location=http://ports:443/443
GET ports:8080/host => 302 - location=http://new.example:8080/host
# The port that was dialled counts, not the one of Host.
GET ports/keep host:ports:9999 => 302 - location=http://ports/keep
GET ports/keep host:asked.example => 302 - location=http://asked.example/keep
v6 GET ports/keep => 302 - location=http://ports/keep
# The table of HTTPPathModifier.replacePrefixMatch.
GET prefix/foo/bar row:1 => 302 - location=http://prefix/xyz/bar
GET prefix/foo/bar row:2 => 302 - location=http://prefix/xyz/bar
GET prefix/foo/bar row:3 => 302 - location=http://prefix/xyz/bar
GET prefix/foo/bar row:4 => 302 - location=http://prefix/xyz/bar
GET prefix/foo row:5 => 302 - location=http://prefix/xyz
GET prefix/foo/ row:6 => 302 - location=http://prefix/xyz/
GET prefix/foo/bar row:7 => 302 - location=http://prefix/bar
GET prefix/foo/ row:8 => 302 - location=http://prefix/
GET prefix/foo row:9 => 302 - location=http://prefix/
GET prefix/foo/ row:10 => 302 - location=http://prefix/
GET prefix/foo row:11 => 302 - location=http://prefix/
",
};
