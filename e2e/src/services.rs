//! The servers that `scripts/services.sh` started for this test run.

use std::process::Command;

/// Addresses of the servers.
#[derive(Debug, Clone)]
pub struct Services {
    /// RabbitMQ.
    pub amqp_url: String,
    /// Redis.
    pub redis_url: String,
    /// Bucket of the S3 server; its endpoint and credentials are in the environment, under the names S3 clients know.
    pub bucket: String,
    script: String,
}

impl Services {
    /// The servers, or `None` where there are none and none are required.
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
        let required = get("HYPERFARM_TEST_REQUIRE_SERVERS").is_some_and(|value| value == "1");
        assert!(found.is_some() || !required, "servers are required: run through `make test`");
        if found.is_none() {
            eprintln!("skipped: no servers; run through `make test`");
        }
        found
    }

    /// Runs a command of the services' script, such as `rabbit-restart`.
    pub fn operate(&self, command: &str) {
        let status = Command::new(&self.script).arg(command).status().expect("the script runs");
        assert!(status.success(), "{command}: {status}");
    }
}
