//! `hyperfarm voices`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use hyperfarm_api::voices::{DesignRequest, InputType, SpeechCreated, SpeechRequest};
use hyperfarm_proto::bounded::{Bounded, Text};
use reqwest::Method;
use url::form_urlencoded;

use super::renders::OneArgs;
use super::{Api, FarmArgs, show_list, show_one, typed};
use crate::exit::CliError;

const ROUTE: &str = "/v3/voices";

/// The columns of a list of voices.
const COLUMNS: [&str; 5] = ["voice_id", "name", "language", "gender", "engine"];

/// What to do with voices.
#[derive(Debug, Subcommand)]
pub(crate) enum VoicesCommand {
    /// List voices.
    List(VoicesArgs),
    /// Show a voice, with the URL of a sound of it.
    Get(OneArgs),
    /// Find the three voices that suit a description best.
    Design(DesignArgs),
    /// Speak a text to a WAV file.
    Speak(SpeakArgs),
}

/// `hyperfarm voices list`.
#[derive(Debug, ClapArgs)]
pub(crate) struct VoicesArgs {
    /// Only voices of this language: its English name, or a BCP-47 tag.
    #[arg(long)]
    pub language: Option<String>,
    /// Only male or female voices.
    #[arg(long)]
    pub gender: Option<String>,
    /// Only voices of this engine: espeak, openai or piper.
    #[arg(long)]
    pub engine: Option<String>,
    /// Voices to list.
    #[arg(long, default_value = "20", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub limit: u8,
    /// List all of them.
    #[arg(long)]
    pub all: bool,
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
}

/// `hyperfarm voices design`.
#[derive(Debug, ClapArgs)]
pub(crate) struct DesignArgs {
    /// How it should sound: gender, age, accent, tone, pace, use.
    pub prompt: Text<1000>,
    /// Which three: 0 are the best, 1 the next.
    #[arg(long, default_value = "0")]
    pub seed: Bounded<u32, 0, 1_000_000>,
    /// Only voices of this language, as a BCP-47 tag.
    #[arg(long)]
    pub locale: Option<Text<35>>,
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
}

/// `hyperfarm voices speak`.
#[derive(Debug, ClapArgs)]
pub(crate) struct SpeakArgs {
    /// The text, of at most 5,000 characters.
    pub text: Text<5000>,
    /// Id of the voice.
    #[arg(long, value_name = "ID")]
    pub voice: Text<100>,
    /// File to write.
    #[arg(short, long, value_name = "FILE", default_value = "speech.wav")]
    pub output: PathBuf,
    /// The text is SSML.
    #[arg(long)]
    pub ssml: bool,
    /// Multiple of the voice's own speed, from 0.5 to 2.
    #[arg(long, default_value = "1")]
    pub speed: f64,
    /// Language to speak, as a BCP-47 tag [default: the voice's own].
    #[arg(long)]
    pub locale: Option<Text<35>>,
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
}

/// `hyperfarm voices`.
pub(crate) async fn run(command: VoicesCommand) -> Result<(), CliError> {
    match command {
        VoicesCommand::List(args) => {
            let filters = [("language", args.language), ("gender", args.gender), ("engine", args.engine)];
            let filters = filters.into_iter().filter_map(|(name, value)| Some((name, value?)));
            let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(filters).finish();
            let items =
                Api::new(&args.farm.farm)?.list(&format!("{ROUTE}?{query}"), args.limit.into(), args.all).await?;
            show_list(&items, &COLUMNS, args.farm.json);
        }
        VoicesCommand::Get(args) => {
            let data = Api::new(&args.farm.farm)?.data(Method::GET, &format!("{ROUTE}/{}", args.id), None).await?;
            show_one(&data, args.farm.json);
        }
        VoicesCommand::Design(args) => {
            let body = DesignRequest { prompt: args.prompt, gender: None, locale: args.locale, seed: Some(args.seed) };
            let data = Api::new(&args.farm.farm)?.send(Method::POST, ROUTE, &body).await?;
            show_list(data["voices"].as_array().map_or(&[], Vec::as_slice), &COLUMNS, args.farm.json);
        }
        VoicesCommand::Speak(args) => {
            let api = Api::new(&args.farm.farm)?;
            let body = SpeechRequest {
                text: args.text,
                voice_id: args.voice,
                input_type: args.ssml.then_some(InputType::Ssml),
                speed: Some(args.speed),
                language: None,
                locale: args.locale,
            };
            let data = api.send(Method::POST, &format!("{ROUTE}/speech"), &body).await?;
            let created: SpeechCreated = typed(data.clone())?;
            api.save(&created.audio_url, &args.output).await?;
            show_one(&data, args.farm.json);
        }
    }
    Ok(())
}
