-- Times are milliseconds since 1970 in UTC. Texts that are JSON say so. Bodies are gzip.

-- One run of one group. A row exists from the moment it is taken; what it found becomes visible with state 'done'.
CREATE TABLE audits (
    id TEXT NOT NULL PRIMARY KEY,
    grp TEXT NOT NULL,
    -- Counts the audits of the group: of two collectors that take the next one, one gets it.
    number BIGINT NOT NULL,
    -- running, done, failed
    state TEXT NOT NULL,
    -- Who runs it, and until when he has to say so again.
    holder TEXT NOT NULL,
    lease_until BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    scheduled_for BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    -- Who wanted it; nobody where the schedule did.
    asked_by TEXT,
    ended_at BIGINT,
    verdict TEXT,
    exit_code BIGINT,
    -- JSON: what lists show of it.
    summary TEXT,
    -- Why it failed.
    error TEXT,
    UNIQUE (grp, number)
);
CREATE UNIQUE INDEX audits_one_running ON audits (grp) WHERE state = 'running';
CREATE INDEX audits_by_state ON audits (grp, state, number);

-- An audit that someone wants as soon as none of the group is running.
CREATE TABLE wishes (
    grp TEXT NOT NULL PRIMARY KEY,
    -- The name that the audit will have.
    audit TEXT NOT NULL,
    asked_by TEXT NOT NULL,
    asked_at BIGINT NOT NULL
);

-- Facts of one cluster, report or observations of one audit: a document whose larger parts are kept once however many have them.
CREATE TABLE documents (
    audit TEXT NOT NULL REFERENCES audits (id) ON DELETE CASCADE,
    -- facts, report, observations, asked
    kind TEXT NOT NULL,
    -- The cluster of facts; empty for the others.
    name TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (audit, kind, name)
);
CREATE TABLE parts (
    digest TEXT NOT NULL PRIMARY KEY,
    body BLOB NOT NULL,
    -- When an audit last had it, to a day.
    last_used BIGINT NOT NULL
);
CREATE INDEX parts_by_use ON parts (last_used);

-- What is, or was, wrong with a group: one row for each thing that is recognised from audit to audit.
CREATE TABLE findings (
    grp TEXT NOT NULL,
    key TEXT NOT NULL,
    is_open BIGINT NOT NULL,
    last_seen BIGINT NOT NULL,
    -- How many audits found it broken.
    times_seen BIGINT NOT NULL,
    -- JSON: its life so far.
    life TEXT NOT NULL,
    PRIMARY KEY (grp, key)
);
CREATE INDEX findings_open ON findings (grp, is_open);

-- What became of findings, where that was something new.
CREATE TABLE finding_events (
    grp TEXT NOT NULL,
    number BIGINT NOT NULL,
    -- Counts the events of one audit.
    place BIGINT NOT NULL,
    key TEXT NOT NULL,
    audit TEXT NOT NULL,
    at BIGINT NOT NULL,
    -- JSON: what happened.
    event TEXT NOT NULL,
    PRIMARY KEY (grp, number, place)
);
CREATE INDEX finding_events_by_key ON finding_events (grp, key, number);
CREATE INDEX finding_events_by_time ON finding_events (grp, at);

-- What changed against the baseline, as the last audit found it.
CREATE TABLE drift (
    grp TEXT NOT NULL PRIMARY KEY,
    -- The audit that was accepted.
    baseline TEXT NOT NULL,
    -- JSON.
    body TEXT NOT NULL
);

-- Findings that someone answers for, besides those that the configuration names.
CREATE TABLE waivers (
    grp TEXT NOT NULL,
    key TEXT NOT NULL,
    owner TEXT NOT NULL,
    reason TEXT NOT NULL,
    -- The last day, as 2026-12-31.
    until TEXT NOT NULL,
    made_at BIGINT NOT NULL,
    PRIMARY KEY (grp, key)
);

-- Which agents of a group were heard, and when last.
CREATE TABLE rosters (
    grp TEXT NOT NULL PRIMARY KEY,
    -- JSON.
    body TEXT NOT NULL
);

-- From one cluster to another.
CREATE TABLE pairs (
    id BIGINT NOT NULL PRIMARY KEY,
    grp TEXT NOT NULL,
    from_cluster TEXT NOT NULL,
    to_cluster TEXT NOT NULL,
    -- JSON: what the last measurement means, held against budget and past.
    judgement TEXT NOT NULL,
    UNIQUE (grp, from_cluster, to_cluster)
);
-- What one audit measured from one cluster to another, over all paths between them.
CREATE TABLE measures (
    pair BIGINT NOT NULL REFERENCES pairs (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    at BIGINT NOT NULL,
    -- Pairs of nodes.
    node_pairs BIGINT NOT NULL,
    -- JSON.
    body TEXT NOT NULL,
    PRIMARY KEY (pair, number)
);
CREATE INDEX measures_by_time ON measures (at);

-- What was accepted as right, by whom.
CREATE TABLE baselines (
    grp TEXT NOT NULL,
    number BIGINT NOT NULL,
    audit TEXT NOT NULL REFERENCES audits (id),
    accepted_by TEXT NOT NULL,
    accepted_at BIGINT NOT NULL,
    -- Why, if that was said.
    note TEXT NOT NULL,
    PRIMARY KEY (grp, number)
);

-- Messages that are to be delivered, those of one target in the order of their numbers.
CREATE TABLE outbox (
    number BIGINT NOT NULL PRIMARY KEY,
    target TEXT NOT NULL,
    grp TEXT NOT NULL,
    audit TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- JSON: what is to be said.
    notice TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    -- Before this it is not tried: it failed, or a collector is about it.
    not_before BIGINT NOT NULL,
    -- Why the last attempt failed.
    why TEXT,
    -- When it was given up; it stays, to be shown.
    given_up_at BIGINT
);
CREATE INDEX outbox_by_target ON outbox (target, number);

-- Numbers that are given once.
CREATE TABLE counters (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('outbox', 0);

-- Who did what.
CREATE TABLE audit_log (
    id TEXT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    origin TEXT NOT NULL,
    outcome TEXT NOT NULL
);
CREATE INDEX audit_log_by_time ON audit_log (at);

-- Tokens of people and programs that use the API; of what is secret only the SHA-256.
CREATE TABLE tokens (
    name TEXT NOT NULL PRIMARY KEY,
    role TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    made_by TEXT NOT NULL,
    made_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);
