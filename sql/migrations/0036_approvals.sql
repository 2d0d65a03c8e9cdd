-- Calls that wait for a person's yes. Each is a job that is pending and not due: `available_at` of the job is when the
-- wait ends, so that nobody starts it before, and whoever starts it then finds that the yes has not come.

-- `digest`: SHA-256 over the server, the tool and the exact arguments as they will be sent, to which the yes is bound.
-- `fixed`: arguments that a bundle adds to the caller's own, shown to who decides.
-- `approvers`: groups whose members may say yes beside the operators; `self_approval`: who asks may, in person.
-- `expires_at`: the end of the wait, and once there is a yes, of the time in which the call must begin.
-- `decided_by` NULL once decided: the operator. `told_at`: NEXUS_APPROVAL_WEBHOOK has heard of it.
-- No foreign key: whoever truncates jobs, or changes their key, is not to know of this table.
CREATE TABLE IF NOT EXISTS approvals (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    job_id        uuid NOT NULL CONSTRAINT approvals_job_id_key UNIQUE,
    user_id       uuid NOT NULL,
    digest        bytea NOT NULL CONSTRAINT approvals_digest_length CHECK (octet_length(digest) = 32),
    fixed         jsonb NOT NULL DEFAULT '{}',
    state         text NOT NULL DEFAULT 'waiting'
        CONSTRAINT approvals_state CHECK (state IN ('waiting', 'approved', 'denied', 'expired', 'used')),
    approvers     uuid[] NOT NULL DEFAULT '{}',
    self_approval boolean NOT NULL DEFAULT false,
    asked_at      timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    decided_at    timestamptz,
    decided_by    uuid,
    decided_via   text
        CONSTRAINT approvals_decided_via CHECK (decided_via IN ('console', 'api', 'elicitation')),
    reason        text CONSTRAINT approvals_reason_length CHECK (length(reason) <= 1000),
    used_at       timestamptz,
    told_at       timestamptz,
    CONSTRAINT approvals_decided CHECK (
        (state IN ('approved', 'denied', 'used')) = (decided_at IS NOT NULL AND decided_via IS NOT NULL)
        OR state = 'expired')
);
CREATE INDEX IF NOT EXISTS idx_approvals_open ON approvals (expires_at, id) WHERE state IN ('waiting', 'approved');
CREATE INDEX IF NOT EXISTS idx_approvals_asked_at ON approvals (asked_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS idx_approvals_user ON approvals (user_id, asked_at DESC, id DESC);

-- What was asked for never changes, and what is decided is decided once.
CREATE OR REPLACE FUNCTION nexus_approval_check_move() RETURNS trigger
LANGUAGE plpgsql
SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $$
BEGIN
    IF (NEW.id, NEW.job_id, NEW.user_id, NEW.digest, NEW.fixed, NEW.asked_at, NEW.approvers, NEW.self_approval)
        IS DISTINCT FROM (OLD.id, OLD.job_id, OLD.user_id, OLD.digest, OLD.fixed, OLD.asked_at, OLD.approvers, OLD.self_approval)
    THEN
        RAISE EXCEPTION 'Approval %: what was asked never changes.', OLD.id USING ERRCODE = 'NX003';
    END IF;
    IF OLD.state <> NEW.state AND NOT (OLD.state || ' -> ' || NEW.state) = ANY (
        '{waiting -> approved, waiting -> denied, waiting -> expired, approved -> used, approved -> expired}'::text[])
    THEN
        RAISE EXCEPTION 'Approval %: % -> % is refused.', OLD.id, OLD.state, NEW.state USING ERRCODE = 'NX003';
    END IF;
    RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER check_move BEFORE UPDATE ON approvals
    FOR EACH ROW EXECUTE FUNCTION nexus_approval_check_move();

-- Each move is in the audit with the transaction that makes it, whichever process that is of; no argument, no reason.
-- An answer by the API is there by its request, which knows from where it came.
CREATE OR REPLACE FUNCTION nexus_approval_note() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path TO 'pg_catalog', 'pg_temp'
AS $$
DECLARE
    v_actor uuid := CASE WHEN NEW.state IN ('approved', 'denied') THEN NEW.decided_by
                         WHEN NEW.state <> 'expired' THEN NEW.user_id END;
BEGIN
    INSERT INTO public.audit_log (
        id, at, actor, actor_id, action, target, server, server_ref_id, tool, job_id, outcome, code)
    SELECT gen_random_uuid(), clock_timestamp(),
           CASE WHEN NEW.state = 'expired' THEN 'nobody' WHEN v_actor IS NULL THEN 'operator'
                ELSE coalesce((SELECT u.name FROM public.users u WHERE u.id = v_actor), v_actor::text) END,
           v_actor,
           'approval.' || CASE NEW.state WHEN 'waiting' THEN 'ask' WHEN 'approved' THEN 'grant' WHEN 'denied' THEN 'deny'
                                         WHEN 'expired' THEN 'expire' ELSE 'use' END,
           'approval ' || NEW.id,
           CASE WHEN j.called_as IS NULL THEN s.name END, CASE WHEN j.called_as IS NULL THEN j.server_ref_id END,
           left(coalesce(j.called_as, j.tool_name), 200), NEW.job_id, 'ok', NULL
    FROM (VALUES (1)) one (n)
    LEFT JOIN public.job_results j ON j.id = NEW.job_id
    LEFT JOIN public.server_state s ON s.server_type = j.server_type AND s.server_ref_id = j.server_ref_id;
    RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER note_asked AFTER INSERT ON approvals
    FOR EACH ROW EXECUTE FUNCTION nexus_approval_note();
CREATE OR REPLACE TRIGGER note_moved AFTER UPDATE ON approvals
    FOR EACH ROW WHEN (OLD.state <> NEW.state
        AND NOT (NEW.state IN ('approved', 'denied') AND NEW.decided_via <> 'elicitation'))
    EXECUTE FUNCTION nexus_approval_note();

ALTER TABLE approvals ENABLE ROW LEVEL SECURITY;
SELECT nexus_revoke_all('approvals', 'nexus_approval_check_move()', 'nexus_approval_note()');
SELECT nexus_grant('SELECT, INSERT, UPDATE, DELETE ON approvals', 'nexus_app');
SELECT nexus_service_policy('approvals');
-- Users see what they ask for and what they may decide; they ask, and only the hub writes down what was said.
SELECT nexus_policy('approvals', 'nexus_own_read', 'nexus_app', 'SELECT',
    'user_id = (SELECT nexus_current_user_id()) '
    'OR approvers && ARRAY(SELECT nexus_groups_of((SELECT nexus_current_user_id())))');
SELECT nexus_policy('approvals', 'nexus_own_insert', 'nexus_app', 'INSERT', NULL,
    'user_id = (SELECT nexus_current_user_id()) AND state = ''waiting'' AND decided_at IS NULL');
