-- A cluster may have several machines, each with a key of its own. Until now each had one, which had enrolled it.
CREATE TABLE machines (
    id         TEXT PRIMARY KEY,
    cluster_id TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    key        BLOB NOT NULL,               -- SHA-256 of its public key
    enrolled   INTEGER NOT NULL DEFAULT 0,  -- it made the cluster, and its certificate names no machine; the others joined
    role       TEXT NOT NULL,               -- server, worker
    node       TEXT NOT NULL DEFAULT '',    -- name of its Node, once it is known
    created    INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL DEFAULT 0,
    agent      TEXT NOT NULL DEFAULT '',
    conditions TEXT NOT NULL DEFAULT '[]',
    facts      TEXT NOT NULL DEFAULT '',
    UNIQUE (cluster_id, key)
);
CREATE UNIQUE INDEX machines_enrolled ON machines (cluster_id) WHERE enrolled;
CREATE UNIQUE INDEX machines_node ON machines (cluster_id, node) WHERE node <> '';

INSERT INTO machines (id, cluster_id, key, enrolled, role, created, last_seen, agent, conditions, facts)
    SELECT lower(hex(randomblob(8))), id, key, 1, 'server', created, last_seen, agent, conditions, facts FROM clusters;

ALTER TABLE clusters DROP COLUMN key;
ALTER TABLE clusters DROP COLUMN facts;

-- The machine that is sent the documents of its cluster; term counts how often it became another one.
ALTER TABLE clusters ADD COLUMN lead TEXT NOT NULL DEFAULT '';
ALTER TABLE clusters ADD COLUMN term INTEGER NOT NULL DEFAULT 1;
UPDATE clusters SET lead = (SELECT id FROM machines WHERE machines.cluster_id = clusters.id);

-- Of which machine an event is; empty for the one that enrolled the cluster.
ALTER TABLE events ADD COLUMN machine_id TEXT NOT NULL DEFAULT '';

-- By a node token one machine joins one cluster in one role.
CREATE TABLE node_tokens (
    id         TEXT PRIMARY KEY,
    mac        BLOB NOT NULL,
    cluster_id TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    role       TEXT NOT NULL,
    created    INTEGER NOT NULL,
    expires    INTEGER NOT NULL,
    used       INTEGER NOT NULL DEFAULT 0,
    used_key   BLOB,
    machine_id TEXT NOT NULL DEFAULT '' -- the id that the machine gets, or has
);
