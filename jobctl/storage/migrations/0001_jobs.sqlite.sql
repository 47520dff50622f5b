-- The same tables as on PostgreSQL. Ids are text, times are whole milliseconds since 1970.

CREATE TABLE jobctl_job (
    id            TEXT    NOT NULL PRIMARY KEY,
    chain_id      TEXT    NOT NULL,
    chain_index   INTEGER NOT NULL,
    chain_type    TEXT    NOT NULL,
    type_name     TEXT    NOT NULL,
    blocker_count INTEGER NOT NULL DEFAULT 0,
    created_at    INTEGER NOT NULL,
    dedup_key     TEXT,
    input         TEXT    NOT NULL,
    CONSTRAINT jobctl_job_root CHECK ((chain_index = 0) = (id = chain_id))
);

CREATE UNIQUE INDEX jobctl_job_chain ON jobctl_job (chain_id, chain_index);

CREATE INDEX jobctl_job_created ON jobctl_job (created_at, id);
CREATE INDEX jobctl_job_type ON jobctl_job (type_name, created_at, id);

CREATE INDEX jobctl_job_dedup ON jobctl_job (type_name, dedup_key, created_at) WHERE dedup_key IS NOT NULL;

CREATE TABLE jobctl_current (
    chain_id     TEXT    NOT NULL PRIMARY KEY,
    job_id       TEXT    NOT NULL,
    chain_index  INTEGER NOT NULL,
    type_name    TEXT    NOT NULL,
    status       TEXT    NOT NULL,
    priority     INTEGER NOT NULL,
    attempt      INTEGER NOT NULL DEFAULT 0,
    scheduled_at INTEGER NOT NULL,
    claimed_at   INTEGER,
    lease        TEXT,
    worker       TEXT,
    leased_until INTEGER,
    last_error   TEXT,
    dedup_key    TEXT,
    CONSTRAINT jobctl_current_status CHECK (status IN ('blocked', 'pending', 'running', 'failed')),
    CONSTRAINT jobctl_current_lease CHECK (
        (status = 'running') = (lease IS NOT NULL) AND (lease IS NULL) = (leased_until IS NULL))
) WITHOUT ROWID;

CREATE INDEX jobctl_current_claim ON jobctl_current (type_name, priority, scheduled_at, chain_id)
    WHERE status = 'pending';

CREATE INDEX jobctl_current_lease ON jobctl_current (leased_until) WHERE status = 'running';

CREATE INDEX jobctl_current_dedup ON jobctl_current (dedup_key) WHERE dedup_key IS NOT NULL;

CREATE INDEX jobctl_current_waiting ON jobctl_current (status, chain_id) WHERE status IN ('blocked', 'failed');

CREATE TABLE jobctl_settled (
    chain_id     TEXT    NOT NULL,
    chain_index  INTEGER NOT NULL,
    status       TEXT    NOT NULL,
    priority     INTEGER NOT NULL,
    attempt      INTEGER NOT NULL,
    scheduled_at INTEGER NOT NULL,
    claimed_at   INTEGER,
    completed_at INTEGER NOT NULL,
    completed_by TEXT,
    output       TEXT,
    PRIMARY KEY (chain_id, chain_index),
    CONSTRAINT jobctl_settled_status CHECK (status IN ('continued', 'completed', 'cancelled')),
    CONSTRAINT jobctl_settled_output CHECK ((status = 'completed') = (output IS NOT NULL))
) WITHOUT ROWID;
CREATE INDEX jobctl_settled_cancelled ON jobctl_settled (chain_id) WHERE status = 'cancelled';

CREATE TABLE jobctl_blocker (
    job_id   TEXT    NOT NULL REFERENCES jobctl_job (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    chain_id TEXT    NOT NULL REFERENCES jobctl_job (id),
    PRIMARY KEY (job_id, position)
);
CREATE INDEX jobctl_blocker_chain ON jobctl_blocker (chain_id);

CREATE TABLE jobctl_error (
    id      INTEGER PRIMARY KEY,
    job_id  TEXT    NOT NULL REFERENCES jobctl_job (id) ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    worker  TEXT,
    error   TEXT    NOT NULL
);
CREATE INDEX jobctl_error_job ON jobctl_error (job_id);

CREATE TABLE jobctl_act (
    id       INTEGER PRIMARY KEY,
    chain_id TEXT,
    job_id   TEXT,
    at       INTEGER NOT NULL,
    action   TEXT    NOT NULL,
    actor    TEXT    NOT NULL,
    origin   TEXT    NOT NULL,
    note     TEXT,
    details  TEXT    NOT NULL
);
CREATE INDEX jobctl_act_chain ON jobctl_act (chain_id);
