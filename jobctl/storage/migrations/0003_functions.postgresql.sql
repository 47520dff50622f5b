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
