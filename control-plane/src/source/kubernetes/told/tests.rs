//! What is told of what the watches bring.

use serde_json::json;

use super::*;
use crate::objects::from_json;

fn service(name: &str, port: u16) -> (ObjectId, Result<Object, String>) {
    let value = json!({"metadata": {"namespace": "shop", "name": name}, "spec": {"ports": [{"port": port}]}});
    let object = from_json(Kind::Service, value).unwrap();
    (object.id(), Ok(object))
}

fn broken(name: &str) -> (ObjectId, Result<Object, String>) {
    (service(name, 80).0, Err("unknown field `x`".to_owned()))
}

/// Takes news of Services in and says what follows.
fn take(told: &mut Told, news: impl IntoIterator<Item = News>) -> Vec<String> {
    let mut changes = Vec::new();
    news.into_iter().for_each(|news| told.take(Kind::Service, news, &mut changes));
    told.finish(&mut changes);
    let text = |event: &Event| match event {
        Event::Put(object) => format!("put {}", object.id().name),
        Event::Remove(id) => format!("remove {}", id.name),
        Event::SourceErrors(errors) => format!("errors {errors:?}"),
        Event::Synced(reading) => format!("{reading:?}"),
    };
    changes.iter().map(text).collect()
}

fn list(objects: impl IntoIterator<Item = (ObjectId, Result<Object, String>)>) -> Vec<News> {
    let listed = objects.into_iter().map(|(id, object)| News::Listed(id, object));
    std::iter::once(News::Listing).chain(listed).chain([News::Complete]).collect()
}

#[test]
fn a_fresh_list_tells_what_is_gone() {
    let mut told = Told::new();
    assert_eq!(take(&mut told, list([service("a", 80), service("b", 80)])), ["put a", "put b"]);

    assert_eq!(take(&mut told, list([service("b", 81), service("c", 80)])), ["put b", "put c", "remove a"]);
}

#[test]
fn a_list_that_breaks_off_removes_nothing() {
    let mut told = Told::new();
    take(&mut told, list([service("a", 80)]));

    let (id, object) = service("b", 80);
    let half = [News::Listing, News::Listed(id, object), News::Broken("connection refused".to_owned())];

    let errors = "errors [\"cannot watch Service: connection refused\"]";
    assert_eq!(take(&mut told, half), ["put b", errors]);
    assert_eq!(take(&mut told, [News::Broken("connection refused".to_owned())]), [""; 0], "told once");
    assert_eq!(take(&mut told, list([service("b", 80)])), ["put b", "remove a", "errors []"]);
}

#[test]
fn what_cannot_be_read_keeps_its_last_good_version_and_stops_nothing() {
    let mut told = Told::new();
    take(&mut told, list([service("a", 80)]));

    let errors = "errors [\"Service shop/a: unknown field `x`\"]";
    assert_eq!(take(&mut told, list([broken("a"), service("b", 80)])), ["put b", errors]);
    assert_eq!(take(&mut told, list([service("b", 80)])), ["put b", "remove a", "errors []"], "gone for good");
}

#[test]
fn what_never_could_be_read_is_forgotten_when_it_goes() {
    let mut told = Told::new();
    let (id, object) = broken("a");

    take(&mut told, list([(id.clone(), object)]));
    assert_eq!(take(&mut told, [News::Gone(id)]), ["errors []"]);

    take(&mut told, list([broken("b")]));
    assert_eq!(take(&mut told, list([])), ["errors []"]);
}

#[test]
fn all_is_known_when_every_kind_was_listed_or_is_not_served() {
    let mut told = Told::new();
    let mut changes = Vec::new();
    for watched in WATCHED.iter().filter(|watched| watched.kind != Kind::Service) {
        let news = if watched.built_in { News::Complete } else { News::Absent };
        told.take(watched.kind, news, &mut changes);
        told.finish(&mut changes);
    }
    assert_eq!(changes, []);
    assert_eq!(take(&mut told, [News::Broken("forbidden".to_owned())]).len(), 1, "not while one is unknown");

    assert!(take(&mut told, list([])).contains(&"Wholly".to_owned()));
    assert_eq!(take(&mut told, list([])), [""; 0], "said once");
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_away_for_a_moment_loses_nothing() {
    let mut told = Told::new();
    take(&mut told, list([service("a", 80)]));

    assert_eq!(take(&mut told, [News::Absent]), [""; 0]);
    tokio::time::advance(GRACE / 2).await;
    assert_eq!(take(&mut told, [News::Absent]), [""; 0]);
    take(&mut told, list([service("a", 80)]));
    tokio::time::advance(GRACE).await;
    assert_eq!(take(&mut told, [News::Absent]), [""; 0], "counted anew");

    tokio::time::advance(GRACE).await;
    assert_eq!(take(&mut told, [News::Absent]), ["remove a"]);
}

#[test]
fn a_watch_that_could_not_even_look_is_forgotten_when_it_can() {
    let mut told = Told::new();
    assert_eq!(
        take(&mut told, [News::Broken("no answer".to_owned())]),
        ["errors [\"cannot watch Service: no answer\"]"]
    );
    assert_eq!(take(&mut told, [News::Absent]), ["errors []"]);

    assert_eq!(take(&mut told, [News::Denied("forbidden".to_owned())]).len(), 1);
    assert_eq!(take(&mut told, [News::Denied("forbidden".to_owned())]), [""; 0], "told once");
    assert_eq!(take(&mut told, list([])), ["errors []"]);
}
