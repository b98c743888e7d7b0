//! What the tests of several crates share.
//!
//! | what | where |
//! | --- | --- |
//! | a test that cannot run on this machine says so, or fails where it has to run | [`Requirement`] |
//! | a plan to start from | [`plan`], [`content`] |
//! | the record of a segment | [`segment_record`] |
//! | a sound | [`wav()`] |
//! | a cluster of RabbitMQ nodes of one test, one of which can be lost (`rabbit_cluster`) | [`RabbitCluster`] |
//! | Redis servers of one test, and the loss of a master (`redis_servers`) | [`RedisServer`], [`RedisFailover`], [`ask_redis`] |

mod plan;
mod rabbit_cluster;
mod record;
mod redis_servers;
mod requirement;
mod wav;

pub use plan::{class, content, plan};
pub use rabbit_cluster::RabbitCluster;
pub use record::segment_record;
pub use redis_servers::{RedisFailover, RedisServer, ask_redis, free_port, wait_for_copy, wait_until};
pub use requirement::Requirement;
pub use wav::wav;
