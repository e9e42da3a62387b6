//! What is made of a review.

use std::collections::BTreeMap;

use k8s_openapi::api::authentication::v1::UserInfo;

use super::*;

fn good() -> TokenReviewStatus {
    let extra = [(POD_NAME, "web-1"), (POD_UID, "u-1")];
    let extra: BTreeMap<String, Vec<String>> =
        extra.into_iter().map(|(key, value)| (key.to_owned(), vec![value.to_owned()])).collect();
    TokenReviewStatus {
        authenticated: Some(true),
        audiences: Some(vec![AUDIENCE.to_owned()]),
        error: None,
        user: Some(UserInfo {
            username: Some("system:serviceaccount:shop:web".to_owned()),
            extra: Some(extra),
            ..UserInfo::default()
        }),
    }
}

fn refusal(change: impl FnOnce(&mut TokenReviewStatus)) -> Refusal {
    let mut status = good();
    change(&mut status);
    Claims::of(status).unwrap_err().0
}

#[test]
fn a_good_token_names_its_pod() {
    let claims = Claims::of(good()).unwrap();

    assert_eq!((claims.pod().as_str(), claims.account.as_str()), ("shop/web-1", "web"));
}

#[test]
fn refuses_what_was_not_found_good_for_us() {
    assert_eq!(refusal(|status| status.authenticated = Some(false)), Refusal::TokenRefused);
    assert_eq!(refusal(|status| status.authenticated = None), Refusal::TokenRefused);
    let of_another = |status: &mut TokenReviewStatus| {
        status.authenticated = Some(false);
        status.error = Some("token audiences [\"x\"] is invalid for the target audiences [\"outrigger\"]".to_owned());
    };
    assert_eq!(refusal(of_another), Refusal::TokenAudience);
    assert_eq!(refusal(|status| status.audiences = None), Refusal::TokenAudience);
    assert_eq!(refusal(|status| status.audiences = Some(vec!["x".to_owned()])), Refusal::TokenAudience);
}

#[test]
fn refuses_tokens_that_are_bound_to_no_pod() {
    let user = |status: &mut TokenReviewStatus, name: &str| {
        if let Some(user) = &mut status.user {
            user.username = Some(name.to_owned());
        }
    };
    assert_eq!(refusal(|status| user(status, "admin")), Refusal::TokenUnbound);
    assert_eq!(refusal(|status| user(status, "system:serviceaccount:shop")), Refusal::TokenUnbound);
    assert_eq!(refusal(|status| status.user = None), Refusal::TokenUnbound);
    let without = |key: &'static str| {
        move |status: &mut TokenReviewStatus| {
            status.user.as_mut().and_then(|user| user.extra.as_mut()).and_then(|extra| extra.remove(key));
        }
    };
    assert_eq!(refusal(without(POD_NAME)), Refusal::TokenUnbound);
    assert_eq!(refusal(without(POD_UID)), Refusal::TokenUnbound);
}
