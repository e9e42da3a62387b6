//! The few requests to the kernel that lay a network: links, addresses, routes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder};

use crate::netns::NetNs;

/// A connection to the kernel in one network namespace.
pub(crate) struct Netlink(Handle);

impl Netlink {
    /// Runs `work` with a connection in `netns`.
    pub(crate) fn in_namespace<T: Send>(
        netns: &NetNs,
        work: impl AsyncFnOnce(Self) -> Result<T, NetlinkError> + Send,
    ) -> Result<T, NetlinkError> {
        netns.run("netlink", || Self::here(work)).map_err(NetlinkError::Connect)?
    }

    /// Runs `work` with a connection in the calling thread's namespace; not within a tokio runtime.
    pub(crate) fn here<T>(work: impl AsyncFnOnce(Self) -> Result<T, NetlinkError>) -> Result<T, NetlinkError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(NetlinkError::Connect)?;
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().map_err(NetlinkError::Connect)?;
            let connection = tokio::spawn(connection);
            let result = work(Self(handle)).await;
            connection.abort();
            result
        })
    }

    pub(crate) async fn add_bridge(&self, name: &str) -> Result<(), NetlinkError> {
        self.0.link().add(LinkBridge::new(name).build()).execute().await.map_err(step("add bridge", name))
    }

    pub(crate) async fn add_veth(&self, name: &str, peer: &str) -> Result<(), NetlinkError> {
        self.0.link().add(LinkVeth::new(name, peer).build()).execute().await.map_err(step("add veth", name))
    }

    pub(crate) async fn remove_link(&self, name: &str) -> Result<(), NetlinkError> {
        let index = self.index(name).await?;
        self.0.link().del(index).execute().await.map_err(step("remove link", name))
    }

    pub(crate) async fn set_up(&self, name: &str) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(self.index(name).await?).up().build();
        self.0.link().change(message).execute().await.map_err(step("set up", name))
    }

    pub(crate) async fn attach(&self, name: &str, bridge: &str) -> Result<(), NetlinkError> {
        let bridge = self.index(bridge).await?;
        let message = LinkUnspec::new_with_index(self.index(name).await?).controller(bridge).up().build();
        self.0.link().change(message).execute().await.map_err(step("attach to the bridge", name))
    }

    pub(crate) async fn move_to(&self, name: &str, netns: &NetNs) -> Result<(), NetlinkError> {
        let fd = netns.file().as_raw_fd();
        let message = LinkUnspec::new_with_index(self.index(name).await?).setns_by_fd(fd).build();
        self.0.link().change(message).execute().await.map_err(step("move to its namespace", name))
    }

    pub(crate) async fn rename(&self, name: &str, new: &str, mac: Vec<u8>) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(self.index(name).await?).name(new).address(mac).build();
        self.0.link().change(message).execute().await.map_err(step("rename", name))
    }

    /// Usable at once: duplicate address detection would hold an IPv6 address back for a second or two.
    pub(crate) async fn add_address(&self, name: &str, ip: IpAddr, prefix: u8) -> Result<(), NetlinkError> {
        let mut request = self.0.address().add(self.index(name).await?, ip, prefix);
        if ip.is_ipv6() {
            request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        request.execute().await.map_err(step("add an address to", name))
    }

    pub(crate) async fn add_default_routes(&self, v4: Ipv4Addr, v6: Option<Ipv6Addr>) -> Result<(), NetlinkError> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(v4).build();
        self.0.route().add(route).execute().await.map_err(step("add the default route by", &v4.to_string()))?;
        let Some(v6) = v6 else { return Ok(()) };
        let route = RouteMessageBuilder::<Ipv6Addr>::new().gateway(v6).build();
        self.0.route().add(route).execute().await.map_err(step("add the default route by", &v6.to_string()))
    }

    async fn index(&self, name: &str) -> Result<u32, NetlinkError> {
        let mut links = self.0.link().get().match_name(name.to_owned()).execute();
        let link = links.try_next().await.map_err(step("find", name))?;
        Ok(link.ok_or_else(|| NetlinkError::NoLink(name.to_owned()))?.header.index)
    }
}

/// The kernel refused a request about links, addresses or routes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetlinkError {
    /// No connection to the kernel.
    #[error("open a netlink socket")]
    Connect(#[source] io::Error),
    /// One request failed.
    #[error("{what} {subject}")]
    Request {
        /// What was asked.
        what: &'static str,
        /// Of which link or address.
        subject: String,
        /// The kernel's answer.
        #[source]
        source: rtnetlink::Error,
    },
    /// A link is missing.
    #[error("no link named {0}")]
    NoLink(String),
}

fn step(what: &'static str, subject: &str) -> impl FnOnce(rtnetlink::Error) -> NetlinkError {
    move |source| NetlinkError::Request { what, subject: subject.to_owned(), source }
}
