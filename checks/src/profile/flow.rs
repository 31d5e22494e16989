//! The flows a profile needs between clusters: who must reach whom, on what, and why.

use crate::fleet::Audit;

/// One required flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The code of the check that judges it.
    pub code: &'static str,
    /// Protocol and port in words: `UDP 8472`, `ICMP echo`, `IP protocol 50 (ESP)`.
    pub what: String,
    /// From where to where: `every node -> every node`.
    pub path: String,
    /// What it carries.
    pub purpose: &'static str,
}

/// The flows that these clusters need for this profile, as far as their facts tell.
pub fn required(_audit: &Audit<'_>) -> Vec<Flow> {
    Vec::new()
}
