//! The tables: made, brought up to date, or found to be of a newer version.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tokio::time::timeout;

use super::{Done, Failure};

/// Runs the scripts that these tables have not seen yet. Of several replicas that start at once one does so, the others wait for it.
/// `limit` is for connecting.
pub(super) async fn prepare(options: &PgConnectOptions, limit: Duration) -> Done<()> {
    let Ok(connection) = timeout(limit, options.connect()).await else {
        return Err(Failure("no answer in time".to_owned()));
    };
    let migrated = timeout(MIGRATION_LIMIT, migrate(&mut connection?)).await;
    migrated.unwrap_or_else(|_| Err(Failure("the tables are locked by somebody who does not finish".to_owned())))
}

async fn migrate(connection: &mut PgConnection) -> Done<()> {
    let mut transaction = connection.begin().await?;
    sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *transaction).await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(MIGRATING).execute(&mut *transaction).await?;
    let version = version(&mut transaction).await?;
    let known = MIGRATIONS.len();
    let Some(missing) = usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version..)) else {
        return Err(Failure(format!("written by another version of Cloakroom (schema {version}, this is {known})")));
    };
    for (script, version) in missing.iter().zip(version + 1..) {
        sqlx::raw_sql(*script).execute(&mut *transaction).await?;
        let mark = format!("TRUNCATE cloakroom_schema; INSERT INTO cloakroom_schema VALUES ({version})");
        sqlx::raw_sql(AssertSqlSafe(mark)).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// The version of the tables; 0 if there are none.
async fn version(connection: &mut PgConnection) -> Done<i64> {
    let is_there: bool =
        sqlx::query_scalar("SELECT to_regclass('cloakroom_schema') IS NOT NULL").fetch_one(&mut *connection).await?;
    if !is_there {
        sqlx::raw_sql("CREATE TABLE cloakroom_schema (version bigint NOT NULL)").execute(&mut *connection).await?;
    }
    let version: Option<i64> =
        sqlx::query_scalar("SELECT version FROM cloakroom_schema").fetch_optional(&mut *connection).await?;
    Ok(version.unwrap_or(0))
}

/// Script *n* brings version *n* to *n* + 1. What has been released is not changed any more.
const MIGRATIONS: &[&str] = &[include_str!("migrations/1.sql")];
/// The name of the advisory lock: "Cloa" in ASCII.
const MIGRATING: i64 = 0x436c_6f61;
/// How long the tables may take, and how long one replica waits for another that makes them.
const MIGRATION_LIMIT: Duration = Duration::from_mins(1);
