-- What other libraries' agents keep with a session (spec D9). Bodies are theirs, as JSON, and only they read them.

-- A pydantic-ai conversation. head and branches (a JSON array) are ids of entries: all that it can reach is kept.
CREATE TABLE conversation (
  session_id      TEXT    NOT NULL,
  conversation_id TEXT    NOT NULL,
  revision        TEXT    NOT NULL,
  scope           TEXT,
  updated_us      INTEGER NOT NULL,
  head            INTEGER,
  branches        TEXT    NOT NULL,
  record          TEXT    NOT NULL,
  PRIMARY KEY (session_id, conversation_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX conversation_newest ON conversation (session_id, updated_us);
CREATE INDEX conversation_in_scope ON conversation (session_id, scope, updated_us) WHERE scope IS NOT NULL;

-- One message of a conversation's log, which forks may share. parent is older, so its id is smaller; refs
-- counts the entries and conversations that point here, and nothing that is pointed at is deleted.
CREATE TABLE conversation_entry (
  id         INTEGER NOT NULL PRIMARY KEY,
  session_id TEXT    NOT NULL,
  entry_id   TEXT    NOT NULL,
  parent     INTEGER,
  refs       INTEGER NOT NULL CHECK (refs >= 0),
  body       TEXT    NOT NULL,
  UNIQUE (session_id, entry_id)
) STRICT;

-- An OpenAI Agents SDK session: of one of our chats, or (chat 0) of our session itself.
CREATE TABLE agent_history (
  session_id TEXT    NOT NULL,
  chat_no    INTEGER NOT NULL,
  item_count INTEGER NOT NULL DEFAULT 0,
  items_from INTEGER NOT NULL UNIQUE,
  PRIMARY KEY (session_id, chat_no)
) STRICT, WITHOUT ROWID;

-- Its items, side by side as a chat's messages are: id is agent_history.items_from + number.
CREATE TABLE agent_item (
  id   INTEGER NOT NULL PRIMARY KEY,
  body TEXT    NOT NULL
) STRICT;
