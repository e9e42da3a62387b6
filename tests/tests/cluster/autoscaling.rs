//! The real HorizontalPodAutoscaler, by what the real metrics-server measures.

use std::time::{Duration, Instant};

use outrigger_tests::cluster::{Space, Workload};

#[test]
fn an_autoscaler_goes_from_one_to_eight_and_back_and_loses_nothing() {
    let Some(space) = Space::meshed() else { return };
    let metrics = ["get", "apiservice", "v1beta1.metrics.k8s.io", "-o", "name"];
    if !space.kubectl(metrics).output().unwrap().status.success() {
        eprintln!("SKIPPED: no metrics-server in this cluster, and so no figures for an autoscaler");
        return;
    }
    space.deploy([Workload::new("web"), Workload::new("client")]);
    space.apply(AUTOSCALER);
    let steady = space.load_until_stopped("deployment/client", "http://web/", 50);

    let burning = space.load_until_stopped("deployment/client", "http://web/?burn=20ms", 25);
    reaches(&space, 8);
    space.rolled_out("deployment/web");
    // Each pod has its share, before the way back.
    std::thread::sleep(Duration::from_secs(2));
    let burned = burning.stop();
    reaches(&space, 1);

    let outcome = steady.stop();
    assert_eq!((&outcome["failed"], &burned["failed"]), (&0.into(), &0.into()), "{outcome:#}{burned:#}");
    assert!(outcome["pods"].as_object().is_some_and(|pods| pods.len() == 8), "each pod served: {outcome:#}");
    let events = space.text(["get", "events", "-o", "jsonpath={.items[?(@.reason==\"SuccessfulRescale\")].message}"]);
    assert!(events.contains("New size: 8") && events.contains("New size: 1"), "the autoscaler did it: {events}");
}

/// Waits until the Deployment has this many pods, and no other.
fn reaches(space: &Space, pods: usize) {
    let start = Instant::now();
    while space.pods("web").len() != pods {
        if start.elapsed() > PATIENCE {
            panic!(
                "not {pods} pods after {PATIENCE:?}: {}",
                space.text(["describe", "horizontalpodautoscaler", "web"])
            );
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// It has no reason to wait but the metrics themselves, which are a mean over some seconds. The load wants half a CPU, the
/// pods without it a few hundredths together.
const AUTOSCALER: &str = "
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 1
  maxReplicas: 8
  metrics:
    - type: ContainerResource
      containerResource: {name: cpu, container: app, target: {type: AverageValue, averageValue: 40m}}
  behavior:
    scaleUp: {stabilizationWindowSeconds: 0, policies: [{type: Pods, value: 8, periodSeconds: 1}]}
    scaleDown: {stabilizationWindowSeconds: 0, policies: [{type: Pods, value: 8, periodSeconds: 1}]}
";

/// The kubelet measures every ten seconds or so, metrics-server asks as often, the autoscaler every fifteen.
const PATIENCE: Duration = Duration::from_secs(240);
