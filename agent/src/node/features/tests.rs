use std::fs;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// What the feature is, and where it was seen, on a machine with these files.
fn presence(files: &[(&str, &str)], kinds: &[&str], name: &str) -> (Presence, String) {
    let features = features(files, kinds);
    let feature = features
        .ok()
        .expect("known")
        .iter()
        .find(|feature| feature.name == name)
        .expect("wanted");
    (feature.presence, feature.seen_in.clone())
}

fn features(files: &[(&str, &str)], kinds: &[&str]) -> Fact<Vec<KernelFeature>> {
    let root = tempfile::tempdir().expect("a directory");
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("made");
        fs::write(path, text).expect("written");
    }
    let tree = Tree::new(root.path(), Instant::now() + Duration::from_secs(60));
    read(
        &tree,
        Some("6.1.0"),
        &kinds.iter().map(|kind| (*kind).to_owned()).collect(),
    )
}

const MODULES: (&str, &str) = (
    "proc/modules",
    "wireguard 114688 0 - Live 0x0000000000000000\nvxlan 155648 0 - Unloading 0x0000000000000000\nlibchacha 16384 1 wireguard, Live 0x0\n",
);
const DEP: (&str, &str) = (
    "lib/modules/6.1.0/modules.dep",
    "kernel/net/ipv4/esp4.ko.xz: kernel/net/xfrm/xfrm_algo.ko.xz\nkernel/drivers/net/vxlan/vxlan.ko.zst:\nkernel/net/netfilter/xt_TCPMSS.ko:\nupdates/dkms/ip-set.ko:\n",
);
const BUILT_IN: (&str, &str) = (
    "lib/modules/6.1.0/modules.builtin",
    "kernel/net/netfilter/nf_tables.ko\nkernel/crypto/gcm.ko\n",
);

#[test]
fn loaded_loadable_built_in_and_absent() {
    let files = [MODULES, DEP, BUILT_IN];
    let is = |name| presence(&files, &[], name).0;
    assert_eq!(is("wireguard"), Presence::Loaded);
    assert_eq!(is("esp4"), Presence::Loadable);
    assert_eq!(is("xt_TCPMSS"), Presence::Loadable);
    assert_eq!(
        is("ip_set"),
        Presence::Loadable,
        "a hyphen in the file is an underscore in the kernel"
    );
    assert_eq!(is("nf_tables"), Presence::BuiltIn);
    assert_eq!(is("geneve"), Presence::Absent);
}

#[test]
fn a_module_that_is_on_its_way_out_is_not_loaded() {
    assert_eq!(presence(&[MODULES, DEP, BUILT_IN], &[], "vxlan").0, Presence::Loadable);
}

#[test]
fn not_loaded_is_not_absent_where_the_module_tree_cannot_be_read() {
    assert_eq!(presence(&[MODULES], &[], "geneve").0, Presence::Unknown);
    assert_eq!(
        presence(&[MODULES, DEP], &[], "geneve").0,
        Presence::Unknown,
        "half of a tree is none"
    );
    assert_eq!(
        presence(
            &[MODULES, DEP, ("lib/modules/6.1.0/modules.builtin", "")],
            &[],
            "geneve"
        )
        .0,
        Presence::Unknown
    );
    assert_eq!(
        presence(
            &[MODULES, ("boot/config-6.1.0", "# CONFIG_GENEVE is not set\n")],
            &[],
            "geneve"
        )
        .0,
        Presence::Unknown
    );
    assert_eq!(
        presence(&[MODULES, ("boot/config-6.1.0", "CONFIG_GENEVE=m\n")], &[], "geneve").0,
        Presence::Unknown
    );
}

#[test]
fn a_kernel_without_modules_has_what_it_was_built_with_and_nothing_else() {
    let config = [("boot/config-6.1.0", "CONFIG_VXLAN=y\n# CONFIG_GENEVE is not set\n")];
    assert_eq!(
        presence(&config, &[], "vxlan"),
        (Presence::BuiltIn, "/boot/config-6.1.0".to_owned())
    );
    assert_eq!(
        presence(&config, &[], "geneve"),
        (Presence::Absent, "/boot/config-6.1.0".to_owned())
    );
}

#[test]
fn the_nodes_own_module_tree_is_found_under_host() {
    let files = [
        MODULES,
        ("host/lib/modules/6.1.0/modules.dep", DEP.1),
        ("host/lib/modules/6.1.0/modules.builtin", BUILT_IN.1),
    ];
    assert_eq!(presence(&files, &[], "geneve").0, Presence::Absent);
    let other = [
        MODULES,
        ("lib/modules/5.10.0/modules.dep", DEP.1),
        ("lib/modules/5.10.0/modules.builtin", BUILT_IN.1),
    ];
    assert_eq!(
        presence(&other, &[], "geneve").0,
        Presence::Unknown,
        "the tree of another kernel says nothing"
    );
}

#[test]
fn what_is_in_use_is_there() {
    assert_eq!(
        presence(&[MODULES], &["geneve"], "geneve"),
        (Presence::Loaded, "a link of this kind".to_owned())
    );
    let netlink = "sk               Eth Pid        Groups\n0000000056a6defa 6   0          00000000\n000000002bab968d 12  4711       00000000\n";
    let files = [MODULES, ("proc/net/netlink", netlink)];
    assert_eq!(
        presence(&files, &[], "xfrm_user"),
        (Presence::Loaded, "/proc/net/netlink".to_owned())
    );
    assert_eq!(
        presence(&files, &[], "nfnetlink").0,
        Presence::Unknown,
        "a program's socket is not the kernel's"
    );
}

#[test]
fn where_nothing_can_be_read_nothing_is_said() {
    assert_eq!(features(&[], &[]).why().map(|why| why.reason), Some(Reason::NotFound));
}

#[test]
fn each_feature_is_wanted_once() {
    let names: BTreeSet<&str> = WANTED.iter().map(|wanted| wanted.modules[0]).collect();
    assert_eq!(names.len(), WANTED.len());
}

proptest! {
    #[test]
    fn no_line_makes_it_panic(line in "\\PC{0,80}") {
        let _ = (live_module(&line), module_name(&line), kernel_socket(&line));
    }
}
