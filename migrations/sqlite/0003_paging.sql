-- Searches read rows in order of time, and take the filters by the rows' keys.
DROP INDEX ledger_manifest_by_time;
-- A start looks for its node's last writer: there are as many writers as there were starts.
CREATE INDEX ledger_writer_by_node ON ledger_writer (node, opened_us);
