//! Stores that fail: locked, not writable, full.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::server::{PREJOIN, Server, Site};

#[test]
fn a_store_that_cannot_be_made_is_said_at_once() {
    let site = Site::new("good");
    let none = site.prejoin(&["serve", "--store", "/nonexistent/a.db"]);
    assert_eq!(none.status.code(), Some(1));
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(said.contains("/nonexistent/a.db"), "{said}");
}

#[test]
fn a_full_disk_costs_the_audit_and_not_what_was_kept_before() {
    let site = Site::new("good");
    let disk = site.file("disk");
    fs::create_dir(&disk).unwrap();
    fs::set_permissions(&disk, fs::Permissions::from_mode(0o755)).unwrap();
    // A disk of its own, in a mount namespace of its own, which goes with the collector.
    let script =
        format!("mount -t tmpfs -o size=1200k none disk && touch disk/ready && exec {PREJOIN} serve --store disk/a.db");
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--map-root-user", "--user", "sh", "-c", &script])
        .current_dir(site.file(""));
    let possible = Command::new("unshare")
        .args([
            "--mount",
            "--map-root-user",
            "--user",
            "mount",
            "-t",
            "tmpfs",
            "none",
            "/mnt",
        ])
        .status();
    if !possible.is_ok_and(|status| status.success()) {
        assert!(
            std::env::var_os("PREJOIN_REQUIRE_NAMESPACES").is_none(),
            "no namespaces here"
        );
        eprintln!("SKIPPED: this machine gives no mount namespaces");
        return;
    }
    let server = Server::of(command);
    server.until("demo: audit 1: ");
    let accepted = server.last_audit();
    let inside = |words: &str| {
        let id = server.id();
        let done = Command::new("nsenter")
            .args([
                "--target",
                &id,
                "--mount",
                "--user",
                "--preserve-credentials",
                "sh",
                "-c",
                words,
            ])
            .status();
        assert!(done.unwrap().success(), "{words}");
    };
    let place = disk.display().to_string();
    inside(&format!("dd if=/dev/zero of={place}/filler bs=4k 2>/dev/null; true"));
    fs::write(
        site.file("east.json"),
        fs::read_to_string(super::server::examples().join("broken/east.json")).unwrap(),
    )
    .unwrap();
    // Nobody can be given a token on a full disk, so the schedule has to do it: a minute at most.
    let config = fs::read_to_string(site.file("server.yaml")).unwrap();
    fs::write(
        site.file("server.yaml"),
        config.replace("  policy:", "  schedule: {cron: '* * * * *'}\n  policy:"),
    )
    .unwrap();
    server.signal("HUP");
    server.until("full");
    assert_eq!(server.last_audit(), accepted, "what was kept is shown still");
    assert_eq!(server.get("/healthz").status, 200);
    inside(&format!("rm {place}/filler"));
    server.until("demo: audit 2: ");
    assert_eq!(server.end(), 0);
}
