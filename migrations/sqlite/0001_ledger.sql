-- Rows are evidence: bytes verbatim, appended in order, never changed. WITHOUT ROWID: a rowid would
-- be a second key, and `INSERT OR REPLACE` of a valid next row under an old row's rowid would remove
-- that row without any trigger firing.
CREATE TABLE ledger_row (
    writer BLOB NOT NULL CHECK (length(writer) = 16),
    wseq   INTEGER NOT NULL CHECK (wseq >= 0),
    t_us   INTEGER NOT NULL,
    segment INTEGER NOT NULL CHECK (segment >= 0),
    bytes  BLOB NOT NULL,
    prev   BLOB NOT NULL CHECK (length(prev) = 32),
    link   BLOB NOT NULL CHECK (length(link) = 32),
    PRIMARY KEY (writer, wseq)
) STRICT, WITHOUT ROWID;
-- The newest time is asked for at each start; searches read rows in order of time.
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

-- The leaves of a row, which commits to them. They may be forgotten by a retention of their own.
CREATE TABLE ledger_manifest (
    writer BLOB NOT NULL, wseq INTEGER NOT NULL, t_us INTEGER NOT NULL,
    leaves BLOB NOT NULL, filter BLOB NOT NULL,
    PRIMARY KEY (writer, wseq)
) STRICT;

CREATE TABLE ledger_detail (digest BLOB PRIMARY KEY, bytes BLOB NOT NULL) STRICT;

-- From here on: projections, rebuildable from the rows, and bookkeeping. Not evidence.
CREATE TABLE ledger_writer (
    writer BLOB PRIMARY KEY, node TEXT NOT NULL, opened_us INTEGER NOT NULL
) STRICT;
-- A start looks for its node's last writer: there are as many writers as there were starts.
CREATE INDEX ledger_writer_by_node ON ledger_writer (node, opened_us);

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

-- What releases published, by digest; a row commits to it. It may be dropped by a retention of its own.
CREATE TABLE ledger_blob (digest BLOB PRIMARY KEY, bytes BLOB NOT NULL) STRICT;

-- What may still be released. Not evidence (that is the cost in each release's row), and yet nobody may take
-- anything away from it: who forgets a charge grants a budget twice. Costs and caps are unsigned 64-bit
-- numbers in two's complement. WITHOUT ROWID: as for `ledger_row`.
CREATE TABLE ledger_charge (
    id         BLOB PRIMARY KEY CHECK (length(id) = 16),
    account    TEXT NOT NULL,
    period_us  INTEGER NOT NULL,
    line       BLOB NOT NULL CHECK (length(line) = 32),
    unit       TEXT NOT NULL CHECK (unit IN ('nano-epsilon', 'nano-rho')),
    uses_max   INTEGER NOT NULL CHECK (uses_max > 0),
    cost_loss  INTEGER NOT NULL, cost_delta INTEGER NOT NULL,
    cap_loss   INTEGER NOT NULL, cap_delta  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX ledger_charge_by_period ON ledger_charge (account, period_us);

CREATE TABLE ledger_blocked (
    account TEXT NOT NULL, period_us INTEGER NOT NULL, PRIMARY KEY (account, period_us)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER ledger_charge_appends BEFORE INSERT ON ledger_charge
WHEN EXISTS (SELECT 1 FROM ledger_charge WHERE id = NEW.id)
BEGIN SELECT raise(ABORT, 'charges are append-only: the id has one'); END;

CREATE TRIGGER ledger_charge_stays BEFORE UPDATE ON ledger_charge
BEGIN SELECT raise(ABORT, 'charges are append-only'); END;

CREATE TRIGGER ledger_charge_remains BEFORE DELETE ON ledger_charge
BEGIN SELECT raise(ABORT, 'charges are append-only'); END;

CREATE TRIGGER ledger_blocked_stays BEFORE UPDATE ON ledger_blocked
BEGIN SELECT raise(ABORT, 'blocked periods stay blocked'); END;

CREATE TRIGGER ledger_blocked_remains BEFORE DELETE ON ledger_blocked
BEGIN SELECT raise(ABORT, 'blocked periods stay blocked'); END;

-- From here on: projections and bookkeeping. The release that stands for an id, and where its entry is.
CREATE TABLE ledger_release (
    id BLOB PRIMARY KEY, name TEXT NOT NULL,
    window_start_us INTEGER NOT NULL, window_end_us INTEGER NOT NULL, revision INTEGER NOT NULL,
    writer BLOB NOT NULL, wseq INTEGER NOT NULL, entry INTEGER NOT NULL,
    published INTEGER NOT NULL
) STRICT;
CREATE INDEX ledger_release_by_window ON ledger_release (name, window_start_us, revision);
CREATE INDEX ledger_release_unpublished ON ledger_release (name, window_start_us) WHERE published = 0;

-- Releases that lost against the one that stands, until their end is in the ledger.
CREATE TABLE ledger_release_lost (
    writer BLOB NOT NULL, wseq INTEGER NOT NULL, entry INTEGER NOT NULL, id BLOB NOT NULL,
    PRIMARY KEY (writer, wseq, entry)
) STRICT, WITHOUT ROWID;

-- What all who use the store agree on: the first proposal about something is its value.
CREATE TABLE ledger_register (about BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE ledger_lease (
    name TEXT PRIMARY KEY, holder TEXT NOT NULL, epoch INTEGER NOT NULL, until_us INTEGER NOT NULL
) STRICT;
