-- What releases published, by digest; a row commits to it. It may be dropped by a retention of its own.
CREATE TABLE ledger_blob (digest bytea PRIMARY KEY, bytes bytea NOT NULL);

-- What may still be released. Not evidence (that is the cost in each release's row), and yet nobody may take
-- anything away from it: who forgets a charge grants a budget twice. Costs and caps are unsigned 64-bit
-- numbers in two's complement.
CREATE TABLE ledger_charge (
    id         bytea PRIMARY KEY CHECK (length(id) = 16),
    account    text NOT NULL,
    period_us  bigint NOT NULL,
    line       bytea NOT NULL CHECK (length(line) = 32),
    unit       text NOT NULL CHECK (unit IN ('nano-epsilon', 'nano-rho')),
    uses_max   bigint NOT NULL CHECK (uses_max > 0),
    cost_loss  bigint NOT NULL, cost_delta bigint NOT NULL,
    cap_loss   bigint NOT NULL, cap_delta  bigint NOT NULL
);
CREATE INDEX ledger_charge_by_period ON ledger_charge (account, period_us);

CREATE TABLE ledger_blocked (
    account text NOT NULL, period_us bigint NOT NULL, PRIMARY KEY (account, period_us)
);

CREATE TRIGGER ledger_charge_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_charge
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse();
CREATE TRIGGER ledger_blocked_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_blocked
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse();
ALTER TABLE ledger_charge ENABLE ALWAYS TRIGGER ledger_charge_stays;
ALTER TABLE ledger_blocked ENABLE ALWAYS TRIGGER ledger_blocked_stays;

-- From here on: projections and bookkeeping. The release that stands for an id, and where its entry is.
CREATE TABLE ledger_release (
    id bytea PRIMARY KEY, name text NOT NULL,
    window_start_us bigint NOT NULL, window_end_us bigint NOT NULL, revision bigint NOT NULL,
    writer bytea NOT NULL, wseq bigint NOT NULL, entry bigint NOT NULL,
    published bigint NOT NULL
);
CREATE INDEX ledger_release_by_window ON ledger_release (name, window_start_us, revision);
CREATE INDEX ledger_release_unpublished ON ledger_release (name, window_start_us) WHERE published = 0;

-- Releases that lost against the one that stands, until their end is in the ledger.
CREATE TABLE ledger_release_lost (
    writer bytea NOT NULL, wseq bigint NOT NULL, entry bigint NOT NULL, id bytea NOT NULL,
    PRIMARY KEY (writer, wseq, entry)
);

-- Where partitions were cut for a window: the first to say it is followed by all.
CREATE TABLE ledger_cut (
    name text NOT NULL, window_start_us bigint NOT NULL, revision bigint NOT NULL,
    part bigint NOT NULL, cut bigint NOT NULL,
    PRIMARY KEY (name, window_start_us, revision, part)
);

CREATE TABLE ledger_lease (
    name text PRIMARY KEY, holder text NOT NULL, epoch bigint NOT NULL, until_us bigint NOT NULL
);
