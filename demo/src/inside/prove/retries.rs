//! A backend that fails, and clients that do not notice.

use serde_json::json;

use super::Proof;
use super::split::Window;
use crate::inside::collector::Collector;
use crate::inside::shop;

/// The backend's own count of failures beside the client's.
pub(super) fn proof(window: &Window, collector: &Collector) -> Proof {
    let (requests, errors) = (window.load.stock.ok + window.load.stock.errors, window.load.stock.errors);
    let (reached, failed) = (window.failing.stock, window.failing.failed);
    // One span an attempt; the second and later ones say so.
    let retries = collector.with(|spans| {
        spans.latest().flatten().filter(|span| !span.attribute("http.request.resend_count").is_empty()).count()
    });
    Proof {
        ok: failed > 0 && errors == 0 && requests > 0 && retries > 0,
        summary: format!(
            "{} answered 503 to {failed} of {reached} requests; the client saw {errors} errors in {requests}",
            shop::FAILING
        ),
        details: Vec::new(),
        values: json!({
            "backend": shop::FAILING,
            "backendRequests": reached,
            "backendFailures": failed,
            "clientRequests": requests,
            "clientErrors": errors,
            "lastError": window.load.last_error,
            "retriesTraced": retries,
        }),
    }
}
