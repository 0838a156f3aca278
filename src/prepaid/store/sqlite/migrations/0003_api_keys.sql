-- API keys of sessions, users and the operator, in one table. holder is a session's id, a digest of a user's
-- name, or 'op', so that one holder's keys lie side by side; of a secret only its SHA-256 is kept.
-- reserved and spent are counted for keys with a cap only: the others cost a request no write.
CREATE TABLE api_key (
  holder            TEXT    NOT NULL,
  number            INTEGER NOT NULL,
  owner             TEXT    NOT NULL,
  name              TEXT    NOT NULL,
  digest            BLOB    NOT NULL,
  previous_digest   BLOB,
  previous_until_ms INTEGER,
  cap               INTEGER CHECK (cap >= 0),
  reserved          INTEGER NOT NULL DEFAULT 0 CHECK (reserved >= 0),
  spent             INTEGER NOT NULL DEFAULT 0 CHECK (spent >= 0),
  models            TEXT,
  created_ms        INTEGER NOT NULL,
  expires_ms        INTEGER,
  revoked_ms        INTEGER,
  PRIMARY KEY (holder, number),
  CHECK (reserved + spent <= coalesce(cap, 0))
) STRICT, WITHOUT ROWID;

-- The key whose cap a hold counts against.
ALTER TABLE hold ADD COLUMN key_no INTEGER;

-- What was kept here before named no key number: sessions from before this version get new keys.
ALTER TABLE session DROP COLUMN key_digest;
