-- Several gateways may share a store. What they must agree on, such as the digest of their CA.
CREATE TABLE fleet (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
);

-- A gateway counts beat up as long as it runs. One whose count stands still for others is gone, and its sessions go with its row: no
-- clock of two machines is ever compared.
CREATE TABLE gateways (
    id        TEXT PRIMARY KEY, -- of this run of it
    address   TEXT NOT NULL,    -- host:port at which other gateways reach it
    announced TEXT NOT NULL,    -- JSON list of host:port at which agents reach it
    beat      BIGINT NOT NULL DEFAULT 1,
    draining  INTEGER NOT NULL DEFAULT 0
);

-- Which gateway has a session of a machine. A machine may have one at each of several gateways.
CREATE TABLE sessions (
    machine_id TEXT NOT NULL REFERENCES machines (id) ON DELETE CASCADE,
    gateway_id TEXT NOT NULL REFERENCES gateways (id) ON DELETE CASCADE,
    cluster_id TEXT NOT NULL,
    serial     BIGINT NOT NULL, -- of the session in the life of the gateway: of two the newer one counts
    epoch      BIGINT NOT NULL,
    standby    INTEGER NOT NULL DEFAULT 0,
    since      BIGINT NOT NULL,
    remote     TEXT NOT NULL,
    PRIMARY KEY (machine_id, gateway_id)
);
CREATE INDEX sessions_cluster ON sessions (cluster_id);
CREATE INDEX sessions_gateway ON sessions (gateway_id);

-- Something of a cluster has changed that gateways act on at once: its documents, who leads it, its machines. cluster_id refers to
-- nothing, since the cluster may be what is gone.
CREATE TABLE signals (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    cluster_id TEXT NOT NULL,
    at         BIGINT NOT NULL
);

-- Which process of a machine is the one that counts. epoch rises with every other one.
ALTER TABLE machines ADD COLUMN instance TEXT NOT NULL DEFAULT '';
ALTER TABLE machines ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0;
ALTER TABLE machines ADD COLUMN cloned BIGINT NOT NULL DEFAULT 0; -- when two processes last claimed to be this machine
