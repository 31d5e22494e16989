//! The network lab itself, tried with plain sockets: healthy paths carry everything, and each fault does what it says and no more.
#![expect(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod lab {
    mod healthy;
    mod nodes;
    mod paths;

    use prejoin_tests::lab::{Lab, RunningLab, What};

    /// Two sites of two nodes each; none where no lab can be made.
    pub(crate) fn two_sites() -> Option<RunningLab> {
        Lab::new().site("east", 2).site("west", 2).up().unwrap()
    }

    /// Small datagrams to the port of Cilium's VXLAN.
    pub(crate) const DATAGRAMS: What = What::Udp {
        port: 8472,
        count: 5,
        bytes: 100,
    };

    /// All of [`DATAGRAMS`].
    pub(crate) const ALL: [u32; 5] = [0, 1, 2, 3, 4];

    /// None of them.
    pub(crate) const NONE: [u32; 0] = [];
}
