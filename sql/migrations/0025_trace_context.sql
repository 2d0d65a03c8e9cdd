-- The place of a job in its caller's trace, as `traceparent` of W3C Trace Context has it: whoever goes on with the job goes
-- on with the trace. Without one no traces are kept.
ALTER TABLE job_results ADD COLUMN IF NOT EXISTS trace_context text;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_constraint c
        WHERE c.conrelid = 'job_results'::regclass AND c.conname = 'job_results_trace_context'
    ) THEN
        -- Not validated: that would read a large table, of which no row has one yet.
        ALTER TABLE job_results
            ADD CONSTRAINT job_results_trace_context
                CHECK (trace_context ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$') NOT VALID;
    END IF;
END
$$;
