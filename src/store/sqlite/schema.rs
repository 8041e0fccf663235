//! The tables, and whose file it is.

use sqlx::SqlitePool;

use super::{Done, Failure};

/// Makes an empty file ours, or checks that it is.
pub(super) async fn prepare(writer: &SqlitePool) -> Done<()> {
    let mut write = writer.begin_with("BEGIN IMMEDIATE").await?;
    let application: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *write).await?;
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *write).await?;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *write).await?;
    match (application, version) {
        (APPLICATION, VERSION) => return Ok(()),
        (0, 0) if tables == 0 => {}
        (APPLICATION, _) => {
            return Err(Failure(format!(
                "written by another version of Cloakroom (schema {version}, this is {VERSION})"
            )));
        }
        _ => return Err(Failure("not a session store of Cloakroom".to_owned())),
    }
    sqlx::raw_sql(include_str!("schema.sql")).execute(&mut *write).await?;
    sqlx::raw_sql(MARK).execute(&mut *write).await?;
    write.commit().await?;
    Ok(())
}

/// "Cloa" in ASCII, in the file's header.
const APPLICATION: i64 = 0x436c_6f61;
const VERSION: i64 = 1;
const MARK: &str = "PRAGMA application_id = 0x436c6f61; PRAGMA user_version = 1;";
