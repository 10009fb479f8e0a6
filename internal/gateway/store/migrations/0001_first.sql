-- Times are milliseconds since 1970. Secrets are kept as keyed BLAKE2b-256 digests only.
CREATE TABLE tokens (
    id              TEXT PRIMARY KEY,
    mac             BLOB NOT NULL,
    cluster         TEXT NOT NULL DEFAULT '', -- the only name that may enrol with it, if not empty
    created         INTEGER NOT NULL,
    expires         INTEGER NOT NULL,
    used            INTEGER NOT NULL DEFAULT 0,
    used_cluster_id TEXT NOT NULL DEFAULT '',
    used_key        BLOB
);

CREATE TABLE clusters (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    key        BLOB NOT NULL, -- SHA-256 of the public key of its agent
    created    INTEGER NOT NULL,
    revoked    INTEGER NOT NULL DEFAULT 0,
    generation INTEGER NOT NULL DEFAULT 0, -- the highest of its documents
    last_seen  INTEGER NOT NULL DEFAULT 0,
    agent      TEXT NOT NULL DEFAULT '',
    kubernetes TEXT NOT NULL DEFAULT '',
    distro     TEXT NOT NULL DEFAULT '',
    nodes      INTEGER NOT NULL DEFAULT 0,
    conditions TEXT NOT NULL DEFAULT '[]',
    facts      TEXT NOT NULL DEFAULT ''
);

CREATE TABLE documents (
    cluster_id TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    generation INTEGER NOT NULL,
    deleted    INTEGER NOT NULL DEFAULT 0,
    spec       TEXT NOT NULL DEFAULT '',
    changed    INTEGER NOT NULL,
    observed   INTEGER NOT NULL DEFAULT 0,
    conditions TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (cluster_id, kind, name)
);
CREATE INDEX documents_generation ON documents (cluster_id, generation);

CREATE TABLE users (
    name    TEXT PRIMARY KEY,
    groups  TEXT NOT NULL,
    created INTEGER NOT NULL
);

CREATE TABLE user_tokens (
    id         TEXT PRIMARY KEY,
    user       TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    cluster_id TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    mac        BLOB NOT NULL,
    created    INTEGER NOT NULL,
    expires    INTEGER NOT NULL
);

CREATE TABLE events (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    cluster_id TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    body       TEXT NOT NULL
);
CREATE INDEX events_cluster ON events (cluster_id, seq);
