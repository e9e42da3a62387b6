//! Connections whose bytes are copied: `outrigger_<side>_tcp_…`, by route, peer and TLS.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use ahash::RandomState;
use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use tokio::time::Instant;

use super::labels::{Labels, Pairs};
use super::{IDLE_SECONDS, encode_counter, encode_gauge};
use crate::telemetry::trace::Kind;

/// All metrics of copied connections.
#[derive(Debug)]
pub(crate) struct ConnectionMetrics {
    series: RwLock<HashMap<u64, Arc<Copied>, RandomState>>,
    hasher: RandomState,
    /// Where connections go for whose series there is no room.
    overflow: [Arc<Copied>; 2],
    cap: usize,
    started: Instant,
}

/// Connections of one series.
#[derive(Debug)]
pub(crate) struct Copied {
    kind: Kind,
    labels: Pairs,
    /// Seconds since the start when one was opened last.
    last_used: AtomicU32,
    pub(crate) open: AtomicI64,
    pub(crate) opened: AtomicU64,
    /// Bytes that the workload sent.
    pub(crate) sent: AtomicU64,
    /// Bytes that the workload received.
    pub(crate) received: AtomicU64,
}

/// One of a series' counters.
type Counter = fn(&Copied) -> &AtomicU64;

impl ConnectionMetrics {
    pub(crate) fn new(cap: usize) -> Self {
        let overflow = |kind| Arc::new(Copied::new(kind, vec![("overflow", "true".to_owned())]));
        Self {
            series: RwLock::default(),
            hasher: RandomState::new(),
            overflow: [overflow(Kind::Server), overflow(Kind::Client)],
            cap,
            started: Instant::now(),
        }
    }

    /// A connection of this series begins; the caller counts on the answer until it ends.
    pub(crate) fn opened(&self, labels: &Labels<'_>) -> Arc<Copied> {
        let copied = self.find(labels);
        copied.last_used.store(self.now(), Ordering::Relaxed);
        copied.open.fetch_add(1, Ordering::Relaxed);
        copied.opened.fetch_add(1, Ordering::Relaxed);
        copied
    }

    fn find(&self, labels: &Labels<'_>) -> Arc<Copied> {
        // By the hash alone, as the scopes of requests are.
        let key = self.hasher.hash_one(labels);
        if let Some(copied) = self.series.read().get(&key) {
            return copied.clone();
        }
        let mut series = self.series.write();
        if series.len() >= self.cap {
            self.expire(&mut series);
        }
        if series.len() >= self.cap {
            return self.overflow[usize::from(labels.kind == Kind::Client)].clone();
        }
        series.entry(key).or_insert_with(|| Arc::new(Copied::new(labels.kind, labels.pairs()))).clone()
    }

    /// Lets go of what nobody has used for a while.
    fn expire(&self, series: &mut HashMap<u64, Arc<Copied>, RandomState>) {
        let now = self.now();
        series.retain(|_, copied| {
            let idle = now.saturating_sub(copied.last_used.load(Ordering::Relaxed));
            // One that a connection holds would go on counting unseen.
            idle < IDLE_SECONDS || Arc::strong_count(copied) > 1
        });
    }

    fn now(&self) -> u32 {
        u32::try_from(self.started.elapsed().as_secs()).unwrap_or(u32::MAX)
    }
}

impl Copied {
    fn new(kind: Kind, labels: Pairs) -> Self {
        Self {
            kind,
            labels,
            last_used: AtomicU32::new(0),
            open: AtomicI64::new(0),
            opened: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        }
    }
}

impl Collector for ConnectionMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut series: Vec<Arc<Copied>> = {
            let mut series = self.series.write();
            self.expire(&mut series);
            series.values().cloned().collect()
        };
        series.extend(self.overflow.iter().filter(|copied| copied.opened.load(Ordering::Relaxed) > 0).cloned());
        for (kind, side) in [(Kind::Server, "inbound"), (Kind::Client, "outbound")] {
            let series: Vec<(Vec<(&str, &str)>, &Copied)> = series
                .iter()
                .filter(|copied| copied.kind == kind)
                .map(|copied| (copied.labels.iter().map(|(name, value)| (*name, &**value)).collect(), &**copied))
                .collect();
            let name = |metric: &str| format!("outrigger_{side}_tcp_{metric}");
            let open: Vec<_> =
                series.iter().map(|(labels, c)| (&labels[..], c.open.load(Ordering::Relaxed) as f64)).collect();
            encode_gauge(&mut encoder, (&name("open_connections"), "Connections whose bytes are copied now"), &open)?;
            let counters: [(&str, &str, Counter); 3] = [
                ("connections", "Connections whose bytes were or are copied", |copied| &copied.opened),
                ("sent_bytes", "Bytes that the workload sent on copied connections", |copied| &copied.sent),
                ("received_bytes", "Bytes that the workload received on copied connections", |copied| &copied.received),
            ];
            for (metric, help, of) in counters {
                let samples: Vec<_> =
                    series.iter().map(|(labels, copied)| (&labels[..], of(copied).load(Ordering::Relaxed))).collect();
                encode_counter(&mut encoder, (&name(metric), help), &samples)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;
    use std::time::Duration;

    use outrigger_daemon::Metrics;
    use outrigger_proto::ServicePort;
    use outrigger_proto::model::{RouteId, RouteKind};

    use super::*;
    use crate::telemetry::metrics::PeerLabel;

    fn registered(cap: usize) -> (Arc<ConnectionMetrics>, Metrics) {
        let connections = Arc::new(ConnectionMetrics::new(cap));
        let metrics = Metrics::new();
        metrics.register(|registry| registry.register_collector(Box::new(connections.clone())));
        (connections, metrics)
    }

    /// Lines of counters and gauges, without the help.
    fn lines(metrics: &Metrics) -> Vec<String> {
        let text = metrics.encode();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    fn service(name: &str) -> ServicePort {
        ServicePort { namespace: "shop".into(), name: name.into(), port: NonZeroU16::new(5432).unwrap() }
    }

    fn to(service: &ServicePort) -> Labels<'_> {
        Labels { kind: Kind::Client, grpc: false, route: None, peer: PeerLabel::Service(service), mutual: true }
    }

    #[tokio::test]
    async fn shows_the_rule_that_chose_and_who_was_asked() {
        let (connections, metrics) = registered(10);
        let (db, route) =
            (service("db"), RouteId { kind: RouteKind::Tcp, namespace: "shop".into(), name: "db".into() });
        let copied = connections.opened(&Labels { route: Some((&route, 0, "all")), ..to(&db) });
        copied.sent.fetch_add(7, Ordering::Relaxed);
        copied.received.fetch_add(9, Ordering::Relaxed);

        let labels = r#"{route="TCPRoute/shop/db/all",peer_namespace="shop",peer_service="db:5432",tls="mutual"}"#;
        assert_eq!(
            lines(&metrics),
            [
                format!("outrigger_outbound_tcp_open_connections{labels} 1.0"),
                format!("outrigger_outbound_tcp_connections_total{labels} 1"),
                format!("outrigger_outbound_tcp_sent_bytes_total{labels} 7"),
                format!("outrigger_outbound_tcp_received_bytes_total{labels} 9"),
                "# EOF".to_owned(),
            ][..4]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn series_are_bounded_and_those_in_use_stay() {
        let (connections, metrics) = registered(2);
        let services: Vec<ServicePort> = ["a", "b", "c", "d"].into_iter().map(service).collect();
        let held = connections.opened(&to(&services[0]));
        drop(connections.opened(&to(&services[1])));
        drop(connections.opened(&to(&services[2])));
        let count = |name: &str| {
            lines(&metrics).iter().filter(|l| l.contains("tcp_connections_total") && l.contains(name)).count()
        };
        assert_eq!([count("a:5432"), count("b:5432"), count("c:5432"), count("overflow")], [1, 1, 0, 1]);

        tokio::time::advance(Duration::from_secs(IDLE_SECONDS.into())).await;
        drop(connections.opened(&to(&services[3])));
        assert_eq!([count("a:5432"), count("b:5432"), count("d:5432")], [1, 0, 1], "an unused one made room");
        drop(held);
    }
}
