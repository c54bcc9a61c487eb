//! What a training run would make of a dataset, for `DatasetService`.

use std::sync::Arc;

use autodidact_domain::ports::TrainingView;
use autodidact_domain::preview::{ExamplePreview, PreviewRefusal, UNANSWERED};
use autodidact_domain::{
    DatasetName, DatasetSummary, Example, Interrupt, ModelName, TrainOptions, TrainTask,
};
use autodidact_proto::v1;
use tonic::Status;

use crate::blocking::interruptible;
use crate::context::{Context, shutting_down};
use crate::convert;
use crate::pages::{Page, page_size};
use crate::status::{OrStatus, bad_field, bad_name};

/// Records read from the store at once.
const STRIDE: usize = 256;

/// Lays every record out, sums up, and shows those that were asked for.
pub(super) async fn preview(
    context: &Arc<Context>,
    request: v1::PreviewDatasetRequest,
) -> Result<v1::PreviewDatasetResponse, Status> {
    let dataset = DatasetName::new(request.dataset.as_str()).map_err(bad_name("dataset"))?;
    let model = ModelName::new(request.model.as_str()).map_err(bad_name("model"))?;
    let task = train_task(&request.task_type)?;
    interruptible(context, move |context, interrupt| {
        let ports = &context.ports;
        let version = ports.datasets.get(&dataset, request.version).or_status()?;
        let model = ports.models.get(&model).or_status()?;
        let view = ports.engine.training_view(&model).or_status()?;
        let asked = match request.max_length {
            0 => TrainOptions::default().max_length,
            length => length,
        };
        let layout = Layout {
            task,
            max_length: (asked as usize).min(view.context_length()),
            view,
        };
        let mut shown = Shown {
            page: Page::new(page_size(request.limit)),
            from: request.offset,
            is_full: false,
            totals: v1::PreviewTotals::default(),
        };
        shown.add_all(context, &version, &layout, interrupt)?;
        Ok(v1::PreviewDatasetResponse {
            dataset: Some(convert::dataset(&version)),
            max_length: layout.max_length as u32,
            records: shown.page.into_items(),
            totals: Some(shown.totals),
        })
    })
    .await
}

/// Reads what would be learnt.
fn train_task(name: &str) -> Result<TrainTask, Status> {
    if name.is_empty() {
        return Ok(TrainTask::default());
    }
    let unknown = || {
        let [causal, sequence, token] = TrainTask::ALL.map(TrainTask::name);
        let expected = format!("expected {causal}, {sequence} or {token}, found {name:?}");
        bad_field("task_type", expected)
    };
    TrainTask::from_name(name).ok_or_else(unknown)
}

/// How a run would lay records out.
struct Layout {
    view: Box<dyn TrainingView>,
    task: TrainTask,
    max_length: usize,
}

/// What is shown of a version so far.
struct Shown {
    page: Page<v1::PreviewedRecord>,
    /// The place of the first record that is shown.
    from: u64,
    is_full: bool,
    totals: v1::PreviewTotals,
}

impl Shown {
    fn add_all(
        &mut self,
        context: &Context,
        version: &DatasetSummary,
        layout: &Layout,
        interrupt: &Interrupt,
    ) -> Result<(), Status> {
        loop {
            let (name, from) = (&version.name, self.totals.records);
            let records = &context.ports.datasets;
            let records = records
                .records(name, version.version, from, STRIDE)
                .or_status()?;
            if records.is_empty() {
                return Ok(());
            }
            for record in records {
                // Whoever asked is gone, or the daemon goes down.
                if interrupt.is_raised() {
                    return Err(shutting_down());
                }
                self.add(record, layout);
            }
        }
    }

    fn add(&mut self, record: Example, layout: &Layout) {
        let Layout {
            view,
            task,
            max_length,
        } = layout;
        let mut preview = view.preview(&record.body, *task, *max_length);
        if !record.body.is_answered() {
            preview.refused = Some(PreviewRefusal {
                reason: UNANSWERED,
                message: "expected an answer to learn, found none".to_string(),
            });
        }
        let index = self.totals.records;
        self.count(&preview);
        if index >= self.from && !self.is_full {
            let shown = convert::previewed(index, record.id, preview);
            self.is_full = self.page.push(shown).is_err();
        }
    }

    fn count(&mut self, preview: &ExamplePreview) {
        let totals = &mut self.totals;
        totals.records += 1;
        if let Some(refusal) = &preview.refused {
            *totals
                .refused
                .entry(refusal.reason.to_string())
                .or_default() += 1;
            return;
        }
        totals.trained += 1;
        totals.truncated += u64::from(preview.cut_tokens > 0);
        totals.tokens += u64::from(preview.tokens);
        totals.label_tokens += u64::from(preview.label_tokens);
        totals.cut_tokens += u64::from(preview.cut_tokens);
        totals.longest = totals.longest.max(preview.tokens);
    }
}
