//! Three replicas of the mesh's own parts, and what happens to sidecars when some of them go.

use outrigger_tests::cluster::{Cluster, SYSTEM, Space, Workload, enter_alone};
use serde_json::Value;

/// Puts the mesh back to what the other tests expect, also when this one fails.
pub(super) struct OneReplica(pub(super) &'static Cluster);

impl Drop for OneReplica {
    fn drop(&mut self) {
        self.0.install();
    }
}

#[test]
fn three_replicas_share_the_sidecars_and_one_that_goes_costs_nothing() {
    let Some((cluster, alone)) = enter_alone() else { return };
    let _after = OneReplica(cluster);
    let upgraded = cluster.outrigger(["upgrade", "--set", "ha=true"]).output().unwrap();
    assert!(upgraded.status.success(), "{}", String::from_utf8_lossy(&upgraded.stderr));
    assert_eq!(replicas(cluster).len(), 3);
    let space = Space::within(cluster, &alone);
    space.deploy([Workload::new("web").replicas(7), Workload::new("client")]);
    let connected = |at_least: usize| {
        space.eventually("all sidecars are connected", || {
            let counts = counts(cluster, "outrigger_control_sidecars")?;
            (counts.len() >= at_least && counts.iter().sum::<u64>() == 8).then_some(counts)
        })
    };
    let before = connected(3);
    assert!(before.iter().filter(|count| **count > 0).count() > 1, "they spread: {before:?}");
    let holder = holder(cluster);
    assert!(replicas(cluster).contains(&holder), "{holder} holds the Lease");
    let load = space.load("deployment/client", "http://web/", 100, 20);
    let survivors: Vec<String> = replicas(cluster).into_iter().filter(|name| *name != holder).collect();
    let sent = |of: &[String]| {
        of.iter().filter_map(|name| count(cluster, name, "outrigger_control_resources_total")).sum::<u64>()
    };
    let before = sent(&survivors);

    cluster.run(["-n", SYSTEM, "delete", "pod", &holder, "--wait"]);

    connected(3);
    // Eight sidecars hold eight resources each, or more: one that had to be told anew would show.
    assert!(sent(&survivors) - before < 8, "a sidecar that moves brings what it knows");
    let heir =
        space.eventually("another one holds the Lease", || Some(self::holder(cluster)).filter(|now| *now != holder));
    assert!(replicas(cluster).contains(&heir), "{heir} holds the Lease");
    load.lost_nothing(1500);
    // Whoever signed, all trust each other.
    space.restart("deployment/web");
    space.load("deployment/client", "http://web/", 50, 3).lost_nothing(100);
    let plain = space.metric("deployment/client", "http_client_request_duration_seconds_count", &["tls=\"none\""]);
    assert_eq!(plain, 0.0);

    // Whichever replica is asked adds up what the sidecars of all have told.
    let load = space.load_until_stopped("deployment/client", "http://web/", 50);
    let rates = space.eventually("stat adds up what all seven have served", || {
        let stat = cluster.outrigger(["stat", "workload", "-n", space.name(), "-o", "json"]).output().unwrap();
        let document: Value = serde_json::from_slice(&stat.stdout).ok()?;
        let rows = document["items"].as_array()?;
        let rate = |name: &str, direction: &str| {
            let row = rows.iter().find(|row| row["name"] == name && row["direction"] == direction)?;
            row["requestsPerSecond"].as_f64()
        };
        let rates = (rate("web", "inbound")?, rate("client", "outbound")?);
        (rates.1 > 25.0 && rates.0 > rates.1 * 0.8).then_some(rates)
    });
    assert!(rates.0 < rates.1 * 1.5, "no sidecar is counted twice: {rates:?}");
    let _ = load.stop();
}

/// The control plane's pods that are not on their way out.
pub(super) fn replicas(cluster: &Cluster) -> Vec<String> {
    let pods = cluster.json(["-n", SYSTEM, "get", "pods", "-l", "app.kubernetes.io/component=control-plane"]);
    let pods = pods["items"].as_array().cloned().unwrap_or_default();
    let stay = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    stay.filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect()
}

/// A metric of every replica; `None` while one does not answer.
pub(super) fn counts(cluster: &Cluster, metric: &str) -> Option<Vec<u64>> {
    replicas(cluster).iter().map(|name| count(cluster, name, metric)).collect()
}

fn count(cluster: &Cluster, replica: &str, metric: &str) -> Option<u64> {
    let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{replica}:4182/proxy/metrics");
    let output = cluster.kubectl(["get", "--raw", &path]).output().ok().filter(|output| output.status.success())?;
    let page = String::from_utf8(output.stdout).ok()?;
    let line = page.lines().find(|line| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with([' ', '{'])))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn holder(cluster: &Cluster) -> String {
    let lease = cluster.json(["-n", SYSTEM, "get", "lease", "outrigger-issuer"]);
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}
