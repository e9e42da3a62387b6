//! Matches each failed message to a fault that could have caused it and to a row that allows it.

use std::collections::{BTreeMap, HashMap};

use super::{Fault, Message, Row, Service, TABLE, When};

/// A fault that happened. Times are milliseconds since 1970.
#[derive(Clone, Debug)]
pub struct Happened {
    /// What.
    pub fault: Fault,
    /// In words, with the victim's name.
    pub note: String,
    /// The victim's service, where messages to it may suffer.
    pub service: Option<Service>,
    /// The victim's address; an error of the mesh that names a pod names this one.
    pub address: Option<String>,
    /// The victim's name, where its own messages may suffer.
    pub caller: Option<String>,
    /// Before it was made to happen.
    pub begin: f64,
    /// When it had happened.
    pub done: f64,
    /// When all was well again.
    pub end: f64,
}

/// What the judge found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// How many messages failed by which fault; every fault that happened is here.
    pub matched: BTreeMap<String, usize>,
    /// What nothing allows, in words, with the nearest fault.
    pub unmatched: Vec<String>,
}

/// Judges all messages.
#[must_use]
pub fn judge(messages: &[Message], happened: &[Happened]) -> Verdict {
    let mut verdict = Verdict::default();
    for one in happened {
        verdict.matched.entry(one.fault.name().to_owned()).or_default();
    }
    let mut rare: HashMap<usize, Vec<&Message>> = HashMap::new();
    for message in messages.iter().filter(|message| !message.is_ok()) {
        let cause = happened.iter().enumerate().find_map(|(number, one)| {
            let row = TABLE.iter().find(|row| row.fault == one.fault && allows(row, one, message))?;
            Some((number, one, row))
        });
        let Some((number, one, row)) = cause else {
            verdict.unmatched.push(format!("{}; {}", in_words(message), nearest(message, happened)));
            continue;
        };
        *verdict.matched.entry(one.fault.name().to_owned()).or_default() += 1;
        if matches!(row.when, When::During(_, Some(_))) && is_late(message, one) {
            rare.entry(number).or_default().push(message);
        }
    }
    for (number, late) in rare {
        let one = &happened[number];
        let share = TABLE.iter().find_map(|row| match row.when {
            When::During(_, share) if row.fault == one.fault => share,
            _ => None,
        });
        let exposed = messages.iter().filter(|message| concerns(one, message) && is_late(message, one)).count();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 messages")]
        let most = (exposed as f64 * share.unwrap_or(0.0)).max(FEW);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 messages")]
        if late.len() as f64 > most {
            verdict.unmatched.push(format!(
                "{} of {exposed} messages failed that were sent two seconds after the begin of: {}; the first: {}",
                late.len(),
                one.note,
                in_words(late[0])
            ));
        }
    }
    verdict
}

/// So many are no share: probes.
const FEW: f64 = 6.0;

/// Sent when everybody could know of the fault, and not on a stream to whom it befell.
fn is_late(message: &Message, one: &Happened) -> bool {
    message.opened > one.begin + 2000.0 && message.sent < one.end
}

fn concerns(one: &Happened, message: &Message) -> bool {
    one.service.is_none_or(|service| service == message.kind.service())
        && one.caller.as_deref().is_none_or(|caller| caller == message.caller())
}

fn allows(row: &Row, one: &Happened, message: &Message) -> bool {
    let seen = row.messages.contains(&message.kind)
        && row.outcomes.contains(&message.outcome.as_str())
        && message.code().is_none_or(|code| row.codes.contains(&code));
    let names = message.code().is_none()
        || !message.text.contains("10.77.0.")
        || one.address.as_ref().is_none_or(|address| message.text.contains(&format!("{address}:")));
    let in_time = match row.when {
        When::InFlight(within) => {
            // A message on a stream that was open then is lost with it.
            message.opened <= one.done && (one.begin..=one.done + within * 1000.0).contains(&message.ended)
        }
        When::During(after, _) => message.sent <= one.end + after * 1000.0 && message.ended >= one.begin,
    };
    seen && names && in_time && concerns(one, message)
}

fn in_words(message: &Message) -> String {
    let Message { id, sent, ended, outcome, text, .. } = message;
    format!("{id}, sent at {sent}, after {:.1} ms: {outcome} {text}", ended - sent)
}

fn nearest(message: &Message, happened: &[Happened]) -> String {
    let distance = |one: &&Happened| (one.begin - message.ended).max(message.sent - one.end).max(0.0);
    match happened.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))) {
        Some(one) => format!(
            "nearest fault: {}, which began {:.0} ms before the message failed and ended {:.0} ms after",
            one.note,
            message.ended - one.begin,
            one.end - message.ended
        ),
        None => "no fault happened".to_owned(),
    }
}

/// The ids that servers print more than once: requests that were worked on twice.
#[must_use]
pub fn worked_on_twice<'p>(printed: impl IntoIterator<Item = &'p str>) -> Vec<String> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for id in printed.into_iter().flat_map(str::lines).filter_map(|line| line.strip_prefix("did ")) {
        *seen.entry(id).or_default() += 1;
    }
    seen.into_iter().filter(|(_, times)| *times > 1).map(|(id, _)| id.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    fn killed() -> Happened {
        Happened {
            fault: Fault::AppKilled,
            note: "app of web-1".to_owned(),
            service: Some(Service::Web),
            address: Some("10.77.0.12".to_owned()),
            caller: None,
            begin: 1000.0,
            done: 1010.0,
            end: 2500.0,
        }
    }

    fn failed(kind: Kind, sent: f64, ended: f64, outcome: &str, text: &str) -> Message {
        let (outcome, text) = (outcome.to_owned(), text.to_owned());
        Message { kind, id: "c1:x:1".to_owned(), opened: sent, sent, ended, outcome, text }
    }

    #[test]
    fn a_failure_needs_a_fault_and_a_row() {
        let text = "outrigger: E005 connection_terminated: 10.77.0.12:8080 on a fresh connection";
        let good = failed(Kind::Post, 990.0, 1012.0, "status-502", text);
        let red = [
            failed(Kind::Post, 1020.0, 1030.0, "status-502", text),
            failed(Kind::Post, 980.0, 995.0, "status-502", text),
            failed(Kind::Post, 990.0, 1012.0, "status-502", &text.replace("E005", "E003")),
            failed(Kind::Post, 990.0, 1012.0, "status-502", &text.replace(".12", ".13")),
            failed(Kind::Post, 990.0, 1012.0, "status-503", text),
            failed(Kind::Unary, 990.0, 1012.0, "grpc-14", text),
            failed(Kind::Get, 990.0, 1012.0, "wrong", "another answer"),
        ];
        assert!(judge(std::slice::from_ref(&good), &[killed()]).unmatched.is_empty());
        assert_eq!(judge(&[good], &[]).unmatched.len(), 1);
        let on_a_stream = Message { opened: 500.0, ..failed(Kind::WebSocket, 1015.0, 1020.0, "ended", "reset") };
        assert!(judge(&[on_a_stream], &[killed()]).unmatched.is_empty());
        for message in red {
            assert_eq!(judge(std::slice::from_ref(&message), &[killed()]).unmatched.len(), 1, "{message:?}");
        }
    }

    #[test]
    fn what_goes_on_to_a_pod_that_hangs_is_a_finding() {
        let hangs = Happened { fault: Fault::AppHangs, end: 14_000.0, ..killed() };
        let late = |n: u32| failed(Kind::Get, 4000.0 + f64::from(n), 14_000.0, "deadline", "");
        let fine = |n: u32| failed(Kind::Get, 4000.0 + f64::from(n), 4100.0, "ok", "");
        let messages = |bad: u32| (0..bad).map(late).chain((0..1000).map(fine)).collect::<Vec<_>>();
        assert!(judge(&messages(20), std::slice::from_ref(&hangs)).unmatched.is_empty());
        assert_eq!(judge(&messages(200), &[hangs]).unmatched.len(), 1);
    }

    #[test]
    fn finds_what_was_worked_on_twice() {
        assert_eq!(worked_on_twice(["did a\ndid b\n", "did b\nlistens\n"]), ["b"]);
    }
}
