//! A run from its settings.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use retune_compute::{CpuOptions, CudaOptions, DType, Device};
use retune_model::{
    Decoder, LoraConfig, ModelConfig, OpenOptions, TargetModules, Tuning, Weights, name_matches,
};

use crate::checkpoint::{Changes, Checkpoint, LateOrigin, Origin, records_base};
use crate::config::{FinetuningType, Precision, TrainConfig};
use crate::data::TrainData;
use crate::error::{Error, Result};
use crate::fit::{Demand, Plan, most_tokens, plan};
use crate::optimizer::Optimizer;
use crate::schedule::Schedule;
use crate::spike::Losses;
use crate::trainer::{Progress, Trainer};

/// A run that knows its data and its steps, and has no model yet.
#[derive(Debug)]
pub struct Prepared {
    /// The settings.
    pub config: TrainConfig,
    /// The samples.
    pub data: TrainData,
    /// The rates.
    pub schedule: Schedule,
    /// The model's shape.
    pub model: ModelConfig,
    /// What is trained of it.
    pub tuning: Tuning,
    /// What the run goes on from.
    checkpoint: Option<Checkpoint>,
}

impl Prepared {
    /// Reads and tokenises the data of `config`, and holds them against the model's
    /// configuration. `resume` is what the run goes on from, and how far its settings
    /// may differ; `cache` is where tokens are kept; `progress` is told how many rows
    /// were read.
    ///
    /// # Errors
    /// `Tokens` and `Data` for what is wrong with the data, or differs from what the
    /// checkpoint was made with; `Model` for the model's folder or the adapter's.
    pub fn open(
        config: TrainConfig,
        resume: Option<(Checkpoint, Changes)>,
        cache: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self> {
        if let Some((checkpoint, changes)) = &resume {
            checkpoint.check_settings(&config, *changes)?;
        }
        let model = ModelConfig::open(&config.model)?;
        let tuning = tuning(&config)?;
        if resume.is_none() {
            check_names(&config, &tuning, &model)?;
        }
        let data = TrainData::open(&config, cache, progress)?;
        let largest = data.largest_id()?;
        if largest as usize >= model.vocab_size {
            return Err(Error::Data {
                problem: format!(
                    "the tokenizer gives ids up to {largest}, but the model's vocab_size is {}\nhint: the folder's tokenizer belongs to another model",
                    model.vocab_size
                ),
            });
        }
        let schedule = schedule(&config, data.course.steps_per_epoch())?;
        Ok(Self {
            config,
            data,
            schedule,
            model,
            tuning,
            checkpoint: resume.map(|(checkpoint, _)| checkpoint),
        })
    }

    /// The type of products' factors on `device`.
    pub fn dtype(&self, device: &Device) -> DType {
        match self.config.precision {
            Precision::F32 => DType::F32,
            Precision::Bf16 => DType::BF16,
            Precision::Auto if device.has_bf16_products() => DType::BF16,
            Precision::Auto => DType::F32,
        }
    }

    /// How the run fits into `budget` bytes of tensors on `device`.
    ///
    /// # Errors
    /// `Data` if it does not.
    pub fn plan(&self, device: &Device, budget: u64) -> Result<Plan> {
        let checkpoint = self.checkpoint.as_ref();
        let demand = Demand {
            device,
            most_tokens: most_tokens(device),
            model: &self.model,
            tuning: &self.tuning,
            dtype: self.dtype(device),
            checkpointing: self.config.gradient_checkpointing,
            lengths: self.data.step_lengths(),
            batch_tokens: checkpoint.map(|checkpoint| checkpoint.fit().batch_tokens),
        };
        plan(&demand, &self.config, budget)
    }

    /// Opens the model, and puts back what the checkpoint holds if the run goes on
    /// from one.
    ///
    /// # Errors
    /// `Model` if it cannot be opened, `Compute` if memory runs out, `Data` if the
    /// checkpoint was made from another model or other data.
    pub fn start(self, device: &Device, plan: &Plan) -> Result<Trainer> {
        // What is compared is hashed beside opening the model; else it waits for the run.
        let adapter = self.config.adapter.as_deref();
        let recorded = adapter.map(records_base).transpose()?.unwrap_or(false);
        let compared = self.checkpoint.is_some() || recorded;
        let (model, origin) = std::thread::scope(|scope| {
            let origin = compared.then(|| scope.spawn(|| self.origin(device)));
            let model = self.open_model(device, plan);
            let origin = origin.map(|origin| {
                let found = origin.join();
                found.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            (model, origin.transpose())
        });
        let (mut model, origin) = (model?, origin?);
        if let (Some(checkpoint), Some(origin)) = (&self.checkpoint, &origin) {
            checkpoint.check_origin(origin)?;
        }
        if let (Some(adapter), Some(origin)) = (&self.config.adapter, &origin) {
            origin.check_base_of(adapter)?;
        }
        let layers = self.model.num_hidden_layers;
        let parameters = model.parameters();
        if parameters.is_empty() {
            return Err(Error::Data {
                problem: "nothing of the model is trained\nhint: target_modules names linear layers such as q_proj, or is all-linear; freeze may leave something out".to_owned(),
            });
        }
        let optimizer = Optimizer::new(&parameters, layers, &self.config)?;
        let mut trainer = Trainer {
            config: self.config,
            tuning: self.tuning,
            model,
            optimizer,
            data: self.data,
            schedule: self.schedule,
            fit: plan.fit,
            progress: Progress::default(),
            origin: origin.map(LateOrigin::from).unwrap_or_default(),
            set_aside: Vec::new(),
            saved: None,
            saving: None,
            losses: Losses::default(),
        };
        if let Some(checkpoint) = &self.checkpoint {
            checkpoint.restore(&mut trainer)?;
        }
        Ok(trainer)
    }

    fn origin(&self, device: &Device) -> Result<Origin> {
        let precision = self.dtype(device).into();
        Origin::of(&self.config, self.data.fingerprints(), precision)
    }

    fn open_model(&self, device: &Device, plan: &Plan) -> Result<Decoder> {
        let options = OpenOptions {
            dtype: self.dtype(device),
            packing: plan.packing,
            tuning: self.tuning.clone(),
            seed: self.config.seed,
        };
        let checkpoint = self.checkpoint.as_ref().map(Checkpoint::folder);
        // Where all is trained, the checkpoint is the model.
        let full = matches!(self.tuning, Tuning::Full { .. });
        let folder = checkpoint.filter(|_| full).unwrap_or(&self.config.model);
        let mut model = Decoder::open(folder, device, &options)?;
        if let Some(adapter) = &self.config.adapter {
            model.load_adapter(&Weights::open_adapter(adapter)?)?;
        }
        Ok(model)
    }
}

impl TrainConfig {
    /// Opens the device that is asked for. Tensors may take `limit` bytes of its memory;
    /// what is compiled for a GPU is kept in the folder `kernels`.
    ///
    /// # Errors
    /// `Compute` if it is not there, or there are no such threads.
    pub fn open_device(
        &self,
        limit: Option<u64>,
        kernels: Option<PathBuf>,
        refused: impl FnOnce(&retune_compute::Error),
    ) -> Result<Device> {
        let memory_limit = limit.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let cpu = CpuOptions {
            threads: self.threads,
            tier: None,
            memory_limit,
        };
        let cuda = CudaOptions {
            memory_limit,
            cache: kernels,
            ..CudaOptions::default()
        };
        Ok(self.device.open(&cpu, &cuda, refused)?)
    }
}

fn tuning(config: &TrainConfig) -> Result<Tuning> {
    if config.finetuning_type == FinetuningType::Full {
        let freeze = config.freeze.clone();
        return Ok(Tuning::Full { freeze });
    }
    if let Some(adapter) = &config.adapter {
        let stored = LoraConfig::open(adapter)?;
        // Dropout is a matter of this run.
        return Ok(Tuning::Lora(LoraConfig {
            lora_dropout: config.lora_dropout as f32,
            ..stored
        }));
    }
    let target_modules = match &config.target_modules[..] {
        [one] => TargetModules::Name(one.clone()),
        names => TargetModules::Names(names.to_vec()),
    };
    Ok(Tuning::Lora(LoraConfig {
        r: config.r,
        lora_alpha: config.lora_alpha as f32,
        lora_dropout: config.lora_dropout as f32,
        use_rslora: config.use_rslora,
        target_modules,
    }))
}

/// Holds the names in `freeze`, `target_modules` and `learning_rates` against what the
/// model has: one that means nothing is a mistake.
fn check_names(config: &TrainConfig, tuning: &Tuning, model: &ModelConfig) -> Result<()> {
    // The part before `weight` or `bias` tells tensors apart.
    let parts = |names: &mut dyn Iterator<Item = &String>| {
        let parts = names.filter_map(|name| name.rsplit('.').nth(1));
        let parts: BTreeSet<&str> = parts.collect();
        parts.into_iter().collect::<Vec<_>>().join(", ")
    };
    let (tensors, trained) = (model.tensors(), tuning.trained(model));
    let (setting, what, there) = match tuning {
        Tuning::Full { .. } => ("freeze", "no tensor", parts(&mut tensors.keys())),
        _ => {
            let linear = |name: &&String| name.contains("_proj.");
            let layers = parts(&mut tensors.keys().filter(linear));
            ("target_modules", "no linear layer of a block", layers)
        }
    };
    let mut problems = Vec::new();
    // What an adapter's file names is not of this run's settings.
    if config.adapter.is_none() {
        for name in tuning.unmatched(model) {
            problems.push(format!("{setting}: {name} is {what}; there are {there}"));
        }
    }
    for pattern in config.learning_rates.keys() {
        if !trained.keys().any(|name| name_matches(pattern, name)) {
            let there = parts(&mut trained.keys());
            problems.push(format!(
                "learning_rates: {pattern} is nothing that is trained; there are {there}"
            ));
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Error::Data {
            problem: problems.join("\n"),
        }),
    }
}

fn schedule(config: &TrainConfig, steps_per_epoch: u64) -> Result<Schedule> {
    let epochs = (config.num_train_epochs * steps_per_epoch as f64).ceil() as u64;
    let total_steps = config.max_steps.unwrap_or(epochs).max(1);
    let share = (config.warmup_ratio * total_steps as f64).ceil() as u64;
    let warmup_steps = config.warmup_steps.unwrap_or(share);
    if warmup_steps > total_steps {
        return Err(Error::Data {
            problem: format!(
                "warmup_steps: expected at most {total_steps}, the steps of the run, found {warmup_steps}: the rate would never arrive\nhint: write warmup_ratio: 0.1 instead"
            ),
        });
    }
    Ok(Schedule {
        kind: config.lr_scheduler_type,
        learning_rate: config.learning_rate,
        min_lr: config.min_lr,
        warmup_steps,
        total_steps,
    })
}
