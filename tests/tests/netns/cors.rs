//! Cross-origin requests, as a browser makes them.

use outrigger_tests::{App, Mesh, Reply, enter, yaml};

const WEB: &str = "10.96.0.10";

#[test]
fn a_browser_is_told_what_the_route_says_and_the_app_is_not_asked() {
    let Some(sandbox) = enter() else { return };
    let rules = r#"    - matches: [{path: {value: /open}}]
      filters: [{type: CORS, cors: {allowOrigins: ["*"], allowMethods: ["*"], allowHeaders: ["*"]}}]
      backendRefs: [{name: v1, port: 80}]
    - filters:
        - type: CORS
          cors:
            allowOrigins: ["https://*.example.com"]
            allowMethods: [PUT, DELETE]
            allowHeaders: [x-own]
            exposeHeaders: [x-app]
            allowCredentials: true
            maxAge: 60
      backendRefs: [{name: v1, port: 80}]
"#;
    let services = yaml::service("web", WEB, 80, 8080) + &yaml::service("v1", "10.96.0.11", 80, 8080);
    let mut mesh = Mesh::start(sandbox, &(services + &yaml::http_route("web", "web", rules)));
    let server = mesh.pod("v1-1", "v1");
    let app = App::http(&server, 8080, |_| {
        let own = [("access-control-allow-origin", "https://evil.org"), ("vary", "accept")];
        Reply { headers: own.map(|(name, value)| (name.to_owned(), value.to_owned())).into(), ..Reply::ok("app") }
    });
    let client = mesh.pod("client-1", "client");
    let mut browser = client.connect(&format!("{WEB}:80"));
    let shop = ("origin", "https://shop.example.com");
    let asks = [("access-control-request-method", "PUT"), ("access-control-request-headers", "x-own")];

    let preflight = browser.send("OPTIONS", "/", &[shop, asks[0], asks[1]], b"").unwrap();
    assert_eq!(preflight.status, 204);
    for (name, value) in [
        ("access-control-allow-origin", shop.1),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "PUT, DELETE"),
        ("access-control-allow-headers", "x-own"),
        ("access-control-max-age", "60"),
        ("vary", "Origin"),
    ] {
        assert_eq!(preflight.header(name), value, "{name}: {:?}", preflight.headers);
    }
    let refused = browser.send("OPTIONS", "/", &[("origin", "https://example.org"), asks[0]], b"").unwrap();
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (204, ""));
    let open = browser.send("OPTIONS", "/open", &[("origin", "null"), asks[0]], b"").unwrap();
    let told = ["allow-origin", "allow-methods", "max-age"].map(|name| open.header(&format!("access-control-{name}")));
    assert_eq!(told, ["*", "*", "5"]);
    assert_eq!(app.count(), 0, "preflights are the sidecar's");

    let read = browser.send("PUT", "/", &[shop], b"").unwrap();
    let told = ["allow-origin", "allow-credentials", "expose-headers"];
    let told = told.map(|name| read.header(&format!("access-control-{name}")));
    assert_eq!((told, read.text().as_str()), ([shop.1, "true", "x-app"], "app"));
    let vary: Vec<&str> = read.headers.iter().filter(|(name, _)| name == "vary").map(|(_, value)| &**value).collect();
    assert_eq!(vary, ["accept", "Origin"]);
    for origin in [("origin", "https://evil.org"), ("x-none", "")] {
        let unread = browser.send("GET", "/", &[origin], b"").unwrap();
        assert_eq!((unread.status, unread.header("access-control-allow-origin")), (200, ""), "{origin:?}");
    }
    let options = browser.send("OPTIONS", "/", &[shop], b"").unwrap();
    assert_eq!((options.status, options.text().as_str()), (200, "app"), "a plain OPTIONS is the app's");
}
