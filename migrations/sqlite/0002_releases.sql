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

-- Where partitions were cut for a window: the first to say it is followed by all.
CREATE TABLE ledger_cut (
    name TEXT NOT NULL, window_start_us INTEGER NOT NULL, revision INTEGER NOT NULL,
    part INTEGER NOT NULL, cut INTEGER NOT NULL,
    PRIMARY KEY (name, window_start_us, revision, part)
) STRICT, WITHOUT ROWID;

CREATE TABLE ledger_lease (
    name TEXT PRIMARY KEY, holder TEXT NOT NULL, epoch INTEGER NOT NULL, until_us INTEGER NOT NULL
) STRICT;
