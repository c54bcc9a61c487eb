//! Generating for several callers at once: workflows and people whose prompts go to the same model and adapter.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use autodidact_domain::{Completion, ModelRef, PortError, PortResult};
use autodidact_engine::{EngineError, GenerateObserver, LoadedModel, Session, Urgency};

use super::device::Device;
use super::panic_text;
use super::queue::{GenerateCall, Generates, Priority, Told};

/// A call being served.
struct Served {
    call: GenerateCall,
    /// The numbers of its requests in the session.
    numbers: Vec<usize>,
    completions: Vec<Option<Completion>>,
    unfinished: usize,
}

/// The calls of a session, and which request of which call a number stands for.
#[derive(Default)]
struct Table {
    served: Vec<Option<Served>>,
    /// Index of the call, index of the request in it.
    places: HashMap<usize, (usize, usize)>,
}

impl Generates for Device {
    fn generate(&mut self, call: GenerateCall) {
        let model = call.model.clone();
        let mut table = Table::default();
        let mut first = Some(call);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            run(self, &model, &mut first, &mut table)
        }))
        .unwrap_or_else(|panic| {
            // What the work left half done is not trusted.
            self.forget();
            let text = panic_text(&*panic);
            Err(PortError::Internal(format!("the engine panicked: {text}")))
        });
        if let Err(error) = outcome {
            if let Some(mut call) = first {
                (call.tell)(Told::Done(Err(error.clone())));
            }
            table.end_all(&error);
        }
    }
}

/// Serves the first call and those that join it, until none is left.
fn run(
    device: &mut Device,
    wanted: &ModelRef,
    first: &mut Option<GenerateCall>,
    table: &mut Table,
) -> PortResult<()> {
    // Before a model is loaded for somebody who is gone.
    if first
        .as_ref()
        .is_some_and(|call| call.interrupt.is_raised())
    {
        return Err(PortError::Interrupted);
    }
    if first.as_ref().is_some_and(GenerateCall::is_work) {
        device.begin_work(&wanted.model);
    }
    let model = device.model(&wanted.model)?;
    let adapter = device.adapter(wanted, &model)?;
    let mut session = model.session(adapter.as_deref())?;
    let mut arrivals: Vec<GenerateCall> = first.take().into_iter().collect();
    loop {
        for call in arrivals {
            if call.is_work() {
                device.training_weights = None;
            }
            table.enter(call, &model, &mut session, &|error| device.told(error));
        }
        table.drop_interrupted(&mut session);
        if table.is_empty() {
            return Ok(());
        }
        session.step(table)?;
        while let Some((number, completion)) = session.take_finished() {
            table.finish(number, completion);
        }
        arrivals = device.queue.take_joining(wanted, device.lowest_served);
        // A checkpoint of the same name may have been written anew: then they need the new one, and wait for this to end.
        if !arrivals.is_empty() && !is_same(device, wanted, &model, adapter.as_ref())? {
            for call in arrivals.drain(..) {
                device.generate(call);
            }
        }
        // People with another adapter or base, unless this is for people itself.
        if device.lowest_served != Priority::Interactive {
            device.reserved = model.cache_budget() as u64;
            device.serve_people();
            device.reserved = 0;
        }
    }
}

fn is_same(
    device: &mut Device,
    wanted: &ModelRef,
    model: &LoadedModel,
    adapter: Option<&Arc<autodidact_engine::Adapter>>,
) -> PortResult<bool> {
    Ok(match (device.adapter(wanted, model)?, adapter) {
        (Some(now), Some(then)) => Arc::ptr_eq(&now, then),
        (now, then) => now.is_none() && then.is_none(),
    })
}

impl Table {
    fn is_empty(&self) -> bool {
        self.served.iter().all(Option::is_none)
    }

    /// Adds a call's requests to the session, or tells it why not.
    fn enter(
        &mut self,
        call: GenerateCall,
        model: &LoadedModel,
        session: &mut Session<'_>,
        told: &dyn Fn(EngineError) -> PortError,
    ) {
        let urgency = match call.priority {
            Priority::Interactive => Urgency::Urgent,
            Priority::Batch | Priority::Train => Urgency::Ordinary,
        };
        let mut served = Served {
            numbers: Vec::with_capacity(call.requests.len()),
            completions: vec![None; call.requests.len()],
            unfinished: call.requests.len(),
            call,
        };
        for index in 0..served.call.requests.len() {
            let added = check_length(&served.call, index, model).and_then(|()| {
                let request = served.call.requests[index].clone();
                let added = session.add(request, urgency);
                added.map_err(|error| told(error.of_request(index)))
            });
            match added {
                Ok(number) => served.numbers.push(number),
                Err(error) => {
                    served
                        .numbers
                        .iter()
                        .for_each(|number| session.abandon(*number));
                    return (served.call.tell)(Told::Done(Err(error)));
                }
            }
        }
        if served.unfinished == 0 {
            return (served.call.tell)(Told::Done(Ok(Vec::new())));
        }
        let place = self.served.len();
        for (index, number) in served.numbers.iter().enumerate() {
            self.places.insert(*number, (place, index));
        }
        self.served.push(Some(served));
    }

    fn drop_interrupted(&mut self, session: &mut Session<'_>) {
        for place in &mut self.served {
            let Some(mut served) = place.take_if(|served| served.call.interrupt.is_raised()) else {
                continue;
            };
            for number in &served.numbers {
                session.abandon(*number);
                self.places.remove(number);
            }
            (served.call.tell)(Told::Done(Err(PortError::Interrupted)));
        }
    }

    fn finish(&mut self, number: usize, completion: Completion) {
        let Some((place, index)) = self.places.remove(&number) else {
            return;
        };
        if let Some(served) = &mut self.served[place] {
            served.completions[index] = Some(completion);
            served.unfinished -= 1;
        }
        if let Some(mut served) = self.served[place].take_if(|served| served.unfinished == 0) {
            let completions = served.completions.into_iter().flatten().collect();
            (served.call.tell)(Told::Done(Ok(completions)));
        }
    }

    fn end_all(&mut self, error: &PortError) {
        for served in self.served.iter_mut().filter_map(Option::as_mut) {
            (served.call.tell)(Told::Done(Err(error.clone())));
        }
    }

    /// Finds the call that a number belongs to, and the request's index in it.
    fn find(&mut self, number: usize) -> Option<(&mut GenerateCall, usize)> {
        let (place, index) = self.places.get(&number)?;
        let served = self.served[*place].as_mut()?;
        Some((&mut served.call, *index))
    }
}

impl GenerateObserver for Table {
    fn token(&mut self, number: usize) {
        if let Some((call, _)) = self.find(number) {
            (call.tell)(Told::Token);
        }
    }

    fn piece(&mut self, number: usize, text: &str) {
        if let Some((call, index)) = self.find(number) {
            (call.tell)(Told::Piece(index, text));
        }
    }
}

/// Refuses a person's prompt that leaves no room for an answer; a workflow's gives an empty completion.
fn check_length(call: &GenerateCall, index: usize, model: &LoadedModel) -> PortResult<()> {
    if call.priority != Priority::Interactive {
        return Ok(());
    }
    let tokens = model.encode(&call.requests[index].prompt)?.len();
    let context = model.config().context_length;
    if tokens < context {
        return Ok(());
    }
    Err(PortError::TooLong(format!(
        "request {index}: the prompt has {tokens} tokens and the context of {} holds {context}: shorten the prompt, or begin a new talk",
        call.model.model
    )))
}
