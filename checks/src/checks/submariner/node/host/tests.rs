use super::super::support::{alone, ready, refused, verdict};
use crate::facts::ClusterFacts;
use crate::facts::kernel::FileKind;
use crate::report::Verdict;
use crate::samples::{kernel_mut, value_mut};

fn with_file(path: &str, kind: FileKind) -> ClusterFacts {
    let mut facts = ready();
    value_mut(&mut kernel_mut(&mut facts, "east-n1").files).insert(path.to_owned(), kind);
    facts
}

#[test]
fn the_lock_file_of_iptables() {
    const LOCK: &str = "/run/xtables.lock";
    assert_eq!(verdict(&ready(), "SM477"), Verdict::Pass);
    assert_eq!(
        alone(&with_file(LOCK, FileKind::Directory), "SM477").found,
        "a directory on east-n1"
    );
    assert_eq!(verdict(&with_file(LOCK, FileKind::Absent), "SM477"), Verdict::Warn);
    let mut unseen = ready();
    value_mut(&mut kernel_mut(&mut unseen, "east-n1").files).remove(LOCK);
    assert_eq!(verdict(&unseen, "SM477"), Verdict::Unknown);
}

#[test]
fn network_manager_is_recorded() {
    assert_eq!(alone(&ready(), "SM476").found, "no NetworkManager on east-n1, east-n2");
    let there = alone(&with_file("/run/NetworkManager", FileKind::Directory), "SM476");
    assert_eq!(
        (there.verdict, there.found.as_str()),
        (Verdict::Pass, "NetworkManager runs on east-n1")
    );
    assert_eq!(
        verdict(&refused(ready(), |kernel| &mut kernel.files), "SM476"),
        Verdict::Unknown
    );
}

#[test]
fn wrong_checksums() {
    assert_eq!(verdict(&ready(), "SM466"), Verdict::Pass);
    let count = |errors| {
        let mut facts = ready();
        value_mut(&mut kernel_mut(&mut facts, "east-n2").counters).insert("Udp.InCsumErrors".to_owned(), errors);
        facts
    };
    assert_eq!(verdict(&count(99), "SM466"), Verdict::Pass);
    assert_eq!(
        alone(&count(20_000), "SM466").found,
        "Udp.InCsumErrors above one in a thousand on east-n2"
    );
    let mut uncounted = ready();
    value_mut(&mut kernel_mut(&mut uncounted, "east-n2").counters).remove("Udp.InCsumErrors");
    assert_eq!(verdict(&uncounted, "SM466"), Verdict::Unknown);
}
