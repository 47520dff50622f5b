-- jobctl's schema on PostgreSQL 14 and later: the truth for new databases, and what all migrations add up to.
--
-- What was asked, what is to be done and what came of it are three tables. jobctl_job and jobctl_settled are only
-- ever inserted into: they keep no dead rows, however many jobs go through. All that changes is in jobctl_current,
-- which has one row per chain that is not closed; to lock that row is to lock the chain.
--
-- Nothing is qualified with a schema: tables go where search_path says.
-- Times are set by statement_timestamp(), the database's clock, never by a client.

-- Which migrations this database has had. The row is the first thing a migration writes.
CREATE TABLE jobctl_migration (
    version    integer     PRIMARY KEY,
    name       text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT statement_timestamp()
);

-- What was asked: one row per job. A chain is the jobs with one chain_id; its first job's id is that chain_id.
-- input and output are json, not jsonb: they come back exactly as they were given.
CREATE TABLE jobctl_job (
    id            uuid        PRIMARY KEY,
    chain_id      uuid        NOT NULL,
    chain_index   integer     NOT NULL,            -- 0 for the chain's first job (its root)
    chain_type    text        NOT NULL,            -- the root's type
    type_name     text        NOT NULL,
    blocker_count smallint    NOT NULL DEFAULT 0,  -- how many rows jobctl_blocker has for it
    created_at    timestamptz NOT NULL,
    dedup_key     text,                            -- on a root: a key that names the work
    input         json        NOT NULL,
    CONSTRAINT jobctl_job_root CHECK ((chain_index = 0) = (id = chain_id))
);

-- The jobs of a chain, its last one first; unique, so that a job can never have two successors.
CREATE UNIQUE INDEX jobctl_job_chain ON jobctl_job (chain_id, chain_index);

-- Lists by time, alone and by type.
CREATE INDEX jobctl_job_created ON jobctl_job (created_at, id);
CREATE INDEX jobctl_job_type ON jobctl_job (type_name, created_at, id);

-- Deduplication of chains, open or not.
CREATE INDEX jobctl_job_dedup ON jobctl_job (type_name, dedup_key, created_at) WHERE dedup_key IS NOT NULL;

-- What is to be done: the current job of each chain that is not closed. Small and hot, hence the room in its pages
-- and the early vacuum.
CREATE TABLE jobctl_current (
    chain_id     uuid        PRIMARY KEY,
    job_id       uuid        NOT NULL,
    chain_index  integer     NOT NULL,
    type_name    text        NOT NULL,
    status       text        NOT NULL,            -- 'pending' shows as scheduled or ready, by scheduled_at
    priority     smallint    NOT NULL,            -- higher goes first
    attempt      integer     NOT NULL DEFAULT 0,  -- attempts had in this round
    scheduled_at timestamptz NOT NULL,
    claimed_at   timestamptz,                     -- when the last attempt was claimed
    lease        uuid,                            -- names one claim: who settles must show it
    worker       text,                            -- whose claim it is
    leased_until timestamptz,
    last_error   text,
    dedup_key    text,                            -- the chain's, so that an open one is found however many closed
    paused_at    timestamptz,                     -- since when the chain is paused: nothing of it is claimed
    CONSTRAINT jobctl_current_status CHECK (status IN ('blocked', 'pending', 'running', 'failed')),
    CONSTRAINT jobctl_current_lease CHECK (
        (status = 'running') = (lease IS NOT NULL) AND (lease IS NULL) = (leased_until IS NULL))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

-- What a worker may claim: per type and priority, the earliest due first.
CREATE INDEX jobctl_current_claim ON jobctl_current (type_name, priority, scheduled_at, chain_id)
    WHERE status = 'pending' AND paused_at IS NULL;

-- Leases, the next to run out first.
CREATE INDEX jobctl_current_lease ON jobctl_current (leased_until) WHERE status = 'running';

-- Deduplication of open chains.
CREATE INDEX jobctl_current_dedup ON jobctl_current (dedup_key) WHERE dedup_key IS NOT NULL;

-- Lists and counts of what waits for something or somebody.
CREATE INDEX jobctl_current_waiting ON jobctl_current (status, chain_id) INCLUDE (type_name, scheduled_at, claimed_at)
    WHERE status IN ('blocked', 'failed');

-- The chains that are paused.
CREATE INDEX jobctl_current_paused ON jobctl_current (chain_id) WHERE paused_at IS NOT NULL;

-- What came of a job. The row of a chain's last job is what came of the chain.
CREATE TABLE jobctl_settled (
    chain_id     uuid        NOT NULL,
    chain_index  integer     NOT NULL,
    status       text        NOT NULL,
    priority     smallint    NOT NULL,
    attempt      integer     NOT NULL,
    scheduled_at timestamptz NOT NULL,
    claimed_at   timestamptz,
    completed_at timestamptz NOT NULL,
    completed_by text,                            -- the worker that did; NULL when settled by hand
    output       json,                            -- of a completed job; JSON null is an output
    PRIMARY KEY (chain_id, chain_index),
    CONSTRAINT jobctl_settled_status CHECK (status IN ('continued', 'completed', 'cancelled')),
    CONSTRAINT jobctl_settled_output CHECK ((status = 'completed') = (output IS NOT NULL))
);
CREATE INDEX jobctl_settled_cancelled ON jobctl_settled (chain_id) WHERE status = 'cancelled';

-- What was settled when. Rows come in the order of time, so that a few bytes for each 32 pages tell.
CREATE INDEX jobctl_settled_completed ON jobctl_settled USING brin (completed_at) WITH (pages_per_range = 32);

-- Which chains a job waits or waited for, in the order given.
CREATE TABLE jobctl_blocker (
    job_id   uuid     NOT NULL REFERENCES jobctl_job (id) ON DELETE CASCADE,
    position smallint NOT NULL,
    chain_id uuid     NOT NULL REFERENCES jobctl_job (id),
    PRIMARY KEY (job_id, position)
);
CREATE INDEX jobctl_blocker_chain ON jobctl_blocker (chain_id);

-- What each failed attempt failed with.
CREATE TABLE jobctl_error (
    id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id  uuid        NOT NULL REFERENCES jobctl_job (id) ON DELETE CASCADE,
    attempt integer     NOT NULL,
    at      timestamptz NOT NULL,
    worker  text,
    error   text        NOT NULL
);
CREATE INDEX jobctl_error_job ON jobctl_error (job_id);

-- What people did by hand. Without foreign keys: it outlives what was deleted.
CREATE TABLE jobctl_act (
    id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chain_id uuid,
    job_id   uuid,
    at       timestamptz NOT NULL,
    action   text        NOT NULL,
    actor    text        NOT NULL,
    origin   text        NOT NULL,  -- the host it was done from
    note     text,
    details  json        NOT NULL   -- what changed
);
CREATE INDEX jobctl_act_chain ON jobctl_act (chain_id);

-- What was done by hand lately.
CREATE INDEX jobctl_act_at ON jobctl_act (at);

-- Types of which nothing is claimed. The empty name stands for all types.
CREATE TABLE jobctl_pause (
    type_name text        PRIMARY KEY,
    at        timestamptz NOT NULL,
    actor     text        NOT NULL,
    note      text
);

-- Workers, one row per process. A worker that ends deletes its row; one that is not heard of for some beats is dead.
CREATE TABLE jobctl_worker (
    id           uuid             PRIMARY KEY,
    name         text             NOT NULL,
    host         text             NOT NULL,
    pid          integer          NOT NULL,
    version      text             NOT NULL,
    types        json             NOT NULL,            -- the names of those that it works
    concurrency  integer          NOT NULL,
    running      integer          NOT NULL,            -- how many of its slots are in use
    stopping     smallint         NOT NULL DEFAULT 0,  -- 1: it finishes what runs, and claims nothing
    busy_since   timestamptz,                          -- since when all its slots are in use
    started_at   timestamptz      NOT NULL,
    seen_at      timestamptz      NOT NULL,            -- its last sign of life
    beat_seconds double precision NOT NULL             -- how often it gives one
);

-- What workers did in each minute, per type: written by each worker for itself, so that nobody waits for anybody.
-- A row counts from its minute on: for a minute, later for the hour, at last (1970) for all that is older than two days.
CREATE TABLE jobctl_tally (
    minute      timestamptz      NOT NULL,
    worker_id   uuid             NOT NULL,
    type_name   text             NOT NULL,
    completed   bigint           NOT NULL,
    continued   bigint           NOT NULL,
    rescheduled bigint           NOT NULL,
    errors      bigint           NOT NULL,  -- attempts that failed
    failed      bigint           NOT NULL,  -- jobs whose attempts are used up
    seconds     double precision NOT NULL,  -- that handlers ran, in all
    durations   json             NOT NULL,  -- how many attempts took how long: upper bound in milliseconds to count
    PRIMARY KEY (minute, worker_id, type_name)
);

-- The two ends of the transaction that a handler's own SQL runs in. As functions, because their statements are then
-- planned once for each connection, and take one round trip together with BEGIN and COMMIT. A plan that is kept must not
-- scan what was a small table when it was made.

-- Locks a chain if it is open. What it returns is read in a statement of its own, and so is newer than the lock.
CREATE FUNCTION jobctl_hold(held_chain uuid)
    RETURNS TABLE (chain_id uuid, job_id uuid, chain_index integer, type_name text, status text, priority smallint,
        attempt integer, lease uuid, awaited boolean)
    LANGUAGE plpgsql SET enable_seqscan TO off SET plan_cache_mode TO force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM jobctl_current WHERE chain_id = held_chain FOR UPDATE;
    RETURN QUERY SELECT chain_id, job_id, chain_index, type_name, status, priority, attempt, lease,
        EXISTS (SELECT FROM jobctl_blocker WHERE chain_id = held_chain)
    FROM jobctl_current WHERE chain_id = held_chain;
END $$;

-- Closes a chain that is locked, and that nothing waits for.
CREATE FUNCTION jobctl_complete(held_chain uuid, held_lease uuid, worker text, output json) RETURNS void
    LANGUAGE plpgsql SET enable_seqscan TO off SET plan_cache_mode TO force_generic_plan AS $$
BEGIN
    WITH gone AS (
        DELETE FROM jobctl_current WHERE chain_id = held_chain AND lease = held_lease
        RETURNING chain_id, chain_index, priority, attempt, scheduled_at, claimed_at
    )
    INSERT INTO jobctl_settled (chain_id, chain_index, status, priority, attempt, scheduled_at, claimed_at,
        completed_at, completed_by, output)
    SELECT chain_id, chain_index, 'completed', priority, attempt, scheduled_at, claimed_at, statement_timestamp(),
        worker, output
    FROM gone;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the handler has let go of its chain %', held_chain;
    END IF;
END $$;
