//! The graph of imports between a crate's files: each import leads to the file that defines what is imported, through re-exports.

use std::collections::BTreeMap;

use super::source::{Path, Source, Use};

/// The files of one crate.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) files: Vec<File>,
    pub(super) arrows: Vec<Arrow>,
}

#[derive(Debug)]
pub(super) struct File {
    /// Below `src`.
    pub(super) path: String,
    source: Source,
    parent: usize,
    children: BTreeMap<String, usize>,
}

/// A file imports from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arrow {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) line: usize,
    pub(super) name: String,
}

#[derive(Debug, Clone, Copy)]
enum Found {
    /// A file's module.
    Module(usize),
    /// Something that a file defines.
    Item(usize),
}

impl Graph {
    /// Reads the crate whose topmost file is `root`; `read` returns a file below `src`.
    pub(super) fn read(root: &str, read: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut graph = Self { files: Vec::new(), arrows: Vec::new() };
        graph.add(root.to_owned(), String::new(), 0, read);
        let mut arrows = Vec::new();
        for at in 0..graph.files.len() {
            graph.arrows_of(at, &mut arrows);
        }
        // The first line is enough: it is the `use`.
        arrows.sort();
        arrows.dedup_by_key(|arrow| (arrow.from, arrow.to));
        graph.arrows = arrows;
        graph
    }

    /// Adds a file and its child modules, which are in `folder`.
    fn add(
        &mut self,
        path: String,
        folder: String,
        parent: usize,
        read: &dyn Fn(&str) -> Option<String>,
    ) -> Option<usize> {
        let source = Source::read(&read(&path)?);
        let modules = source.modules.clone();
        let at = self.files.len();
        self.files.push(File { path, source, parent, children: BTreeMap::new() });
        for name in modules {
            let inner = format!("{folder}{name}/");
            let child = self
                .add(format!("{folder}{name}.rs"), inner.clone(), at, read)
                .or_else(|| self.add(format!("{inner}mod.rs"), inner.clone(), at, read));
            if let Some(child) = child {
                self.files[at].children.insert(name, child);
            }
        }
        Some(at)
    }

    /// Returns the name of the topmost module that a file belongs to.
    pub(super) fn top(&self, file: usize) -> &str {
        let path = &self.files[file].path;
        path.split_once('/').map_or_else(|| path.trim_end_matches(".rs"), |(folder, _)| folder)
    }

    fn arrows_of(&self, from: usize, arrows: &mut Vec<Arrow>) {
        let source = &self.files[from].source;
        let mut add = |path: &Path, to| {
            // What the crate's own file defines is everybody's: a constant, generated code.
            if to != from && to != ROOT {
                arrows.push(Arrow { from, to, line: path.line, name: path.segments.join("::") });
            }
        };
        for one in &source.uses {
            if one.public && !source.words.contains(&one.name) {
                continue;
            }
            match self.find_use(from, one, 0) {
                Some(Found::Item(to)) => add(&one.path, to),
                Some(Found::Module(to)) if one.name == "*" => add(&one.path, to),
                // What is used of a module is seen where it is used.
                Some(Found::Module(_)) | None => {}
            }
        }
        for path in &source.paths {
            if let Some(Found::Item(to)) = self.find(from, &path.segments, 0) {
                add(path, to);
            }
        }
    }

    fn find_use(&self, file: usize, one: &Use, depth: usize) -> Option<Found> {
        let segments = &one.path.segments;
        let segments = segments.strip_suffix(&["*".to_owned()]).unwrap_or(segments);
        // A name of its own is found elsewhere: `use http::http` and the like.
        match &*segments[0] {
            "crate" | "self" | "super" => self.find(file, segments, depth),
            first => self.files[file].children.get(first).and_then(|child| self.within(*child, &segments[1..], depth)),
        }
    }

    /// Finds what a path means in a file; `None`: it is of another crate.
    fn find(&self, file: usize, segments: &[String], depth: usize) -> Option<Found> {
        let this = &self.files[file];
        let (first, rest) = segments.split_first()?;
        match &**first {
            "crate" => self.within(ROOT, rest, depth),
            "self" => self.within(file, rest, depth),
            "super" => self.within(this.parent, rest, depth),
            name => {
                let used = || this.source.uses.iter().find(|one| one.name == name && depth < MAX_DEPTH);
                if let Some(child) = this.children.get(name) {
                    return self.within(*child, rest, depth);
                }
                match self.find_use(file, used()?, depth + 1)? {
                    Found::Module(module) => self.within(module, rest, depth + 1),
                    Found::Item(item) => Some(Found::Item(item)),
                }
            }
        }
    }

    /// Finds what a path means that begins in a module.
    fn within(&self, module: usize, segments: &[String], depth: usize) -> Option<Found> {
        let Some((first, rest)) = segments.split_first() else { return Some(Found::Module(module)) };
        let this = &self.files[module];
        if first == "super" {
            return self.within(this.parent, rest, depth);
        }
        if let Some(child) = this.children.get(first) {
            // A function may be called as the module that it is in.
            return self.within(*child, rest, depth);
        }
        if this.source.defined.contains(first) || depth >= MAX_DEPTH {
            return Some(Found::Item(module));
        }
        if let Some(one) = this.source.uses.iter().find(|one| one.name == *first) {
            return match self.find_use(module, one, depth + 1)? {
                Found::Module(module) => self.within(module, rest, depth + 1),
                Found::Item(item) => Some(Found::Item(item)),
            };
        }
        let globs = this.source.uses.iter().filter(|one| one.name == "*");
        let modules = globs.filter_map(|glob| match self.find_use(module, glob, depth + 1)? {
            Found::Module(module) => Some(module),
            Found::Item(_) => None,
        });
        let defining = modules.into_iter().find(|module| self.files[*module].source.defined.contains(first));
        Some(Found::Item(defining.unwrap_or(module)))
    }

    /// Returns the files of each circle of more than one file.
    pub(super) fn circles(&self, allowed: &dyn Fn(&Arrow) -> bool) -> Vec<Vec<usize>> {
        let count = self.files.len();
        // Few hundred files: who reaches whom is cheap enough to write down.
        let mut next = vec![Vec::new(); count];
        for arrow in self.arrows.iter().filter(|arrow| !allowed(arrow)) {
            next[arrow.from].push(arrow.to);
        }
        let reached: Vec<Vec<bool>> = (0..count)
            .map(|start| {
                let mut seen = vec![false; count];
                let mut open = next[start].clone();
                while let Some(file) = open.pop() {
                    if !std::mem::replace(&mut seen[file], true) {
                        open.extend(&next[file]);
                    }
                }
                seen
            })
            .collect();
        let mut circles: Vec<Vec<usize>> = Vec::new();
        for (file, ahead) in reached.iter().enumerate() {
            if ahead[file] && !circles.iter().any(|circle| circle.contains(&file)) {
                circles.push((0..count).filter(|other| ahead[*other] && reached[*other][file]).collect());
            }
        }
        circles
    }
}

/// `lib.rs` or `main.rs`.
pub(super) const ROOT: usize = 0;
/// Re-exports of re-exports.
const MAX_DEPTH: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn arrows(files: &[(&str, &str)]) -> Vec<String> {
        let graph = graph(files);
        let path = |file: usize| &graph.files[file].path;
        graph.arrows.iter().map(|arrow| format!("{}:{}>{}", path(arrow.from), arrow.line, path(arrow.to))).collect()
    }

    fn graph(files: &[(&str, &str)]) -> Graph {
        let read = |path: &str| files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned());
        Graph::read("lib.rs", &read)
    }

    #[test]
    fn an_import_leads_through_re_exports_to_the_file_that_defines() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a/mod.rs", "mod x; mod y;\npub(crate) use x::X; pub(crate) use y::*;"),
            ("a/x.rs", "pub(crate) struct X;"),
            ("a/y.rs", "pub(crate) struct Y;"),
            ("b.rs", "pub(crate) use crate::a::X;\nfn f() { crate::a::Y; }"),
            ("c.rs", "use crate::b;\nfn f(x: b::X) {}"),
        ];
        assert_eq!(arrows(&files), ["b.rs:2>a/y.rs", "c.rs:2>a/x.rs"]);
    }

    #[test]
    fn names_of_other_crates_and_of_the_file_itself_are_no_arrows() {
        let files = [
            ("lib.rs", "mod http; mod a;"),
            ("http.rs", "pub(crate) struct Body;"),
            ("a.rs", "use http::Body;\nuse std::io;\nenum E { V }\nfn f() { io::stdin(); E::V; http::x() }"),
        ];
        assert_eq!(arrows(&files), Vec::<String>::new());
    }

    #[test]
    fn finds_circles_and_what_is_allowed_makes_none() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use crate::b::B; pub(crate) struct A;"),
            ("b.rs", "use super::c::C; pub(crate) struct B;"),
            ("c.rs", "fn f() -> crate::a::A {} pub(crate) struct C;"),
        ];
        let graph = graph(&files);
        assert_eq!(graph.circles(&|_| false).len(), 1);
        assert_eq!(graph.circles(&|_| false)[0].len(), 3);
        assert!(graph.circles(&|arrow| graph.files[arrow.to].path == "c.rs").is_empty());
    }
}
