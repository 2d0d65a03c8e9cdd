-- What the hub adds: system servers, a state row per server, users and their tokens, more columns on the
-- documented tables.

CREATE TABLE IF NOT EXISTS system_servers (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name             text NOT NULL CONSTRAINT system_servers_name_key UNIQUE,
    transport        text NOT NULL,
    config_encrypted bytea NOT NULL,
    key_id           text NOT NULL,
    endpoint         text NOT NULL,
    limit_per_minute integer,
    enabled          boolean NOT NULL DEFAULT true,
    revision         bigint NOT NULL DEFAULT 1,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS server_state (
    server_type              text NOT NULL,
    server_ref_id            uuid NOT NULL,
    user_id                  uuid,
    name                     text NOT NULL,
    status                   text NOT NULL DEFAULT 'unknown',
    next_refresh_at          timestamptz NOT NULL DEFAULT now(),
    last_refresh_at          timestamptz,
    last_attempt_at          timestamptz,
    failures                 integer NOT NULL DEFAULT 0,
    last_error_code          text,
    protocol_version         text,
    server_info              jsonb,
    instructions             text,
    refresh_claim            uuid,
    refresh_lease_expires_at timestamptz,
    PRIMARY KEY (server_type, server_ref_id)
);

CREATE TABLE IF NOT EXISTS users (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name       text NOT NULL CONSTRAINT users_name_key UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS api_tokens (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    token_hash bytea NOT NULL CONSTRAINT api_tokens_token_hash_key UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    expires_at timestamptz
);

ALTER TABLE job_results
    ADD COLUMN IF NOT EXISTS server_type         text,
    ADD COLUMN IF NOT EXISTS server_ref_id       uuid,
    ADD COLUMN IF NOT EXISTS flow_run_id         uuid,
    ADD COLUMN IF NOT EXISTS attempt             integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS max_attempts        integer NOT NULL DEFAULT 3,
    ADD COLUMN IF NOT EXISTS claim_id            uuid,
    ADD COLUMN IF NOT EXISTS lease_expires_at    timestamptz,
    ADD COLUMN IF NOT EXISTS heartbeat_at        timestamptz,
    ADD COLUMN IF NOT EXISTS available_at        timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS dispatched_at       timestamptz,
    ADD COLUMN IF NOT EXISTS timeout_seconds     integer,
    ADD COLUMN IF NOT EXISTS retry               text NOT NULL DEFAULT 'auto',
    ADD COLUMN IF NOT EXISTS error_code          text,
    ADD COLUMN IF NOT EXISTS progress            jsonb,
    ADD COLUMN IF NOT EXISTS version             bigint NOT NULL DEFAULT 1,
    ADD COLUMN IF NOT EXISTS idempotency_key     text,
    ADD COLUMN IF NOT EXISTS request_digest      text,
    ADD COLUMN IF NOT EXISTS cancel_requested_at timestamptz,
    ADD COLUMN IF NOT EXISTS sent_at             timestamptz,
    ADD COLUMN IF NOT EXISTS params_escaped      boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS result_escaped      boolean NOT NULL DEFAULT false;

ALTER TABLE user_servers
    ADD COLUMN IF NOT EXISTS name             text,
    ADD COLUMN IF NOT EXISTS transport        text NOT NULL DEFAULT 'http',
    ADD COLUMN IF NOT EXISTS key_id           text,
    ADD COLUMN IF NOT EXISTS endpoint         text,
    ADD COLUMN IF NOT EXISTS limit_per_minute integer,
    ADD COLUMN IF NOT EXISTS enabled          boolean NOT NULL DEFAULT true,
    ADD COLUMN IF NOT EXISTS revision         bigint NOT NULL DEFAULT 1,
    ADD COLUMN IF NOT EXISTS created_at       timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS updated_at       timestamptz NOT NULL DEFAULT now();

-- Rows without a tool_name, uri or prompt_name were written by others than the hub; they are replaced by the
-- next refresh.
ALTER TABLE tool_cache
    ADD COLUMN IF NOT EXISTS tool_name   text,
    ADD COLUMN IF NOT EXISTS title       text,
    ADD COLUMN IF NOT EXISTS description text,
    ADD COLUMN IF NOT EXISTS definition  jsonb,
    ADD COLUMN IF NOT EXISTS updated_at  timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS stale       boolean NOT NULL DEFAULT false;

ALTER TABLE resource_cache
    ADD COLUMN IF NOT EXISTS uri         text,
    ADD COLUMN IF NOT EXISTS name        text,
    ADD COLUMN IF NOT EXISTS title       text,
    ADD COLUMN IF NOT EXISTS description text,
    ADD COLUMN IF NOT EXISTS mime_type   text,
    ADD COLUMN IF NOT EXISTS definition  jsonb,
    ADD COLUMN IF NOT EXISTS is_template boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS updated_at  timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS stale       boolean NOT NULL DEFAULT false;

ALTER TABLE prompt_cache
    ADD COLUMN IF NOT EXISTS prompt_name     text,
    ADD COLUMN IF NOT EXISTS namespaced_name text,
    ADD COLUMN IF NOT EXISTS title           text,
    ADD COLUMN IF NOT EXISTS description     text,
    ADD COLUMN IF NOT EXISTS definition      jsonb,
    ADD COLUMN IF NOT EXISTS updated_at      timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS stale           boolean NOT NULL DEFAULT false;
