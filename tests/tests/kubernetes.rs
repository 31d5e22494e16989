//! `prejoin` on real clusters: API servers, kubelets and containers as users have them. `docs/testing.md` says how to run it on clusters of
//! one's own.
#![expect(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod kubernetes {
    mod audited;
    mod cilium;
    mod config;
    mod proxy;
    mod running;
    mod snapshot;
    mod suite;

    mod cluster_agent;
    mod dialled;
    mod dual_stack;
    mod ephemeral;
    mod faults;
    mod healthy;
    mod joined;
    mod measured;
    mod nodes;
    mod permissions;
    mod reach;
    mod recorded;
    mod refusals;
    mod restarts;
    mod restricted;
    mod sessions;
}
