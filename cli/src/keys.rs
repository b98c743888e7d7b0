//! `hyperfarm keys`: makes, lists and revokes API keys, directly in the farm's storage.

use clap::{Args as ClapArgs, Subcommand};
use hyperfarm_backplane::config::Config;
use hyperfarm_backplane::objects::Objects;
use hyperfarm_coordinator::api_keys::{KeyLimits, KeyRecord, KeyStore, Rights, Scope};
use hyperfarm_coordinator::clock::iso8601;
use hyperfarm_proto::id::{Pool, Space};
use serde_json::{Value, json};

use crate::client::{show_list, show_one};
use crate::exit::CliError;
use crate::settings;

/// The subcommands of `hyperfarm keys`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key and print it: it cannot be read again.
    Create(CreateArgs),
    /// List keys.
    List(OutputArgs),
    /// Revoke a key; it stops within seconds.
    Revoke(RevokeArgs),
}

/// How results are printed.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub(crate) struct OutputArgs {
    /// Print JSON; the default where standard output is no terminal.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `hyperfarm keys create`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CreateArgs {
    /// A name for people.
    pub(crate) name: String,
    /// The tenant it acts for.
    #[arg(long, default_value = "default")]
    pub(crate) space: Space,
    /// What it may be used for: read, render (includes read), admin (includes both).
    #[arg(long = "scope", value_name = "SCOPE", default_value = "render")]
    pub(crate) scopes: Vec<Scope>,
    /// Renders in flight [default: the farm's own limit].
    #[arg(long, value_name = "N")]
    pub(crate) max_concurrent: Option<u32>,
    /// Submissions a minute.
    #[arg(long, value_name = "N")]
    pub(crate) max_per_minute: Option<u32>,
    /// Renders a day, counted over the key's space.
    #[arg(long, value_name = "N")]
    pub(crate) max_per_day: Option<u32>,
    /// US dollars after which it renders no more.
    #[arg(long, value_name = "USD", value_parser = dollars, allow_negative_numbers = true)]
    pub(crate) cap: Option<f64>,
    /// Pools it may ask for [default: all].
    #[arg(long = "pool", value_name = "POOL")]
    pub(crate) pools: Vec<Pool>,
    /// How the result is printed.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `hyperfarm keys revoke`.
#[derive(Debug, ClapArgs)]
pub(crate) struct RevokeArgs {
    /// The key's id or name.
    pub(crate) key: String,
    /// How the result is printed.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `hyperfarm keys`.
pub(crate) async fn run(command: KeysCommand) -> Result<(), CliError> {
    let config = settings::read(Config::read)?;
    let objects = match &config.storage_url {
        Some(url) => Objects::open(url),
        None => Objects::local(&config.data_dir),
    };
    let keys = KeyStore::new(objects.map_err(CliError::system)?);
    match command {
        KeysCommand::Create(args) => {
            let record = KeyRecord {
                rights: Rights {
                    limits: KeyLimits {
                        concurrent: args.max_concurrent,
                        per_minute: args.max_per_minute,
                        per_day: args.max_per_day,
                    },
                    cap_usd: args.cap,
                    pools: (!args.pools.is_empty()).then_some(args.pools),
                    ..Rights::new(args.space.clone(), args.scopes)
                },
                ..KeyRecord::new(args.name, args.space)
            };
            let (key, record) = keys.create(record).await.map_err(CliError::system)?;
            let mut shown = view(&record);
            shown["key"] = key.into();
            show_one(&shown, args.output.json);
        }
        KeysCommand::List(output) => {
            let all = keys.list().await.map_err(CliError::system)?;
            let rows: Vec<Value> = all.iter().map(view).collect();
            show_list(&rows, &["id", "name", "space", "scopes", "created_at", "revoked_at"], output.json);
        }
        KeysCommand::Revoke(args) => {
            let revoked = keys.revoke(&args.key).await.map_err(CliError::system)?;
            let revoked = revoked.ok_or_else(|| {
                CliError::user(format!("no key, or more than one, is called `{}`; give its id", args.key))
            })?;
            show_one(&view(&revoked), args.output.json);
        }
    }
    Ok(())
}

fn dollars(text: &str) -> Result<f64, String> {
    let dollars = text.trim().parse().ok().filter(|dollars: &f64| dollars.is_finite() && *dollars >= 0.0);
    dollars.ok_or_else(|| "give US dollars, 0 or more, such as 12.50".to_owned())
}

fn view(record: &KeyRecord) -> Value {
    json!({
        "id": record.id, "name": record.name, "space": record.rights.space, "scopes": record.rights.scopes, "limits": record.rights.limits,
        "cap_usd": record.rights.cap_usd, "pools": record.rights.pools, "created_at": iso8601(record.created_at_ms),
        "revoked_at": record.revoked_at_ms.map(iso8601),
    })
}
