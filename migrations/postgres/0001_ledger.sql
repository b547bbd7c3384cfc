-- Rows are evidence: bytes verbatim, appended in order, never changed.
CREATE TABLE ledger_row (
    writer bytea NOT NULL CHECK (length(writer) = 16),
    wseq   bigint NOT NULL CHECK (wseq >= 0),
    t_us   bigint NOT NULL,
    segment bigint NOT NULL CHECK (segment >= 0),
    bytes  bytea NOT NULL,
    prev   bytea NOT NULL CHECK (length(prev) = 32),
    link   bytea NOT NULL CHECK (length(link) = 32),
    PRIMARY KEY (writer, wseq)
);
-- The newest time is asked for at each start; searches read rows in order of time.
CREATE INDEX ledger_row_by_time ON ledger_row (t_us, writer, wseq);

CREATE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only';
END $$;

CREATE FUNCTION ledger_append() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.wseq > 0 AND NEW.prev IS DISTINCT FROM
        (SELECT link FROM ledger_row WHERE writer = NEW.writer AND wseq = NEW.wseq - 1) THEN
        RAISE EXCEPTION 'the ledger is append-only: not the next row of its chain';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER ledger_row_appends BEFORE INSERT ON ledger_row
    FOR EACH ROW EXECUTE FUNCTION ledger_append();
CREATE TRIGGER ledger_row_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_row
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse();

-- ALWAYS: they fire also where `session_replication_role` is `replica`.
ALTER TABLE ledger_row ENABLE ALWAYS TRIGGER ledger_row_appends;
ALTER TABLE ledger_row ENABLE ALWAYS TRIGGER ledger_row_stays;

-- The leaves of a row, which commits to them. They may be forgotten by a retention of their own.
CREATE TABLE ledger_manifest (
    writer bytea NOT NULL, wseq bigint NOT NULL, t_us bigint NOT NULL,
    leaves bytea NOT NULL, filter bytea NOT NULL,
    PRIMARY KEY (writer, wseq)
);

CREATE TABLE ledger_detail (digest bytea PRIMARY KEY, bytes bytea NOT NULL);

-- From here on: projections, rebuildable from the rows, and bookkeeping. Not evidence.
CREATE TABLE ledger_writer (
    writer bytea PRIMARY KEY, node text NOT NULL, opened_us bigint NOT NULL
);
-- A start looks for its node's last writer: there are as many writers as there were starts.
CREATE INDEX ledger_writer_by_node ON ledger_writer (node, opened_us);

CREATE TABLE ledger_edge (
    region text NOT NULL, topic text NOT NULL, part bigint NOT NULL,
    offset_from bigint NOT NULL, offset_to bigint NOT NULL,
    of_writer bytea NOT NULL, of_wseq bigint NOT NULL,
    writer bytea NOT NULL, wseq bigint NOT NULL
);
CREATE INDEX ledger_edge_by_offset ON ledger_edge (topic, part, offset_from);
CREATE INDEX ledger_edge_by_intent ON ledger_edge (of_writer, of_wseq);

CREATE TABLE ledger_intent (
    writer bytea NOT NULL, wseq bigint NOT NULL, leaf bigint NOT NULL,
    PRIMARY KEY (writer, wseq, leaf)
);

CREATE TABLE ledger_claim (
    key bytea PRIMARY KEY, fingerprint bytea NOT NULL, node text NOT NULL,
    writer bytea NOT NULL, wseq bigint NOT NULL, leaf bigint NOT NULL,
    at_us bigint NOT NULL, expires_us bigint NOT NULL, answer bytea
);
CREATE INDEX ledger_claim_by_expiry ON ledger_claim (expires_us);

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

-- What all who use the store agree on: the first proposal about something is its value.
CREATE TABLE ledger_register (about bytea PRIMARY KEY, value bytea NOT NULL);

CREATE TABLE ledger_lease (
    name text PRIMARY KEY, holder text NOT NULL, epoch bigint NOT NULL, until_us bigint NOT NULL
);
