//! One suite for each of the backplane's promises, over every implementation.
//!
//! The in-process implementations are always tested. The real servers are when their addresses are in the environment
//! (`scripts/services.sh run -- cargo test …` puts them there); with `HYPERFARM_TEST_REQUIRE_SERVERS=1` a missing one
//! is a failure, so that a run that should test them cannot pass without.
#![allow(clippy::unwrap_used)]

mod broker;
mod broker_rabbit;
mod ledger;
mod ledger_model;
mod ledger_redis;
mod ledger_several;
mod objects;
mod objects_stores;
mod servers;
