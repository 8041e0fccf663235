//! The store suite on stores that are servers.

mod postgres;
mod redis;
