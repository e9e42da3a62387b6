//! The tables of the Gateway API (`src/gateway`), each in a mesh of its own.

use outrigger_tests::gateway::{GROUPS, group, namespaces};

macro_rules! tables {
    ($($name:ident,)*) => {
        $(
            #[test]
            fn $name() {
                namespaces::check(group(stringify!($name)));
            }
        )*

        #[test]
        fn every_table_is_run() {
            let all: Vec<&str> = GROUPS.iter().map(|group| group.name).collect();
            assert_eq!(all, [$(stringify!($name)),*]);
        }
    };
}

tables! {
    official_routing,
    official_filters,
    paths,
    conditions,
    precedence,
    parents,
    consumers,
    kinds,
    backends,
    redirects,
    rewrites,
    headers,
    mirrors,
    cors,
    timeouts,
    retries,
    grpc,
}
