//! Runs cases in a world: sends what they ask, and judges.

use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::ask::{Answer, Question, Seen};
use super::case::{Case, Outcome};
use super::judge;

/// Where cases can be run.
pub(super) trait World {
    /// Where a host of a table is: the name of a Service, with its namespace after a `.`, or that of a pod after `pod.`.
    fn address(&self, host: &str, port: u16, v6: bool) -> String;

    /// Sends requests from the client of a namespace.
    fn ask(&self, from: &str, questions: &[Question]) -> Vec<Answer>;

    /// Whether it has this kind of address.
    fn has_v6(&self) -> bool;
}

/// Runs cases; those that fail, with what was wrong.
pub(super) fn run<'a>(world: &dyn World, cases: &[&'a Case]) -> Vec<(&'a Case, String)> {
    let here = cases.iter().copied().filter(|case| world.has_v6() || !case.v6);
    let mut tries: Vec<Try<'_>> = here.flat_map(Try::all).collect();
    for from in ["shop", "other"] {
        let mut own: Vec<&mut Try<'_>> = tries.iter_mut().filter(|one| one.case.from == from).collect();
        let questions: Vec<Question> = own.iter().flat_map(|one| one.questions(world)).collect();
        if questions.is_empty() {
            continue;
        }
        let mut answers = world.ask(from, &questions).into_iter();
        own.iter_mut().for_each(|one| one.answers = answers.by_ref().take(one.times).collect());
    }
    let mut wrong = Vec::new();
    for one in &tries {
        let mut faults = match &one.case.outcome {
            Outcome::Mixed(shares) => judge::shares(shares, &one.answers),
            _ => judge::answer(one.case, one.client, &one.answers[0]),
        };
        if faults.is_empty() {
            faults = one.told(world);
        }
        if !faults.is_empty() {
            let answer = one.answers.first();
            wrong.push((
                one.case,
                format!("{} ({}): {}\n      {answer:?}", one.case.line, one.client, faults.join("; ")),
            ));
        }
    }
    wrong
}

/// Standard input of `test-app ask`.
pub(super) fn lines(questions: &[Question]) -> String {
    let line = |question| serde_json::to_string(question).expect("a question is JSON") + "\n";
    questions.iter().map(line).collect()
}

/// What `test-app ask` has printed.
pub(super) fn answers(output: &Output, count: usize) -> Vec<Answer> {
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let read = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let answers: Vec<Answer> = said.lines().map(read).collect();
    assert_eq!(answers.len(), count, "the client answers every question: {}\n{errors}", output.status);
    answers
}

/// A case with one of its clients.
struct Try<'a> {
    case: &'a Case,
    client: &'static str,
    /// Tells its requests from all others.
    id: String,
    times: usize,
    answers: Vec<Answer>,
}

impl<'a> Try<'a> {
    fn all(case: &'a Case) -> impl Iterator<Item = Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let times = if matches!(case.outcome, Outcome::Mixed(_)) { judge::MANY } else { 1 };
        case.clients.iter().map(move |client| {
            let id = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
            Self { case, client, id, times, answers: Vec::new() }
        })
    }

    fn questions(&self, world: &dyn World) -> Vec<Question> {
        let Case { host, port, authority, target, headers, .. } = self.case;
        let scheme = if self.client == "tls" { "https" } else { "http" };
        let mut headers: Vec<_> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        headers.push(("host".to_owned(), (*authority).to_owned()));
        headers.push(("x-case".to_owned(), self.id.clone()));
        let question = Question {
            client: self.client,
            method: self.case.method.to_owned(),
            dial: world.address(host, *port, self.case.v6),
            url: format!("{scheme}://{host}{target}"),
            headers,
            body: self.case.body.to_owned(),
        };
        vec![question; self.times]
    }

    /// Asks the backends what they have got; what is not yet so may come.
    fn told(&self, world: &dyn World) -> Vec<String> {
        let start = Instant::now();
        loop {
            let facts = self.case.told();
            let faults: Vec<String> = facts
                .filter_map(|(app, fact)| Some(format!("{app}: {}", judge::told(&fact, &self.of(world, app))?)))
                .collect();
            if faults.is_empty() || start.elapsed() > SOON {
                return faults;
            }
            sleep(Duration::from_millis(100));
        }
    }

    fn of(&self, world: &dyn World, app: &str) -> Vec<Seen> {
        let question = Question {
            client: "h1",
            method: "GET".to_owned(),
            dial: world.address(&format!("pod.{app}"), 8080, false),
            url: format!("http://{app}/seen?case={}", self.id),
            headers: Vec::new(),
            body: String::new(),
        };
        let answer = world.ask("shop", &[question]).remove(0);
        serde_json::from_str(&answer.body)
            .unwrap_or_else(|error| panic!("{app} tells what it has seen: {error}: {answer:?}"))
    }
}

const SOON: Duration = Duration::from_secs(5);
