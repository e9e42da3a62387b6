//! What can go wrong when capture is installed, each with what to do about it.

use std::io;

use rustix::io::Errno;

/// Why capture could not be installed, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The settings contradict themselves: whoever wrote them has to change them.
    #[error("{setting}: {problem}")]
    Settings {
        /// The flag, as typed.
        setting: &'static str,
        /// What is wrong with it and what to write instead.
        problem: String,
    },
    /// The process may not change nftables here.
    #[error(
        "not permitted to change nftables: CAP_NET_ADMIN is needed in this network namespace; in Kubernetes give the \
         init container `securityContext.capabilities.add: [NET_ADMIN]`, elsewhere run as root or inside \
         `unshare --user --map-root-user --net`"
    )]
    NotPermitted,
    /// The kernel has no code for something the rules need: a module is not loaded or not built.
    #[error(
        "the kernel cannot do what {subject} needs: load one of these modules on the node (`modprobe <module>`): \
         {modules}"
    )]
    MissingModule {
        /// The object that was refused.
        subject: String,
        /// The modules that implement it.
        modules: &'static str,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// The kernel refused one object for another reason.
    #[error("the kernel refused {subject}")]
    Refused {
        /// The object that was refused.
        subject: String,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// The netlink socket itself failed.
    #[error("netlink: {step}")]
    Netlink {
        /// What was being done.
        step: &'static str,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// The kernel's answer could not be read.
    #[error("netlink: the kernel's answer is malformed: {problem}")]
    Malformed {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The kernel said yes, but does not hold the rules that were sent.
    #[error("the kernel accepted the rules but does not hold them: {found}; is something else editing nftables here?")]
    NotInForce {
        /// The first difference.
        found: String,
    },
}

impl CaptureError {
    /// Turns the kernel's refusal of `subject` into the error that says what to do.
    pub(super) fn refused(subject: String, modules: &'static str, errno: Errno) -> Self {
        let source = io::Error::from(errno);
        match errno {
            Errno::PERM | Errno::ACCESS => Self::NotPermitted,
            Errno::NOENT | Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT => {
                Self::MissingModule { subject, modules, source }
            }
            _ => Self::Refused { subject, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_which_capability_is_missing_and_where() {
        let error = CaptureError::refused("table".into(), "nf_tables", Errno::PERM);
        assert!(error.to_string().contains("CAP_NET_ADMIN is needed in this network namespace"), "{error}");
    }

    #[test]
    fn names_the_module_behind_a_missing_expression() {
        for errno in [Errno::NOENT, Errno::OPNOTSUPP] {
            let error = CaptureError::refused("rule `x`".into(), "nft_redir", errno);
            assert!(error.to_string().contains("rule `x`") && error.to_string().ends_with("nft_redir"), "{error}");
        }
    }
}
