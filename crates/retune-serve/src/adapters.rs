//! Adapters that come and go while the server runs.

use std::path::{Component, Path, PathBuf};

use retune_generate::Assistant;

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

impl AdapterFolder {
    /// The folder that `path` names in it.
    ///
    /// # Errors
    /// 400 if that is none, or lies elsewhere.
    pub(crate) fn find(&self, path: &str) -> ApiResult<PathBuf> {
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
        let within = self.folder.canonicalize();
        let found = self.folder.join(asked).canonicalize();
        let (Ok(within), Ok(found)) = (within, found) else {
            return Err(wrong("is not there"));
        };
        match found.starts_with(&within) && found.is_dir() {
            true => Ok(found),
            false => Err(wrong("is no folder below the adapter folder")),
        }
    }
}
