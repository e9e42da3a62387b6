//! A sidecar's state directory with anything in its files: it starts, with what can be read or without; and what it then saves, it reads
//! again.

use std::path::PathBuf;
use std::sync::OnceLock;

use outrigger_identity::TrustBundle;
use outrigger_sidecar::fuzzing::{Configuration, State};

use crate::{runtime, sync};

/// Runs the target; the first byte says which file it is.
///
/// # Panics
/// When the state is another after it was saved.
pub fn run(data: &[u8]) {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let Some((file, bytes)) = data.split_first() else { return };
    let folder = FOLDER.get_or_init(|| {
        // Memory, where there is any: the files are synced.
        let memory = PathBuf::from("/dev/shm");
        let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
        parent.join(format!("outrigger-fuzz-{}", std::process::id()))
    });
    let state = State::open(folder).expect("a folder for the state");
    if file % 2 == 0 {
        std::fs::write(folder.join("identity"), bytes).expect("a file");
        // No key and chain that belong together come about by chance.
        assert!(!state.has_identity(), "an identity out of nothing");
    } else {
        std::fs::write(folder.join("resources"), bytes).expect("a file");
        runtime::run(async { start(&state) }).expect("it does not wait");
    }
    std::fs::remove_dir_all(folder).expect("it can be removed");
}

fn start(state: &State) {
    let given = bundle();
    let anchors = state.anchors(given.clone());
    assert!(
        given.anchors().iter().all(|anchor| anchors.anchors().contains(anchor)),
        "an anchor that was given is lost"
    );
    assert_eq!(anchors.domain(), given.domain());
    let Some(resources) = state.resources() else { return };
    let mut configuration = Configuration::new();
    configuration.apply(resources, &[]);
    let held = configuration.resources();
    sync::restored(&held);
    state.save(held.clone());
    assert_eq!(state.resources(), Some(held), "what was saved");
}

fn bundle() -> TrustBundle {
    static ANCHOR: &[u8] = include_bytes!("../fixtures/anchor.der");
    let anchor = rustls_pki_types::CertificateDer::from(ANCHOR);
    TrustBundle::new("mesh.local".parse().expect("a trust domain"), vec![anchor]).expect("a trust anchor")
}
