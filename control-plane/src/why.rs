//! Errors of the API server as text.

use std::error::Error;

use kube::runtime::watcher;

/// Says in one line why something failed: the API server's own words when it has answered, else every cause once.
pub(crate) fn why(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    // What a watch adds to its cause is the cause once more.
    let mut next = if error.is::<watcher::Error>() { error.source() } else { Some(error) };
    while let Some(cause) = next {
        let ours = cause.downcast_ref::<kube::Error>();
        let ours = ours.or_else(|| cause.downcast_ref::<Box<kube::Error>>().map(|error| &**error));
        let (said, below) = match ours {
            Some(kube::Error::Api(status)) => (status.message.clone(), None),
            _ => (cause.to_string(), cause.source()),
        };
        // Many errors repeat their causes.
        if !text.contains(&said) {
            let separator = if text.is_empty() { "" } else { ": " };
            text = format!("{text}{separator}{said}");
        }
        next = below;
    }
    text
}
