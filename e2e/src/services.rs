//! RabbitMQ, Redis and S3 servers that `scripts/services.sh` has started for the test run.

use std::process::Command;

use hyperfarm_testing::Requirement;

/// Addresses of the servers.
#[derive(Debug, Clone)]
pub struct Services {
    /// URL of RabbitMQ.
    pub amqp_url: String,
    /// URL of Redis.
    pub redis_url: String,
    /// Bucket of the S3 server; its endpoint and credentials are in the environment, under the names S3 clients know.
    pub bucket: String,
    script: String,
}

impl Services {
    /// The servers; `None` where there are none and the test is skipped.
    pub fn find() -> Option<Self> {
        let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let found = (|| {
            Some(Self {
                amqp_url: get("HYPERFARM_TEST_AMQP_URL")?,
                redis_url: get("HYPERFARM_TEST_REDIS_URL")?,
                bucket: get("HYPERFARM_TEST_S3_BUCKET")?,
                script: get("HYPERFARM_TEST_SERVICES")?,
            })
        })();
        if found.is_none() {
            Requirement::Servers.skip("there are no servers: run through `make test`");
        }
        found
    }

    /// Runs a command of `scripts/services.sh`, for example `rabbit-restart`.
    ///
    /// # Panics
    /// Panics if the command fails.
    pub fn operate(&self, command: &str) {
        let status = Command::new(&self.script).arg(command).status().expect("the script runs");
        assert!(status.success(), "{command}: {status}");
    }
}
