//! Skipped tests: said on standard error, and a failure in a run that requires them.

/// Something that a machine may lack and some tests need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// RabbitMQ, Redis, an S3 server, and everything else that `scripts/setup.sh --test` installs.
    Servers,
    /// A GPU, or Mesa's software device in its place.
    Gpu,
    /// The published documents whose examples are run.
    Documents,
}

impl Requirement {
    /// The variable that is `1` in a run in which no test may be skipped for want of this.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Servers => "HYPERFARM_TEST_REQUIRE_SERVERS",
            Self::Gpu => "HYPERFARM_TEST_REQUIRE_GPU",
            Self::Documents => "HYPERFARM_TEST_REQUIRE_DOCUMENTS",
        }
    }

    /// Says that the calling test is skipped and why. The test returns then.
    ///
    /// # Panics
    /// Panics if the requirement's variable is `1`.
    pub fn skip(self, why: impl std::fmt::Display) {
        let is_required = std::env::var(self.variable()).is_ok_and(|value| value == "1");
        self.skip_unless(is_required, why);
    }

    fn skip_unless(self, is_required: bool, why: impl std::fmt::Display) {
        assert!(!is_required, "{why}, and {}=1 allows no test to be skipped", self.variable());
        eprintln!("skipped: {why}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_is_said() {
        Requirement::Gpu.skip_unless(false, "no GPU");
    }

    #[test]
    #[should_panic(expected = "no promtool, and HYPERFARM_TEST_REQUIRE_SERVERS=1")]
    fn a_skip_fails_where_the_test_is_required() {
        Requirement::Servers.skip_unless(true, "no promtool");
    }
}
