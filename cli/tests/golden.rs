//! What the commands print, word for word. `OUTRIGGER_BLESS=1 cargo test --test golden` writes the files anew; read the difference.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::Command;

#[test]
fn install_dry_run() {
    golden("install.yaml", &["install", "--dry-run"], 0);
}

#[test]
fn install_dry_run_for_ha_with_monitors() {
    let values = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/charts/outrigger/values-ha.yaml");
    let set = "revision=blue,podMonitor.enabled=true,networkPolicy.monitoringNamespaces={monitoring}";
    golden(
        "install-ha.yaml",
        &["install", "--dry-run", "--values", values, "--set", set, "--mesh-namespace", "mesh"],
        0,
    );
}

#[test]
fn a_value_that_is_not_there() {
    golden("unknown-value.txt", &["install", "--dry-run", "--set", "controlPlane.replica=3"], 2);
}

#[test]
fn a_value_of_the_wrong_kind() {
    golden("wrong-value.txt", &["install", "--dry-run", "--set", "inboundMode=lax"], 2);
}

#[test]
fn explain_of_a_finding() {
    golden("explain-finding.txt", &["explain", "oc031"], 0);
}

#[test]
fn inject_of_a_manifest() {
    let anchors = "--trust-anchors=tests/inject/root.pem";
    golden("inject.yaml", &["inject", "-f", "tests/inject/shop.yaml", anchors, "--image=outrigger/sidecar:1.2.3"], 1);
    golden("inject-nothing.txt", &["inject", "-f", "tests/inject/shop.yaml", "--trust-anchors=nowhere.pem"], 2);
}

#[test]
fn without_a_cluster_the_commands_say_what_to_do() {
    let file = if cfg!(feature = "kubernetes") { "no-cluster.txt" } else { "no-client.txt" };
    for args in [&["upgrade"][..], &["uninstall"], &["install"], &["check", "--pre"]] {
        golden(file, args, 2);
    }
}

/// Compares stdout, stderr and the exit code.
fn golden(name: &str, args: &[&str], code: i32) {
    let nowhere = concat!(env!("CARGO_TARGET_TMPDIR"), "/no-home");
    let output = Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .args(args)
        .env_remove("KUBECONFIG")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .envs([("HOME", nowhere), ("TMPDIR", nowhere)])
        .output()
        .unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap().replace(nowhere, "~");
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("OUTRIGGER_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    let differs = expected.lines().zip(text.lines()).position(|(expected, is)| expected != is);
    if let Some(line) = differs {
        let (expected, is) = (expected.lines().nth(line).unwrap(), text.lines().nth(line).unwrap());
        panic!("{name}:{}: {args:?}\n  - {expected}\n  + {is}", line + 1);
    }
    assert_eq!(expected.lines().count(), text.lines().count(), "{name}: {args:?}: one is longer");
}
