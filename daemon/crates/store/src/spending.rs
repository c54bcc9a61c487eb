//! What workflows have spent on remote models: one sum each.

use std::sync::{Arc, Mutex, PoisonError};

use autodidact_domain::ports::Spending;
use autodidact_domain::{PortResult, WorkflowName};

use crate::StoreError;
use crate::database::Database;
use crate::guard::contain_port;
use crate::table::{Table, number};

/// The spending's port.
pub(crate) struct SpendingStore {
    database: Arc<Database>,
    table: Table,
    changing: Mutex<()>,
}

impl SpendingStore {
    /// Opens the sums.
    pub(crate) fn open(database: Arc<Database>) -> Result<Self, StoreError> {
        let table = database.table("spending")?;
        Ok(Self {
            database,
            table,
            changing: Mutex::new(()),
        })
    }

    fn read(&self, workflow: &WorkflowName) -> Result<f64, StoreError> {
        match self.table.get(workflow.as_str().as_bytes())? {
            Some(bytes) => Ok(f64::from_bits(number(&bytes)?)),
            None => Ok(0.0),
        }
    }

    fn add(&self, workflow: &WorkflowName, cost: f64) -> Result<f64, StoreError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.database.check_writable(8)?;
        let sum = self.read(workflow)? + cost;
        let bytes = sum.to_bits().to_be_bytes();
        self.table.insert(workflow.as_str().as_bytes(), &bytes)?;
        self.database.flush()?;
        Ok(sum)
    }
}

impl Spending for SpendingStore {
    fn spent(&self, workflow: &WorkflowName) -> PortResult<f64> {
        contain_port(|| Ok(self.read(workflow)?))
    }

    fn spend(&self, workflow: &WorkflowName, cost: f64) -> PortResult<f64> {
        contain_port(|| Ok(self.add(workflow, cost)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_workflow_has_a_sum_of_its_own_that_outlives_the_store() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let db = sled::Config::new()
            .path(directory.path())
            .open()
            .expect("a database");
        let database = Arc::new(Database::new(db, directory.path(), 0).expect("a database"));
        let name = |text: &str| WorkflowName::new(text).expect("a name");
        let store = SpendingStore::open(database.clone()).expect("open");
        assert_eq!(store.spend(&name("a"), 0.5), Ok(0.5));
        assert_eq!(store.spend(&name("a"), 0.25), Ok(0.75));
        assert_eq!(store.spend(&name("b"), 2.0), Ok(2.0));
        let store = SpendingStore::open(database).expect("open");
        assert_eq!(store.spent(&name("a")), Ok(0.75));
        assert_eq!(store.spent(&name("c")), Ok(0.0));
    }
}
