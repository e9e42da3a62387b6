//! The last good state on disk, from which a restarted sidecar serves before (and without) the control plane.
//!
//! Configuration is written in any directory. The private key is written only where it stays in memory: on a tmpfs,
//! such as an `emptyDir` of medium `Memory`. Anywhere else a restarted sidecar asks for a new certificate.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use outrigger_identity::{Credentials, KeyPair, TrustBundle};
use outrigger_proto::{Key, wire};
use prost::Message;
use rustls_pki_types::CertificateDer;

/// `f_type` of statfs(2) for tmpfs and ramfs.
const TMPFS: u32 = 0x0102_1994;
const RAMFS: u32 = 0x8584_58f6;

/// A saved file that is larger was not written by us.
const MAX_FILE: u64 = 256 * 1024 * 1024;

pub(crate) struct StateDir {
    path: PathBuf,
    in_memory: bool,
}

impl StateDir {
    /// Opens the directory, making it if need be (mode 0700).
    ///
    /// # Errors
    /// When it cannot be made or examined.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let kind = rustix::fs::statfs(path)?.f_type as u32;
        let in_memory = kind == TMPFS || kind == RAMFS;
        if !in_memory {
            tracing::info!(path = %path.display(), "the state directory is not on a tmpfs: the private key is not saved");
        }
        Ok(Self { path: path.to_owned(), in_memory })
    }

    pub(crate) fn save_resources(&self, resources: Vec<wire::Resource>) {
        let update = wire::Update { resources, removed: Vec::new(), commit: true };
        self.write("resources", &update.encode_to_vec());
    }

    pub(crate) fn load_resources(&self) -> Option<Vec<wire::Resource>> {
        let bytes = self.read("resources")?;
        match wire::Update::decode(bytes.as_slice()) {
            Ok(update) => Some(update.resources),
            Err(error) => {
                tracing::warn!(%error, "the saved state cannot be read; starting without it");
                None
            }
        }
    }

    /// Adds the anchors that the control plane streamed last to those that the sidecar was started with, which are as old
    /// as its pod. The control plane's next word takes the place of both.
    pub(crate) fn with_saved_anchors(&self, given: TrustBundle) -> TrustBundle {
        let resources = self.load_resources().unwrap_or_default();
        let settings = resources.into_iter().find(|resource| resource.key == Key::Mesh.to_string());
        let settings = settings.and_then(|resource| wire::MeshSettings::decode(resource.value).ok());
        let Some(saved) = settings.filter(|saved| saved.trust_domain == given.domain().to_string()) else {
            return given;
        };
        let mut anchors = given.anchors().to_vec();
        for anchor in saved.trust_anchors.into_iter().map(|der| CertificateDer::from(der.to_vec())) {
            if !anchors.contains(&anchor) {
                anchors.push(anchor);
            }
        }
        TrustBundle::new(given.domain().clone(), anchors).unwrap_or(given)
    }

    pub(crate) fn save_identity(&self, key: &KeyPair, credentials: &Credentials) {
        if !self.in_memory {
            return;
        }
        let saved = wire::CertifyResponse {
            chain: credentials.chain().iter().map(|der| der.to_vec().into()).collect(),
            // The key takes the anchors' place in this file; the anchors come from their own file.
            trust_anchors: vec![key.secret_der().into()],
        };
        self.write("identity", &saved.encode_to_vec());
    }

    pub(crate) fn load_identity(&self) -> Option<(KeyPair, Credentials)> {
        let saved = wire::CertifyResponse::decode(self.read("identity")?.as_slice()).ok()?;
        let key = KeyPair::from_secret_der(saved.trust_anchors.first()?).ok()?;
        let chain = saved.chain.into_iter().map(|der| CertificateDer::from(der.to_vec())).collect();
        let credentials = Credentials::new(&key, chain).ok()?;
        Some((key, credentials))
    }

    /// Writes beside and renames: a crash leaves the old file or the new one.
    fn write(&self, name: &str, bytes: &[u8]) {
        let target = self.path.join(name);
        let fresh = self.path.join(format!("{name}.new"));
        let write = || -> io::Result<()> {
            // A leftover may have another owner's mode.
            if let Err(error) = fs::remove_file(&fresh)
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(error);
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&fresh, &target)
        };
        if let Err(error) = write() {
            tracing::warn!(path = %target.display(), %error, "could not save state; a restart would start without it");
        }
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        let path = self.path.join(name);
        let read = || -> io::Result<Vec<u8>> {
            let file = File::open(&path)?;
            if file.metadata()?.len() > MAX_FILE {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut io::Read::take(file, MAX_FILE), &mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "could not read saved state");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn resources_are_read_back_and_only_the_owner_may_read_them() {
        let directory = std::env::temp_dir().join(format!("outrigger-state-{}", std::process::id()));
        let state = StateDir::open(&directory).unwrap();
        let resource = wire::Resource { key: "mesh".to_owned(), version: 7, value: vec![1, 2].into() };

        state.save_resources(vec![resource.clone()]);
        state.save_resources(vec![resource.clone()]);

        assert_eq!(state.load_resources().unwrap(), [resource]);
        let mode = fs::metadata(directory.join("resources")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(directory.join("resources"), b"\xff\xff").unwrap();
        assert!(state.load_resources().is_none());
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn anchors_that_were_streamed_are_trusted_beside_those_given() {
        let directory = std::env::temp_dir().join(format!("outrigger-anchors-{}", std::process::id()));
        let state = StateDir::open(&directory).unwrap();
        let root = || {
            let key = rcgen::KeyPair::generate().unwrap();
            rcgen::CertificateParams::default().self_signed(&key).unwrap().der().clone()
        };
        let (old, new) = (root(), root());
        let given = TrustBundle::new("mesh.local".parse().unwrap(), vec![old.clone()]).unwrap();
        assert_eq!(state.with_saved_anchors(given.clone()), given);

        let save = |domain: &str| {
            let trust_anchors = vec![old.to_vec().into(), new.to_vec().into()];
            let settings = wire::MeshSettings { trust_domain: domain.to_owned(), trust_anchors, ..Default::default() };
            let value = settings.encode_to_vec().into();
            state.save_resources(vec![wire::Resource { key: "mesh".to_owned(), version: 1, value }]);
        };
        save("mesh.local");
        assert_eq!(state.with_saved_anchors(given.clone()).anchors(), [old.clone(), new.clone()]);
        save("elsewhere.example");
        assert_eq!(state.with_saved_anchors(given.clone()), given, "another mesh's are not ours");
        fs::remove_dir_all(directory).unwrap();
    }
}
