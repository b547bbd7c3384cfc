-- Rows are evidence: bytes verbatim, appended in order, never changed. WITHOUT ROWID: a rowid would
-- be a second key, and `INSERT OR REPLACE` of a valid next row under an old row's rowid would remove
-- that row without any trigger firing.
CREATE TABLE ledger_row (
    writer BLOB NOT NULL CHECK (length(writer) = 16),
    wseq   INTEGER NOT NULL CHECK (wseq >= 0),
    t_us   INTEGER NOT NULL,
    bytes  BLOB NOT NULL,
    prev   BLOB NOT NULL CHECK (length(prev) = 32),
    link   BLOB NOT NULL CHECK (length(link) = 32),
    PRIMARY KEY (writer, wseq)
) STRICT, WITHOUT ROWID;
-- The newest time is asked for at each start.
CREATE INDEX ledger_row_by_time ON ledger_row (t_us);

-- `INSERT OR REPLACE` does not fire delete triggers, so the insert itself must refuse anything
-- but the next row of its chain.
CREATE TRIGGER ledger_row_appends BEFORE INSERT ON ledger_row
WHEN NEW.wseq <> coalesce((SELECT max(wseq) + 1 FROM ledger_row WHERE writer = NEW.writer), 0)
  OR (NEW.wseq > 0 AND NEW.prev <>
      (SELECT link FROM ledger_row WHERE writer = NEW.writer AND wseq = NEW.wseq - 1))
BEGIN SELECT raise(ABORT, 'the ledger is append-only: not the next row of its chain'); END;

CREATE TRIGGER ledger_row_stays BEFORE UPDATE ON ledger_row
BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END;

CREATE TRIGGER ledger_row_remains BEFORE DELETE ON ledger_row
BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END;

-- The leaves of a flush; a row commits to them. They may be dropped by their own retention.
CREATE TABLE ledger_manifest (
    writer BLOB NOT NULL, wseq INTEGER NOT NULL, t_us INTEGER NOT NULL,
    leaves BLOB NOT NULL, filter BLOB NOT NULL,
    PRIMARY KEY (writer, wseq)
) STRICT;
CREATE INDEX ledger_manifest_by_time ON ledger_manifest (t_us);

CREATE TABLE ledger_detail (digest BLOB PRIMARY KEY, bytes BLOB NOT NULL) STRICT;

-- From here on: projections, rebuildable from the rows, and bookkeeping. Not evidence.
CREATE TABLE ledger_writer (
    writer BLOB PRIMARY KEY, node TEXT NOT NULL, opened_us INTEGER NOT NULL
) STRICT;

CREATE TABLE ledger_edge (
    region TEXT NOT NULL, topic TEXT NOT NULL, part INTEGER NOT NULL,
    offset_from INTEGER NOT NULL, offset_to INTEGER NOT NULL,
    of_writer BLOB NOT NULL, of_wseq INTEGER NOT NULL,
    writer BLOB NOT NULL, wseq INTEGER NOT NULL
) STRICT;
CREATE INDEX ledger_edge_by_offset ON ledger_edge (topic, part, offset_from);
CREATE INDEX ledger_edge_by_intent ON ledger_edge (of_writer, of_wseq);

CREATE TABLE ledger_intent (
    writer BLOB NOT NULL, wseq INTEGER NOT NULL, leaf INTEGER NOT NULL,
    PRIMARY KEY (writer, wseq, leaf)
) STRICT, WITHOUT ROWID;

CREATE TABLE ledger_claim (
    key BLOB PRIMARY KEY, fingerprint BLOB NOT NULL, node TEXT NOT NULL,
    writer BLOB NOT NULL, wseq INTEGER NOT NULL, leaf INTEGER NOT NULL,
    at_us INTEGER NOT NULL, expires_us INTEGER NOT NULL, answer BLOB
) STRICT;
CREATE INDEX ledger_claim_by_expiry ON ledger_claim (expires_us);
