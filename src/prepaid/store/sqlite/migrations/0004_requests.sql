-- Single requests that can be fetched later (spec A14). What was asked is not kept; outcome is JSON: the
-- response, or why there is none. One that is pending past its deadline has timed out (spec A17).
CREATE TABLE request (
  session_id  TEXT    NOT NULL,
  request_id  TEXT    NOT NULL,
  state       INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3),
  created_ms  INTEGER NOT NULL,
  deadline_ms INTEGER NOT NULL,
  ended_ms    INTEGER,
  outcome     TEXT,
  PRIMARY KEY (session_id, request_id)
) STRICT, WITHOUT ROWID;
