//! The tables of the Gateway API (`src/gateway`), all of them in one pair of namespaces.

use outrigger_tests::cluster::enter_alone;
use outrigger_tests::gateway::{GROUPS, cluster};
use outrigger_tests::peers::gateway_api;

#[test]
fn every_case_of_every_table() {
    let Some((kubernetes, alone)) = enter_alone() else { return };
    let _kinds = gateway_api::Kinds::installed(kubernetes);
    cluster::check(kubernetes, &alone, GROUPS);
}
