//! Against an API server on loopback that speaks both versions of the protocol and runs real processes.

use prejoin_tests::api_server::{ApiServer, ExecFate, ExecVersion, Executing, Failure, Objects};
use prejoin_tests::kubeconfig::{Kubeconfig, KubeconfigFile, User};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

struct Pod {
    server: ApiServer,
    kubeconfig: KubeconfigFile,
}

impl Pod {
    fn new(version: ExecVersion, fate: ExecFate) -> Self {
        let server = ApiServer::start(Objects::cluster("good/east"));
        server.execute(Executing { version, fate });
        let kubeconfig = Kubeconfig::new().context("east", &server.url(), User::Token("t".to_owned()));
        Self {
            kubeconfig: kubeconfig.write(),
            server,
        }
    }

    async fn run(&self, command: &[&str]) -> Result<Connection, Unreached> {
        let cluster = Cluster::new(Some(self.kubeconfig.path().to_owned()), Some("east".to_owned()));
        let exec = Exec {
            cluster: Arc::new(cluster),
            namespace: "prejoin-system".to_owned(),
            pod: "prejoin-agent-x7k2p".to_owned(),
            container: Some("agent".to_owned()),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
        };
        exec.connect(PATIENCE).await
    }
}

/// The next line.
async fn line(connection: &mut Connection) -> String {
    let mut line = String::new();
    BufReader::new(&mut connection.reader)
        .read_line(&mut line)
        .await
        .unwrap();
    line
}

#[tokio::test]
async fn a_process_in_a_pod_is_spoken_to_and_its_exit_code_reported_in_both_versions() {
    for version in [ExecVersion::V5, ExecVersion::V4] {
        let pod = Pod::new(version, ExecFate::Runs);
        let mut connection = pod
            .run(&["sh", "-c", "read a; echo heard $a; echo oh >&2; exit 3"])
            .await
            .unwrap();
        connection.writer.write_all(b"this\n").await.unwrap();
        assert_eq!(line(&mut connection).await, "heard this\n", "{version:?}");
        // Said by the process itself when it is told to end, not by closing its input.
        assert_eq!(
            connection.end(PATIENCE).await.as_deref(),
            Some("exit code 3: oh"),
            "{version:?}"
        );
        let request = &pod.server.requests()[0];
        assert_eq!(
            request.path,
            "/api/v1/namespaces/prejoin-system/pods/prejoin-agent-x7k2p/exec"
        );
        assert_eq!(request.query("container"), Some("agent"));
    }
}

#[tokio::test]
async fn much_passes_both_ways_and_ends_when_the_process_does() {
    for version in [ExecVersion::V5, ExecVersion::V4] {
        let pod = Pod::new(version, ExecFate::Runs);
        let mut connection = pod.run(&["head", "-c", "3000000"]).await.unwrap();
        let sent: Vec<u8> = (0..3_000_000_u32).map(|i| i.to_le_bytes()[1]).collect();
        let mut writer = std::mem::replace(&mut connection.writer, Box::new(tokio::io::sink()));
        let mut received = Vec::new();
        let (written, read) = tokio::join!(
            async {
                writer.write_all(&sent).await?;
                writer.flush().await
            },
            connection.reader.read_to_end(&mut received)
        );
        written.unwrap();
        read.unwrap();
        assert!(received == sent, "{version:?}: {} bytes came back", received.len());
        drop(writer);
        assert_eq!(connection.end(PATIENCE).await.as_deref(), Some("exit code 0"));
    }
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_the_end_of_the_stream_and_no_silence() {
    for version in [ExecVersion::V5, ExecVersion::V4] {
        let pod = Pod::new(version, ExecFate::BreaksOff);
        let mut connection = pod.run(&["sh", "-c", "echo one; read never"]).await.unwrap();
        let mut said = String::new();
        connection.reader.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "one\n");
        assert_eq!(
            connection.end(PATIENCE).await.as_deref(),
            Some("the connection to the API server broke off")
        );
    }
}

#[tokio::test]
async fn a_refusal_names_the_verb_the_resource_and_the_user() {
    let pod = Pod::new(ExecVersion::V5, ExecFate::Forbidden);
    let error = pod.run(&["prejoin-agent"]).await.err().unwrap().to_string();
    assert_eq!(
        error,
        "exec in pod prejoin-system/prejoin-agent-x7k2p: 403: pods \"prejoin-agent-x7k2p\" is forbidden: User \"auditor\" cannot \
         create resource \"pods/exec\" in API group \"\" in the namespace \"prejoin-system\""
    );
}

#[tokio::test]
async fn a_command_that_the_pod_does_not_have_is_named() {
    let pod = Pod::new(ExecVersion::V4, ExecFate::Runs);
    let mut connection = pod.run(&["/no/such/agent"]).await.unwrap();
    let mut said = Vec::new();
    connection.reader.read_to_end(&mut said).await.unwrap();
    assert_eq!(said, b"");
    let how = connection.end(PATIENCE).await.unwrap();
    assert!(how.contains("/no/such/agent") && how.contains("not found"), "{how}");
}

#[tokio::test]
async fn a_server_that_does_not_execute_or_does_not_answer_is_said() {
    let pod = Pod::new(ExecVersion::V5, ExecFate::Runs);
    pod.server.inject(Failure::Unavailable.everywhere());
    let error = pod.run(&["true"]).await.err().unwrap().to_string();
    assert!(error.contains("503"), "{error}");
    pod.server.inject(Failure::Reset.everywhere());
    let error = pod.run(&["true"]).await.err().unwrap().to_string();
    assert!(
        error.starts_with("exec in pod prejoin-system/prejoin-agent-x7k2p: "),
        "{error}"
    );
    let gone = Exec {
        cluster: Arc::new(Cluster::new(
            Some(pod.kubeconfig.path().to_owned()),
            Some("wst".to_owned()),
        )),
        namespace: String::new(),
        pod: String::new(),
        container: None,
        command: Vec::new(),
    };
    let error = gone.connect(PATIENCE).await.err().unwrap().to_string();
    assert!(error.contains("there is no context `wst`"), "{error}");
}

#[tokio::test]
async fn a_dropped_connection_ends_the_process() {
    for version in [ExecVersion::V5, ExecVersion::V4] {
        let pod = Pod::new(version, ExecFate::Runs);
        let mut connection = pod.run(&["sh", "-c", "echo $$; exec cat"]).await.unwrap();
        let pid: i32 = line(&mut connection).await.trim().parse().unwrap();
        drop(connection);
        super::super::tests::until_gone(pid).await;
    }
}
