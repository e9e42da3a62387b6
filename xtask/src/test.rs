//! `cargo xtask test`: the tests of the project. What CI runs besides format and lints, it runs.
//!
//! The suites that need a Kubernetes cluster come last and take half an hour. They start one, and stop it if none was there.
//!
//! Suites: `unit` (beside the code), `doc`, `peers` (the programs from outside, without a mesh between them), and every
//! integration test: those of single crates, and in `tests/tests` those of all together. `soak` runs alongside the others, most of the
//! time it waits. `conformance` is the suite of the Gateway API, and comes last.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::step::{Counts, Steps};
use crate::{cluster, debian, step, workspace};

/// `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Runs these suites only.
    #[arg(long, value_name = "SUITE", value_delimiter = ',')]
    only: Vec<String>,
    /// Leaves out the suites that need a Kubernetes cluster.
    #[arg(long)]
    no_cluster: bool,
    /// Lists the suites, and runs none.
    #[arg(long)]
    list: bool,
    /// Runs the long forms too: what is silent for minutes, the soak for an hour instead of ten minutes, and each soak with faults for twenty.
    #[arg(long)]
    long: bool,
    /// Installs no packages.
    #[arg(long)]
    no_install: bool,
    /// Only the tests whose name contains this.
    filter: Option<String>,
}

/// Runs the tests.
///
/// # Errors
/// When a suite fails, a suite is unknown, or a program that the tests need is missing.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root()?;
    let suites = suites(&root)?;
    if args.list {
        use std::io::Write as _;
        writeln!(std::io::stdout(), "{}", suites.join("\n"))?;
        return Ok(());
    }
    if let Some(unknown) = args.only.iter().find(|name| !suites.contains(name)) {
        bail!("no suite {unknown}; there are: {}", suites.join(", "));
    }
    let wanted = |suite: &str| match args.only.as_slice() {
        [] => !args.no_cluster || !IN_CLUSTER.contains(&suite),
        only => only.iter().any(|name| name == suite),
    };
    let with_programs = suites.iter().any(|suite| needs_programs(suite) && wanted(suite));

    let mut steps = Steps::default();
    if with_programs && !args.no_install {
        steps.step("programs to test against", || debian::install(debian::FOR_TESTS));
    }
    // With all targets at once, so that every later cargo command finds the same features and builds nothing again.
    steps.step("build", || {
        step::run(workspace::cargo(&root).args(["build", "--quiet", "--workspace", "--all-targets", "--all-features"]))
    });
    if steps.all_passed() {
        let soak = (wanted(SOAK.0) && args.filter.is_none()).then(|| Soak::start(&root, args.long)).transpose()?;
        let (in_cluster, alone): (Vec<_>, Vec<_>) =
            suites.iter().filter(|suite| wanted(suite)).partition(|suite| IN_CLUSTER.contains(&suite.as_str()));
        let filter = args.filter.as_deref();
        let alone = alone.into_iter().filter(|suite| *suite != SOAK.0);
        let long = if args.long { vec![(LONG, PathBuf::from("1"))] } else { Vec::new() };
        alone.for_each(|suite| run_suite(&mut steps, &root, suite, filter, &long));
        if !in_cluster.is_empty()
            && let Some(Cluster { env: cluster, was_down }) = prepare_cluster(&mut steps)
        {
            let (official, own): (Vec<&String>, Vec<_>) = in_cluster.iter().partition(|suite| **suite == CONFORMANCE);
            own.iter().for_each(|suite| run_suite(&mut steps, &root, suite, filter, &cluster));
            let is_ours = cluster.iter().any(|(name, _)| *name == "OUTRIGGER_CLUSTER_NETNS");
            if is_ours && filter.is_none() && in_cluster.iter().any(|suite| *suite == SERVICES.0) {
                run_by_iptables(&mut steps, &root, &cluster);
            }
            if !official.is_empty() {
                run_conformance(&mut steps, is_ours, filter);
            }
            if was_down {
                steps.step("the cluster goes", cluster::stop);
            }
        }
        if let Some(soak) = soak {
            steps.counted_step("soak, alongside", |counted| soak.finish(counted));
        }
    }
    if args.only.is_empty() && args.no_cluster {
        step::announce(&format!("not run: {}, which need a Kubernetes cluster", IN_CLUSTER.join(", ")));
    }
    steps.finish()
}

fn run_suite(steps: &mut Steps, root: &Path, suite: &str, filter: Option<&str>, env: &[(&str, PathBuf)]) {
    let threads = threads();
    if suite == CLUSTER && filter.is_none() {
        // Much of the time these wait: for pods, for endpoints, for the end of a load. Twice as many would leave the cluster no core.
        run_part(steps, root, &Part { suite, name: suite, only: &["--skip", ALONE], at_once: threads + 1 }, env);
        run_part(steps, root, &Part { suite, name: "cluster, alone", only: &[ALONE], at_once: 1 }, env);
    } else {
        let only: &[&str] = filter.as_slice();
        run_part(steps, root, &Part { suite, name: suite, only, at_once: threads }, env);
    }
}

/// Tests of a suite that run together.
struct Part<'a> {
    suite: &'a str,
    name: &'a str,
    /// Which: as libtest takes it.
    only: &'a [&'a str],
    /// How many at once.
    at_once: usize,
}

fn run_part(steps: &mut Steps, root: &Path, part: &Part<'_>, env: &[(&str, PathBuf)]) {
    let Part { suite, name, only, at_once } = *part;
    let mut command = test_command(root, suite, at_once);
    command.envs(env.iter().map(|(name, value)| (name, value))).args(only);
    if suite == SOAK.1 {
        command.args(["--skip", SOAK.2]);
    }
    if !only.is_empty() && env.iter().any(|(name, _)| *name == LONG) {
        // Who asks for a long form wants its figures.
        command.arg("--nocapture");
    }
    steps.test_step(name, at_once, &mut command);
}

/// What runs a suite, with so many tests at once.
pub(crate) fn test_command(root: &Path, suite: &str, at_once: usize) -> Command {
    let mut command = workspace::cargo(root);
    command.args(["test", "--quiet", "--no-fail-fast", "--workspace", "--all-features"]);
    match suite {
        "unit" => command.args(["--lib", "--bins", "--", "--skip", PEERS]),
        "doc" => command.args(["--doc", "--"]),
        "peers" => command.args(["--lib", "--", PEERS]),
        end_to_end => command.args(["--test", end_to_end, "--"]),
    };
    // A line for each test, which tells when it ended.
    command.args(["--format", "pretty", "--test-threads", &at_once.to_string()]);
    let programs = workspace::target_dir(root).join("debug");
    command.env("OUTRIGGER_BIN", programs.join("outrigger"));
    command.env("OUTRIGGER_SIDECAR_BIN", programs.join("outrigger-sidecar"));
    // Root can make network namespaces and install programs: a test that skips itself then would hide something.
    if workspace::is_root() {
        command.env("OUTRIGGER_REQUIRE_NETNS", "1").env("OUTRIGGER_REQUIRE_PEERS", "1");
    }
    command
}

/// The tests that run alongside the others: they take ten minutes, and most of the time they wait.
struct Soak {
    child: Child,
    log: PathBuf,
}

impl Soak {
    fn start(root: &Path, long: bool) -> Result<Self> {
        step::announce("soak, alongside the suites that follow");
        let (_, suite, tests) = SOAK;
        let log = workspace::target_dir(root).join("soak.log");
        let output = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        // Two at once: the ordinary for all the time, and one after another those in which something fails.
        let mut command = test_command(root, suite, 2);
        command.env("OUTRIGGER_SOAK_SECONDS", if long { "3600" } else { "600" }).args([tests, "--nocapture"]);
        if long {
            command.env("OUTRIGGER_FAULTS_SECONDS", "1200");
        }
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        Ok(Self { child: command.spawn().context("cannot start cargo")?, log })
    }

    /// Waits for its end, and shows what it printed.
    fn finish(mut self, counted: &mut Counts) -> Result<()> {
        let status = self.child.wait()?;
        let log = std::fs::read_to_string(&self.log).with_context(|| format!("read {}", self.log.display()))?;
        eprint!("{log}");
        log.lines().for_each(|line| counted.read_line(line));
        if !status.success() {
            bail!("the soak ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Soak {
    fn drop(&mut self) {
        // It has ended, unless something else went wrong before.
        let _ = self.child.kill();
    }
}

/// How many tests of a binary run at once unless there is a reason: as libtest has it.
fn threads() -> usize {
    let named = std::env::var("RUST_TEST_THREADS").ok().and_then(|threads| threads.parse().ok());
    named.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Runs what depends on kube-proxy once more, with its other way to make Services.
fn run_by_iptables(steps: &mut Steps, root: &Path, env: &[(&str, PathBuf)]) {
    let mut switched = false;
    steps.step("kube-proxy in iptables mode", || cluster::switch_proxy("iptables").map(|()| switched = true));
    if switched {
        run_suite(steps, root, SERVICES.0, Some(SERVICES.1), env);
    }
    steps.step("kube-proxy in nftables mode", || cluster::switch_proxy("nftables"));
}

/// Runs the suite that nobody here wrote.
fn run_conformance(steps: &mut Steps, is_ours: bool, filter: Option<&str>) {
    if !is_ours {
        step::announce("conformance: skipped; its image is loaded into the cluster of `cargo xtask cluster up` only");
    } else if filter.is_some() {
        step::announce("conformance: skipped; `cargo xtask conformance --run-test TEST` runs one test of it");
    } else {
        cluster::conformance::add_to(steps, &cluster::conformance::Args::default());
    }
}

/// Where suites run that need Kubernetes.
struct Cluster {
    /// What tells the tests of it.
    env: Vec<(&'static str, PathBuf)>,
    /// Whether nothing of it ran before.
    was_down: bool,
}

/// Sees to it that there is a cluster with the images of what is tested.
///
/// Whoever has a cluster of their own names it in `OUTRIGGER_TEST_KUBECONFIG`, and loads the images into it.
fn prepare_cluster(steps: &mut Steps) -> Option<Cluster> {
    let mut cluster = Cluster { env: vec![("OUTRIGGER_REQUIRE_CLUSTER", PathBuf::from("1"))], was_down: false };
    if std::env::var_os("OUTRIGGER_TEST_KUBECONFIG").is_some() {
        return Some(cluster);
    }
    if !(cfg!(target_os = "linux") && workspace::is_root()) {
        step::announce(&format!(
            "skipped: {}; a Kubernetes cluster needs root on Linux, or one that OUTRIGGER_TEST_KUBECONFIG names",
            IN_CLUSTER.join(", ")
        ));
        return None;
    }
    let mut ready = false;
    steps.step("a Kubernetes cluster, and the images", || {
        cluster.was_down = !cluster::is_running();
        if cluster.was_down {
            // What a cluster left that did not end by itself is no place to test in.
            cluster::stop()?;
        }
        cluster.env.extend(cluster::for_tests()?);
        ready = true;
        Ok(())
    });
    if !ready && cluster.was_down {
        steps.step("the cluster goes", cluster::stop);
    }
    ready.then_some(cluster)
}

/// Tells tests to take their long form.
const LONG: &str = "OUTRIGGER_LONG";

/// The suites that run in Kubernetes, after all others.
const IN_CLUSTER: [&str; 3] = ["kubernetes", CLUSTER, CONFORMANCE];

/// The suite of the mesh as users have it.
const CLUSTER: &str = "cluster";

/// Those of its tests that change the mesh itself.
const ALONE: &str = "alone::";

/// The suite that runs alongside the others; the test target that it is in, and its tests.
const SOAK: (&str, &str, &str) = ("soak", "netns", "soak::");

/// The suite that is no test target of ours.
const CONFORMANCE: &str = "conformance";

/// The suite, and in it the tests, whose result depends on kube-proxy.
const SERVICES: (&str, &str) = (CLUSTER, "services::");

/// Those among the unit tests that try the programs from outside by themselves, and build some of them.
const PEERS: &str = "peers::tests";

fn needs_programs(suite: &str) -> bool {
    !matches!(suite, "unit" | "doc")
}

/// The suites there are: the fast ones first, then those of single crates, then end to end.
fn suites(root: &Path) -> Result<Vec<String>> {
    let mut suites = Vec::new();
    for entry in root.read_dir().with_context(|| format!("read {}", root.display()))? {
        let dir = entry?.path();
        if dir.join("Cargo.toml").is_file() && dir.join("tests").is_dir() {
            suites
                .extend(integration_tests(&dir.join("tests"))?.into_iter().map(|name| (dir.ends_with("tests"), name)));
        }
    }
    suites.sort_unstable();
    let suites = suites.into_iter().map(|(_, name)| name);
    let (first, last) = (["unit", "doc", "peers"].into_iter(), [SOAK.0, CONFORMANCE].into_iter());
    Ok(first.map(str::to_owned).chain(suites).chain(last.map(str::to_owned)).collect())
}

/// The test targets that cargo finds in a folder.
fn integration_tests(folder: &Path) -> Result<Vec<String>> {
    let mut tests = Vec::new();
    for entry in folder.read_dir().with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        let is_test = path.extension().is_some_and(|ext| ext == "rs") || path.join("main.rs").is_file();
        let name = path.file_stem().and_then(|stem| stem.to_str());
        tests.extend(name.filter(|_| is_test).map(str::to_owned));
    }
    Ok(tests)
}
