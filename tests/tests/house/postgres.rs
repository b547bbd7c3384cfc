//! The database server the other tests stand on.

use sluicegate_tests::{
    postgres::{Database, PrivatePostgres},
    require,
};
use sqlx::{Connection as _, PgConnection};

#[tokio::test]
async fn every_test_has_a_database_of_its_own() {
    let server = require!(postgres);
    let (one, other) = (Database::fresh(&server).await, Database::fresh(&server).await);
    assert_ne!(one.url, other.url);
    let pool = one.pool().await;
    sqlx::query("CREATE TABLE seen (what text)").execute(&pool).await.unwrap();
    sqlx::query("INSERT INTO seen VALUES ('canary')").execute(&pool).await.unwrap();
    assert_eq!(one.dump().await, "{\"what\": \"canary\"}\n");
    assert_eq!(other.dump().await, "");
}

#[tokio::test]
async fn the_shared_server_keeps_its_promises_to_disk() {
    let server = require!(postgres);
    let pool = Database::fresh(&server).await.pool().await;
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        let value: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(setting)
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(value, "on", "{setting}");
    }
}

#[tokio::test]
async fn a_private_server_keeps_what_was_committed_when_it_crashes() {
    require!(servers);
    let mut server = PrivatePostgres::start().await;
    let database = Database::fresh(&server.url()).await;
    let pool = database.pool().await;
    sqlx::query("CREATE TABLE kept AS SELECT 1 AS n").execute(&pool).await.unwrap();
    server.crash().await;
    assert!(PgConnection::connect(&database.url).await.is_err());
    server.start_again().await;
    assert_eq!(database.dump().await, "{\"n\": 1}\n");
    server.stop().await;
    server.start_again().await;
    assert_eq!(database.dump().await, "{\"n\": 1}\n");
}
