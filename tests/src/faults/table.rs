//! The table of what a fault may cost: what physics takes, as without a mesh. A failure that no row covers is a finding.

use super::Kind;
use Kind::{Bytes, Dial, Get, Http2, Post, Stream, Unary, WebSocket};

macro_rules! faults {
    ($($variant:ident $target:ident $lengths:expr, $name:literal, $how:literal;)*) => {
        /// Something that fails, or that is made to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Fault {
            $(#[doc = $name] $variant,)*
        }

        impl Fault {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// What happens, in words.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// How it is made to happen.
            #[must_use]
            pub fn how(self) -> &'static str {
                match self { $(Self::$variant => $how,)* }
            }

            /// Whom it may befall.
            #[must_use]
            pub fn target(self) -> Target {
                match self { $(Self::$variant => Target::$target,)* }
            }

            /// For how many seconds, of which one is drawn; none: for about a second.
            #[must_use]
            pub fn lengths(self) -> &'static [u64] {
                match self { $(Self::$variant => &$lengths,)* }
            }
        }
    };
}

/// Whom a fault befalls, and so whose messages may suffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// One pod of a service: messages to that service.
    Server,
    /// One pod that calls: its messages.
    Caller,
    /// One pod that calls and one that it calls: its messages to that service.
    Pair,
    /// The mesh: nobody's messages.
    Mesh,
}

faults! {
    AppKilled Server [], "The application in a pod dies", "SIGKILL; it starts again after one to two seconds";
    AppHangs Server [3, 13], "The application in a pod hangs", "SIGSTOP, then SIGCONT";
    SidecarKilled Server [], "The sidecar of a called pod dies", "SIGKILL; it starts again after one to two seconds";
    SidecarHangs Server [3, 13], "The sidecar of a called pod hangs", "SIGSTOP, then SIGCONT";
    CallerSidecarKilled Caller [], "The sidecar of a calling pod dies", "SIGKILL; it starts again after one to two seconds";
    CallerSidecarHangs Caller [3, 13], "The sidecar of a calling pod hangs", "SIGSTOP, then SIGCONT";
    ReplicaKilled Mesh [5], "One of two replicas of the control plane dies", "SIGKILL; it starts again";
    ReplicaHangs Mesh [8], "One of two replicas of the control plane hangs", "SIGSTOP, then SIGCONT";
    ControlPlaneKilled Mesh [6], "All replicas of the control plane die", "SIGKILL; they start again";
    PodReplaced Mesh [], "A pod is replaced", "a new pod; then preStop, SIGTERM to the application, and SIGTERM to the sidecar, in the order of Kubernetes";
    PacketsDropped Pair [3, 13], "No packet passes between two pods", "nftables drop both directions, then no longer";
    StateDirectoryFull Mesh [6], "The state directory of a sidecar is full", "a full tmpfs takes its place, then goes";
    DescriptorsExhausted Server [4], "A called pod's sidecar has no descriptor left", "prlimit sets RLIMIT_NOFILE to what is open, then back";
    ConfigurationChanged Mesh [], "Routes and policies change", "an HTTPRoute and the TrafficPolicies of all services are written anew";
}

/// When a message may fail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// When it was in flight as the fault came, within so many seconds after it.
    InFlight(f64),
    /// From the fault until so many seconds after its end. With a share: of the messages that were sent later than two seconds after its
    /// begin at most that share.
    During(f64, Option<f64>),
}

/// What a fault may cost.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The fault.
    pub fault: Fault,
    /// Which messages.
    pub messages: &'static [Kind],
    /// What their clients see, as [`super::Message::outcome`] has it.
    pub outcomes: &'static [&'static str],
    /// With which codes, where the mesh answers.
    pub codes: &'static [&'static str],
    /// For how long.
    pub when: When,
    /// For readers.
    pub seen: &'static str,
}

const REQUESTS: &[Kind] = &[Get, Post, Http2, Unary];
const CONNECTIONS: &[Kind] = &[WebSocket, Stream, Bytes, Dial];
const EVERYTHING: &[Kind] = &Kind::ALL;

/// What is longer than a client's patience: it gives up by itself.
const GIVEN_UP: &[&str] = &["deadline"];

/// The table. A fault without a row costs nothing.
pub const TABLE: &[Row] = &[
    Row {
        fault: Fault::AppKilled,
        messages: REQUESTS,
        outcomes: &["status-502", "grpc-14"],
        codes: &["E005"],
        when: When::InFlight(1.0),
        seen: "502, or status 14 in gRPC, for requests that this application may have begun to work on",
    },
    Row {
        fault: Fault::AppKilled,
        messages: CONNECTIONS,
        outcomes: &["ended", "grpc-14"],
        codes: &["E005"],
        when: When::InFlight(1.0),
        seen: "streams and connections to this application end",
    },
    Row {
        fault: Fault::AppKilled,
        messages: &[Bytes, Dial],
        outcomes: &["ended"],
        codes: &[],
        when: When::During(0.0, None),
        seen: "a new connection to this application ends without a byte, as it would be refused without a mesh",
    },
    Row {
        fault: Fault::AppHangs,
        messages: EVERYTHING,
        outcomes: GIVEN_UP,
        codes: &[],
        when: When::During(0.0, Some(0.05)),
        seen: "no answer, where the client gives up before the application goes on",
    },
    Row {
        fault: Fault::SidecarKilled,
        messages: REQUESTS,
        outcomes: &["status-502", "grpc-14"],
        codes: &["E005"],
        when: When::InFlight(1.0),
        seen: "502, or status 14 in gRPC, for requests that this pod may have begun to work on",
    },
    Row {
        fault: Fault::SidecarKilled,
        messages: CONNECTIONS,
        outcomes: &["ended", "grpc-14"],
        codes: &["E005"],
        when: When::InFlight(1.0),
        seen: "streams and connections to this pod end",
    },
    Row {
        fault: Fault::SidecarHangs,
        messages: EVERYTHING,
        outcomes: GIVEN_UP,
        codes: &[],
        when: When::During(0.0, Some(0.05)),
        seen: "no answer, where the client gives up before the sidecar goes on",
    },
    Row {
        fault: Fault::CallerSidecarKilled,
        messages: EVERYTHING,
        outcomes: &["ended", "refused"],
        codes: &[],
        when: When::During(1.0, None),
        seen: "all connections of this pod end, and none can be opened until the sidecar is ready again",
    },
    Row {
        fault: Fault::CallerSidecarHangs,
        messages: EVERYTHING,
        outcomes: GIVEN_UP,
        codes: &[],
        when: When::During(0.0, None),
        seen: "no answer, where the client gives up before the sidecar goes on",
    },
    Row {
        fault: Fault::PacketsDropped,
        messages: EVERYTHING,
        outcomes: GIVEN_UP,
        codes: &[],
        when: When::During(0.0, Some(0.05)),
        seen: "no answer, where the client gives up before packets pass again",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_befalls_the_mesh_alone_costs_nothing() {
        for row in TABLE {
            assert_ne!(row.fault.target(), Target::Mesh, "{row:?}");
        }
    }
}
