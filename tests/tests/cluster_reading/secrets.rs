//! Secrets are read only where the user asked for it, and no value of one is kept.

use super::*;

fn with_secret(name: &str, data: &Value) -> Objects {
    Objects::cluster("good/east").with(json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "namespace": "kube-system"}, "data": data}))
}

#[tokio::test]
async fn none_is_asked_for_without_being_told_to() {
    let server = ApiServer::start(with_secret("cilium-ca", &json!({"ca.crt": "aHVzaA=="})));
    read(&server).await;
    assert!(server.requests_for("secrets").is_empty());
}

#[tokio::test]
async fn those_that_matter_are_got_by_name_and_never_listed() {
    // "3+ rfc4106(gcm(aes)) 0x0011223344 128"
    let keys = json!({"keys": "MysgcmZjNDEwNihnY20oYWVzKSkgMHgwMDExMjIzMzQ0IDEyOA=="});
    let server = ApiServer::start(with_secret("cilium-ipsec-keys", &keys));
    let options = ReadOptions {
        read_secrets: true,
        ..options()
    };
    let facts = read_with(&server, options).await;
    let secrets = facts.cilium.get().unwrap().secrets.get().unwrap();
    assert_eq!(secrets.present, ["cilium-ipsec-keys"]);
    assert_eq!(secrets.ipsec.as_ref().unwrap().id, 3);
    let asked = server.requests_for("secrets");
    assert!(!asked.is_empty());
    assert!(asked.iter().all(|request| request.path.contains("/secrets/")));
    assert!(!serde_json::to_string(&facts).unwrap().contains("0011223344"));
}

#[tokio::test]
async fn refused_ones_are_forbidden_and_broken_ones_are_not_quoted() {
    let options = || ReadOptions {
        read_secrets: true,
        ..options()
    };
    let server = ApiServer::start(with_secret("cilium-ipsec-keys", &json!({"keys": "aHVzaA=="})));
    let facts = read_with(&server, options()).await;
    let (reason, detail) = why(&facts.cilium.get().unwrap().secrets);
    assert_eq!(
        (reason, detail.contains("hush")),
        (Reason::Unparsable, false),
        "{detail}"
    );

    server.inject(Failure::Forbidden.of("secrets"));
    let facts = read_with(&server, options()).await;
    assert_eq!(why(&facts.cilium.get().unwrap().secrets).0, Reason::Forbidden);
}
