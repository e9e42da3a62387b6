//! Somebody else, whose requests go on meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use outrigger_sandbox::Namespace;
use outrigger_tests::Client;

/// Works while another client in the same namespace sends requests, on a connection that lasts and on fresh ones, and gets the answers to
/// them and no others. The app answers with words of the path.
pub(super) fn beside_a_neighbour<T>(from: &Namespace, address: &str, work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let neighbour = scope.spawn(|| from.run(|| ask(address, &over)).unwrap());
        let result = {
            let _over = Over(&over);
            work()
        };
        neighbour.join().unwrap();
        result
    })
}

/// Also when the work fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn ask(address: &str, over: &AtomicBool) {
    let mut count = 0;
    let mut lasting = Client::connect(address).unwrap();
    while !over.load(Ordering::Relaxed) || count < AT_LEAST {
        let mut fresh = Client::connect(address).unwrap();
        for client in [&mut lasting, &mut fresh] {
            count += 1;
            let path = format!("/neighbour/{count}");
            let answer = client.get(&path).expect("a neighbour is answered");
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            assert!(answer.text().contains(&format!("{path} ")), "{path}: {}", answer.text());
        }
        // Enough to be there in each moment, and no load.
        thread::sleep(Duration::from_millis(2));
    }
}

const AT_LEAST: u32 = 20;
