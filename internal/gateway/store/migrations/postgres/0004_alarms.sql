-- What an operator should look at: an identity that two hold, a token that somebody shows again. The same thing again counts up.
CREATE TABLE alarms (
    code       TEXT NOT NULL,
    cluster_id TEXT NOT NULL,            -- '' if none is known; refers to nothing, since an alarm outlives the cluster
    machine_id TEXT NOT NULL DEFAULT '',
    subject    TEXT NOT NULL DEFAULT '', -- what it is about, such as the id of a token
    evidence   TEXT NOT NULL,            -- of the last time
    count      BIGINT NOT NULL DEFAULT 1,
    first      BIGINT NOT NULL,
    last       BIGINT NOT NULL,
    PRIMARY KEY (code, cluster_id, machine_id, subject)
);
