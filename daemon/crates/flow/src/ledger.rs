//! The account of one workflow: what its remote models may cost, have cost, and cost in the step at work.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use autodidact_domain::ports::Spending;
use autodidact_domain::{
    Account, Leave, PortError, PortResult, RemoteUsage, RemoteUse, WorkflowName,
};

/// Gives leave for requests under the workflow's cap and writes every payment down before the answer is used.
///
/// The sum in the store holds what was really asked for, so requests that a kill made repeat count twice there; a step's own
/// sum goes into its journal entry and feeds the report.
pub(crate) struct Ledger {
    workflow: WorkflowName,
    cap: Option<f64>,
    spending: Arc<dyn Spending>,
    state: Mutex<State>,
}

struct State {
    spent: f64,
    /// Set aside for requests under way.
    reserved: f64,
    /// Requests under way.
    open: u32,
    step: BTreeMap<String, RemoteUse>,
}

impl Ledger {
    /// Opens the account with what was spent before.
    pub(crate) fn open(
        workflow: &WorkflowName,
        cap: Option<f64>,
        spending: Arc<dyn Spending>,
    ) -> PortResult<Self> {
        let state = State {
            spent: spending.spent(workflow)?,
            reserved: 0.0,
            open: 0,
            step: BTreeMap::new(),
        };
        Ok(Self {
            workflow: workflow.clone(),
            cap,
            spending,
            state: Mutex::new(state),
        })
    }

    /// Takes what was used since this was last asked.
    pub(crate) fn take_step(&self) -> Vec<RemoteUse> {
        std::mem::take(&mut self.state().step)
            .into_values()
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn give_back(&mut self, reserved: f64) {
        self.open = self.open.saturating_sub(1);
        // Sums of floating-point numbers leave crumbs; nothing under way means nothing set aside.
        self.reserved = if self.open == 0 {
            0.0
        } else {
            (self.reserved - reserved).max(0.0)
        };
    }
}

impl Account for Ledger {
    fn reserve(&self, most: f64) -> PortResult<Leave> {
        let mut state = self.state();
        if let Some(cap) = self.cap
            && most > 0.0
            && state.spent + state.reserved + most > cap
        {
            if state.open > 0 {
                return Ok(Leave::Later);
            }
            return Err(PortError::Unavailable(format!(
                "the spending cap is reached: {} of spending_cap {cap} is spent, and the next request may cost up to {}; submit the workflow under another name with a higher spending_cap, or with a cheaper or a local model",
                figure(state.spent),
                figure(most)
            )));
        }
        state.reserved += most;
        state.open += 1;
        Ok(Leave::Granted)
    }

    fn release(&self, reserved: f64) {
        self.state().give_back(reserved);
    }

    fn settle(&self, reserved: f64, usage: &RemoteUsage) -> PortResult<()> {
        let mut state = self.state();
        state.give_back(reserved);
        state.spent += usage.cost;
        state
            .step
            .entry(usage.model.to_string())
            .or_default()
            .count(usage);
        drop(state);
        if usage.cost > 0.0 {
            self.spending.spend(&self.workflow, usage.cost)?;
        }
        Ok(())
    }
}

/// Writes a sum with as many digits as tell it from its neighbours.
fn figure(sum: f64) -> String {
    format!("{sum:.6}")
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_string()
}

#[cfg(test)]
mod tests {
    use autodidact_domain::ModelName;

    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<f64>);

    impl Spending for Kept {
        fn spent(&self, _: &WorkflowName) -> PortResult<f64> {
            Ok(*self.0.lock().unwrap())
        }

        fn spend(&self, _: &WorkflowName, cost: f64) -> PortResult<f64> {
            let mut sum = self.0.lock().unwrap();
            *sum += cost;
            Ok(*sum)
        }
    }

    fn usage(cost: f64) -> RemoteUsage {
        RemoteUsage {
            model: ModelName::new("far").unwrap(),
            source: "remote:http://far".into(),
            prompt_tokens: 10,
            completion_tokens: 2,
            counted: true,
            cost,
        }
    }

    #[test]
    fn a_request_waits_for_those_under_way_and_is_refused_when_there_are_none() {
        let workflow = WorkflowName::new("w").unwrap();
        let kept: Arc<dyn Spending> = Arc::new(Kept::default());
        let ledger = Ledger::open(&workflow, Some(1.0), kept.clone()).unwrap();
        assert_eq!(ledger.reserve(0.6), Ok(Leave::Granted));
        assert_eq!(ledger.reserve(0.6), Ok(Leave::Later));
        // The first one was cheaper than it might have been.
        ledger.settle(0.6, &usage(0.2)).unwrap();
        assert_eq!(ledger.reserve(0.6), Ok(Leave::Granted));
        ledger.settle(0.6, &usage(0.3)).unwrap();
        let refused = ledger.reserve(0.6).unwrap_err().to_string();
        assert!(
            refused.contains("0.5 of spending_cap 1 is spent")
                && refused.contains("may cost up to 0.6"),
            "{refused}"
        );
        // One that failed gives its share back, and free ones always go.
        assert_eq!(ledger.reserve(0.5), Ok(Leave::Granted));
        ledger.release(0.5);
        assert_eq!(ledger.reserve(0.0), Ok(Leave::Granted));
        let used = ledger.take_step();
        assert_eq!((used[0].requests, used[0].prompt_tokens), (2, 20));
        assert!(ledger.take_step().is_empty());
        // After a restart the sum is there.
        let again = Ledger::open(&workflow, Some(1.0), kept).unwrap();
        assert!(again.reserve(0.6).is_err());
    }
}
