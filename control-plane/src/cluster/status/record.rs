//! What is known of one route's status: what it should say, whether it does, and since when it is waited for.

use std::sync::Arc;
use std::time::Duration;

use outrigger_proto::wire;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::entry::{Said, known_true, merged};
use crate::cluster::replicas::Total;
use crate::resource::{Condition, ParentConditions, Published, carriers, conditions};
use crate::snapshot::Snapshot;
use crate::state::PreparedRoute;

/// One route.
pub(super) struct Record {
    uid: Arc<str>,
    generation: i64,
    parents: Vec<Parent>,
    written: Option<Said>,
    first_seen: Instant,
    last_try: Option<Instant>,
    failed: bool,
}

/// One of its parents.
struct Parent {
    conditions: ParentConditions,
    /// Once every sidecar has acked this generation it stays so: later versions hold it as well, and so does what a sidecar
    /// keeps that refuses one.
    programmed: Option<String>,
}

/// What becomes of a record next.
pub(super) enum Next {
    /// It says what it should, and nothing is waited for.
    Rest,
    /// Something is waited for.
    Wait,
    /// It is to be written.
    Write(Said),
    /// It is to be written at that time, unless something else is to be written by then.
    WriteAt(Instant),
}

impl Record {
    pub(super) fn new(snapshot: &Snapshot, prepared: &PreparedRoute) -> Self {
        let meta = &prepared.route.meta;
        let parents = conditions(snapshot, prepared).into_iter();
        let parents = parents.map(|conditions| Parent { conditions, programmed: None }).collect();
        Self {
            uid: meta.uid.clone(),
            generation: meta.generation,
            parents,
            written: None,
            first_seen: Instant::now(),
            last_try: None,
            failed: false,
        }
    }

    pub(super) fn is_of(&self, uid: &str, generation: i64) -> bool {
        *self.uid == *uid && self.generation == generation
    }

    /// Takes a new snapshot in; says whether there is anything new for this route.
    pub(super) fn update(&mut self, snapshot: &Snapshot, prepared: &PreparedRoute) -> bool {
        let meta = &prepared.route.meta;
        if !self.is_of(&meta.uid, meta.generation) {
            *self = Self::new(snapshot, prepared);
            return true;
        }
        let told = conditions(snapshot, prepared);
        if told.len() == self.parents.len()
            && told.iter().zip(&self.parents).all(|(told, known)| *told == known.conditions)
        {
            return false;
        }
        let mut before = std::mem::take(&mut self.parents).into_iter();
        for conditions in told {
            let known = before.next().filter(|known| known.conditions.parent == conditions.parent);
            let programmed = known.and_then(|known| known.programmed).filter(|_| accepted(&conditions));
            self.parents.push(Parent { conditions, programmed });
        }
        true
    }

    /// Takes over what the route's status says already.
    pub(super) fn look(&mut self, present: &[Value]) {
        for parent in self.parents.iter_mut().filter(|parent| accepted(&parent.conditions)) {
            let reference = json!(parent.conditions.parent);
            let known = || known_true(present, &reference, PROGRAMMED, self.generation);
            parent.programmed = parent.programmed.take().or_else(known);
        }
        let said = self.said(&mut |_| None).0;
        self.written = (merged(present, &said, "") == present).then_some(said);
    }

    /// Returns what must be acked, for each parent of which it is not known.
    pub(super) fn open<'a>(
        &'a self,
        snapshot: &'a Published,
        prepared: &'a PreparedRoute,
    ) -> impl Iterator<Item = (usize, Result<Vec<wire::Held>, String>)> + 'a {
        let open = self.parents.iter().enumerate();
        let open = open.filter(|(_, parent)| parent.programmed.is_none() && accepted(&parent.conditions));
        open.map(|(index, parent)| (index, carriers(snapshot, prepared, &parent.conditions.parent)))
    }

    /// Decides what is to be done. `progress` knows how far sidecars are with a parent.
    pub(super) fn judge(&mut self, mut progress: impl FnMut(usize) -> Option<Result<Total, String>>) -> Next {
        for (index, parent) in self.parents.iter_mut().enumerate() {
            if parent.programmed.is_none()
                && accepted(&parent.conditions)
                && let Some(Ok(total)) = progress(index)
                && total.waiting_for.is_none()
                && total.acked == total.subscribed
            {
                parent.programmed = Some(match total.subscribed {
                    0 => "no sidecar subscribes to the Service: one that does will get it".to_owned(),
                    all => format!("{all} of {all} subscribed sidecars have it in force"),
                });
            }
        }
        let (said, waits) = self.said(&mut progress);
        if self.written.as_ref() == Some(&said) {
            return if waits { Next::Wait } else { Next::Rest };
        }
        let now = Instant::now();
        let at = match (self.last_try, self.failed) {
            (Some(tried), true) => tried + RETRY,
            (_, false) if !waits => now,
            (Some(tried), false) => tried + PACE,
            (None, _) => self.first_seen + PATIENCE,
        };
        if at <= now { Next::Write(said) } else { Next::WriteAt(at) }
    }

    /// Notes what became of a write.
    pub(super) fn wrote(&mut self, said: Option<Said>) {
        self.failed = said.is_none();
        self.last_try = Some(Instant::now());
        self.written = said.or_else(|| self.written.take());
    }

    /// Returns what the status should say, and whether something is waited for.
    fn said(&self, progress: &mut dyn FnMut(usize) -> Option<Result<Total, String>>) -> (Said, bool) {
        let mut waits = false;
        let mut parents = Vec::with_capacity(self.parents.len());
        for (index, parent) in self.parents.iter().enumerate() {
            let programmed = match &parent.programmed {
                Some(message) => condition(true, PROGRAMMED, message.clone()),
                None if !accepted(&parent.conditions) => {
                    condition(false, "Invalid", "the route is not accepted".to_owned())
                }
                None => {
                    waits = true;
                    open(progress(index))
                }
            };
            let mut told = parent.conditions.clone();
            // Behind Accepted and ResolvedRefs, before what is there only now and then.
            told.conditions.insert(told.conditions.len().min(2), programmed);
            parents.push(told);
        }
        (Said { generation: self.generation, parents }, waits)
    }
}

fn open(progress: Option<Result<Total, String>>) -> Condition {
    match progress {
        None => condition(false, "Pending", "Waiting for sidecars to report their configuration version.".to_owned()),
        Some(Err(reason)) => condition(false, "Invalid", reason),
        Some(Ok(Total { refused: Some(words), .. })) => {
            condition(false, "Invalid", format!("a sidecar refuses it and goes on with what it had: {words}"))
        }
        Some(Ok(Total { subscribed, acked, waiting_for, .. })) => {
            let mut message = format!("{acked} of {subscribed} subscribed sidecars have it in force");
            if let Some(replica) = waiting_for {
                message
                    .push_str(&format!("; replica {replica} of the control plane has not reported its sidecars yet"));
            }
            condition(false, "Pending", message)
        }
    }
}

fn condition(holds: bool, reason: &'static str, message: String) -> Condition {
    Condition { kind: PROGRAMMED, holds, reason, message }
}

fn accepted(told: &ParentConditions) -> bool {
    told.conditions.iter().any(|condition| condition.kind == "Accepted" && condition.holds)
}

const PROGRAMMED: &str = "Programmed";

/// Most changes are in force everywhere by then, and one write says it all.
const PATIENCE: Duration = Duration::from_millis(250);

/// How often at most a status says that it is still waited for.
const PACE: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{route, service, snapshot};

    fn record(spec: &str) -> Record {
        let snapshot = snapshot(&(service("web", "10.96.0.1") + &route("HTTPRoute", "r", "web", spec)));
        let routes = snapshot.state.routes.values().flat_map(|routes| routes.iter());
        routes.map(|prepared| Record::new(&snapshot, prepared)).next().unwrap()
    }

    fn fine() -> Record {
        record("  rules: [{backendRefs: [{name: web, port: 80}]}]\n")
    }

    fn total(acked: u32, subscribed: u32) -> Option<Result<Total, String>> {
        Some(Ok(Total { acked, subscribed, ..Total::default() }))
    }

    fn told(said: &Said) -> (bool, &str, &str) {
        let programmed = &said.parents[0].conditions[2];
        assert_eq!(programmed.kind, "Programmed");
        (programmed.holds, programmed.reason, &programmed.message)
    }

    fn written(record: &mut Record, total: Option<Result<Total, String>>) -> Said {
        match record.judge(|_| total.clone()) {
            Next::Write(said) => {
                record.wrote(Some(said.clone()));
                said
            }
            Next::Rest | Next::Wait | Next::WriteAt(_) => panic!("nothing to write"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_all_have_at_once_is_written_once_and_stays() {
        let mut record = fine();

        let said = written(&mut record, total(3, 3));
        assert_eq!(told(&said), (true, "Programmed", "3 of 3 subscribed sidecars have it in force"));
        assert!(matches!(record.judge(|_| total(0, 5)), Next::Rest), "a later version holds this generation too");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_waited_for_is_told_now_and_then_and_the_end_at_once() {
        let mut record = fine();

        assert!(matches!(record.judge(|_| total(0, 3)), Next::WriteAt(_)), "most changes take less than that");
        tokio::time::advance(PATIENCE).await;
        assert_eq!(told(&written(&mut record, total(1, 3))).1, "Pending");
        assert!(matches!(record.judge(|_| total(1, 3)), Next::Wait));
        assert!(matches!(record.judge(|_| total(2, 3)), Next::WriteAt(_)), "not at each ack");
        assert_eq!(told(&written(&mut record, total(3, 3))).1, "Programmed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_told_in_the_sidecars_words() {
        let mut record = fine();
        tokio::time::advance(PATIENCE).await;

        let refused = Total { acked: 1, subscribed: 2, refused: Some("shop/a: no".to_owned()), waiting_for: None };
        let said = written(&mut record, Some(Ok(refused)));

        assert_eq!(told(&said), (false, "Invalid", "a sidecar refuses it and goes on with what it had: shop/a: no"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_has_not_answered_is_waited_for() {
        let mut record = fine();
        tokio::time::advance(PATIENCE).await;

        let silent = Total { acked: 2, subscribed: 2, refused: None, waiting_for: Some("two".into()) };
        assert!(told(&written(&mut record, Some(Ok(silent)))).2.contains("replica two"));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_to_wait_for_is_said_so_and_a_refused_route_waits_for_nobody() {
        assert!(told(&written(&mut fine(), total(0, 0))).2.starts_with("no sidecar subscribes"));

        let mut refused = record("  rules: [{matches: [{path: {type: RegularExpression, value: '('}}]}]\n");
        assert_eq!(told(&written(&mut refused, None)), (false, "Invalid", "the route is not accepted"));
        assert!(matches!(refused.judge(|_| None), Next::Rest));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_holder_of_the_lease_takes_over_what_is_written() {
        let said = written(&mut fine(), total(3, 3));
        let present = merged(&[], &said, "2026-01-01T00:00:00Z");

        let mut heir = fine();
        heir.look(&present);

        assert!(matches!(heir.judge(|_| total(0, 3)), Next::Rest), "nothing to write and nothing to wait for");
    }
}
