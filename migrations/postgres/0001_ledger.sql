-- Rows are evidence: bytes verbatim, appended in order, never changed.
CREATE TABLE ledger_row (
    writer bytea NOT NULL CHECK (length(writer) = 16),
    wseq   bigint NOT NULL CHECK (wseq >= 0),
    t_us   bigint NOT NULL,
    bytes  bytea NOT NULL,
    prev   bytea NOT NULL CHECK (length(prev) = 32),
    link   bytea NOT NULL CHECK (length(link) = 32),
    PRIMARY KEY (writer, wseq)
);
-- The newest time is asked for at each start.
CREATE INDEX ledger_row_by_time ON ledger_row (t_us);

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

-- The leaves of a flush; a row commits to them. They may be dropped by their own retention.
CREATE TABLE ledger_manifest (
    writer bytea NOT NULL, wseq bigint NOT NULL, t_us bigint NOT NULL,
    leaves bytea NOT NULL, filter bytea NOT NULL,
    PRIMARY KEY (writer, wseq)
);
CREATE INDEX ledger_manifest_by_time ON ledger_manifest (t_us);

CREATE TABLE ledger_detail (digest bytea PRIMARY KEY, bytes bytea NOT NULL);

-- From here on: projections, rebuildable from the rows, and bookkeeping. Not evidence.
CREATE TABLE ledger_writer (
    writer bytea PRIMARY KEY, node text NOT NULL, opened_us bigint NOT NULL
);

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
