//! A folder on disk, looked at again and again.

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::fixture::{service, workload};

struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("outrigger-folder-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.0.join(name)).unwrap();
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a look told, in short: `+Kind name`, `-Kind name`, `!error`, `=reading`.
fn told(scan: Scan) -> Vec<String> {
    let short = |event| match event {
        Event::Put(object) => format!("+{}", object.id()),
        Event::Remove(id) => format!("-{id}"),
        Event::SourceErrors(errors) => format!("!{}", errors.join(" | ")),
        Event::Synced(reading) => format!("={reading:?}"),
    };
    scan.events.into_iter().map(short).collect()
}

fn web() -> String {
    service("web", "10.96.0.1")
}

#[test]
fn tells_only_what_changed() {
    let temporary = Temporary::new();
    let now = Instant::now();
    temporary.write("a.yaml", &(web() + &workload("web-1", "web", "10.1.0.1")));
    temporary.write("notes.txt", "not: [yaml");
    temporary.write(".hidden.yaml", "not: [yaml");
    let mut folder = Folder::new(temporary.0.clone());

    assert_eq!(told(folder.scan(now)), ["+Service shop/web", "+Workload shop/web-1", "=Wholly"]);
    assert_eq!(told(folder.scan(now)), Vec::<String>::new());
    assert!(!folder.looks_different());

    temporary.write("a.yaml", &(web() + &workload("web-1", "web", "10.1.0.99")));
    temporary.write("b.yml", &workload("web-2", "web", "10.1.0.2"));
    assert!(folder.looks_different());
    assert_eq!(told(folder.scan(now)), ["+Workload shop/web-1", "+Workload shop/web-2"]);

    temporary.write("a.yaml", &web());
    assert_eq!(told(folder.scan(now)), ["-Workload shop/web-1"]);
}

#[test]
fn a_bad_file_keeps_its_last_good_objects_and_others_still_load() {
    let temporary = Temporary::new();
    let now = Instant::now();
    temporary.write("a.yaml", &web());
    let mut folder = Folder::new(temporary.0.clone());
    folder.scan(now);

    temporary.write("a.yaml", &web().replace("port: 80,", "port: eighty,"));
    temporary.write("b.yaml", &workload("web-1", "web", "10.1.0.1"));
    let events = told(folder.scan(now));
    assert_eq!(events[0], "+Workload shop/web-1");
    assert!(events[1].starts_with("!a.yaml:9:24: "), "{events:?}");
    assert_eq!(events.len(), 2);

    temporary.write("a.yaml", &web());
    assert_eq!(told(folder.scan(now)), ["!"], "it is good again, and the same as before");
}

#[test]
fn knows_that_something_is_missing_until_every_file_was_read_once() {
    let temporary = Temporary::new();
    let now = Instant::now();
    temporary.write("a.yaml", "a: [");
    temporary.write("b.yaml", &web());
    let mut folder = Folder::new(temporary.0.clone());

    let events = told(folder.scan(now));
    assert_eq!((events[0].as_str(), events[2].as_str()), ("+Service shop/web", "=Partly"));

    temporary.write("a.yaml", &workload("web-1", "web", "10.1.0.1"));
    assert_eq!(told(folder.scan(now)), ["+Workload shop/web-1", "!", "=Wholly"]);
}

#[test]
fn a_file_that_is_gone_or_empty_for_a_moment_changes_nothing() {
    let temporary = Temporary::new();
    let now = Instant::now();
    temporary.write("a.yaml", &web());
    temporary.write("b.yaml", &workload("web-1", "web", "10.1.0.1"));
    let mut folder = Folder::new(temporary.0.clone());
    folder.scan(now);

    temporary.write("a.yaml", "");
    temporary.remove("b.yaml");
    let scan = folder.scan(now);
    assert!(scan.again_in.is_some());
    assert_eq!(told(scan), Vec::<String>::new());
    temporary.write("a.yaml", &web());
    assert_eq!(told(folder.scan(now + GRACE / 2)), Vec::<String>::new());

    let scan = folder.scan(now + GRACE);
    assert_eq!(scan.again_in, None);
    assert_eq!(told(scan), ["-Workload shop/web-1"]);
}

#[test]
fn an_object_may_move_to_another_file_but_not_be_in_two() {
    let temporary = Temporary::new();
    let now = Instant::now();
    temporary.write("a.yaml", &web());
    let mut folder = Folder::new(temporary.0.clone());
    folder.scan(now);

    fs::rename(temporary.0.join("a.yaml"), temporary.0.join("z.yaml")).unwrap();
    assert_eq!(told(folder.scan(now)), Vec::<String>::new());
    assert_eq!(told(folder.scan(now + GRACE)), Vec::<String>::new());

    temporary.write("a.yaml", &service("web", "10.96.0.2"));
    let events = told(folder.scan(now));
    assert_eq!(events, ["+Service shop/web", "!z.yaml:1:1: Service shop/web is also in a.yaml, which counts"]);
}

#[test]
fn of_two_files_with_an_object_the_first_that_is_there_counts() {
    let temporary = Temporary::new();
    let now = Instant::now();
    temporary.write("a.yaml", &web());
    temporary.write("b.yaml", &service("web", "10.96.0.2"));
    let mut folder = Folder::new(temporary.0.clone());
    let error = "!b.yaml:1:1: Service shop/web is also in a.yaml, which counts";
    assert_eq!(told(folder.scan(now)), ["+Service shop/web", error, "=Wholly"]);

    for cut in [true, false] {
        if cut {
            temporary.write("a.yaml", "");
        } else {
            temporary.remove("a.yaml");
        }
        assert_eq!(told(folder.scan(now)), ["+Service shop/web", "!"]);
        temporary.write("a.yaml", &web());
        assert_eq!(told(folder.scan(now)), ["+Service shop/web", error]);
    }
}

#[test]
fn a_folder_that_cannot_be_read_says_nothing_about_its_objects() {
    let temporary = Temporary::new();
    let now = Instant::now();
    temporary.write("a.yaml", &web());
    let mut folder = Folder::new(temporary.0.clone());
    folder.scan(now);

    let away = temporary.0.with_extension("away");
    fs::rename(&temporary.0, &away).unwrap();
    let events = told(folder.scan(now + 2 * GRACE));
    fs::rename(&away, &temporary.0).unwrap();

    assert_eq!(events.len(), 1);
    assert!(events[0].contains("No such file"), "{events:?}");
    assert_eq!(told(folder.scan(now + 2 * GRACE)), ["!"]);
}

#[test]
fn follows_the_links_of_a_projected_volume() {
    let temporary = Temporary::new();
    let now = Instant::now();
    let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, temporary.0.join(name)).unwrap();
    for (data, address) in [("..1", "10.96.0.1"), ("..2", "10.96.0.2")] {
        fs::create_dir(temporary.0.join(data)).unwrap();
        temporary.write(&format!("{data}/a.yaml"), &service("web", address));
    }
    link("..1", "..data");
    link("..data/a.yaml", "a.yaml");
    let mut folder = Folder::new(temporary.0.clone());
    assert_eq!(told(folder.scan(now)), ["+Service shop/web", "=Wholly"]);

    link("..2", "..data_tmp");
    fs::rename(temporary.0.join("..data_tmp"), temporary.0.join("..data")).unwrap();

    assert!(folder.looks_different());
    assert_eq!(told(folder.scan(now)), ["+Service shop/web"]);
}

/// Something that happens to one of two files.
#[derive(Clone, Debug)]
enum Step {
    /// It holds these services, each at one of two addresses; the same may be there twice.
    Write(usize, Vec<(u8, u8)>),
    Break(usize),
    Cut(usize),
    Remove(usize),
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let file = 0..2_usize;
    let services = vec((0..2_u8, 1..3_u8), 1..3);
    let step = prop_oneof![
        4 => (file.clone(), services).prop_map(|(file, services)| Step::Write(file, services)),
        1 => file.clone().prop_map(Step::Break),
        2 => file.clone().prop_map(Step::Cut),
        1 => file.prop_map(Step::Remove),
        2 => Just(Step::Wait),
    ];
    vec(step, 1..10)
}

/// Everything that was told so far.
#[derive(Debug, Default, PartialEq)]
struct Sum {
    objects: BTreeMap<ObjectId, Object>,
    errors: Vec<String>,
}

impl Sum {
    fn take(&mut self, scan: Scan) {
        for event in scan.events {
            match event {
                Event::Put(object) => {
                    let id = object.id();
                    assert_ne!(self.objects.insert(id.clone(), object.clone()), Some(object), "{id} is told twice");
                }
                Event::Remove(id) => assert!(self.objects.remove(&id).is_some(), "{id} was never told"),
                Event::SourceErrors(errors) => self.errors = errors,
                Event::Synced(_) => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_was_told_bit_by_bit_is_what_a_first_look_tells(steps in steps()) {
        let temporary = Temporary::new();
        let mut now = Instant::now();
        let (mut folder, mut sum) = (Folder::new(temporary.0.clone()), Sum::default());
        for step in &steps {
            match step {
                Step::Write(file, services) => {
                    let services = services.iter().map(|(n, address)| service(&format!("s{n}"), &format!("10.96.{n}.{address}")));
                    temporary.write(&format!("{file}.yaml"), &(services.collect::<String>() + "# the end\n"));
                }
                Step::Break(file) => temporary.write(&format!("{file}.yaml"), "a: ["),
                Step::Cut(file) => temporary.write(&format!("{file}.yaml"), ""),
                Step::Remove(file) => drop(fs::remove_file(temporary.0.join(format!("{file}.yaml")))),
                Step::Wait => now += GRACE,
            }
            sum.take(folder.scan(now));
        }
        // What is broken keeps what it said before, which a first look cannot know.
        for file in 0..2 {
            if fs::read(temporary.0.join(format!("{file}.yaml"))).is_ok_and(|text| text == b"a: [") {
                temporary.write(&format!("{file}.yaml"), &service("mended", "10.96.9.9"));
            }
        }
        sum.take(folder.scan(now));
        sum.take(folder.scan(now + GRACE));

        let mut first = Sum::default();
        first.take(Folder::new(temporary.0.clone()).scan(now));
        prop_assert_eq!(sum, first);
    }
}
