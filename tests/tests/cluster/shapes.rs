//! The pods of the injector's golden tests, as an API server and the webhook see them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use outrigger_tests::cluster::Space;
use serde_json::Value;

#[test]
fn pods_of_every_shape_are_accepted_with_their_sidecar() {
    let Some(plain) = Space::plain() else { return };
    let Some(meshed) = Space::meshed() else { return };
    for space in [&plain, &meshed] {
        space.text(["create", "serviceaccount", "web"]);
    }
    let mut accepted = 0;
    for shape in shapes() {
        let name = shape.file_stem().unwrap().to_string_lossy().into_owned();
        // Some shapes are right in no cluster, or not in this one: their priority class is not here.
        if !created(&plain, &shape).status.success() {
            continue;
        }
        accepted += 1;

        let output = created(&meshed, &shape);

        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        let golden = fs::read_to_string(shape.with_extension("patched.yaml")).unwrap();
        let pod: Value = serde_json::from_slice(&output.stdout).unwrap();
        let inits: Vec<&str> = pod["spec"]["initContainers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|init| init["name"].as_str())
            .collect();
        let has_sidecar = inits.starts_with(&["outrigger-init", "outrigger-sidecar"]);
        assert_eq!(has_sidecar, golden.contains("name: outrigger-sidecar") || name == "injected", "{name}: {inits:?}");
        let told = golden.lines().filter(|line| line.starts_with("# warning: ")).count();
        assert_eq!(
            said.matches("Warning: outrigger: annotation").count(),
            golden.matches("# warning: annotation").count(),
            "{name}: {said}"
        );
        assert!(told == 0 || said.contains("Warning: outrigger: "), "{name}: {said}");
    }
    assert!(accepted >= 40, "{accepted} shapes are right for this API server");
}

/// What becomes of a pod that is then not made.
fn created(space: &Space, shape: &Path) -> Output {
    let text = fs::read_to_string(shape).unwrap();
    let text = text.replace("  namespace: shop\n", "");
    let mut command = space.kubectl(["create", "--dry-run=server", "-o", "json", "-f", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn shapes() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../injector/tests/corpus");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut shapes: Vec<PathBuf> = paths.filter(|path| !path.to_string_lossy().ends_with(".patched.yaml")).collect();
    shapes.sort();
    shapes
}
