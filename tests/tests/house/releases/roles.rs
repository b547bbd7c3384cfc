//! The grants that `docs/OPERATING.md` lists are enough: a gateway that does not own its tables releases, and
//! whoever audits may read what is spent.

use std::time::Duration;

use sluicegate_tests::{
    ca::replace,
    postgres::Database,
    releases::{Spec, now_ms},
    require,
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::setup::{House, Pipeline, Store};

const WITHIN: Duration = Duration::from_secs(40);
const ROLES: &str = "
DO $$ BEGIN
  CREATE ROLE sluicegate_app LOGIN PASSWORD 'app';
  CREATE ROLE sluicegate_audit LOGIN PASSWORD 'audit';
EXCEPTION WHEN duplicate_object THEN NULL; END $$;
";

/// The statements of the manual that are run when the tables are there.
fn grants() -> String {
    let manual = include_str!("../../../../docs/OPERATING.md");
    let sql = manual.split("```sql\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let (_, grants) = sql.split_once("-- in it, after the tables are there:\n").unwrap();
    assert!(grants.matches("GRANT").count() > 5);
    grants.to_owned()
}

fn with_role(url: &str, role: &str, password: &str) -> String {
    let (_, place) = url.rsplit_once('@').unwrap();
    format!("postgres://{role}:{password}@{place}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_roles_of_the_manual_suffice() {
    let postgres = require!(postgres);
    let owner = Database::fresh(&postgres).await.url;
    let spec = Spec::counting("totals");
    let house = House::new(Store::Postgres(owner.clone()), Pipeline::Embedded, &[&spec]);
    let gateway = house.start(0).await;
    assert_eq!(gateway.stop().await, Some(0));
    let mut connection = PgConnection::connect(&owner).await.unwrap();
    connection.execute(AssertSqlSafe(format!("{ROLES}{}", grants()))).await.unwrap();
    connection.close().await.unwrap();

    let url = house.node(0).join("ledger.url");
    replace(&url, &with_role(&owner, "sluicegate_app", "app"));
    let gateway = house.start(0).await;
    let pane = spec.pane(now_ms());
    assert!(house.published(&spec, pane, WITHIN).await, "{}", gateway.stderr());
    assert_eq!(gateway.stop().await, Some(0));

    replace(&url, &with_role(&owner, "sluicegate_audit", "audit"));
    for question in [&["budget", "show"][..], &["budget", "forecast"], &["ledger", "verify"]] {
        let (code, said) = house.verb(question);
        assert_eq!(code, Some(0), "{question:?}: {said}");
    }
    house.end().await;
}
