use super::*;

fn parse(body: &str) -> Result<ServerConfig, ConfigError> {
    ServerConfig::parse("server.yaml", &format!("apiVersion: prejoin.dev/v1alpha1\n{body}"))
}

fn complaint(body: &str) -> String {
    parse(body).unwrap_err().to_string()
}

#[test]
fn a_group_says_what_is_audited_when_and_how() {
    let config = parse(
        "kind: Server\nlisten: 0.0.0.0:8443\nstore: postgres://db/prejoin\ntls: {certificate: a.pem, key: a.key}\n\
         groups:\n- name: production\n  profiles: [submariner]\n  clusters: [{name: east, facts: east.json}, {name: west, context: admin@west}]\n  \
         enrolled: [north]\n  schedule: {cron: '*/5 * * * *', timeZone: Europe/Berlin, jitterSeconds: 30}\n  \
         policy: {probe: smoke, skip: [CM101], allowUnknown: true}\n  retention: {auditsDays: 7}\n",
    )
    .unwrap();
    let group = config.group("production").unwrap();
    assert_eq!(group.members().collect::<Vec<_>>(), ["east", "west", "north"]);
    assert_eq!(group.retention.audits_days, 7);
    assert_eq!(group.retention.history_days, Retention::default().history_days);
    assert_eq!(group.schedule().jitter, Duration::from_secs(30));
    let settings = group
        .settings("server.yaml", Path::new("/etc/prejoin"), Timestamp::UNIX_EPOCH)
        .unwrap();
    assert_eq!(settings.policy.profiles, [Profile::Submariner]);
    assert_eq!(settings.policy.probe, Probe::Smoke);
    assert!(settings.policy.allow_unknown);
    assert_eq!(settings.clusters.len(), 2);
    assert_eq!(
        settings.clusters[0].origin,
        crate::settings::Origin::File("/etc/prejoin/east.json".into())
    );
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (body, says) in [
        ("grups: []\n", "server.yaml:2:1: unknown field `grups`"),
        ("groups:\n- name: a\n", "groups[0] (a): it has no cluster"),
        (
            "groups:\n- name: a\n  enrolled: [x]\n- name: a\n  enrolled: [y]\n",
            "groups[0] and groups[1] are both called a",
        ),
        (
            "groups:\n- name: a\n  enrolled: [x]\n  schedule: {cron: 61 * * * *}\n",
            "server.yaml:5:20: `61 * * * *` is no schedule",
        ),
        (
            "groups:\n- name: a\n  enrolled: [x]\n  schedule: {cron: 0 0 30 2 *}\n",
            "it names no moment",
        ),
        (
            "groups:\n- name: a\n  enrolled: [x]\n  schedule: {timeZone: Mars/Base}\n",
            "`Mars/Base` is no time zone",
        ),
        (
            "groups:\n- name: a\n  enrolled: [x]\n  policy: {only: [CM9999]}\n",
            "groups[0] (a): --only: there is no check `CM9999`",
        ),
        (
            "groups:\n- name: a\n  clusters: [{name: x}]\n  enrolled: [x]\n",
            "something else is called x already",
        ),
        ("tls: {certificate: a.pem}\n", "certificate and key go together"),
    ] {
        let complaint = complaint(body);
        assert!(complaint.contains(says), "{complaint}\nexpected {says}");
    }
}
