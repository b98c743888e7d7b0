//! The bench: measures hyperfarm, and compares it with the published HyperFrames CLI.
//!
//! | what | where |
//! | --- | --- |
//! | both renderers over a set of compositions | [`compare`] |
//! | frames a second without an encoder | [`capture`] |
//! | cost a frame and memory by length of a render | [`length`] |
//! | time, processor time and memory of a command with everything it starts | [`meter`] |
//! | PSNR and SSIM against a lossless capture | [`quality`] |
//! | compositions, and their staging for both renderers | [`compositions`] |
//! | the API under load | [`load`] |
//! | tasks a second through the cluster's servers | [`dispatch`] |
//! | a coordinator that starts anew | [`restart`] |
//! | the worker's stages without a farm | [`stages`] |
//! | the table, the chart, the marked parts of the documentation | [`report`], [`chart`], [`pages`] |

mod capture;
mod chart;
mod compare;
mod compositions;
mod dispatch;
mod length;
mod load;
mod meter;
mod pages;
mod quality;
mod report;
mod restart;
mod stages;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "bench", about = "Measures hyperfarm, beside the published HyperFrames CLI and alone")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The published CLI and hyperfarm in turn.
    Compare(compare::CompareArgs),
    /// Frames a second that are captured without an encoder, beside a walk that reads nothing.
    Capture(capture::CaptureArgs),
    /// Cost a frame and memory of the same content at 1, 10 and 60 minutes.
    Length(length::LengthArgs),
    /// Submissions and polls a second while renders run, beside a handler that does nothing.
    Load(load::LoadArgs),
    /// Tasks a second through a coordinator, Redis and RabbitMQ, and the time of an answer meanwhile.
    Dispatch(dispatch::DispatchArgs),
    /// How soon a coordinator that starts anew dispatches, and how many requests to the store that takes.
    Restart(restart::RestartArgs),
    /// A handler that does nothing.
    #[command(hide = true)]
    Nothing,
    /// The compositions there are.
    List,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match args.command {
        Command::Compare(args) => compare::run(&args),
        Command::Capture(args) => capture::run(&args),
        Command::Length(args) => length::run(&args),
        Command::Load(args) => load::run(&args),
        Command::Dispatch(args) => dispatch::run(&args),
        Command::Restart(args) => restart::run(&args),
        Command::Nothing => load::nothing(),
        Command::List => compositions::list(),
    }
}
