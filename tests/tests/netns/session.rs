//! Sessions that stay with their endpoint, whichever sidecar sends the request.

use std::collections::BTreeSet;

use outrigger_tests::{App, Mesh, Pod, client, enter, wait, yaml};

const WEB: &str = "10.96.0.10";

/// Services `web`, `v1` and `v2`, and a route on `web` with this session in all of its requests.
fn services(kind: &str, session: &str, weights: (u32, u32)) -> String {
    let services = [("web", WEB), ("v1", "10.96.0.11"), ("v2", "10.96.0.12")];
    let services: String = services.iter().map(|(name, address)| yaml::service(name, address, 80, 8080)).collect();
    let rule = format!(
        "    - sessionPersistence: {{{session}}}\n      backendRefs: [{{name: v1, port: 80, weight: {}}}, {{name: v2, port: 80, weight: {}}}]\n",
        weights.0, weights.1
    );
    services + &yaml::http_route("web", "web", &rule).replace("HTTPRoute", kind)
}

/// Two endpoints of `v1` and one of `v2`.
fn apps(mesh: &mut Mesh) -> Vec<(Pod, App)> {
    let all = [("v1-1", "v1"), ("v1-2", "v1"), ("v2-1", "v2")];
    all.map(|(name, app)| {
        let pod = mesh.pod(name, app);
        let app = App::echo(&pod, 8080, name);
        (pod, app)
    })
    .into()
}

fn ask(pod: &Pod, header: (&str, &str)) -> client::Response {
    pod.connect(&format!("{WEB}:80")).send("GET", "/", &[header], b"").unwrap()
}

/// Asks until an endpoint that is wanted answers; returns it and the cookie of its session.
fn session_with(pod: &Pod, wanted: impl Fn(&str) -> bool) -> (String, String) {
    wait::until("an endpoint that is wanted", || {
        let answer = ask(pod, ("x-none", ""));
        let app = answer.header("x-app").to_owned();
        wanted(&app).then(|| (app, answer.header("set-cookie").to_owned()))
    })
}

#[test]
fn a_cookie_leads_to_its_endpoint_from_every_client_and_against_the_weights() {
    let Some(sandbox) = enter() else { return };
    let session = "cookie: {name: shop, lifetimeType: Permanent}, absoluteTimeout: 1h";
    let mut mesh = Mesh::start(sandbox, &services("HTTPRoute", session, (99, 1)));
    let _apps = apps(&mut mesh);
    let clients = [mesh.pod("client-1", "client"), mesh.pod("client-2", "client")];

    let mut sessions = Vec::new();
    for name in ["v1-1", "v1-2"] {
        let (app, set) = session_with(&clients[0], |app| app == name);
        let (cookie, attributes) = set.split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; HttpOnly; Max-Age=3600");
        assert!(!set.contains("10.77"), "no address: {set}");
        sessions.push((app, cookie.to_owned()));
    }
    for (app, cookie) in &sessions {
        for client in &clients {
            for _ in 0..20 {
                let answer = ask(client, ("cookie", cookie));
                assert_eq!((answer.header("x-app"), answer.header("set-cookie")), (&**app, ""), "{cookie}");
            }
        }
    }

    // The weights turn; whoever has a session stays.
    mesh.write("mesh.yaml", &services("HTTPRoute", session, (1, 99)));
    session_with(&clients[1], |app| app == "v2-1");
    for (app, cookie) in &sessions {
        for _ in 0..20 {
            assert_eq!(ask(&clients[1], ("cookie", cookie)).header("x-app"), app);
        }
    }

    // An endpoint goes: its sessions go elsewhere, and are told so.
    let (app, cookie) = sessions.remove(0);
    mesh.remove(&format!("{app}.yaml"));
    let moved = wait::until("the session moves", || {
        let answer = ask(&clients[0], ("cookie", &cookie));
        (answer.status == 200 && answer.header("x-app") != app).then_some(answer)
    });
    let renewed = moved.header("set-cookie").split("; ").next().unwrap().to_owned();
    for _ in 0..20 {
        assert_eq!(ask(&clients[0], ("cookie", &renewed)).header("x-app"), moved.header("x-app"));
    }
    // A backend of weight 0 gets nothing, not even its sessions.
    let (app, cookie) = sessions.remove(0);
    mesh.write("mesh.yaml", &services("HTTPRoute", session, (0, 1)));
    wait::until_true("the session leaves", || ask(&clients[0], ("cookie", &cookie)).header("x-app") == "v2-1");
    assert_ne!(app, "v2-1");
}

#[test]
fn what_is_no_session_of_ours_gets_a_new_one() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &services("HTTPRoute", "sessionName: shop, idleTimeout: 1h", (1, 1)));
    let _apps = apps(&mut mesh);
    let client = mesh.pod("client-1", "client");

    for made_up in ["", "x", "00000000000000000000000000000000", "ffffffffffffffffffffffffffffffff.1.1", "é;=\u{1f}"] {
        let answer = ask(&client, ("cookie", &format!("shop={made_up}")));
        assert_eq!(answer.status, if made_up.contains('\u{1f}') { 400 } else { 200 }, "{made_up:?}");
        assert_eq!(answer.header("set-cookie").starts_with("shop="), answer.status == 200, "{:?}", answer.headers);
    }
}

#[test]
fn a_header_carries_the_session_of_a_grpc_client() {
    let Some(sandbox) = enter() else { return };
    let session = "type: Header, header: {name: x-session}";
    let mut mesh = Mesh::start(sandbox, &services("GRPCRoute", session, (1, 1)));
    let apps = apps(&mut mesh);
    let client = mesh.pod("client-1", "client");
    let url = format!("http://{WEB}/shop.Cart/Add");
    let call = |header: &str| {
        let grpc = ["--silent", "--include", "--http2-prior-knowledge", "-H", "content-type: application/grpc"];
        let told = client.stdout("curl", &[&grpc[..], &["-H", header, &url]].concat());
        let value =
            |name: &str| told.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap_or_default().to_owned();
        (value("x-app: "), value("x-session: "))
    };

    let seen: BTreeSet<String> = (0..60).map(|_| call("x-none: 1").0).collect();
    assert_eq!(seen.len(), apps.len(), "without a session all take turns: {seen:?}");
    // One of the two endpoints of a backend: neither the weights nor the backend alone could keep it.
    let (app, session) = wait::until("an endpoint of v1", || Some(call("x-none: 1")).filter(|(app, _)| app != "v2-1"));
    for _ in 0..20 {
        assert_eq!(call(&format!("x-session: {session}")), (app.clone(), session.clone()));
    }
}

#[test]
fn a_client_keeps_its_endpoint_where_the_service_asks_for_that() {
    let Some(sandbox) = enter() else { return };
    let plain = yaml::service("web", WEB, 80, 8080);
    let mut mesh = Mesh::start(sandbox, &plain);
    let _apps: Vec<(Pod, App)> = (1..=4)
        .map(|n| {
            let pod = mesh.pod(&format!("web-{n}"), "web");
            let app = App::echo(&pod, 8080, &format!("web-{n}"));
            (pod, app)
        })
        .collect();
    let clients: Vec<Pod> = (1..=4).map(|n| mesh.pod(&format!("client-{n}"), "client")).collect();
    let answering = |client: &Pod| -> BTreeSet<String> {
        (0..20).map(|_| ask(client, ("x-none", "")).header("x-app").to_owned()).collect()
    };
    assert!(answering(&clients[0]).len() > 1, "without affinity several answer");

    mesh.write("mesh.yaml", &plain.replace("  selector:", "  sessionAffinity: ClientIP\n  selector:"));

    wait::until("each client has one endpoint", || {
        clients.iter().all(|client| answering(client).len() == 1).then_some(())
    });
    let kept: Vec<_> = clients.iter().map(&answering).collect();
    assert_eq!(clients.iter().map(&answering).collect::<Vec<_>>(), kept);
}
