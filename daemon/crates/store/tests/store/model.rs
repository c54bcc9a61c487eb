//! The store against plain maps: random operations, with reopening in between, from several seeds.

use std::collections::BTreeMap;
use std::path::Path;

use autodidact_domain::journal::{RecordedVerdict, StageName};
use autodidact_domain::random::Random;
use autodidact_domain::review::ReviewRound;
use autodidact_domain::{
    Checkpoint, CheckpointId, DatasetName, DatasetSummary, Decision, Digest, Event, EventBody,
    Example, ModelSummary, PortError, Report, StepKey, WorkflowName, WorkflowState,
    WorkflowSummary,
};
use autodidact_store::Store;

use crate::make;

const OPERATIONS: usize = 400;
const NAMES: [&str; 4] = ["a", "a-b", "b", "b.c"];

/// What the store should hold.
#[derive(Default)]
struct Model {
    steps: BTreeMap<StepKey, Option<serde_json::Value>>,
    verdicts: BTreeMap<WorkflowName, Vec<RecordedVerdict>>,
    workflows: BTreeMap<WorkflowName, WorkflowSummary>,
    reports: BTreeMap<WorkflowName, Report>,
    datasets: BTreeMap<DatasetName, BTreeMap<u32, (DatasetSummary, Vec<Example>)>>,
    last_versions: BTreeMap<DatasetName, u32>,
    checkpoints: BTreeMap<CheckpointId, Checkpoint>,
    events: Vec<Event>,
    models: BTreeMap<String, ModelSummary>,
    answers: BTreeMap<String, (Digest, Vec<u8>)>,
    reviews: BTreeMap<(WorkflowName, u32), ReviewRound>,
}

fn name(random: &mut Random) -> &'static str {
    NAMES[random.below(NAMES.len())]
}

fn workflow_name(random: &mut Random) -> WorkflowName {
    WorkflowName::new(name(random)).expect("a name")
}

impl Model {
    fn act(&mut self, store: &Store, random: &mut Random) {
        match random.below(14) {
            0 => self.begin(store, random),
            1..=3 => self.commit(store, random),
            4 => self.create_workflow(store, random),
            5 => self.change_workflow(store, random),
            6 => self.put_dataset(store, random),
            7 if random.below(4) == 0 => self.delete_dataset(store, random),
            7 | 8 => self.save_checkpoint(store, random),
            9 => self.publish(store, random),
            10 => self.put_model(store, random),
            11 | 12 => self.review(store, random),
            _ => self.answer(store, random),
        }
    }

    fn begin(&mut self, store: &Store, random: &mut Random) {
        let workflow = workflow_name(random);
        let key = make::step(random, &workflow);
        store.journal().begin(&key).expect("begin");
        self.steps.entry(key).or_default();
    }

    fn commit(&mut self, store: &Store, random: &mut Random) {
        let workflow = workflow_name(random);
        let key = make::step(random, &workflow);
        let count = [0, 1, 64, 64, 300][random.below(5)];
        let (verdicts, longest) = (make::verdicts(random, &key, count), make::length(random));
        let result = serde_json::json!({ "n": random.next_u64(), "f": random.next_f64(), "t": make::text(random, longest) });
        let committed = store.journal().commit(&key, result.clone(), &verdicts);
        if self.steps.get(&key).is_some_and(Option::is_some) && count > 0 {
            assert!(
                matches!(committed, Err(PortError::Exists { .. })),
                "{committed:?}"
            );
            return;
        }
        if let Err(PortError::Exists { .. }) = committed {
            assert!(
                self.steps[&key].is_some(),
                "only a committed step with other verdicts is refused"
            );
            return;
        }
        committed.expect("commit");
        self.steps.insert(key, Some(result));
        self.verdicts.entry(workflow).or_default().extend(verdicts);
    }

    fn create_workflow(&mut self, store: &Store, random: &mut Random) {
        let name = name(random);
        let summary = make::workflow(random, name);
        let created = store.workflows().create(summary.clone());
        match self.workflows.get(&summary.spec.name) {
            None => {
                assert_eq!(created.as_ref(), Ok(&summary));
                self.workflows.insert(summary.spec.name.clone(), summary);
            }
            Some(present) => {
                assert!(matches!(created, Err(PortError::Exists { .. })));
                assert_eq!(
                    store.workflows().create(present.clone()).as_ref(),
                    Ok(present)
                );
            }
        }
    }

    fn change_workflow(&mut self, store: &Store, random: &mut Random) {
        let name = workflow_name(random);
        let message = make::text(random, 6000);
        let changed = store
            .workflows()
            .set_state(&name, WorkflowState::Paused, &message);
        match self.workflows.get_mut(&name) {
            None => assert!(matches!(changed, Err(PortError::NotFound { .. }))),
            Some(summary) => {
                let changed = changed.expect("set the state");
                assert!(changed.updated_ms > 1);
                (summary.state, summary.message, summary.updated_ms) =
                    (WorkflowState::Paused, message, changed.updated_ms);
                let report = make::report(random, &name);
                store
                    .workflows()
                    .put_report(&report)
                    .expect("put the report");
                self.reports.insert(name, report);
            }
        }
    }

    fn put_dataset(&mut self, store: &Store, random: &mut Random) {
        let name = DatasetName::new(name(random)).expect("a name");
        let versions = self.datasets.entry(name.clone()).or_default();
        let newest = versions.values().next_back().cloned();
        // From scratch, or the newest one changed a little, or the newest one again.
        let mut examples = newest
            .as_ref()
            .map(|(_, examples)| examples.clone())
            .unwrap_or_default();
        match random.below(3) {
            0 => {
                examples = (0..random.below(400))
                    .map(|_| make::example(random))
                    .collect()
            }
            1 => examples.extend((0..3).map(|_| make::example(random))),
            _ => {}
        }
        let file = Digest::of(&random.next_u64().to_le_bytes());
        let summary = store
            .datasets()
            .put(&name, &examples, "model", Some(file))
            .expect("put");
        assert_eq!(
            store.datasets().by_source_digest(&name, file),
            Ok(Some(summary.clone()))
        );
        if let Some((newest, _)) = newest.filter(|(_, known)| *known == examples) {
            assert_eq!(summary, newest);
            return;
        }
        let last = self.last_versions.entry(name).or_default();
        assert_eq!(
            (summary.version, summary.records),
            (*last + 1, examples.len() as u64)
        );
        *last += 1;
        versions.insert(summary.version, (summary, examples));
    }

    fn delete_dataset(&mut self, store: &Store, random: &mut Random) {
        let name = DatasetName::new(name(random)).expect("a name");
        let deleted = store.datasets().delete(&name);
        match self
            .datasets
            .remove(&name)
            .filter(|versions| !versions.is_empty())
        {
            Some(_) => deleted.expect("delete"),
            None => assert!(matches!(deleted, Err(PortError::NotFound { .. }))),
        }
    }

    fn save_checkpoint(&mut self, store: &Store, random: &mut Random) {
        let id = CheckpointId::new(name(random)).expect("a name");
        if random.below(3) == 0 {
            store.checkpoints().delete(&id).expect("delete");
            self.checkpoints.remove(&id);
            return;
        }
        let elements = [10, 5000, 200_000][random.below(3)];
        let mut checkpoint = make::checkpoint(random, elements);
        if let (true, Some(other)) = (random.below(3) == 0, self.checkpoints.values().next()) {
            checkpoint.adapter = other.adapter.clone();
        }
        let summary = store.checkpoints().save(&id, &checkpoint).expect("save");
        assert_eq!(summary.adapter_digest, checkpoint.adapter_digest());
        assert_eq!(store.checkpoints().save(&id, &checkpoint), Ok(summary));
        self.checkpoints.insert(id, checkpoint);
    }

    fn publish(&mut self, store: &Store, random: &mut Random) {
        let workflow = (random.below(2) == 0).then(|| workflow_name(random));
        let longest = make::length(random);
        let body = EventBody::Warning {
            message: make::text(random, longest),
        };
        store.events().tell(workflow.as_ref(), body.clone());
        let event = store
            .events()
            .publish(workflow.as_ref(), body)
            .expect("publish");
        assert_eq!(event.sequence, self.events.len() as u64 + 1);
        self.events.push(event);
    }

    fn put_model(&mut self, store: &Store, random: &mut Random) {
        let name = name(random);
        let summary = make::model(random, name);
        let key = summary.name.to_string();
        let put = store.models().put(&summary);
        match self.models.get(&key).cloned() {
            None => {
                put.expect("put");
                self.models.insert(key, summary);
            }
            Some(present) => {
                assert!(matches!(put, Err(PortError::Exists { .. })));
                let moved = ModelSummary {
                    path: make::text(random, 50),
                    ..present
                };
                store
                    .models()
                    .put(&moved)
                    .expect("the same weights elsewhere");
                self.models.insert(key, moved);
                if random.below(2) == 0 {
                    store.models().delete(&summary.name).expect("delete");
                    self.models.remove(summary.name.as_str());
                }
            }
        }
    }

    fn review(&mut self, store: &Store, random: &mut Random) {
        let (name, round) = (workflow_name(random), random.below(2) as u32);
        let (reviews, key) = (store.reviews(), (name.clone(), round));
        let longest = make::length(random);
        match random.below(6) {
            0 | 1 => {
                let review = self.reviews.entry(key).or_default();
                let mut items: Vec<_> = (0..random.below(4)).map(|_| make::item(random)).collect();
                let before = review.items.len();
                // Some lie there already.
                items.extend(review.items.first().cloned());
                for item in &items {
                    if !review.items.iter().any(|i| i.example.id == item.example.id) {
                        review.items.push(item.clone());
                    }
                }
                let new = (review.items.len() - before) as u64;
                assert_eq!(reviews.lay(&name, round, &items), Ok(new));
            }
            2 => {
                let examples = random.below(100) as u64;
                reviews.complete(&name, round, examples).expect("complete");
                self.reviews.entry(key).or_default().examples = Some(examples);
            }
            3 if random.below(4) == 0 => {
                let review = self.reviews.entry(key).or_default();
                let count = review.decisions.len() as u64;
                review.settled = review.settled.or(Some(count));
                assert_eq!(reviews.settle(&name, round, count).as_ref(), Ok(&*review));
            }
            _ => {
                let review = self.reviews.get_mut(&key);
                let items = review.as_ref().map_or(0, |review| review.items.len());
                let at = random.below(items.max(1));
                let item = review.as_ref().and_then(|review| review.items.get(at));
                let record = item.map_or(Digest::of(b"nothing"), |item| item.example.id);
                let note = make::text(random, longest);
                let decision = make::decision(random, record, note);
                let decided = reviews.decide(&name, round, &decision);
                match review.filter(|review| !review.items.is_empty()) {
                    None => assert!(matches!(decided, Err(PortError::NotFound { .. }))),
                    Some(review) => {
                        assert_eq!(decided.as_ref(), Ok(&decision));
                        review.decisions.push(decision);
                    }
                }
            }
        }
    }

    fn answer(&mut self, store: &Store, random: &mut Random) {
        let (id, longest) = (random.below(50).to_string(), make::length(random));
        let (body, answer) = (
            Digest::of(&[random.below(2) as u8]),
            make::text(random, longest).into_bytes(),
        );
        match self.answers.get(&id) {
            None => {
                assert_eq!(store.requests().recall("Submit", &id, body), Ok(None));
                store
                    .requests()
                    .remember("Submit", &id, body, &answer)
                    .expect("remember");
                self.answers.insert(id, (body, answer));
            }
            Some((known, answer)) if *known == body => {
                assert_eq!(
                    store.requests().recall("Submit", &id, body),
                    Ok(Some(answer.clone()))
                );
            }
            Some(_) => assert!(store.requests().recall("Submit", &id, body).is_err()),
        }
    }

    fn check(&self, store: &Store) {
        self.check_journal(store);
        self.check_datasets(store);
        let (workflows, checkpoints, models) =
            (store.workflows(), store.checkpoints(), store.models());
        assert_eq!(
            workflows.list(),
            Ok(self.workflows.values().cloned().collect())
        );
        for name in self.workflows.keys() {
            assert_eq!(workflows.get(name).as_ref(), Ok(&self.workflows[name]));
            assert_eq!(workflows.report(name).ok().as_ref(), self.reports.get(name));
        }
        let ids: Vec<CheckpointId> = checkpoints
            .list()
            .expect("list")
            .into_iter()
            .map(|s| s.id)
            .collect();
        assert_eq!(ids, self.checkpoints.keys().cloned().collect::<Vec<_>>());
        for (id, checkpoint) in &self.checkpoints {
            assert_eq!(checkpoints.load(id).as_ref(), Ok(checkpoint));
        }
        assert_eq!(
            store.events().after(0, None, usize::MAX),
            Ok(self.events.clone())
        );
        assert_eq!(store.events().last_sequence(), self.events.len() as u64);
        assert_eq!(models.list(), Ok(self.models.values().cloned().collect()));
        let rounds = self.reviews.keys().cloned().collect();
        assert_eq!(store.reviews().rounds(None), Ok(rounds));
        for ((name, round), review) in &self.reviews {
            assert_eq!(store.reviews().get(name, *round).as_ref(), Ok(review));
        }
        for (id, (body, answer)) in &self.answers {
            assert_eq!(
                store.requests().recall("Submit", id, *body),
                Ok(Some(answer.clone()))
            );
        }
    }

    fn check_journal(&self, store: &Store) {
        for workflow in NAMES.map(|name| WorkflowName::new(name).expect("a name")) {
            let steps: Vec<_> = store
                .journal()
                .steps(&workflow)
                .expect("steps")
                .into_iter()
                .map(|s| (s.key, s.result))
                .collect();
            let expected: Vec<_> = self
                .steps
                .iter()
                .filter(|(k, _)| k.workflow == workflow)
                .map(|(k, r)| (k.clone(), r.clone()))
                .collect();
            assert_eq!(steps, expected);
            let verdicts = store
                .journal()
                .verdicts(&workflow, 0, usize::MAX)
                .expect("verdicts");
            assert_eq!(
                Some(&verdicts),
                self.verdicts.get(&workflow).or(Some(&Vec::new()))
            );
            let middle = verdicts.len() / 2;
            let page = store
                .journal()
                .verdicts(&workflow, middle as u64, 7)
                .expect("verdicts");
            assert_eq!(page, verdicts[middle..verdicts.len().min(middle + 7)]);
            for (round, stage) in
                (0..4).flat_map(|round| StageName::ALL.map(|(stage, _)| (round, stage)))
            {
                let of = |decision| {
                    let here = |v: &&RecordedVerdict| {
                        v.round == round && v.stage == stage && v.verdict.decision == decision
                    };
                    verdicts.iter().filter(here).count() as u64
                };
                let counts = store.journal().verdict_counts(&workflow, round, stage);
                assert_eq!(
                    counts,
                    Ok((of(Decision::Keep), of(Decision::Drop))),
                    "{workflow} {round} {stage:?}"
                );
            }
        }
    }

    fn check_datasets(&self, store: &Store) {
        let newest: Vec<_> = self
            .datasets
            .values()
            .filter_map(|versions| versions.values().next_back())
            .map(|(s, _)| s.clone())
            .collect();
        assert_eq!(store.datasets().list(), Ok(newest));
        for (name, versions) in &self.datasets {
            for (version, (summary, examples)) in versions {
                assert_eq!(
                    store.datasets().get(name, Some(*version)).as_ref(),
                    Ok(summary)
                );
                assert_eq!(
                    store
                        .datasets()
                        .records(name, *version, 0, usize::MAX)
                        .as_ref(),
                    Ok(examples)
                );
                let (from, len) = (examples.len() / 2, examples.len());
                let page = store.datasets().records(name, *version, from as u64, 130);
                assert_eq!(page.as_deref(), Ok(&examples[from..len.min(from + 130)]));
            }
        }
    }
}

fn run(seed: u64, path: &Path) {
    let mut random = Random::at(seed, &["store", "model"]);
    let mut model = Model::default();
    let mut store = make::open(path);
    for operation in 0..OPERATIONS {
        model.act(&store, &mut random);
        if random.below(60) == 0 || operation + 1 == OPERATIONS {
            model.check(&store);
            if random.below(2) == 0 {
                store.close().expect("close");
            }
            drop(store);
            store = make::open(path);
            model.check(&store);
        }
    }
    let blobs: usize = ["journal", "content"]
        .iter()
        .map(|db| {
            path.join(db)
                .join("blobs")
                .read_dir()
                .map_or(0, Iterator::count)
        })
        .sum();
    assert_eq!(blobs, 0, "no value was too long for sled's log");
}

#[test]
fn the_store_holds_what_plain_maps_hold() {
    for seed in 0..4 {
        let directory = tempfile::tempdir().expect("a temporary folder");
        println!("seed {seed}");
        run(seed, directory.path());
    }
}
