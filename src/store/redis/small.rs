//! Small things that are used once: claims and kept values.

use std::time::Duration;

use redis::Value;

use super::Store;
use super::failure::{Done, read};
use super::request::Request;
use super::stored::millis;
use crate::store::{Claimed, Digest};

impl Store {
    pub(super) async fn claim(&self, digest: Digest, ttl: Duration) -> Done<Claimed> {
        // Redis knows no life of nothing.
        let life = millis(ttl).max(1);
        let request = Request::write("SET", self.keys.claim(digest)).arg(1).arg("NX").arg("PX").arg(life);
        Ok(if self.ask(request).await? == Value::Nil { Claimed::Already } else { Claimed::First })
    }

    pub(super) async fn unclaim(&self, digest: Digest) -> Done<()> {
        self.ask(Request::write("DEL", self.keys.claim(digest))).await.map(drop)
    }

    pub(super) async fn put_once(&self, digest: Digest, sealed: &[u8], ttl: Duration) -> Done<()> {
        let name = self.keys.once(digest);
        let request = match millis(ttl) {
            0 => Request::write("DEL", name),
            life => Request::write("SET", name).arg(sealed).arg("PX").arg(life),
        };
        self.ask(request).await.map(drop)
    }

    pub(super) async fn take_once(&self, digest: Digest) -> Done<Option<Vec<u8>>> {
        read(self.ask(Request::write("GETDEL", self.keys.once(digest))).await?)
    }
}
