//! The kinds of the Gateway API, which a cluster may have or not.

use std::sync::{Mutex, PoisonError};

use super::{Cluster, succeeds};
use crate::peers::gateway_api;

impl Cluster {
    /// Makes the kinds of the Gateway API's standard channel, or leaves them as they are.
    ///
    /// # Panics
    /// When they cannot be made.
    pub fn with_routes(&self) {
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = gateway_api::standard_channel().expect("the Gateway API's module is to be had");
        // Server-side: the kinds are longer than an annotation may be.
        let _ = succeeds(self.kubectl(["apply", "--server-side", "-f"]).arg(folder));
        self.run(["wait", "--for=condition=Established", "customresourcedefinition", A_KIND, "--timeout=60s"]);
    }
}

const A_KIND: &str = "httproutes.gateway.networking.k8s.io";
