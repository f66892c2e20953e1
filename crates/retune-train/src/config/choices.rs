//! Settings that are one of a few names.

use std::borrow::Cow;

use retune_compute::{DType, DeviceChoice};
use retune_data::layout::Layout;
use retune_data::source::{Format, SampleBy};
use retune_data::{Learn, OverLong};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What of the model is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FinetuningType {
    /// Low-rank terms beside frozen weights.
    Lora,
    /// All weights.
    Full,
}

/// How the rate falls after its warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SchedulerType {
    /// In a straight line to `min_lr`.
    Linear,
    /// Along half a cosine to `min_lr`.
    Cosine,
    /// Not at all.
    Constant,
}

/// A choice that may be left to retune.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// As memory asks for.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// The type of products' factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// `bf16` where the device multiplies it, else `f32`.
    Auto,
    /// Everything in f32.
    F32,
    /// Weights and products in bf16, sums in f32.
    Bf16,
}

impl From<DType> for Precision {
    fn from(dtype: DType) -> Self {
        match dtype {
            DType::F32 => Self::F32,
            DType::BF16 => Self::Bf16,
        }
    }
}

/// What is done about a step whose loss or gradient is infinite or no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnNonfinite {
    /// Save what was learned before, and end.
    Stop,
    /// Go on with the next step.
    Skip,
}

/// What a device's name has to look like, in words.
pub const DEVICES: &str = "auto, cpu, cuda or cuda:N";

/// The device that `name` asks for.
///
/// # Errors
/// What to write instead, in words, if it is not one of [`DEVICES`].
pub fn device_choice(name: &str) -> Result<DeviceChoice, &'static str> {
    name.parse()
        .map_err(|_| match name.to_ascii_lowercase().as_str() {
            "mps" | "metal" => "there is no device for GPUs of Apple's; write cpu",
            _ => "cuda is a GPU of NVIDIA's, cuda:1 the second; auto takes one if it is there",
        })
}

/// For `#[serde(with)]`: a [`DeviceChoice`] is its name in a file.
pub(super) mod device {
    use super::*;

    pub(in super::super) const PATTERN: &str = "^(auto|cpu|cuda(:[0-9]+)?)$";

    pub(in super::super) fn serialize<S: Serializer>(
        value: &DeviceChoice,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<DeviceChoice, D::Error> {
        let name: Cow<'de, str> = Cow::deserialize(deserializer)?;
        device_choice(&name).map_err(|hint| {
            serde::de::Error::custom(format!("expected {DEVICES}, found {name}; {hint}"))
        })
    }

    pub(in super::super) fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": PATTERN})
    }
}

/// A choice of retune-data's, which keeps its names in a table.
pub(super) trait Named: Copy + PartialEq + 'static {
    const NAMES: &'static [(&'static str, Self)];

    fn name(self) -> &'static str {
        let named = Self::NAMES.iter().find(|(_, value)| *value == self);
        named.map_or("", |(name, _)| name)
    }

    fn names() -> Vec<&'static str> {
        Self::NAMES.iter().map(|(name, _)| *name).collect()
    }
}

impl Named for Format {
    const NAMES: &'static [(&'static str, Self)] = &Format::NAMES;
}
impl Named for Layout {
    const NAMES: &'static [(&'static str, Self)] = &Layout::NAMES;
}
impl Named for SampleBy {
    const NAMES: &'static [(&'static str, Self)] = &SampleBy::NAMES;
}
impl Named for Learn {
    const NAMES: &'static [(&'static str, Self)] = &Learn::NAMES;
}
impl Named for OverLong {
    const NAMES: &'static [(&'static str, Self)] = &OverLong::NAMES;
}

/// For `#[serde(with)]`: a [`Named`] choice is its name in a file.
pub(super) mod named {
    use super::*;

    pub(in super::super) fn serialize<T: Named, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(value.name())
    }

    pub(in super::super) fn deserialize<'de, T: Named, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let name: Cow<'de, str> = Cow::deserialize(deserializer)?;
        let named = T::NAMES.iter().find(|(known, _)| *known == name);
        named.map(|(_, value)| *value).ok_or_else(|| {
            let known = T::names().join(", ");
            serde::de::Error::custom(format!("expected one of {known}, found {name}"))
        })
    }

    pub(in super::super) fn schema<T: Named>(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "enum": T::names()})
    }
}

/// The same for a choice that may be left to the files.
pub(super) mod named_option {
    use super::*;

    pub(in super::super) fn serialize<T: Named, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(T::name).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, T: Named, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        struct One<T>(T);
        impl<'de, T: Named> Deserialize<'de> for One<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                named::deserialize(deserializer).map(One)
            }
        }
        Ok(Option::<One<T>>::deserialize(deserializer)?.map(|One(value)| value))
    }

    pub(in super::super) fn schema<T: Named>(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [{"type": "string", "enum": T::names()}, {"type": "null"}]})
    }
}
