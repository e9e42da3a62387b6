//! What strangers can make the API server do.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::future::join_all;
use kube::client::Body;
use serde_json::json;

use super::*;

/// An API server that finds tokens good that begin with `good`, and takes its time.
fn api_server() -> (Client, Arc<Mutex<Vec<String>>>) {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = asked.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let log = log.clone();
        async move {
            let body = request.into_body().collect_bytes().await.unwrap();
            let review: TokenReview = serde_json::from_slice(&body).unwrap();
            let token = review.spec.token.clone();
            log.lock().push(token.clone());
            tokio::time::sleep(Duration::from_millis(5)).await;
            let status = json!({"authenticated": token.starts_with("good"), "error": "no"});
            let answer = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {},
                                "spec": {"token": ""}, "status": status});
            Ok::<_, Infallible>(http::Response::new(Body::from(answer.to_string().into_bytes())))
        }
    });
    (Client::new(service, "default"), asked)
}

fn address(number: u8) -> IpAddr {
    [10, 0, 0, number].into()
}

async fn ask(reviews: &Reviews, from: u8, chance: Chance, token: &str) -> Result<(), Refusal> {
    let read = |status: TokenReviewStatus| match status.authenticated {
        Some(true) => Ok(()),
        _ => Err((Refusal::TokenRefused, status.error.unwrap_or_default())),
    };
    reviews.review(token, address(from), chance, read).await.map_err(|(refusal, _)| refusal)
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_not_reviewed_again_within_a_moment() {
    let (client, asked) = api_server();
    let reviews = Reviews::new(client, Metrics::default());

    for _ in 0..100 {
        assert_eq!(ask(&reviews, 1, Chance::Likely, "bad").await, Err(Refusal::TokenRefused));
    }
    assert_eq!(asked.lock().len(), 1);
    assert_eq!(ask(&reviews, 1, Chance::Likely, "good").await, Ok(()));

    tokio::time::advance(REMEMBERED).await;
    assert_eq!(ask(&reviews, 1, Chance::Likely, "bad").await, Err(Refusal::TokenRefused));
    assert_eq!(asked.lock().len(), 3, "it may be good by now");
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_of_refused_tokens_is_bounded() {
    let (client, _) = api_server();
    let reviews = Reviews::new(client, Metrics::default());

    for number in 0..2 * MAX_REMEMBERED {
        reviews.refuse(hash(&number.to_string()), &(Refusal::TokenRefused, String::new()));
    }

    assert_eq!(reviews.refused.lock().len(), MAX_REMEMBERED);
}

#[tokio::test(start_paused = true)]
async fn strangers_cost_the_api_server_little_and_hold_up_no_pod() {
    let (client, asked) = api_server();
    let reviews = Reviews::new(client, Metrics::default());
    let tokens: Vec<String> = (0..2000).map(|number| format!("made up {number}")).collect();
    let from = |number: usize| u8::try_from(number % 200).unwrap();

    let strangers = tokens.iter().enumerate().map(|(n, token)| ask(&reviews, from(n), Chance::Unlikely, token));
    let pod = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let began = Instant::now();
        ask(&reviews, 255, Chance::Likely, "good").await.map(|()| began.elapsed())
    };
    let (refused, pod) = tokio::join!(join_all(strangers), pod);

    assert!(refused.iter().all(Result::is_err));
    // A burst, and so many a second for as long as anybody waits.
    let bound = UNLIKELY.at_once as usize + (2 * PATIENCE).as_secs() as usize * UNLIKELY.per_second as usize;
    assert!(asked.lock().len() <= bound + 1, "{}", asked.lock().len());
    assert!(
        pod.unwrap() < Duration::from_millis(20),
        "the clock stands still but for the waits: it did not wait for them"
    );
}

#[tokio::test(start_paused = true)]
async fn a_caller_with_a_thousand_tokens_holds_nobody_up() {
    let (client, asked) = api_server();
    let reviews = Reviews::new(client, Metrics::default());
    let tokens: Vec<String> = (0..1000).map(|number| format!("bad {number}")).collect();

    // The first of them takes all places before the others come.
    let loud = join_all(tokens.iter().map(|token| ask(&reviews, 1, Chance::Likely, token)));
    let others = join_all((2..10).map(|from| ask(&reviews, from, Chance::Likely, "good")));
    let (loud, others) = tokio::join!(loud, others);

    assert!(others.iter().all(Result::is_ok), "{others:?}");
    let reviewed = LIKELY_AT_A_TIME + 4;
    assert_eq!(loud.iter().filter(|refusal| **refusal == Err(Refusal::TokenRefused)).count(), reviewed);
    assert_eq!(asked.lock().len(), reviewed + others.len());
}
