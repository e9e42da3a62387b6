//! A bridge in the sandbox, and namespaces on it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Sandbox;
use crate::namespace::Namespace;
use crate::netlink::{Netlink, NetlinkError};
use crate::netns::NetNs;

/// A bridge, 10.77.0.1/16 and fd77::1/64, in the sandbox's own namespace.
#[derive(Debug)]
pub struct Network {
    bridge_side: NetNs,
    ipv6: bool,
    links: AtomicU32,
}

impl Network {
    /// The bridge's own addresses: where the sandbox's program listens for its namespaces.
    pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    /// See [`Self::GATEWAY_V4`].
    pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);

    /// Makes the bridge.
    ///
    /// # Errors
    /// Names the step that the kernel refused.
    pub fn new(sandbox: &Sandbox) -> Result<Self, NetworkError> {
        let bridge_side = sandbox.netns().clone();
        // The file exists if and only if the kernel was booted with IPv6.
        let ipv6 = Path::new("/proc/net/if_inet6").exists();
        Netlink::in_namespace(&bridge_side, async |netlink| {
            netlink.add_bridge(BRIDGE).await?;
            netlink.set_up(BRIDGE).await?;
            netlink.add_address(BRIDGE, Self::GATEWAY_V4.into(), PREFIX_V4).await?;
            if ipv6 {
                netlink.add_address(BRIDGE, Self::GATEWAY_V6.into(), PREFIX_V6).await?;
            }
            Ok(())
        })?;
        Ok(Self { bridge_side, ipv6, links: AtomicU32::new(0) })
    }

    /// Tells whether the kernel has IPv6 at all.
    #[must_use]
    pub fn has_ipv6(&self) -> bool {
        self.ipv6
    }

    /// Makes a namespace: `eth0` with these addresses, loopback up, everything else by the bridge. So service addresses
    /// leave the namespace unless its own rules redirect them.
    ///
    /// # Errors
    /// Names the step that the kernel refused.
    pub fn namespace(&self, name: &str, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<Namespace, NetworkError> {
        let netns = NetNs::create().map_err(|source| NetworkError::Create { name: name.to_owned(), source })?;
        let number = self.links.fetch_add(1, Ordering::Relaxed);
        let (link, peer) = (format!("veth{number}"), format!("peer{number}"));
        let namespace = Namespace::new(name, netns.clone(), self.bridge_side.clone(), link.clone(), (v4, v6));
        Netlink::in_namespace(&self.bridge_side, async |netlink| {
            netlink.add_veth(&link, &peer).await?;
            netlink.move_to(&peer, &netns).await?;
            netlink.attach(&link, BRIDGE).await
        })?;
        Netlink::in_namespace(&netns, async |netlink| {
            netlink.set_up("lo").await?;
            netlink.rename(&peer, "eth0", mac(v4)).await?;
            netlink.set_up("eth0").await?;
            netlink.add_address("eth0", IpAddr::V4(v4), PREFIX_V4).await?;
            if self.ipv6 {
                netlink.add_address("eth0", IpAddr::V6(v6), PREFIX_V6).await?;
            }
            netlink.add_default_routes(Self::GATEWAY_V4, self.ipv6.then_some(Self::GATEWAY_V6)).await
        })?;
        Ok(namespace)
    }
}

/// A network or a namespace could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The kernel refused a link, an address or a route.
    #[error("lay the sandbox's network")]
    Netlink(#[from] NetlinkError),
    /// The kernel refused a namespace.
    #[error("make network namespace {name}")]
    Create {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The same for the same address: a namespace made anew is not mistaken for its predecessor in the others' caches.
fn mac(ip: Ipv4Addr) -> Vec<u8> {
    [&LOCALLY_ADMINISTERED[..], &ip.octets()].concat()
}

const LOCALLY_ADMINISTERED: [u8; 2] = [0x02, 0x4f];
const BRIDGE: &str = "mesh0";
const PREFIX_V4: u8 = 16;
const PREFIX_V6: u8 = 64;
