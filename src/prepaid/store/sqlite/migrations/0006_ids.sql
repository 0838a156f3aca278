-- Ids of other libraries' conversations that have the character NUL in them, as store.ids keeps them from here on.
-- 64976 is its mark; one that happens to begin with it is kept in the same way.
UPDATE conversation SET conversation_id = char(64976) || hex(conversation_id)
WHERE instr(conversation_id, char(0)) OR substr(conversation_id, 1, 1) = char(64976);

UPDATE conversation SET revision = char(64976) || hex(revision)
WHERE instr(revision, char(0)) OR substr(revision, 1, 1) = char(64976);

UPDATE conversation SET scope = char(64976) || hex(scope)
WHERE instr(scope, char(0)) OR substr(scope, 1, 1) = char(64976);

UPDATE conversation_entry SET entry_id = char(64976) || hex(entry_id)
WHERE instr(entry_id, char(0)) OR substr(entry_id, 1, 1) = char(64976);
