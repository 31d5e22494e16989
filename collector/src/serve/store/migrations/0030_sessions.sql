-- Who is logged in to the pages. Of what is secret only SHA-256 is kept, in hex.
CREATE TABLE sessions (
    digest TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    -- The digest of the token that it came by: it ends with it. Empty for who came by another identity provider.
    token TEXT NOT NULL,
    made_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_by_end ON sessions (expires_at);
