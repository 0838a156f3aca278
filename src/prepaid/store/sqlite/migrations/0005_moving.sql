-- One row at most: the move to another database, or from one, that this database was last part of (store.moves).
CREATE TABLE moving (
  move_id TEXT    NOT NULL PRIMARY KEY,
  stage   TEXT    NOT NULL CHECK (stage IN ('leaving', 'left', 'arriving', 'arrived')),
  peer    TEXT    NOT NULL,
  at_ms   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
