//! `retune serve`: a model and its adapters behind OpenAI's HTTP API.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use retune_generate::{Assistant, Sampling, Source};
use retune_model::{Decoder, KvCache};
use retune_serve::{
    AdapterFolder, Engine, EngineOptions, Models, OpenAdapter, Served, Server, ServerOptions,
    TlsFiles, bind,
};

use super::sampling::OpenArgs;
use crate::builtin;
use crate::numbers::within;
use crate::outcome::input_fault;
use crate::output::{computed_on, last_part, plain, say, thousands};

/// Answer requests as OpenAI's API does, with a model and its adapters.
///
///   retune serve output
///
///   curl http://127.0.0.1:7860/v1/chat/completions -d '{"messages": [{"role": "user", "content": "Hello!"}]}'
///
/// Of a run that trained an adapter, both the adapter and its base are there; requests
/// choose by name. With none they get what is named first.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A model's folder, an adapter's, or a run's (its best checkpoint, or else its last)
    folder: PathBuf,
    /// Another adapter of the same model, and what requests call it; may be given several times
    #[arg(long, value_name = "NAME=FOLDER", value_parser = named_folder)]
    adapter: Vec<(String, PathBuf)>,
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1", value_parser = address)]
    host: IpAddr,
    /// The port to listen on, or if it is taken the next that is free
    #[arg(long, value_name = "N", default_value = "7860", value_parser = within::<u16>(0..=u64::from(u16::MAX)))]
    port: u16,
    /// What requests have to bring along as Authorization: Bearer KEY
    #[arg(
        long = "api-key",
        value_name = "KEY",
        env = "RETUNE_API_KEY",
        hide_env_values = true
    )]
    api_key: Option<String>,
    /// Listen on an address that others reach, without a key
    #[arg(long = "allow-everyone")]
    allow_everyone: bool,
    /// Tokens that all requests together have room for [default: 32768; on a GPU what half
    /// of its free memory holds, at most 262144]
    #[arg(long = "cache-tokens", value_name = "N", value_parser = within::<usize>(64..=1 << 30))]
    cache_tokens: Option<usize>,
    /// Tokens of an answer where neither the request nor generation_config.json says how many
    #[arg(long = "max-new-tokens", alias = "max_new_tokens", value_name = "N", default_value = "1024", value_parser = within::<usize>(1..=1 << 30))]
    max_new_tokens: usize,
    /// Requests that may be open at once, running and waiting; more are told to come again
    #[arg(long = "max-requests", value_name = "N", default_value = "256", value_parser = within::<usize>(1..=1 << 20))]
    max_requests: usize,
    /// A folder of adapters that can be loaded while the server runs: POST
    /// /v1/load_lora_adapter and /v1/unload_lora_adapter
    #[arg(long = "adapter-folder", value_name = "DIR", requires = "admin_key")]
    adapter_folder: Option<PathBuf>,
    /// What requests that load and unload have to bring along as Authorization: Bearer KEY
    #[arg(
        long = "admin-key",
        value_name = "KEY",
        env = "RETUNE_ADMIN_KEY",
        hide_env_values = true
    )]
    admin_key: Option<String>,
    /// A certificate in PEM, to be spoken to by HTTPS
    #[arg(long = "tls-cert", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key in PEM
    #[arg(long = "tls-key", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// How long a request may take until its last token, waiting included
    #[arg(long = "request-timeout", value_name = "SECONDS", default_value = "600", value_parser = within::<u64>(1..=86_400))]
    request_timeout: u64,
    /// How long a client may take to send headers or a body, and to read some of its answer
    #[arg(long = "client-timeout", value_name = "SECONDS", default_value = "30", value_parser = within::<u64>(1..=86_400))]
    client_timeout: u64,
    /// How long answers may take to end when the server is stopped
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    drain: u64,
    /// The folder of trainings that the page shows
    #[arg(long, value_name = "FOLDER", default_value = "output")]
    runs: PathBuf,
    #[command(flatten)]
    open: OpenArgs,
}

/// Tokens that requests have room for where the cache is in the machine's memory, of which it
/// takes what it uses.
const CACHE_TOKENS: usize = 32_768;
/// The most on a GPU, where it takes all at once.
const GPU_CACHE_TOKENS: usize = 262_144;

/// How long work that nobody waits for any more may hold up the end.
const LEFT_OVER: Duration = Duration::from_secs(1);

/// An IP address, or the name that every machine has for itself.
fn address(text: &str) -> Result<IpAddr, String> {
    match text {
        "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
        _ => text.parse().map_err(|_| {
            "expected an IP address, such as 127.0.0.1 for this machine or 0.0.0.0 for all that reach it".to_owned()
        }),
    }
}

fn named_folder(text: &str) -> std::result::Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, folder)) if !name.is_empty() && !folder.is_empty() => {
            Ok((name.to_owned(), folder.into()))
        }
        _ => Err("expected NAME=FOLDER, such as zhenhuan=output".to_owned()),
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    for (name, key) in [
        ("--api-key", &args.api_key),
        ("--admin-key", &args.admin_key),
    ] {
        if key.as_ref().is_some_and(|key| key.trim().is_empty()) {
            return Err(input_fault(format!(
                "{name}: the key is empty, and no request could bring it along\nhint: give one, or leave it out (also in the environment)"
            )));
        }
    }
    if !args.host.is_loopback() && args.api_key.is_none() && !args.allow_everyone {
        return Err(input_fault(format!(
            "{} can be reached by others, and no key is asked for\nhint: name one with --api-key or RETUNE_API_KEY; or write --allow-everyone",
            args.host
        )));
    }
    let source = args.open.source(&args.folder)?;
    let first = Served {
        name: last_part(&args.folder),
        assistant: Arc::new(args.open.open_to_answer(
            source,
            Sampling {
                max_new_tokens: args.max_new_tokens,
                ..Sampling::default()
            },
        )?),
    };
    let assistant = Arc::clone(&first.assistant);
    let models = Models::new(first);
    for served in beside(&assistant, args)? {
        models.add(served)?;
    }
    let cache_tokens = args
        .cache_tokens
        .unwrap_or_else(|| cache_tokens(&assistant.model));
    let options = EngineOptions {
        cache_tokens,
        max_requests: args.max_requests,
    };
    let first = Arc::clone(&assistant);
    let cache = KvCache::bytes(&first.model, cache_tokens);
    let device = computed_on(first.model.device(), first.model.dtype());
    let engine = Engine::start(assistant, &options)?;
    let options = ServerOptions {
        api_key: args.api_key.clone(),
        only_local_names: args.host.is_loopback() && args.api_key.is_none(),
        adapters: adapter_folder(first, args)?,
        tls: tls_files(args),
        request_time: Duration::from_secs(args.request_timeout),
        client_time: Duration::from_secs(args.client_timeout),
        runs: args.runs.clone(),
        drain: Duration::from_secs(args.drain),
    };
    let scheme = if options.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let names: Vec<String> = models.all().into_iter().map(|own| own.name).collect();
    let server = Server::new(engine, Arc::new(models), options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        let listener = bind(SocketAddr::new(args.host, args.port))?;
        say(format!("models     {}", plain(&names.join(", "))))?;
        say(format!("device     {device}"))?;
        say(format!(
            "cache      {} tokens, {:.2} GB at most; {} requests at once",
            thousands(cache_tokens as u64),
            cache as f64 / 1e9,
            thousands(args.max_requests as u64)
        ))?;
        say(format!("listening  {scheme}://{}", listener.local_addr()?))?;
        let (first, stop) = tokio::sync::oneshot::channel();
        let twice = async {
            asked_to_stop().await;
            let _ = first.send(());
            asked_to_stop().await;
        };
        let stop = async {
            let _ = stop.await;
        };
        tokio::select! {
            ended = server.run(listener, stop) => Ok(ended?),
            // Who asks twice does not want to wait for open answers.
            () = twice => Ok(()),
        }
    });
    // Nor does anyone for what is read for requests that are over.
    runtime.shutdown_timeout(LEFT_OVER);
    ended
}

/// Tokens that the cache of `model` holds where nobody says how many.
fn cache_tokens(model: &Decoder) -> usize {
    let Some(memory) = model.device().device_memory() else {
        return CACHE_TOKENS;
    };
    let block = KvCache::bytes(model, KvCache::BLOCK);
    let blocks = usize::try_from(memory.free / 2 / block).unwrap_or(usize::MAX);
    // One block in any case: what has no room says so.
    let most = GPU_CACHE_TOKENS / KvCache::BLOCK;
    blocks.clamp(1, most) * KvCache::BLOCK
}

/// The base of an adapter, and the other adapters.
fn beside(first: &Assistant, args: &Args) -> Result<Vec<Served>> {
    let mut found = Vec::new();
    let base = &first.source.model;
    if first.source.adapter.is_some() {
        // By itself: with its own template, and without the system prompt of the training.
        let source = builtin::find(base, None)?;
        let name = builtin::shown(base);
        let mut name = last_part(Path::new(&name));
        if name == last_part(&args.folder) {
            name.push_str("-base");
        }
        found.extend(served(first, name, &source)?);
    }
    for (name, folder) in &args.adapter {
        found.extend(served(first, name.clone(), &adapter_source(folder, base)?)?);
    }
    Ok(found)
}

/// The adapter in `folder`, which has to fit `base`.
fn adapter_source(folder: &Path, base: &Path) -> Result<Source> {
    let source = builtin::find(folder, Some(base))?;
    retune_train::check_adapter_base(folder_of(&source), base)?;
    Ok(source)
}

/// Where adapters are loaded from while the server runs.
fn adapter_folder(first: Arc<Assistant>, args: &Args) -> Result<Option<AdapterFolder>> {
    let (Some(folder), Some(key)) = (&args.adapter_folder, &args.admin_key) else {
        return Ok(None);
    };
    if !folder.is_dir() {
        return Err(input_fault(format!(
            "--adapter-folder: {} is no folder",
            folder.display()
        )));
    }
    let open: OpenAdapter = Box::new(move |folder| {
        let opened = || -> Result<Assistant> {
            let source = adapter_source(folder, &first.source.model)?;
            let opened = first
                .beside(&source)?
                .filter(|found| found.adapter.is_some());
            opened.ok_or_else(|| input_fault("it holds no adapter of the model that is served"))
        };
        opened().map_err(|error| format!("{error:#}"))
    });
    Ok(Some(AdapterFolder {
        admin_key: key.clone(),
        folder: folder.clone(),
        open,
    }))
}

fn tls_files(args: &Args) -> Option<TlsFiles> {
    Some(TlsFiles {
        certificate: args.tls_cert.clone()?,
        key: args.tls_key.clone()?,
    })
}

fn served(first: &Assistant, name: String, source: &Source) -> Result<Option<Served>> {
    let assistant = first.beside(source)?;
    Ok(assistant.map(|assistant| Served {
        name,
        assistant: Arc::new(assistant),
    }))
}

fn folder_of(source: &Source) -> &Path {
    source.adapter.as_ref().unwrap_or(&source.model)
}

/// Ready when the user or the system wants the program to end.
async fn asked_to_stop() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = interrupt.await;
}
