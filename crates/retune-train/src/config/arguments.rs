//! Settings as the plain arguments of what uses them.

use retune_data::source::{ReadOptions, encoding_for_label};
use retune_data::{BadRows, DataOptions, LabelOptions};

use super::TrainConfig;
use crate::error::{Error, Mistake, Place, Result};

impl TrainConfig {
    /// How data files are read.
    ///
    /// # Errors
    /// `Config` if there is no such encoding, which [`TrainConfig::load`] finds.
    pub fn data_options(&self) -> Result<DataOptions> {
        let encoding = match &self.encoding {
            None => None,
            Some(label) => Some(encoding_for_label(label).ok_or_else(|| {
                let problem = format!("there is no encoding {label:?}");
                Error::Config {
                    mistakes: vec![Mistake::new(Place::Nowhere, "encoding", problem)],
                }
            })?),
        };
        Ok(DataOptions {
            read: ReadOptions {
                format: self.format,
                encoding,
                columns: Vec::new(),
                sample_by: self.sample_by,
                stop: None,
            },
            layout: self.layout,
            columns: self.columns.clone(),
        })
    }

    /// What is done with rows that cannot be used.
    pub fn bad_rows(&self) -> BadRows {
        match self.skip_bad_rows {
            true => BadRows::Skip,
            false => BadRows::Stop,
        }
    }

    /// How samples are labelled.
    pub fn label_options(&self) -> LabelOptions {
        LabelOptions {
            learn: self.train_on,
            system: self.system.clone(),
        }
    }

    /// The most memory to use; none for what is free.
    pub fn memory_bytes(&self) -> Option<u64> {
        self.memory.map(super::MemorySize::bytes)
    }
}
