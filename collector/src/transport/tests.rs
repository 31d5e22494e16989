use super::*;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

const PATIENCE: Duration = Duration::from_secs(20);

fn sh(script: &str) -> Connection {
    let local = Local {
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
    };
    local.connect().unwrap()
}

#[tokio::test]
async fn a_local_process_is_spoken_to_and_ends_with_its_input() {
    let mut cat = sh("cat");
    cat.writer.write_all(b"there and back\n").await.unwrap();
    let mut line = String::new();
    BufReader::new(&mut cat.reader).read_line(&mut line).await.unwrap();
    assert_eq!(line, "there and back\n");
    assert_eq!(cat.end(PATIENCE).await.as_deref(), Some("exit code 0"));
}

#[tokio::test]
async fn how_a_process_ended_is_told_with_the_last_it_said() {
    let mut failing = sh(r"printf 'first\n\033[31mno such agent\n\n' >&2; exit 127");
    assert_eq!(
        failing.end(PATIENCE).await.as_deref(),
        Some(r"exit code 127: first; \u{1b}[31mno such agent")
    );
    let mut killed = sh("kill -9 $$");
    assert_eq!(killed.end(PATIENCE).await.as_deref(), Some("ended by SIGKILL"));
}

/// Who finds an agent gone while closing its session ends the connection a second time.
#[tokio::test]
async fn a_connection_that_ended_can_be_ended_again() {
    let mut gone = sh("echo no such agent >&2; exit 3");
    let how = gone.end(PATIENCE).await;
    assert_eq!(how.as_deref(), Some("exit code 3: no such agent"));
    assert_eq!(gone.end(PATIENCE).await, how);
}

#[tokio::test]
async fn much_on_standard_error_holds_up_nothing_and_only_its_end_is_kept() {
    let mut loud = sh("i=0; while [ $i -lt 20000 ]; do echo line $i >&2; i=$((i+1)); done; echo done");
    let mut line = String::new();
    BufReader::new(&mut loud.reader).read_line(&mut line).await.unwrap();
    assert_eq!(line, "done\n");
    assert_eq!(
        loud.end(PATIENCE).await.as_deref(),
        Some("exit code 0: line 19996; line 19997; line 19998; line 19999")
    );
}

#[tokio::test]
async fn a_dropped_connection_leaves_no_process_behind() {
    // Deaf to the end of its input, with a child that is as well.
    let mut deaf = sh("trap '' TERM HUP; sleep 1000 & echo $! $$; wait; sleep 1000");
    let mut line = String::new();
    BufReader::new(&mut deaf.reader).read_line(&mut line).await.unwrap();
    let pids: Vec<i32> = line.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    drop(deaf);
    for pid in pids {
        until_gone(pid).await;
    }
}

/// Waits until a process is over; one that is not fails the test by running into its time limit.
pub(super) async fn until_gone(pid: i32) {
    let running = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // A process that has ended but was not yet waited for by whoever inherited it is over as well.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    };
    let gone = async {
        while running() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the process is over");
}

#[tokio::test]
async fn a_command_that_is_not_there_is_named() {
    for (command, says) in [(vec!["/no/such/agent"], "cannot run /no/such/agent"), (vec![], "empty")] {
        let local = Local {
            command: command.into_iter().map(str::to_owned).collect(),
        };
        let error = local.connect().err().unwrap().to_string();
        assert!(error.contains(says), "{error}");
    }
}
