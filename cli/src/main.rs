//! `hyperfarm`: every role of the farm, and the commands of its users, in one binary.

mod args;
mod check;
mod client;
mod data_lock;
mod doctor;
mod exit;
mod keys;
mod ledger;
mod logging;
mod machine;
mod probes;
mod render;
mod roles;
mod runtime;
mod settings;
#[cfg(test)]
mod settings_table;
mod shell;
mod simulate;
mod snapshot;
mod stages;
mod stdout;
mod temporary;

use std::process::ExitCode;

use clap::Parser;

use settings::LogSettings;

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(command) if command == hyperfarm_media::DECODER_COMMAND => return hyperfarm_media::serve_decoder(),
        Some(command) if command == hyperfarm_worker::COMPILER_COMMAND => return hyperfarm_worker::serve_compiler(),
        Some(command) if command == hyperfarm_worker::NETWORK_COMMAND => {
            return hyperfarm_worker::serve_network(std::env::args_os().skip(2));
        }
        _ => {}
    }
    hyperfarm_media::return_large_blocks();
    let args = args::Args::parse();
    if matches!(
        args.command,
        args::Command::Up(_)
            | args::Command::Coordinator(_)
            | args::Command::Worker(_)
            | args::Command::Stitcher(_)
            | args::Command::Keys(_)
            | args::Command::Ledger(_)
            | args::Command::Runtime(_)
    ) {
        hyperfarm_backplane::private::files_of_this_user();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&exit::CliError::system(format!("the runtime cannot be started: {error}"))),
    };
    let traces = match settings::read(LogSettings::read).and_then(|log| logging::start(&args, log, runtime.handle())) {
        Ok(traces) => traces,
        Err(error) => return exit::report(&error),
    };
    let result = runtime.block_on(async {
        match args.command {
            args::Command::Render(render) => render::run(render).await,
            args::Command::Check(check) => check::run(check).await,
            args::Command::Snapshot(snapshot) => snapshot::run(snapshot).await,
            args::Command::Up(up) => roles::up(up).await,
            args::Command::Coordinator(coordinator) => roles::coordinator(coordinator).await,
            args::Command::Worker(worker) => roles::worker(worker).await,
            args::Command::Stitcher(stitcher) => roles::stitcher(stitcher).await,
            args::Command::Keys(command) => keys::run(command).await,
            args::Command::Ledger(command) => ledger::run(command).await,
            args::Command::Runtime(command) => runtime::run(command).await,
            args::Command::Renders(command) => client::renders::run(command).await,
            args::Command::Assets(command) => client::assets::run(command).await,
            args::Command::Voices(command) => client::voices::run(command).await,
            args::Command::Avatars(command) => client::avatars::run(command).await,
            args::Command::Videos(command) => client::videos::run(command).await,
            args::Command::Lipsyncs(command) => client::lipsyncs::run(command).await,
            args::Command::Translations(command) => client::translations::run(*command).await,
            args::Command::Webhooks(command) => client::webhooks::run(command).await,
            args::Command::Workers(command) => client::workers::run(command).await,
            args::Command::Doctor(doctor) => doctor::run(doctor.json).await,
            args::Command::Simulate(simulate) => simulate::run(&simulate),
            args::Command::Completions(completions) => shell::completions(&completions),
            args::Command::Man(man) => shell::man(&man),
        }
    });
    drop(traces);
    // A blocking thread that hangs must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}
