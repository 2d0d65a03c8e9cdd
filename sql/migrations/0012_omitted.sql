-- What a server said badly is left out of the catalog, and named here: place, name and reason in the hub's words.
ALTER TABLE server_state ADD COLUMN IF NOT EXISTS omitted jsonb NOT NULL DEFAULT '[]';
