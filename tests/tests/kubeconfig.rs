//! Kubeconfig files of the tests, as a real Kubernetes client reads them.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::config::{KubeConfigOptions, Kubeconfig as Parsed};
use kube::{Api, Client, Config};
use prejoin_tests::api_server::{ApiServer, Failure, Objects};
use prejoin_tests::kubeconfig::{Kubeconfig, User};
use serde_json::json;

async fn config(file: &Parsed, context: &str) -> Result<Config, kube::config::KubeconfigError> {
    let options = KubeConfigOptions {
        context: Some(context.to_owned()),
        ..KubeConfigOptions::default()
    };
    Config::from_custom_kubeconfig(file.clone(), &options).await
}

#[tokio::test]
async fn one_file_leads_to_several_servers() {
    let east = ApiServer::start(Objects::cluster("good/east"));
    let west = ApiServer::start(Objects::cluster("good/west"));
    let file = Kubeconfig::new()
        .context("east", &east.url(), User::Token("for-east".into()))
        .context("west", &west.url(), User::Token("for-west".into()))
        .current("east")
        .write();
    let parsed = Parsed::read_from(file.path()).unwrap();
    assert_eq!(parsed.current_context.as_deref(), Some("east"));

    for (name, server) in [("east", &east), ("west", &west)] {
        let client = Client::try_from(config(&parsed, name).await.unwrap()).unwrap();
        let found = Api::<ConfigMap>::namespaced(client, "kube-system")
            .get("cilium-config")
            .await
            .unwrap();
        assert_eq!(found.data.unwrap()["cluster-name"], name);
        assert_eq!(server.requests()[0].authorization, Some(format!("Bearer for-{name}")));
    }
}

#[tokio::test]
async fn a_server_with_tls_is_trusted_by_its_own_certificate_only() {
    let east = ApiServer::start_tls(Objects::cluster("good/east"));
    let west = ApiServer::start_tls(Objects::cluster("good/west"));
    let file = Kubeconfig::new()
        .context_trusting(
            "east",
            &east.url(),
            east.certificate_pem().unwrap(),
            User::Token("t".into()),
        )
        .context_trusting(
            "west",
            &west.url(),
            east.certificate_pem().unwrap(),
            User::Token("t".into()),
        )
        .write();
    let parsed = Parsed::read_from(file.path()).unwrap();

    let client = Client::try_from(config(&parsed, "east").await.unwrap()).unwrap();
    assert_eq!(client.apiserver_version().await.unwrap().git_version, "v1.36.3");
    east.inject(Failure::Reset.everywhere());
    assert!(client.apiserver_version().await.is_err());

    let client = Client::try_from(config(&parsed, "west").await.unwrap()).unwrap();
    assert!(matches!(
        client.apiserver_version().await,
        Err(kube::Error::HyperError(_) | kube::Error::Service(_))
    ));
    assert!(
        west.requests().is_empty(),
        "no token was sent to a server that is not trusted"
    );
}

#[tokio::test]
async fn a_file_can_lead_astray_in_each_way_that_files_do() {
    let url = "http://127.0.0.1:1";
    let file = Kubeconfig::new()
        .context(
            "no-plugin",
            url,
            User::ExecPlugin {
                command: "prejoin-no-such-plugin".into(),
            },
        )
        .context("no-user", url, User::Undefined)
        .context_of_undefined_cluster("no-cluster", User::Anonymous)
        .context(
            "bad-certificate",
            url,
            User::Other(json!({
                "client-certificate-data": "bm90IGEgY2VydGlmaWNhdGU=", "client-key-data": "bm90IGEga2V5",
            })),
        )
        .write();
    let parsed = Parsed::read_from(file.path()).unwrap();

    assert!(config(&parsed, "unheard-of").await.is_err());
    assert!(config(&parsed, "no-cluster").await.is_err());
    // The client does not mind, and goes without credentials.
    assert!(config(&parsed, "no-user").await.is_ok());
    assert!(
        parsed
            .contexts
            .iter()
            .any(|c| c.context.as_ref().unwrap().user.as_deref() == Some("no-user-user"))
    );
    assert!(!parsed.auth_infos.iter().any(|u| u.name == "no-user-user"));
    for context in ["no-plugin", "bad-certificate"] {
        let config = config(&parsed, context).await.unwrap();
        assert!(Client::try_from(config).is_err(), "{context}");
    }
}

#[test]
fn the_file_goes_with_its_owner() {
    let file = Kubeconfig::new().write();
    let path = file.path().to_owned();
    assert!(path.exists());
    drop(file);
    assert!(!path.exists());
}
