//! The coordinator as its clients, workers and operators meet it, in one program: so it is linked once.

#![allow(missing_docs, clippy::unwrap_used)]

mod agents;
mod api;
mod codes;
mod common;
mod create;
mod document;
mod fuzz;
mod http;
mod inference;
mod lipsyncs;
mod lost_workers;
mod mcp;
mod oauth;
mod observe;
mod outages;
mod renders;
mod restore;
mod runtimes;
mod scan_cost;
mod server;
mod speculation;
mod standby;
mod storage_grants;
mod tenants;
mod translations;
mod upgrade;
mod videos;
mod voices;
mod watch;
mod webhooks;
