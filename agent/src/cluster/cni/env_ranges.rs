//! Plugins that keep their range in an environment variable of their DaemonSet.

use prejoin_checks::facts::cni::{EnvRange, PluginKind};
use prejoin_checks::facts::kubernetes::Workload;
use prejoin_checks::facts::provenance::{Fact, Known, Source, Unknown};

use crate::cluster::control_plane::split_cidrs;
use crate::cluster::plugins::kind_of;
use crate::cluster::workloads::Workloads;

const VARIABLES: &[(PluginKind, &str)] = &[
    (PluginKind::Kindnet, "POD_SUBNET"),
    (PluginKind::Weave, "IPALLOC_RANGE"),
];

pub(super) fn read(workloads: &Workloads) -> Fact<Vec<EnvRange>> {
    let read = || {
        let daemon_sets = workloads.daemon_sets.as_ref().map_err(Unknown::clone)?;
        let mut ranges = Vec::new();
        for found in daemon_sets {
            ranges.extend(range(&found.workload)?);
        }
        Ok(Known::new(
            ranges,
            Source::read("DaemonSets", "spec.template.spec.containers[].env"),
        ))
    };
    read().into()
}

fn range(workload: &Workload) -> Result<Option<EnvRange>, Unknown> {
    let kind = kind_of(workload);
    let Some((kind, variable)) = VARIABLES.iter().find(|(of, _)| kind == Some(*of)) else {
        return Ok(None);
    };
    let mut containers = workload.containers.iter();
    let Some(text) = containers.find_map(|container| container.env.get(*variable)) else {
        return Ok(None);
    };
    let source = Source::read(workload.object(), format!("env {variable}"));
    let cidrs = split_cidrs(text).map_err(|text| Unknown::unparsable(&source, &text))?;
    Ok(Some(EnvRange {
        kind: *kind,
        cidrs,
        source,
    }))
}

#[cfg(test)]
mod tests {
    use prejoin_checks::facts::kubernetes::Container;
    use prejoin_checks::facts::provenance::Reason;

    use super::*;

    fn daemon_set(name: &str, container: &str, env: &[(&str, &str)]) -> Workload {
        Workload {
            kind: "DaemonSet".to_owned(),
            namespace: "kube-system".to_owned(),
            name: name.to_owned(),
            containers: vec![Container {
                name: container.to_owned(),
                env: env
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                    .collect(),
                ..Container::default()
            }],
            ..Workload::default()
        }
    }

    #[test]
    fn kindnet_and_weave_tell_their_ranges() {
        let kindnet = daemon_set(
            "kindnet",
            "kindnet-cni",
            &[("POD_SUBNET", "10.244.0.0/16,fd00:10:244::/56")],
        );
        let kindnet = range(&kindnet).unwrap().unwrap();
        assert_eq!((kindnet.kind, kindnet.cidrs.len()), (PluginKind::Kindnet, 2));
        assert_eq!(
            kindnet.source.to_string(),
            "DaemonSet kube-system/kindnet  env POD_SUBNET"
        );
        let weave = daemon_set("weave-net", "weave", &[("IPALLOC_RANGE", "10.32.0.0/12")]);
        assert_eq!(range(&weave).unwrap().unwrap().cidrs, ["10.32.0.0/12".parse().unwrap()]);
    }

    #[test]
    fn the_variable_of_another_program_says_nothing() {
        assert_eq!(
            range(&daemon_set("app", "app", &[("POD_SUBNET", "10.0.0.0/8")])),
            Ok(None)
        );
        assert_eq!(range(&daemon_set("weave-net", "weave", &[])), Ok(None));
    }

    #[test]
    fn a_range_that_is_none_is_told() {
        let unknown = range(&daemon_set("kindnet", "kindnet-cni", &[("POD_SUBNET", "all of it")])).unwrap_err();
        assert_eq!(unknown.reason, Reason::Unparsable);
    }
}
