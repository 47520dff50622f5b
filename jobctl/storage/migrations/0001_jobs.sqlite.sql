-- The same tables as on PostgreSQL. Ids are text, times are whole milliseconds since 1970.

CREATE TABLE jobctl_job (
    id            TEXT    NOT NULL PRIMARY KEY,
    chain_id      TEXT    NOT NULL,
    chain_index   INTEGER NOT NULL,
    chain_type    TEXT    NOT NULL,
    type_name     TEXT    NOT NULL,
    status        TEXT    NOT NULL,
    priority      INTEGER NOT NULL,
    attempt       INTEGER NOT NULL DEFAULT 0,
    blocker_count INTEGER NOT NULL DEFAULT 0,
    created_at    INTEGER NOT NULL,
    scheduled_at  INTEGER NOT NULL,
    lease         TEXT,
    worker        TEXT,
    leased_until  INTEGER,
    completed_at  INTEGER,
    completed_by  TEXT,
    dedup_key     TEXT,
    input         TEXT    NOT NULL,
    output        TEXT,
    last_error    TEXT,
    CONSTRAINT jobctl_job_status CHECK (
        status IN ('blocked', 'pending', 'running', 'failed', 'continued', 'completed', 'cancelled')),
    CONSTRAINT jobctl_job_lease CHECK (
        (status = 'running') = (lease IS NOT NULL) AND (lease IS NULL) = (leased_until IS NULL)),
    CONSTRAINT jobctl_job_root CHECK ((chain_index = 0) = (id = chain_id))
);

CREATE UNIQUE INDEX jobctl_job_chain ON jobctl_job (chain_id, chain_index);

CREATE INDEX jobctl_job_claim ON jobctl_job (type_name, priority, scheduled_at, id) WHERE status = 'pending';

CREATE INDEX jobctl_job_lease ON jobctl_job (leased_until) WHERE status = 'running';

CREATE INDEX jobctl_job_created ON jobctl_job (created_at, id);
CREATE INDEX jobctl_job_type ON jobctl_job (type_name, created_at, id);

CREATE INDEX jobctl_job_status ON jobctl_job (status, created_at, id)
    WHERE status IN ('blocked', 'failed', 'cancelled');

CREATE INDEX jobctl_job_dedup ON jobctl_job (type_name, dedup_key, created_at) WHERE dedup_key IS NOT NULL;

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
