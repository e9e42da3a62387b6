//! Other proxies in front of the same applications, with no more settings than they need.

use std::path::{Path, PathBuf};
use std::process::Command;

use outrigger_sandbox::Namespace;

use crate::{Process, wait};

/// A proxy to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// From the Python package index; `OUTRIGGER_ENVOY` is the path of its program.
    Envoy,
    /// Debian's package.
    HaProxy,
    /// Debian's package.
    Nginx,
}

/// What becomes of a request to switch protocols; HAProxy passes it on by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrades {
    /// As the proxy's defaults have it.
    Refused,
    /// It is passed on.
    WebSocket,
}

impl Upgrades {
    fn setting(self, of: Proxy) -> &'static str {
        match (self, of) {
            (Self::Refused, Proxy::Nginx) => "proxy_set_header Connection '';",
            (Self::WebSocket, Proxy::Nginx) => {
                "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $http_connection;"
            }
            (Self::WebSocket, Proxy::Envoy) => "{upgrade_type: websocket}",
            _ => "",
        }
    }
}

/// Ports of an application and of the proxies in front of it: HTTP/1.1, and HTTP/2 without TLS.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// The application's.
    pub app: u16,
    /// A proxy's, for HTTP/1.1.
    pub http1: u16,
    /// A proxy's, for HTTP/2.
    pub http2: u16,
}

impl Proxy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Envoy, Self::HaProxy, Self::Nginx];

    /// Its name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Envoy => "Envoy",
            Self::HaProxy => "HAProxy",
            Self::Nginx => "NGINX",
        }
    }

    fn program(self) -> PathBuf {
        match self {
            Self::Envoy => std::env::var_os("OUTRIGGER_ENVOY").map_or_else(|| "envoy".into(), PathBuf::from),
            Self::HaProxy => "haproxy".into(),
            Self::Nginx => "nginx".into(),
        }
    }

    /// The version that the program reports.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn version(self) -> String {
        let flag = if self == Self::Envoy { "--version" } else { "-v" };
        let output = Command::new(self.program()).arg(flag).output();
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", self.name()));
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let mut words = said.split(['/', ' ', '-', '\n']);
        let is_version = |word: &&str| word.split('.').count() == 3 && word.starts_with(|c: char| c.is_ascii_digit());
        words.find(is_version).unwrap_or("?").to_owned()
    }

    /// Starts it in `at`, in front of applications in the same namespace, and waits until it listens.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(self, at: &Namespace, folder: &Path, apps: &[Ports]) -> Process {
        self.start_with(at, folder, apps, Upgrades::Refused)
    }

    /// The same with what each needs to pass on WebSocket.
    ///
    /// # Panics
    /// As [`Proxy::start`].
    #[must_use]
    pub fn start_with(self, at: &Namespace, folder: &Path, apps: &[Ports], upgrades: Upgrades) -> Process {
        // Envoy reads the format from the name.
        let file = folder.join(if self == Self::Envoy { "envoy.yaml" } else { "proxy.conf" });
        let config = self.config(folder, apps).replace("{upgrades}", upgrades.setting(self));
        let mut command = Command::new(self.program());
        std::fs::write(&file, config).expect("the folder is writable");
        match self {
            Self::Envoy => command
                .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "--config-path"])
                .arg(&file),
            Self::HaProxy => command.arg("-db").arg("-f").arg(&file),
            Self::Nginx => command.arg("-e").arg("stderr").arg("-p").arg(folder).arg("-c").arg(&file),
        };
        let mut process = Process::start(self.name(), at, folder, &mut command);
        wait::until_true(&format!("{} listens", self.name()), || {
            assert!(process.alive(), "{} ended: {}", self.name(), process.output());
            let dial = || std::net::TcpStream::connect(("127.0.0.1", apps[0].http1));
            at.run(dial).expect("a thread starts").is_ok()
        });
        process
    }

    fn config(self, folder: &Path, apps: &[Ports]) -> String {
        let each = |template: &str| -> String {
            let one = |Ports { app, http1, http2 }: &Ports| {
                [("{app}", app), ("{http1}", http1), ("{http2}", http2)]
                    .into_iter()
                    .fold(template.to_owned(), |text, (name, port)| text.replace(name, &port.to_string()))
            };
            apps.iter().map(one).collect()
        };
        match self {
            Self::Envoy => {
                let listeners = ["HTTP1", "HTTP2"].map(|codec| {
                    let port = format!("{{{}}}", codec.to_lowercase());
                    each(&ENVOY_LISTENER.replace("{codec}", codec).replace("{port}", &port))
                });
                format!("static_resources:\n  clusters:\n{}  listeners:\n{}", each(ENVOY_CLUSTER), listeners.concat())
            }
            Self::HaProxy => HAPROXY.to_owned() + &each(HAPROXY_APP),
            Self::Nginx => {
                NGINX.replace("{folder}", &folder.display().to_string()).replace("{servers}", &each(NGINX_APP))
            }
        }
    }
}

const ENVOY_CLUSTER: &str = "
  - name: app-{app}
    connect_timeout: 5s
    load_assignment:
      cluster_name: app-{app}
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: {app}}}}}]}]
";

const ENVOY_LISTENER: &str = "
  - address: {socket_address: {address: 0.0.0.0, port_value: {port}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          codec_type: {codec}
          stat_prefix: port-{port}
          upgrade_configs: [{upgrades}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - {name: all, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: app-{app}}}]}
";

const HAPROXY: &str = "
global
  nbthread 1
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 30s
  timeout server 30s
";

const HAPROXY_APP: &str = "
frontend for-{app}
  bind :{http1}
  bind :{http2} proto h2
  default_backend app-{app}
backend app-{app}
  server app 127.0.0.1:{app}
";

const NGINX: &str = "
daemon off;
user root;
master_process off;
pid {folder}/nginx.pid;
events { worker_connections 20000; }
http {
  access_log off;
  keepalive_requests 1000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  {servers}
}
";

const NGINX_APP: &str = "
  upstream app-{app} { server 127.0.0.1:{app}; keepalive 16; }
  server {
    listen {http1};
    listen {http2} http2;
    location / {
      proxy_pass http://app-{app};
      proxy_http_version 1.1;
      {upgrades}
      proxy_set_header Host $http_host;
      proxy_request_buffering off;
    }
  }
";
