//! Another client, whose requests go on meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use outrigger_sandbox::Namespace;

use crate::Client;

/// Works while another client in the same namespace sends requests, on a connection that lasts and on fresh ones, and gets the answers to
/// them and no others. The app answers with words of the path.
///
/// # Panics
/// When a request is not answered, or with another's answer.
pub fn beside_a_neighbour<T>(from: &Namespace, address: &str, work: impl FnOnce() -> T) -> T {
    let (result, asked) = timed_beside_a_neighbour(from, address, work);
    assert!(asked.failed.is_empty(), "a neighbour is answered: {:?}", asked.failed);
    result
}

/// What came of a neighbour's requests.
#[derive(Debug, Default)]
pub struct Asked {
    /// How long they took, the fastest first.
    pub took: Vec<Duration>,
    /// Those that were not answered, or not with status 200 and their own answer.
    pub failed: Vec<String>,
}

/// As [`beside_a_neighbour`]; returns what came of its requests, too.
///
/// # Panics
/// Never in practice.
pub fn timed_beside_a_neighbour<T>(from: &Namespace, address: &str, work: impl FnOnce() -> T) -> (T, Asked) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let neighbour = scope.spawn(|| from.run(|| ask(address, &over)).expect("a thread starts"));
        let result = {
            let _over = Over(&over);
            work()
        };
        let mut asked = neighbour.join().expect("the neighbour does not panic");
        asked.took.sort_unstable();
        (result, asked)
    })
}

/// Also when the work fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn ask(address: &str, over: &AtomicBool) -> Asked {
    let mut asked = Asked::default();
    let mut lasting = None;
    while !over.load(Ordering::Relaxed) || asked.took.len() < AT_LEAST {
        for fresh in [false, true] {
            let path = format!("/neighbour/{}", asked.took.len() + 1);
            let start = Instant::now();
            let mut none = None;
            let answer = one(address, &path, if fresh { &mut none } else { &mut lasting });
            asked.took.push(start.elapsed());
            if let Err(what) = answer {
                asked.failed.push(format!("{path}: {what}"));
                lasting = None;
            }
        }
        // Enough to be there in each moment, and no load.
        thread::sleep(Duration::from_millis(2));
    }
    asked
}

fn one(address: &str, path: &str, client: &mut Option<Client>) -> Result<(), String> {
    if client.is_none() {
        *client = Some(Client::connect(address).map_err(|error| error.to_string())?);
    }
    let client = client.as_mut().ok_or("no connection")?;
    let answer = client.get(path).map_err(|error| error.to_string())?;
    let own = answer.status == 200 && answer.text().contains(&format!("{path} "));
    if own { Ok(()) } else { Err(format!("{} {}", answer.status, answer.text())) }
}

const AT_LEAST: usize = 20;
