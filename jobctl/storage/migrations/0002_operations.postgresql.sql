-- What people on call need: chains and types that are paused, workers that are heard of, what was done lately.

ALTER TABLE jobctl_current ADD COLUMN paused_at timestamptz;

DROP INDEX jobctl_current_claim;
CREATE INDEX jobctl_current_claim ON jobctl_current (type_name, priority, scheduled_at, chain_id)
    WHERE status = 'pending' AND paused_at IS NULL;

DROP INDEX jobctl_current_waiting;
CREATE INDEX jobctl_current_waiting ON jobctl_current (status, chain_id) INCLUDE (type_name, scheduled_at, claimed_at)
    WHERE status IN ('blocked', 'failed');

CREATE INDEX jobctl_current_paused ON jobctl_current (chain_id) WHERE paused_at IS NOT NULL;

CREATE INDEX jobctl_act_at ON jobctl_act (at);

CREATE INDEX jobctl_settled_completed ON jobctl_settled USING brin (completed_at) WITH (pages_per_range = 32);

CREATE TABLE jobctl_pause (
    type_name text        PRIMARY KEY,
    at        timestamptz NOT NULL,
    actor     text        NOT NULL,
    note      text
);

CREATE TABLE jobctl_worker (
    id           uuid             PRIMARY KEY,
    name         text             NOT NULL,
    host         text             NOT NULL,
    pid          integer          NOT NULL,
    version      text             NOT NULL,
    types        json             NOT NULL,
    concurrency  integer          NOT NULL,
    running      integer          NOT NULL,
    stopping     smallint         NOT NULL DEFAULT 0,
    busy_since   timestamptz,
    started_at   timestamptz      NOT NULL,
    seen_at      timestamptz      NOT NULL,
    beat_seconds double precision NOT NULL
);

CREATE TABLE jobctl_tally (
    minute      timestamptz      NOT NULL,
    worker_id   uuid             NOT NULL,
    type_name   text             NOT NULL,
    completed   bigint           NOT NULL,
    continued   bigint           NOT NULL,
    rescheduled bigint           NOT NULL,
    errors      bigint           NOT NULL,
    failed      bigint           NOT NULL,
    seconds     double precision NOT NULL,
    durations   json             NOT NULL,
    PRIMARY KEY (minute, worker_id, type_name)
);
