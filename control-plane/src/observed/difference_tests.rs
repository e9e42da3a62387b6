use proptest::prelude::*;

use super::*;

/// What may happen to a sidecar and its reports.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// So many attempts on one of the edges.
    Traffic(u8, u8),
    /// A report, in one part or in two.
    Report(bool),
    /// A report that does not arrive.
    Lost,
    /// A report that arrives after the next one.
    Late,
    /// The last report arrives again.
    Twice,
    /// The process restarts.
    Restart,
    /// The stream goes to another replica.
    Move,
    /// The edge is let go, and comes back with another number.
    Forget(u8),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..3_u8, 1..9_u8).prop_map(|(edge, n)| Event::Traffic(edge, n)),
        4 => any::<bool>().prop_map(Event::Report),
        1 => Just(Event::Lost),
        1 => Just(Event::Late),
        1 => Just(Event::Twice),
        1 => Just(Event::Restart),
        1 => Just(Event::Move),
        1 => (0..3_u8).prop_map(Event::Forget),
    ]
}

/// A sidecar.
struct Sidecar {
    epoch: u64,
    sequence: u64,
    elapsed_ms: u64,
    next: u32,
    /// Number, and attempts that have begun.
    edges: [(u32, u64); 3],
}

impl Sidecar {
    fn new(epoch: u64) -> Self {
        Self { epoch, sequence: 0, elapsed_ms: 0, next: 3, edges: [(0, 0), (1, 0), (2, 0)] }
    }

    fn report(&mut self, range: std::ops::Range<usize>) -> wire::Report {
        self.sequence += 1;
        self.elapsed_ms += 1_000;
        let edge = |(number, started): &(u32, u64)| wire::Edge {
            number: *number,
            counters: Some(wire::Counters { started: *started, ..Default::default() }),
            ..Default::default()
        };
        let edges = self.edges[range.clone()].iter().filter(|(_, started)| *started > 0).map(edge).collect();
        let Self { epoch, sequence, elapsed_ms, .. } = *self;
        wire::Report { epoch, sequence, elapsed_ms, complete: range.end == 3, edges }
    }
}

#[derive(Default)]
struct Replicas {
    all: [Process<u32>; 2],
    present: usize,
    sum: u64,
}

impl Replicas {
    fn take(&mut self, report: &wire::Report) {
        let sum = &mut self.sum;
        self.all[self.present].take(report, |edge| Some(edge.number), |_, counts| *sum += counts.started());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Differences add up to the truth: nothing is counted twice, and what is missing has happened between two reports that an event parted.
    #[test]
    fn differences_add_up_to_the_truth_but_for_one_window_an_event(events in proptest::collection::vec(event(), 0..60)) {
        let (mut replicas, mut sidecar) = (Replicas::default(), Sidecar::new(1));
        let (mut truth, mut unreported, mut missing) = (0, 0, 0);
        let mut last = None;
        replicas.take(&sidecar.report(0..3));
        for event in events {
            match event {
                Event::Traffic(edge, n) => {
                    sidecar.edges[usize::from(edge)].1 += u64::from(n);
                    truth += u64::from(n);
                    unreported += u64::from(n);
                }
                Event::Report(is_whole) => {
                    if !is_whole {
                        replicas.take(&sidecar.report(0..1));
                    }
                    let report = sidecar.report(if is_whole { 0..3 } else { 1..3 });
                    replicas.take(&report);
                    last = Some(report);
                    unreported = 0;
                }
                // The next one tells the same and more.
                Event::Lost => drop(sidecar.report(0..3)),
                Event::Late => {
                    let late = sidecar.report(0..3);
                    let report = sidecar.report(0..3);
                    replicas.take(&report);
                    replicas.take(&late);
                    last = Some(report);
                    unreported = 0;
                }
                Event::Twice => last.iter().for_each(|report| replicas.take(report)),
                Event::Restart => {
                    sidecar = Sidecar::new(sidecar.epoch + 1);
                    replicas.take(&sidecar.report(0..3));
                    missing += std::mem::take(&mut unreported);
                    last = None;
                }
                Event::Move => {
                    // The replica before forgets; the next has never heard of it.
                    replicas.all[replicas.present] = Process::default();
                    replicas.present = 1 - replicas.present;
                    replicas.take(&sidecar.report(0..3));
                    missing += std::mem::take(&mut unreported);
                    last = None;
                }
                Event::Forget(edge) => {
                    // It is let go after ten minutes of silence, long after its last report.
                    let report = sidecar.report(0..3);
                    replicas.take(&report);
                    last = Some(report);
                    unreported = 0;
                    sidecar.edges[usize::from(edge)] = (sidecar.next, 0);
                    sidecar.next += 1;
                }
            }
            prop_assert!(replicas.sum <= truth, "{} of {truth} were counted", replicas.sum);
            prop_assert_eq!(replicas.sum + missing + unreported, truth);
        }
        replicas.take(&sidecar.report(0..3));
        prop_assert_eq!(replicas.sum + missing, truth);
    }
}

fn report(epoch: u64, sequence: u64, elapsed_ms: u64, started: &[(u32, u64)]) -> wire::Report {
    let edge = |(number, started): &(u32, u64)| wire::Edge {
        number: *number,
        counters: Some(wire::Counters { started: *started, ..Default::default() }),
        ..Default::default()
    };
    wire::Report { epoch, sequence, elapsed_ms, complete: true, edges: started.iter().map(edge).collect() }
}

fn taken(process: &mut Process<u32>, report: &wire::Report) -> u64 {
    let mut sum = 0;
    process.take(report, |edge| Some(edge.number), |_, counts| sum += counts.started());
    sum
}

#[test]
fn after_a_long_silence_counting_begins_anew() {
    let mut process = Process::default();
    assert_eq!(taken(&mut process, &report(7, 1, 0, &[(0, 100)])), 0);
    assert_eq!(taken(&mut process, &report(7, 2, 60_000, &[(0, 110)])), 10);
    assert_eq!(taken(&mut process, &report(7, 3, 120_001, &[(0, 500)])), 0, "it would seem to have happened now");
    assert_eq!(taken(&mut process, &report(7, 4, 121_000, &[(0, 501), (1, 4)])), 5);
}

#[test]
fn what_a_hostile_sidecar_tells_is_bounded() {
    let mut process = Process::default();
    taken(&mut process, &report(7, 1, 0, &[(0, 100)]));
    assert_eq!(taken(&mut process, &report(7, 2, 1, &[(0, 90)])), 0, "no counter goes back");
    assert_eq!(taken(&mut process, &report(7, 3, 2, &[(0, 91)])), 1);
    let many: Vec<_> = (1..2_000).map(|number| (number, 1)).collect();
    assert_eq!(taken(&mut process, &report(7, 4, 3, &many)), MAX_EDGES as u64 - 1);
    assert_eq!(process.edges().count(), MAX_EDGES);
    assert_eq!(taken(&mut process, &report(7, u64::MAX, u64::MAX, &[(0, u64::MAX)])), 0, "an endless silence");
}
