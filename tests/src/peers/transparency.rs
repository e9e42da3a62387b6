//! Servers and clients of many makes for the comparison with and without a mesh.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::build::root;
use super::program::Program;
use super::smtp::CURL;
use super::{PeerError, write};

/// Node's http or, with `h2`, http2.
///
/// # Errors
/// When Node is missing.
pub fn node_server(listen: SocketAddr, h2: bool) -> Result<Command, PeerError> {
    let mut command = NODE.command()?;
    command.arg(file("server.js")).args([listen.ip().to_string(), listen.port().to_string()]);
    if h2 {
        command.arg("h2");
    }
    Ok(command)
}

/// A scenario of Node's clients; it prints what they see.
///
/// # Errors
/// When Node is missing.
pub fn node_client(server: SocketAddr, scenario: &str) -> Result<Command, PeerError> {
    let mut command = NODE.command()?;
    command.arg(file("client.js")).args([scenario, &server.to_string()]);
    Ok(command)
}

/// Python's http.server, of HTTP/1.0 or 1.1.
///
/// # Errors
/// When Python is missing.
pub fn python_server(listen: SocketAddr, version: &str) -> Result<Command, PeerError> {
    let mut command = PYTHON.command()?;
    command.arg(file("server.py")).args([version, &listen.ip().to_string(), &listen.port().to_string()]);
    Ok(command)
}

/// A scenario of Python's clients.
///
/// # Errors
/// When Python is missing.
pub fn python_client(server: SocketAddr, scenario: &str) -> Result<Command, PeerError> {
    let mut command = PYTHON.command()?;
    command.arg(file("client.py")).args([scenario, &server.to_string()]);
    Ok(command)
}

/// All scenarios of Java's `HttpClient`, which tries to upgrade to HTTP/2 unless it is told otherwise.
///
/// # Errors
/// When Java is missing.
pub fn java_client(server: SocketAddr) -> Result<Command, PeerError> {
    let mut command = JAVA.command()?;
    // A JVM that lives for a second has no use for its better compiler.
    command.args(["-XX:TieredStopAtLevel=1", "-Xshare:auto"]).arg(file("Client.java")).arg(server.to_string());
    Ok(command)
}

/// grpcio's server, which has methods of all kinds.
///
/// # Errors
/// When Debian's Python is missing.
pub fn grpcio_server(listen: SocketAddr) -> Result<Command, PeerError> {
    grpcio("serve", listen)
}

/// grpcio's client: one call of each kind, and some that fail.
///
/// # Errors
/// When Debian's Python is missing.
pub fn grpcio_client(server: SocketAddr) -> Result<Command, PeerError> {
    grpcio("call", server)
}

fn grpcio(what: &str, address: SocketAddr) -> Result<Command, PeerError> {
    // Another Python need not have Debian's modules.
    let python = Path::new("/usr/bin/python3");
    if !Path::new("/usr/lib/python3/dist-packages/grpc").exists() {
        return Err(PeerError::Missing { program: "grpcio", install: "apt-get install python3-grpcio" });
    }
    let mut command = Command::new(python);
    command.arg(file("grpcio.py")).args([what, &address.to_string()]);
    Ok(command)
}

/// curl without progress.
///
/// # Errors
/// When curl is missing.
pub fn curl(arguments: &[&str]) -> Result<Command, PeerError> {
    let mut command = CURL.command()?;
    command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "20"]).args(arguments);
    Ok(command)
}

/// nginx, with a page, a redirect and compression.
///
/// # Errors
/// When it is missing, or its folder cannot be written.
pub fn nginx(listen: SocketAddr, folder: &Path) -> Result<Command, PeerError> {
    let config = format!(
        "daemon off; worker_processes 1; pid nginx.pid; error_log error.log;\nevents {{}}\nhttp {{\n  access_log off; root {root}; gzip on; \
         gzip_min_length 1; gzip_types *; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; \
         scgi_temp_path scgi;\n  server {{ listen {listen}; location /old {{ return 301 /index.html; }} location /echo {{ return 200 \
         \"$request_method $request_uri $http_host $content_length\\n\"; }} }}\n}}\n",
        root = folder.display(),
    );
    write(&folder.join("nginx.conf"), &config)?;
    page(folder)?;
    let mut command = NGINX.command()?;
    command.arg("-p").arg(folder).args(["-c", "nginx.conf", "-e", "error.log"]);
    Ok(command)
}

/// Apache, with files.
///
/// # Errors
/// When it is missing, or its folder cannot be written.
pub fn apache(listen: SocketAddr, folder: &Path) -> Result<Command, PeerError> {
    let modules = ["mpm_event", "authz_core", "mime", "dir"];
    let modules: String =
        modules.map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n")).concat();
    let folder_text = folder.display();
    let config = format!(
        "{modules}Listen {listen}\nServerName web\nPidFile {folder_text}/pid\nErrorLog {folder_text}/error.log\nDocumentRoot {folder_text}\n\
         DefaultRuntimeDir {folder_text}\nTypesConfig /etc/mime.types\nDirectoryIndex index.html\n<Directory {folder_text}>\nRequire all granted\n</Directory>\n\
         User nobody\nGroup nogroup\nTraceEnable off\n",
    );
    write(&folder.join("apache.conf"), &config)?;
    write(&folder.join("mime.types"), "text/html html\n")?;
    write(&folder.join("apache.conf"), &config.replace("/etc/mime.types", &format!("{folder_text}/mime.types")))?;
    page(folder)?;
    let mut command = APACHE.command()?;
    command.args(["-X", "-f"]).arg(folder.join("apache.conf"));
    Ok(command)
}

/// HAProxy, which answers by itself.
///
/// # Errors
/// When it is missing, or its folder cannot be written.
pub fn haproxy(listen: SocketAddr, folder: &Path) -> Result<Command, PeerError> {
    let config = format!(
        "defaults\n  mode http\n  timeout client 30s\n  timeout connect 5s\n  timeout server 30s\nfrontend web\n  bind {listen}\n  \
         http-request redirect location /moved if {{ path /old }}\n  http-request return status 200 content-type text/plain lf-string \
         \"%[method] %[path] %[req.hdr(host)]\\n\"\n"
    );
    let path = folder.join("haproxy.cfg");
    write(&path, &config)?;
    let mut command = HAPROXY.command()?;
    command.args(["-db", "-f"]).arg(path);
    Ok(command)
}

/// A NATS server.
///
/// # Errors
/// When it is missing.
pub fn nats(listen: SocketAddr) -> Result<Command, PeerError> {
    let mut command = NATS.command()?;
    command.args(["--addr", &listen.ip().to_string(), "--port", &listen.port().to_string()]);
    Ok(command)
}

/// memcached.
///
/// # Errors
/// When it is missing.
pub fn memcached(listen: SocketAddr) -> Result<Command, PeerError> {
    let mut command = MEMCACHED.command()?;
    command.args(["-u", "nobody", "-U", "0", "-m", "8", "-t", "1", "-l", &listen.ip().to_string()]);
    command.args(["-p", &listen.port().to_string()]);
    Ok(command)
}

/// An SSH server with a key of its own, which lets in nobody.
///
/// # Errors
/// When it is missing, or its key cannot be made.
pub fn sshd(listen: SocketAddr, folder: &Path) -> Result<Command, PeerError> {
    let key = folder.join("key");
    let mut keygen = SSH_KEYGEN.command()?;
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(&key);
    super::finish("ssh-keygen", &mut keygen)?;
    let config = folder.join("sshd_config");
    write(&config, &format!("ListenAddress {listen}\nHostKey {}\nPidFile none\nUsePAM no\n", key.display()))?;
    let run = Path::new("/run/sshd");
    std::fs::create_dir_all(run).map_err(|source| PeerError::Io { step: run.display().to_string(), source })?;
    let mut command = Command::new(SSHD.path()?);
    command.args(["-D", "-e", "-f"]).arg(config);
    Ok(command)
}

/// An MQTT broker that takes everybody.
///
/// # Errors
/// When it is missing, or its folder cannot be written.
pub fn mosquitto(listen: SocketAddr, folder: &Path) -> Result<Command, PeerError> {
    let path = folder.join("mosquitto.conf");
    write(&path, &format!("listener {} {}\nallow_anonymous true\nuser root\n", listen.port(), listen.ip()))?;
    let mut command = MOSQUITTO.command()?;
    command.arg("-c").arg(path);
    Ok(command)
}

/// A page of always the same age, which servers tell.
fn page(folder: &Path) -> Result<(), PeerError> {
    let path = folder.join("index.html");
    write(&path, &"<p>hello</p>\n".repeat(1000))?;
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let set = File::options().write(true).open(&path).and_then(|file| file.set_modified(time));
    set.map_err(|source| PeerError::Io { step: path.display().to_string(), source })
}

fn file(name: &str) -> PathBuf {
    root().join("tests/peers/transparency").join(name)
}

pub(super) const NODE: Program = Program { name: "node", install: "apt-get install nodejs" };
pub(super) const PYTHON: Program = Program { name: "python3", install: "apt-get install python3" };
const JAVA: Program = Program { name: "java", install: "apt-get install default-jdk-headless" };
const NGINX: Program = Program { name: "nginx", install: "apt-get install nginx-light" };
const APACHE: Program = Program { name: "apache2", install: "apt-get install apache2-bin" };
const HAPROXY: Program = Program { name: "haproxy", install: "apt-get install haproxy" };
const NATS: Program = Program { name: "nats-server", install: "apt-get install nats-server" };
const MEMCACHED: Program = Program { name: "memcached", install: "apt-get install memcached" };
const SSHD: Program = Program { name: "sshd", install: "apt-get install openssh-server" };
const SSH_KEYGEN: Program = Program { name: "ssh-keygen", install: "apt-get install openssh-client" };
const MOSQUITTO: Program = Program { name: "mosquitto", install: "apt-get install mosquitto" };
