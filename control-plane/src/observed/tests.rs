use outrigger_proto::wire;

use super::*;

fn source(workload: &str) -> Source {
    Source { namespace: "shop".into(), workload: workload.into(), service_account: workload.into() }
}

fn report(sequence: u64, edges: &[(u32, &str, u64)]) -> wire::Report {
    let edge = |(number, backend, started): &(u32, &str, u64)| wire::Edge {
        number: *number,
        backend: (*backend).to_owned(),
        counters: Some(wire::Counters { started: *started, ..Default::default() }),
        ..Default::default()
    };
    let edges = edges.iter().map(edge).collect();
    wire::Report { epoch: 1, sequence, elapsed_ms: sequence * 1_000, complete: true, edges }
}

fn started(observed: &Observed) -> Vec<(String, u64)> {
    let part = observed.part();
    part.edges.iter().map(|(key, seen)| (key.backend.to_string(), seen.windows[0].started())).collect()
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_workload_are_one_and_a_report_counts_for_who_sent_it() {
    let observed = Observed::default();
    let [one, two] = ["shop/cart-1", "shop/cart-2"].map(|name| observed.open(name.into(), true));
    observed.look(Look::Live);
    for reports in [&one, &two] {
        reports.take(&source("cart"), &report(1, &[(0, "shop/web:80", 1_000)]));
        reports.take(&source("cart"), &report(2, &[(0, "shop/web:80", 1_007)]));
    }

    assert_eq!(started(&observed), [("shop/web:80".to_owned(), 14)]);
    let part = observed.part();
    assert_eq!((part.connected, part.capable, part.reporting), (2, 2, 2));
    assert_eq!(part.edges.keys().next().map(|key| &*key.source.workload), Some("cart"));
    let told = Part::of(&part.wire());
    assert_eq!(told.wire(), part.wire(), "another replica reads the same");
    drop(one);
    assert_eq!(observed.part().connected, 1);
}

#[tokio::test(start_paused = true)]
async fn without_anybody_who_looks_nothing_is_taken_and_all_is_forgotten() {
    let observed = Observed::default();
    let drain = Drain::new();
    drain.spawn(observed.clone().run(drain.clone()));
    let mut reports = observed.open("shop/cart-1".into(), true);
    let mut old = observed.open("shop/old-1".into(), false);
    let told = tokio::time::timeout(Duration::from_secs(3_600), reports.asked()).await;
    assert!(told.is_err(), "at rest a sidecar is told nothing");
    reports.take(&source("cart"), &report(1, &[(0, "shop/web:80", 1)]));
    assert!(started(&observed).is_empty());

    observed.look(Look::Live);
    assert_eq!(reports.asked().await, Some(Duration::from_secs(2)));
    reports.take(&source("cart"), &report(2, &[(0, "shop/web:80", 5)]));
    reports.take(&source("cart"), &report(3, &[(0, "shop/web:80", 9)]));
    assert_eq!(started(&observed), [("shop/web:80".to_owned(), 4)]);

    assert_eq!(reports.asked().await, None, "nobody has looked for a while");
    assert!(started(&observed).is_empty());
    let told = tokio::time::timeout(Duration::from_secs(3_600), old.asked()).await;
    assert!(told.is_err(), "a sidecar that cannot report is told nothing");
    drain.start();
}

#[tokio::test(start_paused = true)]
async fn edges_of_all_are_bounded_and_names_are_names() {
    let observed = Observed::default();
    observed.look(Look::Slow);
    let all: Vec<Reports> = (0..60).map(|n| observed.open(format!("shop/w-{n}").into(), true)).collect();
    for (n, reports) in all.iter().enumerate() {
        let backends: Vec<String> = (0..256).map(|port| format!("shop/w-{n}:{port}")).collect();
        let edges: Vec<_> = (0..).zip(&backends).map(|(number, backend)| (number, &**backend, 1)).collect();
        reports.take(&source("w"), &report(1, &edges));
    }
    let part = observed.part();
    assert_eq!((part.edges.len(), part.refused), (MAX_EDGES, 60 * 256 - MAX_EDGES as u64));

    let observed = Observed::default();
    observed.look(Look::Slow);
    let reports = observed.open("shop/cart-1".into(), true);
    let long = "a".repeat(MAX_NAME + 1);
    reports
        .take(&source("cart"), &report(1, &[(0, "\u{1b}[2J", 1), (1, "a b", 1), (2, &long, 1), (3, "shop/a.b:8", 1)]));
    assert_eq!(started(&observed), [("shop/a.b:8".to_owned(), 0)]);
}
