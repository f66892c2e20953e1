//! What a run writes while it goes: curves, samples and histograms for
//! TensorBoard, and the same figures as lines of JSON.
//!
//! Both files are logs that a checkpoint can go back to. A checkpoint calls
//! `sync` and remembers the position that it returns; a run that goes on from
//! the checkpoint calls `resume` with that position, which cuts off what was
//! written later. So a curve goes on without a gap, and no step is there twice.

mod append;
mod clock;
mod histogram;
mod metrics;
mod proto;
mod record;
mod tensorboard;

pub use clock::{Clock, system_clock};
pub use histogram::Histogram;
pub use metrics::{
    EvalRecord, FinishReason, FinishRecord, MetricRecord, MetricsWriter, NoticeRecord,
    SampleRecord, StartRecord, TrainRecord, read_metrics,
};
pub use tensorboard::{EventWriter, verbatim};
