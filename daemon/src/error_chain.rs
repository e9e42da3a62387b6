//! Errors as text.

use std::error::Error;

/// Writes an error with all its causes in one line; what an error says of its cause itself is not said twice.
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug)]
    struct Wraps(&'static str, io::Error);

    impl std::fmt::Display for Wraps {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Wraps {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.1)
        }
    }

    #[test]
    fn each_cause_is_said_once() {
        let cause = || io::Error::other("no route to host");
        assert_eq!(error_chain(&Wraps("dial", cause())), "dial: no route to host");
        assert_eq!(error_chain(&Wraps("dial: no route to host", cause())), "dial: no route to host");
        assert_eq!(error_chain(&cause()), "no route to host");
    }
}
