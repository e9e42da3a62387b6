//! Twelve workloads, two replicas of the control plane, and their load.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use outrigger_sandbox::{Namespace, Sandbox};
use outrigger_tests::faults::{Message, Service, read};
use outrigger_tests::peers::faults::{self as peer, Load};
use outrigger_tests::{Mesh, Options, Pod, Process, client, wait, yaml};

use super::{at, every, held};

const WEB: &str = "10.96.0.10";
const CALLS: &str = "10.96.0.11";
const LIVE: &str = "10.96.0.12";
const BARE: &str = "bare";

/// Both replicas, by name: sidecars connect to either.
const CONTROL: &str = "control";

/// A pod with an application.
pub(crate) struct Server {
    pub(crate) pod: Pod,
    pub(crate) app: Process,
    pub(crate) name: String,
    pub(crate) service: Service,
}

/// A pod that calls.
pub(crate) struct Caller {
    pub(crate) pod: Pod,
    pub(crate) name: String,
    client: Process,
}

/// What a sidecar held at a moment: seconds since the begin, descriptors, resident KiB.
pub(crate) type Sample = (f64, usize, usize);

pub(crate) struct World {
    pub(crate) mesh: Mesh,
    pub(crate) second: Option<Process>,
    second_home: Namespace,
    pub(crate) servers: Vec<Server>,
    pub(crate) callers: Vec<Caller>,
    // What runs there ends before its namespace goes.
    bare: Vec<(Process, Namespace)>,
    leaf_lifetime: &'static str,
    pub(crate) begin: Instant,
    length: Duration,
    /// By name and process.
    pub(crate) samples: BTreeMap<(String, u32), Vec<Sample>>,
    pods: u32,
}

/// What to build.
pub(crate) struct Plan {
    /// Pods of each service.
    pub(crate) servers: [usize; 3],
    pub(crate) callers: usize,
    pub(crate) leaf_lifetime: &'static str,
    /// Of each kind and caller, a second.
    pub(crate) rate: f64,
    pub(crate) connections: usize,
    pub(crate) length: Duration,
}

fn label(service: Service) -> &'static str {
    match service {
        Service::Web => "web",
        Service::Calls => "calls",
        Service::Live => "live",
    }
}

/// Milliseconds since 1970, as the clients count them.
pub(crate) fn now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64() * 1000.0
}

/// How long after its time a client may wait for what it has sent.
const LATEST: Duration = Duration::from_secs(60);

/// No line of the log for each message.
const QUIET: [&str; 4] = ["--access-log", "errors", "--log-filter", "info"];

impl World {
    pub(crate) fn start(sandbox: Sandbox, plan: &Plan) -> Self {
        let services = [("web", WEB, 8080), ("calls", CALLS, 8081), ("live", LIVE, 8082)]
            .map(|(name, ip, port)| yaml::service(name, ip, 80, port));
        let control_plane = ["--leaf-lifetime", plan.leaf_lifetime].map(str::to_owned).into();
        let options = Options { control_plane, ..Options::default() };
        let mut mesh = Mesh::start_with(sandbox, &services.concat(), options);
        mesh.write("settings.yaml", &settings(0));
        let second_home = mesh.bare("control-plane-2");
        let hosts = mesh.folder().join("hosts");
        let addresses = [mesh.home().v4(), second_home.v4()].map(|ip| format!("{ip} {CONTROL}\n"));
        fs::write(&hosts, format!("127.0.0.1 localhost\n{}", addresses.concat())).unwrap();
        // Of this sandbox only.
        run(Command::new("mount").arg("--bind").arg(&hosts).arg("/etc/hosts"));
        let mut world = Self {
            mesh,
            second: None,
            second_home,
            servers: Vec::new(),
            callers: Vec::new(),
            bare: Vec::new(),
            leaf_lifetime: plan.leaf_lifetime,
            begin: Instant::now(),
            length: plan.length,
            samples: BTreeMap::new(),
            pods: 0,
        };
        world.start_second();
        for (service, count) in [Service::Web, Service::Calls, Service::Live].into_iter().zip(plan.servers) {
            for _ in 0..count {
                let server = world.server(service);
                world.servers.push(server);
            }
        }
        world.begin = Instant::now();
        for n in 0..plan.callers {
            world.call(n, plan);
        }
        world.without_a_mesh(plan);
        world
    }

    /// The second replica: of the same CA, in a folder of its own as local control planes must be.
    pub(crate) fn start_second(&mut self) {
        let ca = self.mesh.folder().join("ca-2");
        if !ca.exists() {
            fs::create_dir(&ca).unwrap();
            for file in self.mesh.ca_dir().read_dir().unwrap().map(|file| file.unwrap().path()) {
                if !file.ends_with("lock") {
                    fs::copy(&file, ca.join(file.file_name().unwrap())).unwrap();
                }
            }
        }
        let mut command = Command::new(outrigger_tests::binary());
        let listen = format!("{}:4180", self.second_home.v4());
        command.args(["control-plane", "run", "--admin", "127.0.0.1:4182", "--listen", &listen]);
        command.args(["--leaf-lifetime", self.leaf_lifetime]);
        command.arg("--config-dir").arg(self.mesh.folder().join("config")).arg("--ca-dir").arg(ca);
        self.second = Some(Process::start("control-plane-2", &self.second_home, self.mesh.folder(), &mut command));
        wait::until_true("the second replica is ready", || {
            let ready = self.second_home.run(|| client::try_get("http://127.0.0.1:4182/ready"));
            ready.unwrap().is_ok_and(|response| response.status == 200)
        });
    }

    /// A new pod of a service.
    pub(crate) fn server(&mut self, service: Service) -> Server {
        self.pods += 1;
        let name = format!("{}-{}", label(service), self.pods);
        let control = format!("{CONTROL}:4180");
        let args = [&QUIET[..], &["--control-plane", &control]].concat();
        let pod = self.mesh.pod_with(&name, label(service), "", &args);
        let app = self.app(&pod, &name);
        Server { pod, app, name, service }
    }

    /// Starts a pod's application, and waits until it listens.
    pub(crate) fn app(&self, at: &Namespace, name: &str) -> Process {
        let mut command = peer::server(every(8080), name).unwrap();
        let app = Process::start(&format!("app-{name}"), at, self.mesh.folder(), &mut command);
        for port in 8080..8083 {
            let address = SocketAddr::new(at.v4().into(), port);
            wait::until_true("the application listens", || {
                at.run(|| std::net::TcpStream::connect(address).is_ok()).unwrap()
            });
        }
        app
    }

    fn call(&mut self, n: usize, plan: &Plan) {
        let name = format!("caller-{n}");
        let wire = ["by-load", "http1", "http2"][n % 3];
        let control = format!("{CONTROL}:4180");
        let args = [&QUIET[..], &["--control-plane", &control, "--wire", wire]].concat();
        let pod = self.mesh.pod_with(&name, "caller", "", &args);
        let load = Load {
            web: Some(at(WEB, 80)),
            calls: Some(at(CALLS, 80)),
            bytes: Some(at(LIVE, 80)),
            rate: plan.rate,
            connections: plan.connections,
            length: plan.length,
        };
        let mut command = peer::client(&name, &load).unwrap();
        let client = Process::start(&format!("client-{name}"), &pod, self.mesh.folder(), &mut command);
        self.callers.push(Caller { pod, name, client });
    }

    /// The same without a mesh: what the machine by itself does to latency.
    fn without_a_mesh(&mut self, plan: &Plan) {
        let (there, here) = (self.mesh.bare("bare-app"), self.mesh.bare("bare-client"));
        let address = SocketAddr::new(there.v4().into(), 8080);
        let app = self.app(&there, BARE);
        let load =
            Load { web: Some(address), calls: None, bytes: None, rate: plan.rate, connections: 0, length: plan.length };
        let mut command = peer::client(BARE, &load).unwrap();
        let client = Process::start(&format!("client-{BARE}"), &here, self.mesh.folder(), &mut command);
        self.bare.extend([(client, here), (app, there)]);
    }

    /// Waits, and looks every second at what the sidecars hold.
    pub(crate) fn pause(&mut self, length: Duration) {
        let ends = Instant::now() + length;
        loop {
            let left = ends.saturating_duration_since(Instant::now());
            std::thread::sleep(left.min(Duration::from_secs(1)));
            self.sample();
            if left <= Duration::from_secs(1) {
                return;
            }
        }
    }

    fn sample(&mut self) {
        let seconds = self.begin.elapsed().as_secs_f64();
        let servers = self.servers.iter_mut().map(|server| (&server.name, &mut server.pod));
        let callers = self.callers.iter_mut().map(|caller| (&caller.name, &mut caller.pod));
        for (name, pod) in servers.chain(callers) {
            if !pod.sidecar().alive() {
                continue;
            }
            let process = pod.sidecar().id();
            let (descriptors, resident) = held(process);
            let of = self.samples.entry((name.clone(), process)).or_default();
            of.push((seconds, descriptors, resident));
        }
    }

    /// Waits for the clients' end, and returns all that they and the one without a mesh report.
    pub(crate) fn finish(&mut self) -> (Vec<Message>, Vec<Message>) {
        self.pause(self.length.saturating_sub(self.begin.elapsed()));
        let clients = self.callers.iter_mut().map(|caller| &mut caller.client);
        let mut reported = Vec::new();
        for client in clients.chain(self.bare.first_mut().map(|(client, _)| client)) {
            let late = Instant::now() + LATEST;
            while client.alive() {
                let printed = client.output();
                let last = printed.lines().last().unwrap_or_default();
                assert!(Instant::now() < late, "a client does not end; its last of {} bytes: {last}", printed.len());
                std::thread::sleep(Duration::from_millis(100));
            }
            let printed = client.output();
            let last = printed.lines().rev().find(|line| line.starts_with("panic")).unwrap_or_default();
            assert!(printed.ends_with("end\n"), "a client ended early: {last}");
            reported.push(read(&client.output()));
        }
        let bare = reported.pop().unwrap();
        (reported.concat(), bare)
    }

    /// How many connections of HTTP were ended for each caller, other than by itself.
    pub(crate) fn connections_ended(&self) -> Vec<(String, u64)> {
        let ended = |caller: &Caller| {
            let printed = caller.client.output();
            let count = printed.lines().rev().find_map(|line| line.strip_prefix("connections ended "));
            (caller.name.clone(), count.unwrap().parse().unwrap())
        };
        self.callers.iter().map(ended).collect()
    }

    /// How many certificates each sidecar has had.
    pub(crate) fn certificates(&self) -> Vec<(String, usize)> {
        let pods = self.servers.iter().map(|server| (&server.name, &server.pod));
        let all = pods.chain(self.callers.iter().map(|caller| (&caller.name, &caller.pod)));
        all.map(|(name, pod)| (name.clone(), pod.log().matches("certificate in force").count())).collect()
    }

    /// Copies all logs to the folder that `OUTRIGGER_FAULTS_LOGS` names.
    pub(crate) fn keep_logs(&self) {
        if let Some(folder) = std::env::var_os("OUTRIGGER_FAULTS_LOGS") {
            run(Command::new("cp").arg("-r").arg(self.mesh.folder()).arg(folder));
        }
    }

    /// What all applications printed, also those that are gone.
    pub(crate) fn printed_by_apps(&self) -> Vec<String> {
        let files = self.mesh.folder().read_dir().unwrap().map(|file| file.unwrap().path());
        let apps = files.filter(|file| file.file_name().unwrap().to_string_lossy().starts_with("app-"));
        apps.map(|file| fs::read_to_string(file).unwrap()).collect()
    }
}

/// Runs a program of this machine to its end.
pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What an administrator changes: nothing that would end a request.
pub(crate) fn settings(n: u32) -> String {
    let rules = format!(
        "    - filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: x-n, value: '{n}'}}]}}}}]\n      \
         backendRefs: [{{name: web, port: 80}}]\n"
    );
    let choice = ["RoundRobin", "LeastRequest"][n as usize % 2];
    let policy = |name| {
        format!(
            "---\napiVersion: outrigger.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec: {{targetRefs: [{{group: '', kind: Service, name: {name}}}], loadBalancer: {{type: {choice}}}}}\n"
        )
    };
    yaml::http_route("web", "web", &rules) + &["web", "calls", "live"].map(policy).concat()
}
