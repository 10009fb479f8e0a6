-- What the migrations of SQLite make up to this number. Times are milliseconds since 1970. Secrets are kept as keyed BLAKE2b-256
-- digests only.
CREATE TABLE tokens (
    id              TEXT PRIMARY KEY,
    mac             BYTEA NOT NULL,
    cluster         TEXT NOT NULL DEFAULT '', -- the only name that may enrol with it, if not empty
    created         BIGINT NOT NULL,
    expires         BIGINT NOT NULL,
    used            BIGINT NOT NULL DEFAULT 0,
    used_cluster_id TEXT NOT NULL DEFAULT '',
    used_key        BYTEA
);

CREATE TABLE clusters (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    created    BIGINT NOT NULL,
    revoked    BOOLEAN NOT NULL DEFAULT FALSE,
    generation BIGINT NOT NULL DEFAULT 0, -- the highest of its documents
    last_seen  BIGINT NOT NULL DEFAULT 0,
    agent      TEXT NOT NULL DEFAULT '',
    kubernetes TEXT NOT NULL DEFAULT '',
    distro     TEXT NOT NULL DEFAULT '',
    nodes      BIGINT NOT NULL DEFAULT 0,
    conditions TEXT NOT NULL DEFAULT '[]',
    lead       TEXT NOT NULL DEFAULT '', -- the machine that is sent the documents of its cluster
    term       BIGINT NOT NULL DEFAULT 1 -- how often it became another one
);

CREATE TABLE machines (
    id         TEXT PRIMARY KEY,
    cluster_id TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    key        BYTEA NOT NULL,                 -- SHA-256 of its public key
    enrolled   BOOLEAN NOT NULL DEFAULT FALSE, -- it made the cluster, and its certificate names no machine; the others joined
    role       TEXT NOT NULL,                  -- server, worker
    node       TEXT NOT NULL DEFAULT '',       -- name of its Node, once it is known
    created    BIGINT NOT NULL,
    last_seen  BIGINT NOT NULL DEFAULT 0,
    agent      TEXT NOT NULL DEFAULT '',
    conditions TEXT NOT NULL DEFAULT '[]',
    facts      TEXT NOT NULL DEFAULT '',
    UNIQUE (cluster_id, key)
);
CREATE UNIQUE INDEX machines_enrolled ON machines (cluster_id) WHERE enrolled;
CREATE UNIQUE INDEX machines_node ON machines (cluster_id, node) WHERE node <> '';

CREATE TABLE documents (
    cluster_id TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    generation BIGINT NOT NULL,
    deleted    BOOLEAN NOT NULL DEFAULT FALSE,
    spec       TEXT NOT NULL DEFAULT '',
    changed    BIGINT NOT NULL,
    observed   BIGINT NOT NULL DEFAULT 0,
    conditions TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (cluster_id, kind, name)
);
CREATE INDEX documents_generation ON documents (cluster_id, generation);

CREATE TABLE users (
    name    TEXT PRIMARY KEY,
    groups  TEXT NOT NULL,
    created BIGINT NOT NULL
);

CREATE TABLE user_tokens (
    id         TEXT PRIMARY KEY,
    "user"     TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    cluster_id TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    mac        BYTEA NOT NULL,
    created    BIGINT NOT NULL,
    expires    BIGINT NOT NULL
);
CREATE INDEX user_tokens_cluster ON user_tokens (cluster_id);

CREATE TABLE events (
    seq        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster_id TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    body       TEXT NOT NULL,
    machine_id TEXT NOT NULL DEFAULT '' -- empty for the one that enrolled the cluster
);
CREATE INDEX events_cluster ON events (cluster_id, seq);

-- By a node token one machine joins one cluster in one role.
CREATE TABLE node_tokens (
    id         TEXT PRIMARY KEY,
    mac        BYTEA NOT NULL,
    cluster_id TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    role       TEXT NOT NULL,
    created    BIGINT NOT NULL,
    expires    BIGINT NOT NULL,
    used       BIGINT NOT NULL DEFAULT 0,
    used_key   BYTEA,
    machine_id TEXT NOT NULL DEFAULT '' -- the id that the machine gets, or has
);
CREATE INDEX node_tokens_cluster ON node_tokens (cluster_id);
