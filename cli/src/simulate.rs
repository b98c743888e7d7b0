//! `hyperfarm simulate`: measures the scheduler with a farm that is not there.

use hyperfarm_coordinator::simulate::{Scenario, simulate};

use crate::args::SimulateArgs;
use crate::exit::CliError;
use crate::stdout::print_line;

/// Simulates the scenario of a file and prints what was measured.
pub(crate) fn run(args: &SimulateArgs) -> Result<(), CliError> {
    let path = args.scenario.display();
    let text = std::fs::read_to_string(&args.scenario)
        .map_err(|error| CliError::usage(format!("the scenario {path} cannot be read: {error}")))?;
    let scenario = Scenario::parse(&text).map_err(|error| CliError::usage(format!("{path}: {error}")))?;
    let report = simulate(&scenario).map_err(CliError::system)?;
    if args.json {
        print_line(&serde_json::to_string_pretty(&report).map_err(CliError::system)?);
    } else {
        print_line(&report.to_string());
    }
    Ok(())
}
