//! Makes faults happen, and ends them.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use outrigger_tests::Pod;
use outrigger_tests::faults::{Fault, Happened, Planned};

use super::world::{Server, World, now, run, settings};

/// What ends a fault.
type Undo = Box<dyn FnOnce(&mut World)>;

/// How long a preStop hook gives the endpoint to leave the tables of callers.
const PRE_STOP: Duration = Duration::from_millis(1500);

impl World {
    /// Makes a fault happen for its time; returns when all is well again.
    pub(crate) fn befall(&mut self, planned: Planned, changes: &mut u32) -> Happened {
        let server = draw(planned.victim, self.servers.len());
        let caller = draw(planned.other, self.callers.len());
        let mut happened = self.about(planned.fault, server, caller);
        happened.note = format!("{}: {}", happened.note, planned.fault.name());
        eprintln!("{:>7.1} s  {} ({:?})", self.begin.elapsed().as_secs_f64(), happened.note, planned.length);
        happened.begin = now();
        let undo = self.inject(planned.fault, server, caller, changes);
        happened.done = now();
        self.pause(planned.length);
        undo(self);
        happened.end = now();
        self.pause(planned.quiet);
        happened
    }

    fn about(&self, fault: Fault, server: usize, caller: usize) -> Happened {
        use outrigger_tests::faults::Target;
        let (target, victim) = (fault.target(), &self.servers[server]);
        let of_server = matches!(target, Target::Server | Target::Pair);
        let of_caller = matches!(target, Target::Caller | Target::Pair);
        let note = match target {
            Target::Server => victim.name.clone(),
            Target::Caller => self.callers[caller].name.clone(),
            Target::Pair => format!("{} and {}", self.callers[caller].name, victim.name),
            Target::Mesh if matches!(fault, Fault::PodReplaced | Fault::StateDirectoryFull) => victim.name.clone(),
            Target::Mesh => "mesh".to_owned(),
        };
        Happened {
            fault,
            note,
            service: of_server.then_some(victim.service),
            address: of_server.then(|| victim.pod.ip().to_string()),
            caller: of_caller.then(|| self.callers[caller].name.clone()),
            begin: 0.0,
            done: 0.0,
            end: 0.0,
        }
    }

    fn inject(&mut self, fault: Fault, server: usize, caller: usize, changes: &mut u32) -> Undo {
        match fault {
            Fault::AppKilled => {
                self.servers[server].app.kill();
                Box::new(move |world| {
                    let app = world.app(&world.servers[server].pod, &world.servers[server].name);
                    world.servers[server].app = app;
                })
            }
            Fault::AppHangs => {
                self.servers[server].app.signal("STOP");
                Box::new(move |world| world.servers[server].app.signal("CONT"))
            }
            Fault::SidecarKilled => {
                self.servers[server].pod.sidecar().kill();
                Box::new(move |world| world.restart_sidecar(|world| &mut world.servers[server].pod))
            }
            Fault::CallerSidecarKilled => {
                self.callers[caller].pod.sidecar().kill();
                Box::new(move |world| world.restart_sidecar(|world| &mut world.callers[caller].pod))
            }
            Fault::SidecarHangs => {
                self.servers[server].pod.sidecar().signal("STOP");
                Box::new(move |world| world.servers[server].pod.sidecar().signal("CONT"))
            }
            Fault::CallerSidecarHangs => {
                self.callers[caller].pod.sidecar().signal("STOP");
                Box::new(move |world| world.callers[caller].pod.sidecar().signal("CONT"))
            }
            Fault::ReplicaKilled => {
                self.second = None;
                Box::new(Self::start_second)
            }
            Fault::ReplicaHangs => {
                self.mesh.control_plane().signal("STOP");
                Box::new(|world| world.mesh.control_plane().signal("CONT"))
            }
            Fault::ControlPlaneKilled => {
                self.second = None;
                self.mesh.kill_control_plane();
                Box::new(|world| {
                    world.mesh.start_control_plane();
                    world.start_second();
                })
            }
            Fault::PodReplaced => {
                let next = self.server(self.servers[server].service);
                let gone = std::mem::replace(&mut self.servers[server], next);
                self.end_pod(gone);
                Box::new(|_| {})
            }
            Fault::PacketsDropped => {
                let (from, pod) = (self.callers[caller].pod.ip(), &self.servers[server].pod);
                for hook in [("input", "saddr"), ("output", "daddr")] {
                    nft(
                        pod,
                        &format!(
                            "add table inet faults; add chain inet faults {0} {{ type filter hook {0} priority -300; }}; \
                                       add rule inet faults {0} ip {1} {from} drop",
                            hook.0, hook.1
                        ),
                    );
                }
                Box::new(move |world| nft(&world.servers[server].pod, "delete table inet faults"))
            }
            Fault::StateDirectoryFull => {
                let folder = fill(&self.servers[server].pod);
                Box::new(move |_| run(Command::new("umount").arg("--lazy").arg(&folder)))
            }
            Fault::DescriptorsExhausted => {
                let sidecar = self.servers[server].pod.sidecar().id();
                let before = limit_of(sidecar);
                let (open, _) = super::held(sidecar);
                limit(sidecar, &open.to_string());
                Box::new(move |_| limit(sidecar, &before))
            }
            Fault::ConfigurationChanged => {
                *changes += 1;
                self.mesh.write("settings.yaml", &settings(*changes));
                Box::new(|_| {})
            }
        }
    }

    /// As the kubelet does it: the new process finds a fresh token.
    fn restart_sidecar(&mut self, pod: impl Fn(&mut Self) -> &mut Pod) {
        let name = pod(self).name().to_owned();
        let token = self.mesh.token(&name);
        let pod = pod(self);
        std::fs::write(pod.folder().join("token"), token).unwrap();
        pod.start_sidecar();
        pod.ready();
    }

    /// As Kubernetes ends a pod: the endpoint leaves and the preStop hooks run, then the application is asked to end, then the sidecar.
    fn end_pod(&mut self, mut server: Server) {
        self.mesh.remove(&format!("{}.yaml", server.name));
        server.pod.run(&["sidecar", "leave"]);
        self.pause(PRE_STOP);
        server.app.terminate();
        assert!(server.app.ended().success(), "{} ends by itself", server.name);
        server.pod.sidecar().terminate();
        assert!(server.pod.sidecar().ended().success(), "the sidecar of {} ends by itself", server.name);
    }
}

fn draw(number: u64, among: usize) -> usize {
    usize::try_from(number % among as u64).unwrap()
}

fn nft(pod: &Pod, rules: &str) {
    pod.stdout("nft", &[rules]);
}

/// Puts a full file system in the place of a sidecar's state directory.
fn fill(pod: &Pod) -> PathBuf {
    let folder = pod.folder().join("state");
    run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=16k", "tmpfs"]).arg(&folder));
    let full = std::fs::write(folder.join("full"), vec![0; 64 << 10]);
    assert!(full.is_err(), "the file system has no room left");
    folder
}

/// How many descriptors a process may have.
fn limit_of(process: u32) -> String {
    let mut command = Command::new("prlimit");
    command.args(["--pid", &process.to_string(), "--nofile", "--output=SOFT", "--noheadings", "--raw"]);
    String::from_utf8(command.output().unwrap().stdout).unwrap().trim().to_owned()
}

fn limit(process: u32, descriptors: &str) {
    run(Command::new("prlimit").args(["--pid", &process.to_string(), &format!("--nofile={descriptors}:")]));
}
