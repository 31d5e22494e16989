//! Cluster IDs: what is valid, and what `subctl join` makes of a kubeconfig's cluster name.

/// The longest valid ID, in characters.
pub const MAX_LENGTH: usize = 63;

/// The ID that `subctl join` makes of a cluster's name in the kubeconfig.
///
/// Lower case; each run of other characters than letters, digits and dashes becomes one dash; a dash at either end becomes `0`.
/// It is not shortened. Source: `subctl`, `pkg/cluster/id.go`.
pub fn sanitise(name: &str) -> String {
    let mut id = String::with_capacity(name.len());
    let mut in_bad_run = false;
    for c in name.to_lowercase().chars() {
        let good = matches!(c, 'a'..='z' | '0'..='9' | '-');
        if good {
            id.push(c);
        } else if !in_bad_run {
            id.push('-');
        }
        in_bad_run = !good;
    }
    if let Some(rest) = id.strip_prefix('-') {
        id = format!("0{rest}");
    }
    if let Some(rest) = id.strip_suffix('-') {
        id = format!("{rest}0");
    }
    id
}

/// What is wrong with an ID, in a few words: it must be an RFC 1123 label, as it becomes part of object and DNS names.
pub fn problem(id: &str) -> Option<&'static str> {
    let alphanumeric = |c: Option<char>| c.is_some_and(|c| matches!(c, 'a'..='z' | '0'..='9'));
    if id.is_empty() {
        Some("empty")
    } else if id.chars().count() > MAX_LENGTH {
        Some("longer than 63 characters")
    } else if !id.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        Some("holds other characters than lower-case letters, digits and dashes")
    } else if !alphanumeric(id.chars().next()) || !alphanumeric(id.chars().last()) {
        Some("starts or ends with a dash")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_ids_as_subctl_makes_them() {
        for (name, id) in [
            ("cluster1", "cluster1"),
            ("a0b1c2d3---e4f5", "a0b1c2d3---e4f5"),
            ("kubernetes-admin@East", "kubernetes-admin-east"),
            (
                "arn:aws:eks:eu-west-1:123:cluster/prod",
                "arn-aws-eks-eu-west-1-123-cluster-prod",
            ),
            ("api.example.com:6443", "api-example-com-6443"),
            ("@abc!@#123@", "0abc-1230"),
            ("-abc", "0abc"),
            (".@#$_", "0"),
            ("", ""),
        ] {
            assert_eq!(sanitise(name), id, "{name}");
        }
    }

    #[test]
    fn ids_are_rfc_1123_labels() {
        for good in ["a", "0", "east-1", &"x".repeat(63)] {
            assert_eq!(problem(good), None, "{good}");
        }
        for bad in ["", "East", "a.b", "a_b", "-a", "a-", "é", &"x".repeat(64)] {
            assert!(problem(bad).is_some(), "{bad}");
        }
    }
}
