//! The webhook: a [`Notice`](super::Notice) as JSON, and a signature to know it by.
//!
//! ```text
//! POST …
//! content-type: application/json
//! prejoin-id: 019abc…                      the notice's id: the same in every attempt
//! prejoin-timestamp: 1800000000            seconds since 1970, UTC, of this attempt
//! prejoin-signature: v1=2f0b…              hex of HMAC-SHA256(key, "1800000000." + body)
//!
//! {"schema":"prejoin.dev/alert/v1alpha1","id":"019abc…", …}
//! ```
//!
//! Who receives it works out the signature over the timestamp, a dot and the bytes of the body, compares in constant time, and refuses timestamps that
//! are some minutes off: then nobody can send it again later. Any 2xx answer means that it was taken.

use ring::hmac;

/// The header that names the notice.
pub const ID_HEADER: &str = "prejoin-id";
/// The header that says when the attempt was made.
pub const TIMESTAMP_HEADER: &str = "prejoin-timestamp";
/// The header of the signature.
pub const SIGNATURE_HEADER: &str = "prejoin-signature";

/// The signature of a body, as its header has it.
pub fn signature(key: &[u8], unix_seconds: i64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    context.update(format!("{unix_seconds}.").as_bytes());
    context.update(body);
    let tag = context.sign();
    format!("v1={}", hex(tag.as_ref()))
}

/// Bytes as two digits each.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::signature;

    #[test]
    fn the_signature_is_what_any_other_tool_works_out() {
        // printf '1800000000.{"a":1}' | openssl dgst -sha256 -hmac s3cret
        assert_eq!(
            signature(b"s3cret", 1_800_000_000, br#"{"a":1}"#),
            "v1=476d445fc5d734bcaf69961f0de38cb8c2ec42450829655895ca5e064c0765c9"
        );
    }

    #[test]
    fn another_time_body_or_key_has_another_signature() {
        let one = signature(b"key", 1, b"body");
        assert_ne!(one, signature(b"key", 2, b"body"));
        assert_ne!(one, signature(b"key", 1, b"bodies"));
        assert_ne!(one, signature(b"yek", 1, b"body"));
    }
}
