-- One row at most: the move to another database, or from one, that this database was last part of (store.moves).
CREATE TABLE moving (
  move_id text COLLATE "C" NOT NULL PRIMARY KEY,
  stage   text NOT NULL CHECK (stage IN ('leaving', 'left', 'arriving', 'arrived')),
  peer    text NOT NULL,
  at_ms   bigint NOT NULL
);

-- What triggers call that close a database. PM001 is a code of ours: the message is the stage and the peer.
CREATE FUNCTION refuse_changes() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION USING ERRCODE = 'PM001',
  MESSAGE = coalesce((SELECT stage || ' ' || peer FROM moving LIMIT 1), 'left '); END $$;
