-- The same words as on SQLite. session_id leads every key of what belongs to a session, so that all rows of one
-- session can live on one shard, and no statement of the hot path touches a row that two sessions share.
-- Amounts are base units, times are ms since the epoch. Text sorts by its bytes, as on SQLite.

-- The digest of store.lines, for the statements that extend a chain by one line.
CREATE FUNCTION line_digest(previous bytea, seq bigint, payload text) RETURNS bytea
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN sha256(previous || int8send(seq) || convert_to(payload, 'UTF8'));

-- One balance. An owner's unassigned deposit is an account too, in state 4, that takes no holds.
-- Room is left in each page, so that a new balance is written beside the old one and no index is touched.
CREATE TABLE account (
  session_id    text COLLATE "C" NOT NULL PRIMARY KEY,
  owner         text COLLATE "C" NOT NULL,
  asset         text COLLATE "C" NOT NULL,
  state         bigint NOT NULL CHECK (state BETWEEN 0 AND 4),
  funded        bigint NOT NULL CHECK (funded >= 0),
  available     bigint NOT NULL CHECK (available >= 0),
  held          bigint NOT NULL CHECK (held >= 0),
  spent         bigint NOT NULL CHECK (spent >= 0),
  refunded      bigint NOT NULL CHECK (refunded >= 0),
  request_count bigint NOT NULL DEFAULT 0,
  last_used_ms  bigint NOT NULL,
  expires_ms    bigint,
  line_count    bigint NOT NULL DEFAULT 0,
  head          bytea  NOT NULL,
  CHECK (funded::numeric = available::numeric + held + spent + refunded)
) WITH (fillfactor = 50);

-- state is in no statement of the hot path, so these cost it nothing.
CREATE INDEX account_by_owner ON account (owner, session_id);
CREATE INDEX account_by_owner_state ON account (owner, state, session_id);
CREATE INDEX account_by_state ON account (state, session_id);

-- Money reserved for one request. sent: it may have reached a provider (see Reconcile).
CREATE TABLE hold (
  session_id  text COLLATE "C" NOT NULL,
  key         text COLLATE "C" NOT NULL,
  fingerprint bytea   NOT NULL,
  amount      bigint  NOT NULL CHECK (amount >= 0),
  state       bigint  NOT NULL CHECK (state BETWEEN 0 AND 2),
  captured    bigint  NOT NULL CHECK (captured BETWEEN 0 AND amount),
  cost        bigint  NOT NULL,
  delivered   bigint  NOT NULL,
  sent        boolean NOT NULL,
  expires_ms  bigint  NOT NULL,
  actor       text COLLATE "C" NOT NULL,
  chat_no     bigint  NOT NULL,
  lease_id    text COLLATE "C",
  key_no      bigint,
  PRIMARY KEY (session_id, key)
) WITH (fillfactor = 80);

-- Only what is in flight is in these, so they stay small: for the sweep, and for the close of one session.
CREATE INDEX hold_overdue ON hold (expires_ms) WHERE state = 0;
CREATE INDEX hold_open ON hold (session_id) WHERE state = 0;

-- What was answered under a key, refusals included; never pruned while the session lives.
CREATE TABLE operation (
  session_id  text COLLATE "C" NOT NULL,
  key         text COLLATE "C" NOT NULL,
  kind        text COLLATE "C" NOT NULL,
  fingerprint bytea NOT NULL,
  status      text COLLATE "C" NOT NULL CHECK (status IN ('done', 'refused')),
  response    text NOT NULL,
  PRIMARY KEY (session_id, key)
);

-- Append-only, double entry; digest chains each line to the one before, per session.
CREATE TABLE transfer (
  session_id   text COLLATE "C" NOT NULL,
  seq          bigint NOT NULL,
  kind         text COLLATE "C" NOT NULL,
  debit        text COLLATE "C" NOT NULL,
  credit       text COLLATE "C" NOT NULL,
  amount       bigint NOT NULL CHECK (amount > 0),
  key          text COLLATE "C" NOT NULL,
  at_ms        bigint NOT NULL,
  actor        text COLLATE "C" NOT NULL,
  chat_no      bigint NOT NULL,
  model        text COLLATE "C" NOT NULL,
  input_units  bigint NOT NULL,
  output_units bigint NOT NULL,
  digest       bytea  NOT NULL,
  PRIMARY KEY (session_id, seq)
);

CREATE FUNCTION transfer_is_final() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'a transfer is never changed or deleted'; END $$;

CREATE TRIGGER transfer_is_final BEFORE UPDATE OR DELETE OR TRUNCATE ON transfer
FOR EACH STATEMENT EXECUTE FUNCTION transfer_is_final();

-- How many sessions there are, so that limits cost the same at any size (spec C11). Written where sessions are
-- opened, paused and closed, never where they are used.
-- scope '' counts active ones over all users; an owner's live ones (active or paused) are under 'live:OWNER'
-- and all that it ever had under 'all:OWNER'.
CREATE TABLE tally (
  scope text COLLATE "C" NOT NULL PRIMARY KEY,
  n     bigint NOT NULL
) WITH (fillfactor = 50);

CREATE FUNCTION tally_opened() RETURNS trigger LANGUAGE plpgsql AS
$$
BEGIN
  INSERT INTO tally VALUES ('all:' || new.owner, 1) ON CONFLICT (scope) DO UPDATE SET n = tally.n + excluded.n;
  INSERT INTO tally VALUES ('live:' || new.owner, (new.state < 2)::int)
  ON CONFLICT (scope) DO UPDATE SET n = tally.n + excluded.n;
  INSERT INTO tally VALUES ('', (new.state = 0)::int) ON CONFLICT (scope) DO UPDATE SET n = tally.n + excluded.n;
  RETURN NULL;
END
$$;

CREATE FUNCTION tally_moved() RETURNS trigger LANGUAGE plpgsql AS
$$
BEGIN
  UPDATE tally SET n = n + (new.state < 2)::int - (old.state < 2)::int WHERE scope = 'live:' || new.owner;
  UPDATE tally SET n = n + (new.state = 0)::int - (old.state = 0)::int WHERE scope = '';
  RETURN NULL;
END
$$;

CREATE TRIGGER tally_opened AFTER INSERT ON account FOR EACH ROW WHEN (new.state <> 4)
EXECUTE FUNCTION tally_opened();

CREATE TRIGGER tally_moved AFTER UPDATE OF state ON account FOR EACH ROW WHEN (new.state <> old.state)
EXECUTE FUNCTION tally_moved();

-- What users say about a session; kept apart so that the account row stays narrow.
CREATE TABLE session (
  session_id   text COLLATE "C" NOT NULL PRIMARY KEY,
  name         text    NOT NULL,
  metadata     text    NOT NULL,
  preferences  text    NOT NULL,
  tags         text    NOT NULL,
  created_ms   bigint  NOT NULL,
  closed_ms    bigint,
  current_chat bigint  NOT NULL DEFAULT 0,
  chat_count   bigint  NOT NULL DEFAULT 0,
  auto_save    boolean NOT NULL,
  idle_ms      bigint,
  due_ms       bigint,
  seen_ms      bigint
);

-- The clean-up's queues: when a session has to be looked at next, and when the last look saw it used.
CREATE INDEX session_due ON session (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX session_seen ON session (seen_ms) WHERE seen_ms IS NOT NULL;

-- owner and state are the account's: pages of a tag are found in the order of their ids.
CREATE TABLE session_tag (
  session_id text COLLATE "C" NOT NULL,
  tag        text COLLATE "C" NOT NULL,
  state      bigint NOT NULL,
  owner      text COLLATE "C" NOT NULL,
  PRIMARY KEY (session_id, tag)
);

CREATE INDEX session_tag_page ON session_tag (tag, state, session_id);
CREATE INDEX session_tag_by_owner ON session_tag (tag, owner, state, session_id);

CREATE FUNCTION session_tagged() RETURNS trigger LANGUAGE plpgsql AS
$$
BEGIN
  INSERT INTO session_tag
  SELECT DISTINCT new.session_id, tag, account.state, account.owner
  FROM account, json_array_elements_text(new.tags::json) AS tag WHERE account.session_id = new.session_id;
  RETURN NULL;
END
$$;

CREATE FUNCTION session_tag_moved() RETURNS trigger LANGUAGE plpgsql AS
$$
BEGIN
  UPDATE session_tag SET state = new.state WHERE session_id = new.session_id;
  RETURN NULL;
END
$$;

CREATE TRIGGER session_tagged AFTER INSERT ON session FOR EACH ROW WHEN (new.tags <> '[]')
EXECUTE FUNCTION session_tagged();

CREATE TRIGGER session_tag_moved AFTER UPDATE OF state ON account FOR EACH ROW WHEN (new.state <> old.state)
EXECUTE FUNCTION session_tag_moved();

-- messages_from is there because SQLite's messages lie in ranges of ids; here it is always 0.
CREATE TABLE chat (
  session_id    text COLLATE "C" NOT NULL,
  chat_no       bigint NOT NULL,
  name          text   NOT NULL,
  config        text   NOT NULL,
  metadata      text   NOT NULL,
  tags          text   NOT NULL,
  message_max   bigint,
  created_ms    bigint NOT NULL,
  message_count bigint NOT NULL DEFAULT 0,
  turn_count    bigint NOT NULL DEFAULT 0,
  spent         bigint NOT NULL DEFAULT 0,
  answering_ms  bigint NOT NULL DEFAULT 0,
  last_ms       bigint,
  open_turn     text COLLATE "C",
  messages_from bigint NOT NULL DEFAULT 0 CHECK (messages_from = 0),
  PRIMARY KEY (session_id, chat_no)
) WITH (fillfactor = 70);

-- Append-only. body is the text itself, or JSON where kind says so (store.messages).
CREATE TABLE message (
  session_id text COLLATE "C" NOT NULL,
  chat_no    bigint NOT NULL,
  seq        bigint NOT NULL,
  turn       bigint NOT NULL,
  kind       bigint NOT NULL,
  at_ms      bigint NOT NULL,
  body       text   NOT NULL,
  PRIMARY KEY (session_id, chat_no, seq)
);

-- Shared sessions (spec B7, B8). A lease bounds and accounts what its taker spends.
CREATE TABLE pool (
  session_id text COLLATE "C" NOT NULL PRIMARY KEY,
  cap        bigint,
  lease_id   text COLLATE "C",
  pooled_ms  bigint NOT NULL
);

CREATE INDEX pool_free ON pool (pooled_ms, session_id) WHERE lease_id IS NULL;

CREATE TABLE lease (
  session_id text COLLATE "C" NOT NULL,
  lease_id   text COLLATE "C" NOT NULL,
  taker      text COLLATE "C" NOT NULL,
  cap        bigint,
  reserved   bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
  spent      bigint NOT NULL DEFAULT 0 CHECK (spent >= 0),
  taken_ms   bigint NOT NULL,
  expires_ms bigint NOT NULL,
  ended_ms   bigint,
  PRIMARY KEY (session_id, lease_id)
);

CREATE INDEX lease_due ON lease (expires_ms) WHERE ended_ms IS NULL;

-- What update_config() set; every process reads it.
CREATE TABLE setting (
  name  text COLLATE "C" NOT NULL PRIMARY KEY,
  value text NOT NULL
);

-- API keys of sessions, users and the operator. holder is a session's id, a digest of a user's name, or 'op';
-- of a secret only its SHA-256 is kept. reserved and spent are counted for keys with a cap only.
CREATE TABLE api_key (
  holder            text COLLATE "C" NOT NULL,
  number            bigint NOT NULL,
  owner             text COLLATE "C" NOT NULL,
  name              text   NOT NULL,
  digest            bytea  NOT NULL,
  previous_digest   bytea,
  previous_until_ms bigint,
  cap               bigint CHECK (cap >= 0),
  reserved          bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
  spent             bigint NOT NULL DEFAULT 0 CHECK (spent >= 0),
  models            text,
  created_ms        bigint NOT NULL,
  expires_ms        bigint,
  revoked_ms        bigint,
  PRIMARY KEY (holder, number),
  CHECK (reserved + spent <= coalesce(cap, 0))
);

-- A pydantic-ai conversation (spec D9). head and branches (a JSON array) are ids of entries.
CREATE TABLE conversation (
  session_id      text COLLATE "C" NOT NULL,
  conversation_id text COLLATE "C" NOT NULL,
  revision        text   NOT NULL,
  scope           text COLLATE "C",
  updated_us      bigint NOT NULL,
  head            bigint,
  branches        text   NOT NULL,
  record          text   NOT NULL,
  PRIMARY KEY (session_id, conversation_id)
);

CREATE INDEX conversation_newest ON conversation (session_id, updated_us);
CREATE INDEX conversation_in_scope ON conversation (session_id, scope, updated_us) WHERE scope IS NOT NULL;

-- One message of a conversation's log. parent is older, so its id is smaller; refs counts the entries and
-- conversations that point here, and nothing that is pointed at is deleted.
CREATE TABLE conversation_entry (
  session_id text COLLATE "C" NOT NULL,
  id         bigint GENERATED ALWAYS AS IDENTITY,
  entry_id   text COLLATE "C" NOT NULL,
  parent     bigint,
  refs       bigint NOT NULL CHECK (refs >= 0),
  body       text   NOT NULL,
  PRIMARY KEY (session_id, id),
  UNIQUE (session_id, entry_id)
);

-- An OpenAI Agents SDK session: of one of our chats, or (chat 0) of our session itself. items_from as above.
CREATE TABLE agent_history (
  session_id text COLLATE "C" NOT NULL,
  chat_no    bigint NOT NULL,
  item_count bigint NOT NULL DEFAULT 0,
  items_from bigint NOT NULL DEFAULT 0 CHECK (items_from = 0),
  PRIMARY KEY (session_id, chat_no)
);

CREATE TABLE agent_item (
  session_id text COLLATE "C" NOT NULL,
  chat_no    bigint NOT NULL,
  number     bigint NOT NULL,
  body       text   NOT NULL,
  PRIMARY KEY (session_id, chat_no, number)
);

-- One row for each connection that writes, with the number of its last committed batch: after a connection was
-- cut within a commit, it says whether that batch is in. Its lane alone writes it.
CREATE TABLE lane (
  lane_id    text COLLATE "C" NOT NULL PRIMARY KEY,
  batch      bigint NOT NULL,
  written_ms bigint NOT NULL
) WITH (fillfactor = 10);

-- Single requests that can be fetched later (spec A14). outcome is JSON: the response, or why there is none.
CREATE TABLE request (
  session_id  text COLLATE "C" NOT NULL,
  request_id  text COLLATE "C" NOT NULL,
  state       bigint NOT NULL CHECK (state BETWEEN 0 AND 3),
  created_ms  bigint NOT NULL,
  deadline_ms bigint NOT NULL,
  ended_ms    bigint,
  outcome     text,
  PRIMARY KEY (session_id, request_id)
);
