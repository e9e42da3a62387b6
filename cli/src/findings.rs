//! The table of what `outrigger check` can find: `explain` and the reference read it, too.

/// What one finding means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// `OC031`; it never changes its meaning.
    pub code: &'static str,
    /// What is looked at.
    pub looks_at: &'static str,
    /// What it means when it is not well.
    pub means: &'static str,
    /// What to do.
    pub next: &'static str,
}

macro_rules! findings {
    ($($code:literal $looks_at:literal, $means:literal, $next:literal;)*) => {
        /// All findings, in order.
        pub const ALL: &[Finding] =
            &[$(Finding { code: $code, looks_at: $looks_at, means: $means, next: $next }),*];
    };
}

findings! {
    "OC001" "Whether the control plane has read its objects.",
        "It has not, so it serves no sidecar yet. In a cluster: a kind that it may not list, or an API server that does not answer.",
        "Read its log.";
    "OC002" "Configuration objects that cannot be read.",
        "A file or an object cannot be read. What it said before stays in force.",
        "Fix the file or object that the message names.";
    "OC003" "Objects that are not in force as written.",
        "An object refers to something that is not there, or asks for what the mesh does not do.",
        "The message names object and field; the object's own status says the same.";
    "OC004" "Whether the control plane's pods run.",
        "Fewer are available than asked for. Sidecars go on with what they have; new ones wait for a certificate.",
        "`kubectl describe pods -n outrigger-system -l app.kubernetes.io/name=outrigger-control-plane`";
    "OC005" "Whether the CLI and the control plane run the same version.",
        "The CLI and the control plane run different versions. Neighboring versions work together, but what the newer one added is missing.",
        "Use the command of the mesh's version, or `outrigger upgrade`.";
    "OC006" "Whether each replica of the control plane can be asked.",
        "A replica could not be reached by port-forward, so its sidecars are not in this report.",
        "Check that your user may create `pods/portforward`, and that the pod runs.";
    "OC007" "Whether you may see all that is looked at.",
        "Your user lacks a right, so what the message names was left out; everything else was looked at.",
        "The ClusterRole `view`, and for the whole report `list` of `mutatingwebhookconfigurations`, `create` of `pods` (for a dry run) and of `pods/portforward`.";
    "OC010" "Whether each sidecar is ready.",
        "It does not answer, or has no certificate or configuration yet.",
        "Read its log.";
    "OC011" "How long each sidecar's certificate is valid.",
        "It should have been renewed at half of its life, and was not.",
        "Read the sidecar's log and the control plane's.";
    "OC012" "Whether each sidecar is connected and serves what is current.",
        "A disconnected sidecar keeps its last configuration. A lagging one is still updating, or rejected a resource (OC013).",
        "Wait a moment; then read its log for why it cannot connect.";
    "OC013" "Configuration that a sidecar refused.",
        "It could not use a new version of something and goes on with the one before.",
        "Fix the object that the message names; if it is correct, report a bug.";
    "OC020" "Whether the API server answers, and its version.",
        "The cluster cannot be reached, or is older than Kubernetes 1.30.",
        "Check your kubeconfig and the context in it, or upgrade the cluster.";
    "OC021" "Permissions to create the resources of the installation.",
        "Your user lacks a permission, and the install would stop half way.",
        "Ask for the permissions that the message names, or have an administrator apply the output of `outrigger install --dry-run`.";
    "OC022" "Whether another mesh is in the way.",
        "Another installation owns the cluster-scoped resources.",
        "Uninstall it first, upgrade it instead, or install this one as a revision: `--set revision=NAME`.";
    "OC023" "Whether the nodes can run sidecars.",
        "Traffic is taken over with nftables (Linux 5.4 or newer), and sidecars start before the app as native sidecars (kubelet 1.29 or newer).",
        "Upgrade the nodes, or keep meshed pods away from them.";
    "OC024" "Whether the Gateway API's kinds are there.",
        "Without HTTPRoute and GRPCRoute there is mutual TLS, but no routing rules.",
        "Install the Gateway API's standard channel; the control plane picks it up while it runs.";
    "OC030" "Whether the namespace that was asked about is there.",
        "The cluster has no namespace of that name, so nothing was looked at in it.",
        "`kubectl get namespaces`";
    "OC031" "Whether every pod that should have a sidecar has one.",
        "Injection happens when a pod is created, and these were created before the label, or while it was missing.",
        "Restart what made them; the message has the command.";
    "OC032" "Whether the sidecars in pods are ready.",
        "The sidecar has no certificate or configuration yet, so the app may not have started.",
        "`kubectl logs -n NAMESPACE POD -c outrigger-sidecar`. While the container starts, Kubernetes shows none; after a minute, `--previous` does.";
    "OC033" "Whether sidecars are of the mesh's version.",
        "They were injected by an earlier version. That works, until the next upgrade.",
        "Restart what made the pods; the message has the command.";
    "OC034" "Pods that cannot have a sidecar.",
        "They are labeled, and were skipped for the reason in the message.",
        "If that is intended, label the pods `outrigger.io/inject: disabled`: the finding then disappears.";
    "OC035" "Labels and annotations that resemble the injector's label.",
        "A misspelt name or value, or an annotation where a label is meant, has no effect: pods get no sidecar, or one that they were to do without.",
        "`outrigger.io/inject` is a label. Its value is `enabled`, or on pods also `disabled`.";
    "OC036" "Whether there is an injector for every revision that is asked for.",
        "A namespace or a pod has a label `outrigger.io/rev` of which no revision is installed, or lacks one where only named revisions are, so its pods get no sidecar.",
        "Correct the label; the message has the command.";
    "OC037" "Whether sidecars trust the root certificate of this mesh.",
        "They were injected by an installation with another root, and cannot connect to this one. They continue with their last certificate until it expires.",
        "Restart what made the pods; the message has the command.";
    "OC038" "Whether pods with a sidecar are created.",
        "The API server refuses them, so there are fewer pods than asked for: a quota, a LimitRange or PodSecurity that the sidecar does not fit in, or an injector that does not answer.",
        "The message is the API server's. What the sidecar needs is in docs/reference/injection.md.";
    "OC040" "Whether the trust bundle is there and valid.",
        "Nothing in the mesh can prove who it is without it, or soon cannot.",
        "Read the control plane's log: it makes the bundle and rotates it.";
    "OC041" "How long the issuer is valid.",
        "The issuer certificate signs the workloads' certificates and is rotated automatically; that failed.",
        "Read the log of the control plane that holds the lease `outrigger-issuer`.";
    "OC050" "Whether the injector's pods run.",
        "Fewer are available than asked for. With none, labeled pods are not created; all others are.",
        "`kubectl describe pods -n outrigger-system -l app.kubernetes.io/name=outrigger-injector`";
    "OC051" "Whether the API server knows the injector.",
        "The webhook configuration is missing or was changed, so labeled pods would start without a sidecar, or not at all.",
        "`outrigger upgrade` puts it back.";
    "OC052" "Whether the API server trusts the injector.",
        "The webhook's CA bundle is not the mesh's trust bundle, so calls to the injector fail.",
        "The control plane keeps it current: read its log.";
    "OC053" "Whether a labeled pod gets a sidecar, by a dry run.",
        "The API server was asked to create a pod, without creating it, and it got no sidecar.",
        "The message is the API server's; OC050 to OC052 usually say why. A namespace that refuses pods by rules of its own is no error here.";
}

/// The finding with this code.
#[must_use]
pub fn find(code: &str) -> Option<&'static Finding> {
    ALL.iter().find(|finding| finding.code.eq_ignore_ascii_case(code.trim()))
}

/// Where the reference says more about a code.
#[must_use]
pub fn docs(code: &str) -> String {
    format!("{}/blob/main/docs/reference/checks.md#{}", env!("CARGO_PKG_REPOSITORY"), code.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_once() {
        assert!(ALL.is_sorted_by(|a, b| a.code < b.code));
    }
}
