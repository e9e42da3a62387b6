//! Who listens where. In namespaces everyone has the ports of the YAML; on loopback some must be told apart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::shop::{Member, Upstream};
use crate::event::Mode;

/// The demo's plan of addresses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    mode: Mode,
}

impl Addresses {
    pub(super) fn new(mode: Mode) -> Self {
        Self { mode }
    }

    pub(super) fn mode(self) -> Mode {
        self.mode
    }

    pub(super) fn control_plane(self) -> SocketAddr {
        self.gateway(4180)
    }

    pub(super) fn control_plane_admin(self) -> SocketAddr {
        match self.mode {
            Mode::Namespaces => SocketAddr::from((Ipv4Addr::LOCALHOST, 4181)),
            Mode::Loopback => self.gateway(4181),
        }
    }

    pub(super) fn collector(self) -> SocketAddr {
        self.gateway(4317)
    }

    /// The workload's address in the YAML.
    pub(super) fn workload(self, host: u8) -> Ipv4Addr {
        match self.mode {
            Mode::Namespaces => Ipv4Addr::new(10, 77, 0, host),
            Mode::Loopback => Ipv4Addr::new(127, 77, 0, host),
        }
    }

    pub(super) fn workload_v6(host: u8) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, host.into())
    }

    pub(super) fn service(self, upstream: &Upstream) -> SocketAddr {
        let ip = match self.mode {
            Mode::Namespaces => Ipv4Addr::new(10, 96, 0, upstream.service),
            Mode::Loopback => Ipv4Addr::new(127, 96, 0, upstream.service),
        };
        SocketAddr::from((ip, upstream.port))
    }

    /// Where peers reach the workload: the endpoint of the YAML.
    pub(super) fn endpoint(self, member: &Member) -> SocketAddr {
        SocketAddr::from((self.workload(member.host), member.port))
    }

    /// Where the app itself listens: without capture the sidecar has the endpoint's port.
    pub(super) fn app(self, member: &Member) -> SocketAddr {
        let port = match self.mode {
            Mode::Namespaces => member.port,
            Mode::Loopback => member.port + 10_000,
        };
        SocketAddr::from((self.workload(member.host), port))
    }

    /// What the app is told to dial: without capture its own sidecar, which stands for the service.
    pub(super) fn dialled(self, member: &Member, upstream: &Upstream) -> SocketAddr {
        match self.mode {
            Mode::Namespaces => self.service(upstream),
            Mode::Loopback => SocketAddr::from((self.workload(member.host), 15_001)),
        }
    }

    pub(super) fn sidecar_admin(self, host: u8) -> SocketAddr {
        match self.mode {
            Mode::Namespaces => SocketAddr::from((Ipv4Addr::LOCALHOST, 4191)),
            Mode::Loopback => SocketAddr::from((self.workload(host), 4191)),
        }
    }

    fn gateway(self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.workload(1)), port)
    }
}
