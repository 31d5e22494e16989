//! Who asks, and what they may do.

mod cookie;
pub mod gate;
pub mod login;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What someone may do. Each role may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look at everything.
    Viewer,
    /// Run audits, accept baselines, waive findings.
    Operator,
    /// Enrol and revoke clusters, make and revoke tokens.
    Admin,
}

impl Role {
    /// All roles, the one that may least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The name as it is typed and printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// Someone whose request was let in: who, and what they may do. Every handler finds it among the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    /// The name that goes into the audit log.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// What forms of pages must send back, where the visitor came by a web session; absent for a bearer token.
    pub csrf: Option<String>,
}

impl Visitor {
    /// Whether they may do what this role may.
    pub fn may(&self, role: Role) -> bool {
        self.role >= role
    }

    /// Whether a form that sent this back is one of their own session's.
    pub fn sent(&self, csrf: &str) -> bool {
        // The time it takes says nothing about where the two differ.
        let same = |own: &String| {
            own.len() == csrf.len() && own.bytes().zip(csrf.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
        };
        self.csrf.as_ref().is_some_and(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_do_what_the_ones_before_it_may() {
        let visitor = |role| Visitor {
            name: "kim".to_owned(),
            role,
            csrf: None,
        };
        assert!(visitor(Role::Admin).may(Role::Operator) && visitor(Role::Operator).may(Role::Viewer));
        let in_session = |csrf: &str| Visitor {
            csrf: Some(csrf.to_owned()),
            ..visitor(Role::Operator)
        };
        assert!(in_session("c5").sent("c5") && !in_session("c5").sent("c6") && !in_session("c5").sent("c"));
        assert!(!visitor(Role::Admin).sent(""));
        assert!(!visitor(Role::Viewer).may(Role::Operator) && !visitor(Role::Operator).may(Role::Admin));
    }
}
