use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::store::suite::{digest, key, row, term};

async fn fresh() -> (Arc<dyn SessionBackend>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Arc::new(SqliteBackend::open(dir.path().join("sessions.db")).await.unwrap()), dir)
}

crate::store_suite!(fresh);

fn unavailable<T: std::fmt::Debug>(outcome: Result<T>) -> String {
    match outcome.unwrap_err() {
        Error::Unavailable(text) => text,
        other @ Error::Corrupt(_) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn rows_are_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sessions.db");
    let before = SqliteBackend::open(&path).await.unwrap();
    before.insert(key(1), &row(), None).await.unwrap();
    before.claim(digest(1), Duration::from_mins(1)).await.unwrap();
    before.writer.close().await;
    before.readers.close().await;
    let after = SqliteBackend::open(&path).await.unwrap();
    assert!(after.load(key(1)).await.unwrap().is_some());
    assert_eq!(after.claim(digest(1), Duration::from_mins(1)).await.unwrap(), Claimed::Already);
}

#[tokio::test]
async fn two_processes_share_the_rows_of_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sessions.db");
    let (one, two) = tokio::join!(SqliteBackend::open(&path), SqliteBackend::open(&path));
    let (one, two) = (one.unwrap(), two.unwrap());
    for n in 0..50 {
        let (on_one, on_two) = (row(), row());
        let (one, two) = tokio::join!(one.insert(key(n), &on_one, None), two.insert(key(n), &on_two, None));
        let exist = [one.unwrap(), two.unwrap()].iter().filter(|inserted| **inserted == Inserted::Exists).count();
        assert_eq!(exist, 1);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_files_are_readable_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let (store, dir) = fresh().await;
    store.insert(key(1), &row(), None).await.unwrap();
    let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(files.len(), 3, "database, log, index of the log");
    for file in files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.file_name());
    }
}

#[tokio::test]
async fn commits_are_on_the_disk_before_they_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteBackend::open(dir.path().join("sessions.db")).await.unwrap();
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&store.writer).await.unwrap();
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&store.writer).await.unwrap();
    assert_eq!((journal.as_str(), synchronous), ("wal", 2));
}

#[tokio::test]
async fn a_reader_cannot_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteBackend::open(dir.path().join("sessions.db")).await.unwrap();
    assert!(sqlx::query("DELETE FROM sessions").execute(&store.readers).await.is_err());
}

#[tokio::test]
async fn a_file_of_somebody_else_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("notes.txt");
    std::fs::write(&text, "not a database, but longer than the header of one, which has a hundred bytes".repeat(20))
        .unwrap();
    assert!(unavailable(SqliteBackend::open(&text).await).contains("notes.txt"));
    assert!(std::fs::read_to_string(&text).unwrap().starts_with("not a database"));

    let other = dir.path().join("other.db");
    let options = SqliteConnectOptions::new().filename(&other).create_if_missing(true);
    let pool = pool(1).connect_with(options).await.unwrap();
    sqlx::query("CREATE TABLE recipes (title TEXT)").execute(&pool).await.unwrap();
    assert!(unavailable(SqliteBackend::open(&other).await).contains("not a session store"));
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sessions.db");
    let store = SqliteBackend::open(&path).await.unwrap();
    sqlx::query("PRAGMA user_version = 2").execute(&store.writer).await.unwrap();
    assert!(unavailable(SqliteBackend::open(&path).await).contains("schema 2, this is 1"));
}

#[tokio::test]
async fn a_missing_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("missing/sessions.db");
    assert!(unavailable(SqliteBackend::open(&path).await).contains("missing/sessions.db"));
}

#[tokio::test]
async fn a_name_that_sqlite_would_read_otherwise_is_a_file_or_refused() {
    assert!(unavailable(SqliteBackend::open(":memory:").await).contains("`memory:`"));
    let text = unavailable(crate::store::open(&crate::store::Options::new("sqlite:file:x/y?mode=memory")).await);
    assert!(text.contains("file:x/y?mode=memory"), "{text}");
}

#[tokio::test]
async fn a_locked_file_is_unavailable_and_reads_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sessions.db");
    let (store, other) = (SqliteBackend::open(&path).await.unwrap(), SqliteBackend::open(&path).await.unwrap());
    store.insert(key(1), &row(), None).await.unwrap();
    let lock = other.write().await.unwrap();
    assert!(unavailable(store.insert(key(2), &row(), None).await).contains("locked"));
    assert!(store.load(key(1)).await.unwrap().is_some());
    drop(lock);
    store.insert(key(2), &row(), None).await.unwrap();
}

#[tokio::test]
async fn terms_go_with_their_row_in_the_file_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteBackend::open(dir.path().join("sessions.db")).await.unwrap();
    let dead = NewRow { terms: vec![term(1), term(2)], live_for: Duration::ZERO, ..row() };
    store.insert(key(1), &dead, None).await.unwrap();
    assert_eq!(store.remove_expired().await.unwrap(), 1);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM terms").fetch_one(&store.readers).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn calls_that_are_dropped_halfway_leave_a_store_that_works() {
    let (store, _dir) = fresh().await;
    for n in 0..300_u32 {
        let calls = (0..4).map(|of: u32| {
            let store = store.clone();
            tokio::spawn(async move {
                let number = n * 4 + of;
                let _ = store.claim(Digest::of(&number.to_string()), Duration::from_mins(1)).await;
                let _ = store.insert(key(of), &row(), None).await;
                let _ = store.remove(key(of), Reason::Logout).await;
            })
        });
        let calls: Vec<_> = calls.collect();
        tokio::time::sleep(Duration::from_micros(u64::from(n) * 7)).await;
        calls.iter().for_each(tokio::task::JoinHandle::abort);
    }
    store.insert(key(9), &row(), None).await.unwrap();
    assert!(store.remove(key(9), Reason::Logout).await.unwrap().is_some());
}
