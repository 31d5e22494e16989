-- Of secrets only SHA-256 is kept, in hex: they are random and long, so that nothing is gained by guessing.

-- One-time tokens with which cluster agents get in for the first time.
CREATE TABLE enrolments (
    token_sha256 TEXT NOT NULL PRIMARY KEY,
    -- The name that the cluster gets by it.
    cluster TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT,
    -- What it was traded for: who asks again with the same had no answer the first time.
    credential_sha256 TEXT
);

-- Clusters whose agents dial in.
CREATE TABLE enrolled_clusters (
    name TEXT NOT NULL PRIMARY KEY,
    credential_sha256 TEXT NOT NULL,
    -- The credential after this one, until it is first used.
    next_sha256 TEXT,
    enrolled_at BIGINT NOT NULL,
    credential_since BIGINT NOT NULL,
    revoked_at BIGINT,
    -- The UID of its namespace kube-system, as first seen.
    uid TEXT
);
CREATE UNIQUE INDEX enrolled_clusters_by_credential ON enrolled_clusters (credential_sha256);
CREATE INDEX enrolled_clusters_by_next ON enrolled_clusters (next_sha256);
