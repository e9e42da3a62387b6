//! Floors: which modules of a crate may import which. `xtask/floors.txt` is the list; here it is held.
//!
//! Tests may import what they like.

mod graph;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use graph::{Arrow, Graph};

/// Checks every crate of the workspace.
///
/// # Errors
/// Names each line that breaks a rule, and says what can be done.
pub(crate) fn check(root: &Path) -> Result<()> {
    let list = std::fs::read_to_string(root.join(LIST)).context(LIST)?;
    let floors = Floors::parse(&list)?;
    let mut wrong = Vec::new();
    let members = members(root)?;
    for member in &members {
        let src = root.join(member).join("src");
        let read = |path: &str| std::fs::read_to_string(src.join(path)).ok();
        let top = if src.join("lib.rs").exists() { "lib.rs" } else { "main.rs" };
        let graph = Graph::read(top, &read);
        wrong.extend(broken(member, &graph, floors.crates.get(member)));
    }
    let gone = floors.crates.keys().filter(|name| !members.contains(*name));
    wrong.extend(gone.map(|name| format!("  {LIST}: there is no crate {name}")));
    if !wrong.is_empty() {
        bail!("{} rules of {LIST} are broken:\n{}", wrong.len(), wrong.join("\n"));
    }
    Ok(())
}

/// The workspace's members, from its manifest.
fn members(root: &Path) -> Result<Vec<String>> {
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).context("Cargo.toml")?;
    let (_, rest) = manifest.split_once("members = [").context("Cargo.toml has no members")?;
    let (members, _) = rest.split_once(']').context("Cargo.toml has no members")?;
    Ok(members.split('"').skip(1).step_by(2).map(str::to_owned).collect())
}

/// What `xtask/floors.txt` says.
#[derive(Debug, Default)]
struct Floors {
    crates: BTreeMap<String, Crate>,
}

#[derive(Debug, Default)]
struct Crate {
    /// Height of each module; 0 is the top.
    floors: BTreeMap<String, usize>,
    /// Imports that are there against the rules: from, to; a file, or a folder with a `/` at its end.
    exceptions: BTreeSet<(String, String)>,
    /// Circles of more files than may be: how many at most, by the module that they are in.
    circles: BTreeMap<String, usize>,
}

impl Floors {
    fn parse(text: &str) -> Result<Self> {
        let mut floors = Self::default();
        let mut name = None;
        let mut height = 0;
        for (number, line) in text.lines().enumerate() {
            let at = || format!("{LIST}:{}", number + 1);
            let line = line.split('#').next().unwrap_or_default();
            if line.trim().is_empty() {
                continue;
            }
            if !line.starts_with(' ') {
                height = 0;
                floors.crates.entry(line.trim().to_owned()).or_default();
                name = Some(line.trim().to_owned());
                continue;
            }
            let this = name.as_ref().and_then(|name| floors.crates.get_mut(name)).with_context(at)?;
            let exception = line.trim().strip_prefix("except ").map(|exception| (exception, true));
            let circle = || line.trim().strip_prefix("circle ").map(|circle| (circle, false));
            if let Some((text, is_arrow)) = exception.or_else(circle) {
                let (what, reason) = text.split_once(": ").with_context(at).context("an exception has a reason")?;
                if reason.trim().is_empty() {
                    bail!("{}: an exception has a reason", at());
                }
                let (from, to) = what
                    .split_once(if is_arrow { " > " } else { " " })
                    .with_context(at)
                    .context("`except FILE > FILE: why` or `circle FILES MODULE: why`")?;
                if is_arrow {
                    this.exceptions.insert((from.to_owned(), to.to_owned()));
                } else {
                    this.circles.insert(to.to_owned(), from.parse().with_context(at)?);
                }
                continue;
            }
            height += 1;
            for module in line.split_whitespace() {
                if this.floors.insert(module.to_owned(), height).is_some() {
                    bail!("{}: {module} is on two floors", at());
                }
            }
        }
        Ok(floors)
    }
}

/// Returns what breaks the rules in one crate.
fn broken(name: &str, graph: &Graph, rules: Option<&Crate>) -> Vec<String> {
    let Some(rules) = rules else {
        return vec![format!(
            "  {LIST}: the crate {name} is missing. What would hold today:\n{name}\n{}",
            suggested(graph)
        )];
    };
    let path = |file: usize| &*graph.files[file].path;
    let is = |listed: &str, path: &str| path == listed || listed.ends_with('/') && path.starts_with(listed);
    let covers = |(from, to): &(String, String), arrow: &Arrow| is(from, path(arrow.from)) && is(to, path(arrow.to));
    let is_exception = |arrow: &Arrow| rules.exceptions.iter().any(|exception| covers(exception, arrow));
    let mut wrong = Vec::new();
    let tops: BTreeSet<&str> = (1..graph.files.len()).map(|file| graph.top(file)).collect();
    for top in &tops {
        if !rules.floors.contains_key(*top) {
            wrong.push(format!("  {LIST}: {name} has the module {top}, which is on no floor: add it"));
        }
    }
    for module in rules.floors.keys().filter(|module| !tops.contains(&***module)) {
        wrong.push(format!("  {LIST}: {name} has no module {module}: take it out"));
    }
    // The crate's own file, which is on no floor, is above all.
    let height = |file: usize| rules.floors.get(graph.top(file)).copied().unwrap_or(0);
    let is_right = |arrow: &Arrow| {
        graph.top(arrow.from) == graph.top(arrow.to) || height(arrow.from) < height(arrow.to) || is_exception(arrow)
    };
    for arrow in graph.arrows.iter().filter(|arrow| !is_right(arrow)) {
        let (from, to) = (graph.top(arrow.from), graph.top(arrow.to));
        let place = if height(arrow.from) == height(arrow.to) { "on its own floor" } else { "above it" };
        wrong.push(format!(
            "  {name}/src/{}:{}: {from} imports {} of {}, and {to} is {place}. Move what it needs to a floor below, or have it passed in by the caller.",
            path(arrow.from),
            arrow.line,
            arrow.name,
            path(arrow.to),
        ));
    }
    // What is wrong already would only join circles that are none without it.
    let is_left_out = |arrow: &Arrow| is_exception(arrow) || !is_right(arrow);
    let mut circles = rules.circles.clone();
    for circle in graph.circles(&is_left_out).into_iter().filter(|circle| circle.len() > MAX_CIRCLE) {
        let is_within = |module: &str| {
            circle.iter().all(|file| {
                let rest = path(*file).strip_prefix(module);
                rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
            })
        };
        if let Some((module, listed)) = rules.circles.iter().find(|(module, _)| is_within(module)) {
            circles.remove(module);
            if circle.len() <= *listed {
                continue;
            }
        }
        let inner = graph
            .arrows
            .iter()
            .filter(|arrow| circle.contains(&arrow.from) && circle.contains(&arrow.to) && !is_left_out(arrow));
        let inner: Vec<String> = inner
            .map(|arrow| {
                format!("    {name}/src/{}:{}: {} of {}", path(arrow.from), arrow.line, arrow.name, path(arrow.to))
            })
            .collect();
        wrong.push(format!(
            "  {name}: {} files import one another in a circle, and {MAX_CIRCLE} may, or as many as {LIST} says of it. Move what they share to a file of its own. The imports:\n{}",
            circle.len(),
            inner.join("\n"),
        ));
    }
    wrong.extend(
        circles
            .keys()
            .map(|module| format!("  {LIST}: {name}: {module} has no such circle any more: take the line out")),
    );
    for exception in &rules.exceptions {
        if !graph.arrows.iter().any(|arrow| covers(exception, arrow)) {
            let (from, to) = exception;
            wrong.push(format!("  {LIST}: {name}: {from} no longer imports {to}: take the exception out"));
        }
    }
    wrong
}

/// Makes floors that the imports of today keep: each module as low as it can be.
fn suggested(graph: &Graph) -> String {
    let mut above: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in 1..graph.files.len() {
        above.entry(graph.top(file)).or_default();
    }
    for arrow in graph.arrows.iter().filter(|arrow| arrow.from != graph::ROOT) {
        let (from, to) = (graph.top(arrow.from), graph.top(arrow.to));
        if from != to {
            above.entry(from).or_default().insert(to);
        }
    }
    let mut floors = Vec::new();
    while !above.is_empty() {
        let floor: Vec<&str> = above
            .iter()
            .filter(|(_, below)| !below.iter().any(|name| above.contains_key(name)))
            .map(|(name, _)| *name)
            .collect();
        if floor.is_empty() {
            let names: Vec<&str> = above.keys().copied().collect();
            floors.push(format!("  {} # not in floors: they import one another", names.join(" ")));
            break;
        }
        floors.push(format!("  {}", floor.join(" ")));
        above.retain(|name, _| !floor.contains(name));
    }
    floors.reverse();
    floors.join("\n")
}

/// The list of floors.
const LIST: &str = "xtask/floors.txt";
/// Files that may import one another in a circle: a type, and what it is made of.
const MAX_CIRCLE: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn broken_in(list: &str, files: &[(&str, &str)]) -> Vec<String> {
        let read = |path: &str| files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned());
        let floors = Floors::parse(list).unwrap();
        broken("x", &Graph::read("lib.rs", &read), floors.crates.get("x"))
    }

    const FILES: [(&str, &str); 4] = [
        ("lib.rs", "mod high; mod low; mod side;\nuse high::H;\nfn f(h: H) {}"),
        ("high.rs", "use crate::low::L;\npub struct H;"),
        ("low.rs", "pub struct L;"),
        ("side.rs", "\nuse crate::low::L;"),
    ];

    #[test]
    fn what_imports_downwards_is_right() {
        assert_eq!(broken_in("x # a crate\n  high side # both\n  low\n", &FILES), Vec::<String>::new());
    }

    #[test]
    fn an_import_upwards_or_aside_is_wrong_and_named_by_its_line() {
        let wrong = broken_in("x\n  low side\n  high\n", &FILES);
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].starts_with("  x/src/high.rs:1: high imports crate::low::L of low.rs, and low is above it."));
        assert!(
            wrong[1]
                .starts_with("  x/src/side.rs:2: side imports crate::low::L of low.rs, and low is on its own floor.")
        );
    }

    #[test]
    fn an_exception_has_a_reason_and_goes_when_it_is_not_needed() {
        let with =
            |exception| format!("x\n  low\n  high side\n  except high.rs > low.rs: for now\n  except {exception}\n");
        assert_eq!(broken_in(&with("side.rs > low.rs: why not"), &FILES), Vec::<String>::new());
        let wrong = broken_in(&with("side.rs > high.rs: why not"), &FILES);
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[1].ends_with("side.rs no longer imports high.rs: take the exception out"));
        assert!(Floors::parse("x\n  except a.rs > b.rs\n").is_err());
    }

    #[test]
    fn a_circle_of_four_files_is_wrong_within_a_folder_too() {
        let files = [
            ("lib.rs", "mod a;"),
            ("a/mod.rs", "mod b; mod c; mod d; mod e;"),
            ("a/b.rs", "use super::c::C; pub struct B;"),
            ("a/c.rs", "use super::d::D; pub struct C;"),
            ("a/d.rs", "use super::e::E; pub struct D;"),
            ("a/e.rs", "use super::b::B; pub struct E;"),
        ];
        let wrong = broken_in("x\n  a\n", &files);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(
            wrong[0].contains("4 files") && wrong[0].contains("x/src/a/e.rs:1: super::b::B of a/b.rs"),
            "{wrong:?}"
        );
        assert_eq!(broken_in("x\n  a\n  except a/e.rs > a/b.rs: one thing\n", &files), Vec::<String>::new());
        assert_eq!(broken_in("x\n  a\n  circle 4 a: one thing\n", &files), Vec::<String>::new());
        assert_eq!(broken_in("x\n  a\n  circle 3 a: one thing\n", &files).len(), 1, "it has grown");
        let gone = broken_in("x\n  a\n  except a/e.rs > a/b.rs: one thing\n  circle 4 a: one thing\n", &files);
        assert_eq!(gone, ["  xtask/floors.txt: x: a has no such circle any more: take the line out"]);
    }

    #[test]
    fn every_crate_and_module_has_a_floor_and_none_that_is_gone() {
        assert!(broken_in("y\n", &FILES)[0].ends_with("What would hold today:\nx\n  high side\n  low"));
        let wrong = broken_in("x\n  high more\n  low\n", &FILES);
        assert_eq!(
            wrong,
            [
                "  xtask/floors.txt: x has the module side, which is on no floor: add it",
                "  xtask/floors.txt: x has no module more: take it out"
            ]
        );
    }
}
