-- Times are milliseconds since the epoch by this server's clock; keys, terms and digests are 32 bytes; the rest is sealed.

-- The time now, also in the middle of a transaction. Compared with an index it is asked once: `(SELECT cloakroom_now())`.
CREATE FUNCTION cloakroom_now() RETURNS bigint LANGUAGE sql VOLATILE
    AS $$ SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;

CREATE TABLE cloakroom_sessions (
    key            bytea PRIMARY KEY CHECK (length(key) = 32),
    nth            bigint NOT NULL GENERATED ALWAYS AS IDENTITY, -- in the order of writing
    terms          bytea[] NOT NULL,
    session        bytea NOT NULL,
    tokens         bytea NOT NULL,
    card           bytea NOT NULL,
    tokens_version bigint NOT NULL,
    lease_owner    bytea CHECK (length(lease_owner) = 16),
    lease_until    bigint,
    retired        boolean NOT NULL DEFAULT false,
    issued_at      bigint NOT NULL,
    created_at     bigint NOT NULL,
    touched_at     bigint NOT NULL,
    expires_at     bigint NOT NULL
) WITH (fillfactor = 80); -- room for the next version of a row beside it, so that new tokens and leases change no index

-- What is sealed does not get smaller.
ALTER TABLE cloakroom_sessions
    ALTER COLUMN session SET STORAGE EXTERNAL,
    ALTER COLUMN tokens SET STORAGE EXTERNAL,
    ALTER COLUMN card SET STORAGE EXTERNAL;

-- Without `fastupdate`, every login pays for its own terms, instead of one in many for those of all.
CREATE INDEX cloakroom_sessions_by_term ON cloakroom_sessions USING gin (terms) WITH (fastupdate = off);
CREATE INDEX cloakroom_sessions_by_expiry ON cloakroom_sessions (expires_at);

-- Tells every replica, if and when the transaction is committed. The channel is this table's own, whatever schema it is in.
CREATE FUNCTION cloakroom_tell(payload text) RETURNS void LANGUAGE sql VOLATILE STRICT
    AS $$ SELECT pg_notify('cloakroom_' || 'cloakroom_sessions'::regclass::oid, payload) $$;

CREATE TABLE cloakroom_tombstones (
    term             bytea PRIMARY KEY CHECK (length(term) = 32),
    issued_not_after bigint NOT NULL,
    expires_at       bigint NOT NULL
);

CREATE INDEX cloakroom_tombstones_by_expiry ON cloakroom_tombstones (expires_at);

CREATE TABLE cloakroom_claims (
    digest     bytea PRIMARY KEY CHECK (length(digest) = 32),
    expires_at bigint NOT NULL
);

CREATE INDEX cloakroom_claims_by_expiry ON cloakroom_claims (expires_at);

CREATE TABLE cloakroom_kept_once (
    digest     bytea PRIMARY KEY CHECK (length(digest) = 32),
    sealed     bytea NOT NULL,
    expires_at bigint NOT NULL
);

CREATE INDEX cloakroom_kept_once_by_expiry ON cloakroom_kept_once (expires_at);
