-- The same as on PostgreSQL.

ALTER TABLE jobctl_current ADD COLUMN paused_at INTEGER;

-- The last two columns are what SQLite would look up in the table, to see that the condition holds: what waits is
-- counted by the index alone.
DROP INDEX jobctl_current_claim;
CREATE INDEX jobctl_current_claim ON jobctl_current (type_name, priority, scheduled_at, chain_id, status, paused_at)
    WHERE status = 'pending' AND paused_at IS NULL;

DROP INDEX jobctl_current_waiting;
CREATE INDEX jobctl_current_waiting ON jobctl_current (status, chain_id, type_name, scheduled_at, claimed_at)
    WHERE status IN ('blocked', 'failed');

CREATE INDEX jobctl_current_paused ON jobctl_current (chain_id) WHERE paused_at IS NOT NULL;

CREATE INDEX jobctl_act_at ON jobctl_act (at);

CREATE INDEX jobctl_settled_completed ON jobctl_settled (completed_at);

CREATE TABLE jobctl_pause (
    type_name TEXT    NOT NULL PRIMARY KEY,
    at        INTEGER NOT NULL,
    actor     TEXT    NOT NULL,
    note      TEXT
) WITHOUT ROWID;

CREATE TABLE jobctl_worker (
    id           TEXT    NOT NULL PRIMARY KEY,
    name         TEXT    NOT NULL,
    host         TEXT    NOT NULL,
    pid          INTEGER NOT NULL,
    version      TEXT    NOT NULL,
    types        TEXT    NOT NULL,
    concurrency  INTEGER NOT NULL,
    running      INTEGER NOT NULL,
    stopping     INTEGER NOT NULL DEFAULT 0,
    busy_since   INTEGER,
    started_at   INTEGER NOT NULL,
    seen_at      INTEGER NOT NULL,
    beat_seconds REAL    NOT NULL
) WITHOUT ROWID;

CREATE TABLE jobctl_tally (
    minute      INTEGER NOT NULL,
    worker_id   TEXT    NOT NULL,
    type_name   TEXT    NOT NULL,
    completed   INTEGER NOT NULL,
    continued   INTEGER NOT NULL,
    rescheduled INTEGER NOT NULL,
    errors      INTEGER NOT NULL,
    failed      INTEGER NOT NULL,
    seconds     REAL    NOT NULL,
    durations   TEXT    NOT NULL,
    PRIMARY KEY (minute, worker_id, type_name)
) WITHOUT ROWID;
