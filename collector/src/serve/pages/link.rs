//! Addresses of pages.

use std::fmt::Write as _;

/// The address made of these segments, whatever is in them.
pub(super) fn path(segments: &[&str]) -> String {
    let mut address = String::new();
    for segment in segments {
        address.push('/');
        encode(segment, &mut address);
    }
    address
}

/// An address with these parameters; those without a value are left out.
pub(super) fn query(address: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut address = address.to_owned();
    let mut sign = '?';
    for (name, value) in parameters {
        if let Some(value) = value {
            address.push(sign);
            address.push_str(name);
            address.push('=');
            encode(value, &mut address);
            sign = '&';
        }
    }
    address
}

pub(super) fn group(group: &str) -> String {
    path(&["groups", group])
}

pub(super) fn in_group(group: &str, page: &str) -> String {
    path(&["groups", group, page])
}

pub(super) fn cluster(group: &str, cluster: &str) -> String {
    path(&["groups", group, "clusters", cluster])
}

pub(super) fn pair(group: &str, a: &str, b: &str) -> String {
    path(&["groups", group, "pairs", a, b])
}

pub(super) fn finding(group: &str, key: &str) -> String {
    path(&["groups", group, "findings", key])
}

pub(super) fn audit(id: &str) -> String {
    path(&["audits", id])
}

/// RFC 3986, section 2.3: everything but unreserved characters is escaped.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_its_segment() {
        assert_eq!(
            pair("prod", "a/../b", "<script>?#"),
            "/groups/prod/pairs/a%2F..%2Fb/%3Cscript%3E%3F%23"
        );
        assert_eq!(cluster("ü", "east-1.x_y~"), "/groups/%C3%BC/clusters/east-1.x_y~");
    }

    #[test]
    fn parameters_without_a_value_are_left_out() {
        let address = query("/a", &[("x", None), ("in", Some("10.0.0.0/8")), ("y", Some("1 2"))]);
        assert_eq!(address, "/a?in=10.0.0.0%2F8&y=1%202");
        assert_eq!(query("/a", &[("x", None)]), "/a");
    }
}
