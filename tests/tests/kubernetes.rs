//! `prejoin` on real clusters: API servers, kubelets and containers as users have them. `docs/testing.md` says how to run it on clusters of
//! one's own.
#![expect(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod kubernetes {
    mod audited;
    mod cilium;
    mod snapshot;
    mod suite;

    mod cluster_agent;
    mod faults;
    mod healthy;
    mod permissions;
    mod recorded;
    mod refusals;
    mod restarts;
    mod sessions;
}
