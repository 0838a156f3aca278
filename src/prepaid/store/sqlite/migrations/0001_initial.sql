-- Money first: account, hold, operation, transfer. An operation touches one session's rows only.
-- Amounts are base units, times are ms since the epoch.
--
-- One commit writes each page that it touched whole, so rows that are born together live together:
-- holds and transfers are kept in the order of time, not by session (docs/decisions.md).

-- One balance. An owner's unassigned deposit is an account too, in state 4, that takes no holds.
CREATE TABLE account (
  session_id    TEXT    NOT NULL PRIMARY KEY,
  owner         TEXT    NOT NULL,
  asset         TEXT    NOT NULL,
  state         INTEGER NOT NULL CHECK (state BETWEEN 0 AND 4),
  funded        INTEGER NOT NULL CHECK (funded >= 0),
  available     INTEGER NOT NULL CHECK (available >= 0),
  held          INTEGER NOT NULL CHECK (held >= 0),
  spent         INTEGER NOT NULL CHECK (spent >= 0),
  refunded      INTEGER NOT NULL CHECK (refunded >= 0),
  request_count INTEGER NOT NULL DEFAULT 0,
  last_used_ms  INTEGER NOT NULL,
  expires_ms    INTEGER,
  line_count    INTEGER NOT NULL DEFAULT 0,
  last_line     INTEGER,
  previous_line INTEGER,
  head          BLOB    NOT NULL,
  CHECK (funded = available + held + spent + refunded)
) STRICT, WITHOUT ROWID;

-- state is in no statement of the hot path, so these cost it nothing. The first has all that a page of one
-- owner's sessions needs, and no state, so that a close leaves it alone: sessions that end together belong to
-- many owners, and each would touch a page of its own.
CREATE INDEX account_by_owner ON account (owner, session_id, asset);
CREATE INDEX account_by_owner_state ON account (owner, state, session_id);
CREATE INDEX account_by_state ON account (state, session_id);

-- Money reserved for one request. Keys that we make sort by time, so the newest holds share a few pages.
-- sent: the request may have reached a provider (see Reconcile).
CREATE TABLE hold (
  key         TEXT    NOT NULL,
  session_id  TEXT    NOT NULL,
  fingerprint BLOB    NOT NULL,
  amount      INTEGER NOT NULL CHECK (amount >= 0),
  state       INTEGER NOT NULL CHECK (state BETWEEN 0 AND 2),
  captured    INTEGER NOT NULL CHECK (captured BETWEEN 0 AND amount),
  cost        INTEGER NOT NULL,
  delivered   INTEGER NOT NULL,
  sent        INTEGER NOT NULL,
  expires_ms  INTEGER NOT NULL,
  actor       TEXT    NOT NULL,
  chat_no     INTEGER NOT NULL,
  lease_id    TEXT,
  PRIMARY KEY (key, session_id)
) STRICT, WITHOUT ROWID;

-- Only what is in flight is in here, so it stays small; it serves the sweep and the close.
CREATE INDEX hold_open ON hold (expires_ms, session_id, amount) WHERE state = 0;

-- What was answered under a key, refusals included; never pruned while the session lives.
CREATE TABLE operation (
  session_id  TEXT NOT NULL,
  key         TEXT NOT NULL,
  kind        TEXT NOT NULL,
  fingerprint BLOB NOT NULL,
  status      TEXT NOT NULL CHECK (status IN ('done', 'refused')),
  response    TEXT NOT NULL,
  PRIMARY KEY (session_id, key)
) STRICT, WITHOUT ROWID;

-- Append-only, double entry; digest chains each line to the one before, per session. A session's
-- lines are found from account.last_line back through previous: no index has to be kept.
CREATE TABLE transfer (
  id           INTEGER NOT NULL PRIMARY KEY,
  previous     INTEGER,
  session_id   TEXT    NOT NULL,
  seq          INTEGER NOT NULL,
  kind         TEXT    NOT NULL,
  debit        TEXT    NOT NULL,
  credit       TEXT    NOT NULL,
  amount       INTEGER NOT NULL CHECK (amount > 0),
  key          TEXT    NOT NULL,
  at_ms        INTEGER NOT NULL,
  actor        TEXT    NOT NULL,
  chat_no      INTEGER NOT NULL,
  model        TEXT    NOT NULL,
  input_units  INTEGER NOT NULL,
  output_units INTEGER NOT NULL,
  digest       BLOB    NOT NULL
) STRICT;

CREATE TRIGGER transfer_is_final BEFORE UPDATE ON transfer
BEGIN SELECT raise(ABORT, 'a transfer is never changed'); END;

CREATE TRIGGER transfer_is_kept BEFORE DELETE ON transfer
BEGIN SELECT raise(ABORT, 'a transfer is never deleted'); END;

-- How many sessions there are, so that limits cost the same at any size (spec C11).
-- scope '' counts active ones over all users; an owner's live ones (active or paused) are under 'live:OWNER'
-- and all that it ever had under 'all:OWNER'.
CREATE TABLE tally (
  scope TEXT    NOT NULL PRIMARY KEY,
  n     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER tally_opened AFTER INSERT ON account WHEN new.state <> 4
BEGIN
  INSERT INTO tally VALUES ('', new.state = 0), ('live:' || new.owner, new.state < 2), ('all:' || new.owner, 1)
  ON CONFLICT (scope) DO UPDATE SET n = n + excluded.n;
END;

CREATE TRIGGER tally_moved AFTER UPDATE OF state ON account WHEN new.state <> old.state
BEGIN
  UPDATE tally SET n = n + (new.state = 0) - (old.state = 0) WHERE scope = '';
  UPDATE tally SET n = n + (new.state < 2) - (old.state < 2) WHERE scope = 'live:' || new.owner;
END;

-- What users say about a session; kept apart so that the account row stays narrow.
CREATE TABLE session (
  session_id   TEXT    NOT NULL PRIMARY KEY,
  name         TEXT    NOT NULL,
  metadata     TEXT    NOT NULL,
  preferences  TEXT    NOT NULL,
  tags         TEXT    NOT NULL,
  created_ms   INTEGER NOT NULL,
  closed_ms    INTEGER,
  current_chat INTEGER NOT NULL DEFAULT 0,
  chat_count   INTEGER NOT NULL DEFAULT 0,
  auto_save    INTEGER NOT NULL,
  idle_ms      INTEGER,
  due_ms       INTEGER,
  seen_ms      INTEGER,
  key_digest   BLOB
) STRICT, WITHOUT ROWID;

-- The clean-up's queues: when a session has to be looked at next, and when the last look saw it used.
-- Using a session moves neither; the look does (see CloseIfDue), so the hot path pays nothing for it.
CREATE INDEX session_due ON session (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX session_seen ON session (seen_ms) WHERE seen_ms IS NOT NULL;

-- owner and state are the account's: pages of a tag are found in the order of their ids.
CREATE TABLE session_tag (
  tag        TEXT    NOT NULL,
  state      INTEGER NOT NULL,
  session_id TEXT    NOT NULL,
  owner      TEXT    NOT NULL,
  PRIMARY KEY (tag, state, session_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX session_tag_by_owner ON session_tag (tag, owner, state, session_id);

CREATE TRIGGER session_tagged AFTER INSERT ON session WHEN new.tags <> '[]'
BEGIN
  INSERT INTO session_tag SELECT DISTINCT value, state, session_id, owner
  FROM account, json_each(new.tags) WHERE session_id = new.session_id;
END;

CREATE TRIGGER session_tag_moved AFTER UPDATE OF state ON account WHEN new.state <> old.state
BEGIN
  UPDATE session_tag SET state = new.state
  WHERE state = old.state AND session_id = new.session_id
    AND tag IN (SELECT value FROM session, json_each(session.tags) WHERE session.session_id = new.session_id);
END;

CREATE TABLE chat (
  session_id    TEXT    NOT NULL,
  chat_no       INTEGER NOT NULL,
  name          TEXT    NOT NULL,
  config        TEXT    NOT NULL,
  metadata      TEXT    NOT NULL,
  tags          TEXT    NOT NULL,
  message_max   INTEGER,
  created_ms    INTEGER NOT NULL,
  message_count INTEGER NOT NULL DEFAULT 0,
  turn_count    INTEGER NOT NULL DEFAULT 0,
  spent         INTEGER NOT NULL DEFAULT 0,
  answering_ms  INTEGER NOT NULL DEFAULT 0,
  last_ms       INTEGER,
  open_turn     TEXT,
  messages_from INTEGER NOT NULL UNIQUE,
  PRIMARY KEY (session_id, chat_no)
) STRICT, WITHOUT ROWID;

-- Append-only. id is chat.messages_from + seq, so that a chat's messages lie side by side and a row has
-- no key of text. body is the text itself, or JSON where kind says so (store.messages).
CREATE TABLE message (
  id    INTEGER NOT NULL PRIMARY KEY,
  turn  INTEGER NOT NULL,
  kind  INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  body  TEXT    NOT NULL
) STRICT;

-- Shared sessions (spec B7, B8). A lease bounds and accounts what its taker spends.
CREATE TABLE pool (
  session_id TEXT    NOT NULL PRIMARY KEY,
  cap        INTEGER,
  lease_id   TEXT,
  pooled_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX pool_free ON pool (pooled_ms) WHERE lease_id IS NULL;

CREATE TABLE lease (
  session_id TEXT    NOT NULL,
  lease_id   TEXT    NOT NULL,
  taker      TEXT    NOT NULL,
  cap        INTEGER,
  reserved   INTEGER NOT NULL DEFAULT 0 CHECK (reserved >= 0),
  spent      INTEGER NOT NULL DEFAULT 0 CHECK (spent >= 0),
  taken_ms   INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL,
  ended_ms   INTEGER,
  PRIMARY KEY (session_id, lease_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX lease_due ON lease (expires_ms) WHERE ended_ms IS NULL;

-- What update_config() set; every process reads it.
CREATE TABLE setting (
  name  TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
