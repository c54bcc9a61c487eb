//! `autodidact train`: fine-tunes on a dataset, by a workflow that only trains.

use autodidact_client::{Client, v1};
use autodidact_domain::Language;
use autodidact_domain::preflight::mebibytes;
use autodidact_domain::training::METHODS;
use autodidact_proto::json as messages;
use clap::Args;

use super::checkpoint::list_all;
use super::workflow::{state_name, submit_text, watch};
use super::{Failure, Global, connect, output, request_id};
use crate::quickstart::follow::Since;
use crate::quickstart::progress::training_need;

/// What to train.
#[derive(Args)]
#[command(after_help = "\
It submits a workflow that has the train stage alone, so everything of `autodidact workflow` serves it: watch, pause, resume, report.
Curves for TensorBoard lie beside the report: tensorboard --logdir DATA_DIR/reports

Three ways to go on:
  --resume RUN        the same run, where its last checkpoint stands, after it was paused, failed or cut; it ends as if it had
                      not been
  --continue RUN      a new run for more epochs or steps than RUN had: from RUN's last checkpoint, with its optimizer, on the
                      same examples, by the learning rates of as many steps as it has then in all
  --init-adapter A    a new run that only begins with the weights of adapter A, on whatever data

Every option of stages.train may be given with --set; `autodidact workflow fields stages.train` lists them.

Examples:
  autodidact train my-run --model smollm2-135m-instruct --data my-data
  autodidact train my-run --model gemma-3-270m --data my-data --method qlora --set gradient_checkpointing=true
  autodidact train wide --model smollm2-135m-instruct --data my-data --set r=32 --set target_modules=all-linear --set use_dora=true
  autodidact train careful --model smollm2-135m-instruct --data my-data --set epochs=10 --set validation_split=0.1 --set eval_steps=20 --set early_stopping_patience=3 --set load_best_model_at_end=true
  autodidact train big --model gemma-3-270m --data my-data --set batch_size=32 --dry-run
  autodidact train --resume my-run
  autodidact train longer --continue my-run --set epochs=3
  autodidact train second --model smollm2-135m-instruct --data more --init-adapter my-run.round-1")]
pub(super) struct TrainArgs {
    /// The run's name; its adapter is NAME.round-1
    #[arg(required_unless_present = "resume")]
    name: Option<String>,
    /// The base model
    #[arg(long, required_unless_present_any = ["resume", "continued"])]
    model: Option<String>,
    /// The dataset to train on
    #[arg(long, required_unless_present_any = ["resume", "continued"], value_name = "DATASET")]
    data: Option<String>,
    /// A dataset to measure the adapter on, beside the base
    #[arg(long, value_name = "DATASET")]
    held_out: Option<String>,
    /// How to fine-tune
    #[arg(long, default_value = METHODS[0], value_parser = METHODS)]
    method: String,
    /// Begin as this adapter does
    #[arg(long, value_name = "ADAPTER")]
    init_adapter: Option<String>,
    /// Decides order and first values
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// An option of the trainer or the method
    #[arg(long = "set", value_name = "OPTION=VALUE")]
    options: Vec<String>,
    /// Let a run go on that was paused, failed or cut
    #[arg(long, value_name = "RUN", conflicts_with_all = ["name", "model", "data", "held_out", "method", "init_adapter", "seed", "options", "continued"])]
    resume: Option<String>,
    /// Train on from the end of another run, all but what --set says as it had it
    #[arg(long = "continue", value_name = "RUN", conflicts_with_all = ["model", "data", "held_out", "method", "init_adapter", "seed"])]
    continued: Option<String>,
    /// Do not follow it to its end
    #[arg(long)]
    detach: bool,
    /// Tell what it would take of memory and disk, and start nothing
    #[arg(long, conflicts_with_all = ["resume", "detach"])]
    dry_run: bool,
}

/// Submits or resumes the run, and follows it.
pub(super) async fn run(args: TrainArgs, global: &Global) -> Result<(), Failure> {
    let client = connect(global).await?;
    let name = match &args.resume {
        Some(name) => {
            let request = v1::ResumeWorkflowRequest {
                request_id: request_id(),
                name: name.clone(),
                new_plugins: false,
            };
            client.workflows().resume(request).await?;
            name.clone()
        }
        None => {
            let text = match &args.continued {
                Some(run) => continued_text(&client, run, &args).await?,
                None => workflow_text(&args)?,
            };
            if args.dry_run {
                return preflight(&client, text, global).await;
            }
            submit_text(&client, text, "the command line", global)
                .await?
                .name
        }
    };
    match args.detach {
        true => Ok(()),
        false => {
            let since = match args.resume {
                Some(_) => Since::Now,
                None => Since::Beginning,
            };
            watch(&client, &name, since, global).await
        }
    }
}

/// Tells what the run would take, and fails where that is refused.
async fn preflight(client: &Client, text: String, global: &Global) -> Result<(), Failure> {
    let request = v1::PreflightWorkflowRequest {
        workflow: Some(v1::preflight_workflow_request::Workflow::Yaml(text)),
    };
    let answer = client.workflows().preflight(request).await;
    let answer =
        answer.map_err(|status| Failure::client(status.into(), Some("the command line")))?;
    let Some(need) = answer.into_inner().training else {
        return output::line(
            "nobody can tell before it starts: the GPU says itself what does not fit",
        );
    };
    if global.json {
        output::json(&messages::of("TrainingNeed", &need))?;
    } else {
        output::line(training_need(Language::En, &need))?;
        let part = |part: &v1::NeedPart| vec![part.name.clone(), mebibytes(part.bytes)];
        let mut rows: Vec<_> = need.memory.iter().map(part).collect();
        rows.push(vec![
            "a checkpoint, on disk".into(),
            mebibytes(need.checkpoint_bytes),
        ]);
        output::table(&["PART", "SIZE"], &rows)?;
    }
    match need.refusal {
        Some(refusal) => Err(Failure::refused("UNAVAILABLE", refusal)),
        None => Ok(()),
    }
}

/// Writes the workflow of a run that goes on from the end of another: that one's, with another name, beginning and options.
async fn continued_text(client: &Client, run: &str, args: &TrainArgs) -> Result<String, Failure> {
    let request = v1::GetWorkflowRequest { name: run.into() };
    let answer = client.workflows().get(request).await?.into_inner();
    let workflow = answer.workflow.unwrap_or_default();
    let state = workflow.state();
    if !matches!(
        state,
        v1::WorkflowState::Done | v1::WorkflowState::Failed | v1::WorkflowState::Cancelled
    ) {
        let state = state_name(&workflow);
        return Err(Failure::refused(
            "NOT_FINISHED",
            format!("{run} is {state}; let it end first, or go on with --resume {run}"),
        ));
    }
    let checkpoint = last_checkpoint(client, run).await?;
    let mut spec = messages::of("WorkflowSpec", &workflow.spec.unwrap_or_default());
    spec["name"] = args.name.as_deref().into();
    let train = &mut spec["stages"]["train"];
    let Some(fields) = train.as_object_mut() else {
        return Err(Failure::refused(
            "NO_TRAINING",
            format!("{run} has no train stage; name a run that trains"),
        ));
    };
    // No list takes the default in a message, and is a fault in a file.
    fields.retain(|_, value| value.as_array().is_none_or(|items| !items.is_empty()));
    fields.remove("init_adapter");
    fields.insert("resume_from_checkpoint".into(), checkpoint.into());
    for option in &args.options {
        let (field, value) = read_option(option)?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        fields.insert(field.into(), value);
    }
    if let Some(fields) = spec.as_object_mut() {
        fields.retain(|_, value| value.as_array().is_none_or(|items| !items.is_empty()));
    }
    // YAML wants a blank after a colon.
    Ok(format!("{spec:#}"))
}

/// Finds the last checkpoint that a run made on its way.
async fn last_checkpoint(client: &Client, run: &str) -> Result<String, Failure> {
    let prefix = format!("{run}.round-1.step-");
    let all = list_all(client).await?;
    let of_run = all.into_iter().filter(|it| it.id.starts_with(&prefix));
    let last = of_run.max_by_key(|checkpoint| checkpoint.step);
    last.map(|checkpoint| checkpoint.id).ok_or_else(|| {
        Failure::refused(
            "NO_CHECKPOINT",
            format!(
                "{run} has no checkpoint with an optimizer ({prefix}N): it kept none (save_total_limit: 0) or made none; begin a new run with --init-adapter {run}.round-1"
            ),
        )
    })
}

fn read_option(option: &str) -> Result<(&str, &str), Failure> {
    option
        .split_once('=')
        .filter(|(field, value)| !field.is_empty() && !value.contains('\n'))
        .ok_or_else(|| {
            Failure::usage(&format!(
                "--set {option}: expected OPTION=VALUE, such as r=16"
            ))
        })
}

/// Writes the workflow. JSON is YAML, so texts are written as JSON has them.
fn workflow_text(args: &TrainArgs) -> Result<String, Failure> {
    let quoted = |text: &Option<String>| serde_json::Value::from(text.as_deref()).to_string();
    let mut text = format!(
        "name: {}\nseed: {}\nmodel: {}\nseeds: {}\n",
        quoted(&args.name),
        args.seed,
        quoted(&args.model),
        quoted(&args.data)
    );
    if args.held_out.is_some() {
        text += &format!("held_out: {}\n", quoted(&args.held_out));
    }
    text += &format!("stages:\n  train:\n    method: {}\n", args.method);
    if args.init_adapter.is_some() {
        text += &format!("    init_adapter: {}\n", quoted(&args.init_adapter));
    }
    for option in &args.options {
        let (field, value) = read_option(option)?;
        text += &format!("    {field}: {value}\n");
    }
    if args.held_out.is_some() {
        text += "  evaluate:\n";
    }
    Ok(text)
}
