//! Adapters that come and go while the server runs.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use retune_generate::Assistant;
use tokio::sync::Semaphore;

use crate::error::{ApiError, ApiResult};

/// Opens an adapter's folder beside the model that is served, or says why not.
pub type OpenAdapter = Box<dyn Fn(&Path) -> Result<Assistant, String> + Send + Sync>;

/// Where adapters may be loaded from, by whom, and how.
pub struct AdapterFolder {
    /// What requests that load and unload have to bring along as `Authorization: Bearer …`.
    pub admin_key: String,
    /// No adapter is loaded from elsewhere.
    pub folder: PathBuf,
    /// How.
    pub open: OpenAdapter,
}

/// The same, while the server runs.
pub(crate) struct OpenFolder {
    options: AdapterFolder,
    /// Held by who opens an adapter.
    pub(crate) opening: Arc<Semaphore>,
}

impl OpenFolder {
    pub(crate) fn new(options: AdapterFolder) -> Self {
        Self {
            options,
            opening: Arc::new(Semaphore::new(1)),
        }
    }

    pub(crate) fn admin_key(&self) -> &str {
        &self.options.admin_key
    }

    /// Opens the adapter that lies at `path` in the folder.
    ///
    /// # Errors
    /// 400 if there is none, or it lies elsewhere.
    pub(crate) fn open(&self, path: &str) -> ApiResult<Assistant> {
        let folder = self.find(path)?;
        let opened = (self.options.open)(&folder);
        opened.map_err(|problem| ApiError::invalid("lora_path", problem))
    }

    fn find(&self, path: &str) -> ApiResult<PathBuf> {
        let wrong = |problem: &str| {
            ApiError::invalid("lora_path", format!("lora_path: {path:?} {problem}"))
        };
        let asked = Path::new(path);
        let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        if path.is_empty() || path.contains('\0') || !asked.components().all(is_plain) {
            return Err(wrong(
                "is not a path below the adapter folder, such as zhenhuan or runs/zhenhuan",
            ));
        }
        // Links are followed before it is looked where it lies.
        let within = self.options.folder.canonicalize();
        let found = self.options.folder.join(asked).canonicalize();
        let (Ok(within), Ok(found)) = (within, found) else {
            return Err(wrong("is not there"));
        };
        match found.starts_with(&within) && found.is_dir() {
            true => Ok(found),
            false => Err(wrong("is no folder below the adapter folder")),
        }
    }
}
