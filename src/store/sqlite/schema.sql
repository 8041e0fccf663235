-- Times are milliseconds since the epoch by this machine's clock; keys, terms and digests are 32 bytes; the rest is sealed.

CREATE TABLE sessions (
    nth            INTEGER PRIMARY KEY, -- in the order of writing among the rows that are there
    key            BLOB NOT NULL UNIQUE CHECK (length(key) = 32),
    session        BLOB NOT NULL,
    tokens         BLOB NOT NULL,
    card           BLOB NOT NULL,
    tokens_version INTEGER NOT NULL,
    lease_owner    BLOB CHECK (length(lease_owner) = 16),
    lease_until    INTEGER,
    retired        INTEGER NOT NULL DEFAULT 0,
    issued_at      INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    touched_at     INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL
) STRICT;

CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE terms (
    term BLOB NOT NULL CHECK (length(term) = 32),
    nth  INTEGER NOT NULL REFERENCES sessions (nth) ON DELETE CASCADE,
    PRIMARY KEY (term, nth)
) STRICT, WITHOUT ROWID;

CREATE INDEX terms_by_session ON terms (nth);

CREATE TABLE tombstones (
    term             BLOB PRIMARY KEY CHECK (length(term) = 32),
    issued_not_after INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX tombstones_by_expiry ON tombstones (expires_at);

CREATE TABLE claims (
    digest     BLOB PRIMARY KEY CHECK (length(digest) = 32),
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX claims_by_expiry ON claims (expires_at);

CREATE TABLE kept_once (
    digest     BLOB PRIMARY KEY CHECK (length(digest) = 32),
    sealed     BLOB NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX kept_once_by_expiry ON kept_once (expires_at);
