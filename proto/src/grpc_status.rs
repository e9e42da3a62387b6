//! The statuses of gRPC, by their numbers.

/// Names as gRPC's documentation spells them; the place is the number.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Returns the name of a status; `None`: it is none of gRPC's.
#[must_use]
pub fn grpc_status_name(status: u8) -> Option<&'static str> {
    NAMES.get(usize::from(status)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;

    #[test]
    fn every_status_that_the_mesh_answers_with_has_a_name() {
        assert_eq!([0, 14, 16].map(grpc_status_name), [Some("OK"), Some("UNAVAILABLE"), Some("UNAUTHENTICATED")]);
        assert_eq!(grpc_status_name(17), None);
        assert!(ErrorCode::ALL.iter().all(|code| grpc_status_name(code.info().grpc_status).is_some()));
    }
}
