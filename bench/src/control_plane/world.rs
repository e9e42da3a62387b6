//! The objects: services with their endpoints, a file for each service.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// What the control plane reads.
#[derive(Debug)]
pub(super) struct World {
    folder: PathBuf,
    per_service: usize,
    /// How often each service has changed.
    changed: Vec<u32>,
}

impl World {
    /// Writes all files; the first `sidecars` endpoints are those that connect.
    pub(super) fn write(folder: &Path, services: usize, endpoints: usize, sidecars: usize) -> Result<Self> {
        anyhow::ensure!(services > 0 && sidecars <= endpoints, "more sidecars than endpoints");
        std::fs::create_dir_all(folder)?;
        let world = Self { folder: folder.to_owned(), per_service: endpoints / services, changed: vec![0; services] };
        for service in 0..services {
            world.save(service)?;
        }
        Ok(world)
    }

    pub(super) fn services(&self) -> usize {
        self.changed.len()
    }

    /// The service's key.
    pub(super) fn key(service: usize) -> String {
        format!("service/{}/s{service}/80", namespace(service))
    }

    /// The workload of a sidecar.
    pub(super) fn workload(&self, sidecar: usize) -> (String, String) {
        // Spread over the services, as pods are.
        let (service, member) = (sidecar % self.services(), sidecar / self.services());
        (namespace(service), format!("s{service}-{member}"))
    }

    /// Gives one endpoint of the service another address.
    pub(super) fn change(&mut self, service: usize) -> Result<()> {
        if let Some(changed) = self.changed.get_mut(service) {
            *changed += 1;
        }
        self.save(service)
    }

    fn save(&self, service: usize) -> Result<()> {
        let namespace = namespace(service);
        let address = |base: [u8; 4], number: usize| {
            Ipv4Addr::from_bits(Ipv4Addr::from(base).to_bits() + u32::try_from(number).unwrap_or_default())
        };
        let mut text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s{service}, namespace: {namespace}}}\nspec:\n  clusterIP: {}\n  \
             selector: {{app: s{service}}}\n  ports: [{{name: http, port: 80, targetPort: 8080, appProtocol: http}}]\n",
            address([10, 96, 0, 1], service)
        );
        for member in 0..self.per_service {
            let own = address([10, 128, 0, 1], service * self.per_service + member);
            // The last one moves: no sidecar is there.
            let moves = member + 1 == self.per_service;
            let changed = self.changed.get(service).copied().unwrap_or_default();
            let ip = if moves && changed % 2 == 1 { address([10, 160, 0, 1], service) } else { own };
            let _ = write!(
                text,
                "---\napiVersion: outrigger.io/v1alpha1\nkind: Workload\n\
                 metadata: {{name: s{service}-{member}, namespace: {namespace}, labels: {{app: s{service}}}}}\n\
                 spec: {{address: {ip}, serviceAccountName: s{service}, ports: [{{port: 8080, appProtocol: http}}]}}\n"
            );
        }
        let beside = self.folder.join(format!(".s{service}.swp"));
        std::fs::write(&beside, text).with_context(|| format!("write {}", beside.display()))?;
        std::fs::rename(beside, self.folder.join(format!("s{service}.yaml"))).context("put a file in place")
    }
}

fn namespace(service: usize) -> String {
    format!("n{}", service % NAMESPACES)
}

const NAMESPACES: usize = 40;
