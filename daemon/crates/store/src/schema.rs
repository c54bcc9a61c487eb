//! The schema version, and the way from an older one to the present.

use crate::StoreError;
use crate::database::Database;
use crate::table::Table;

/// The version of the layout that this program writes.
pub const SCHEMA_VERSION: u32 = 1;

const TABLE: &str = "schema";
const KEY: &[u8] = b"version";

/// What leads from one version to the next.
pub(crate) struct Migration {
    from: u32,
    run: fn(journal: &Database, content: &Database) -> Result<(), StoreError>,
}

/// Every migration, in order. Each leads from its version to the next one, and may be run again after a kill.
const MIGRATIONS: &[Migration] = &[];

/// Reads a database's version; none in a new one.
pub(crate) fn version(database: &Database) -> Result<Option<u32>, StoreError> {
    let Some(bytes) = table(database)?.get(KEY)? else {
        return Ok(None);
    };
    let bytes = bytes
        .first_chunk()
        .ok_or_else(|| StoreError::Corrupt("the schema version is malformed".to_string()))?;
    Ok(Some(u32::from_be_bytes(*bytes)))
}

/// Brings both databases to the present version; new ones just get it. The content's is written first, so that a
/// journal with a version always has its content beside it.
pub(crate) fn upgrade(journal: &Database, content: &Database) -> Result<(), StoreError> {
    upgrade_to(SCHEMA_VERSION, MIGRATIONS, journal, content)
}

fn upgrade_to(
    present: u32,
    migrations: &[Migration],
    journal: &Database,
    content: &Database,
) -> Result<(), StoreError> {
    let mut found = version(journal)?.unwrap_or(present);
    if found > present {
        return Err(StoreError::Newer {
            found,
            supported: present,
        });
    }
    while found < present {
        let migration = migrations
            .iter()
            .find(|m| m.from == found)
            .ok_or(StoreError::NoMigration { found })?;
        (migration.run)(journal, content)?;
        found += 1;
        write(content, found)?;
        write(journal, found)?;
    }
    for database in [content, journal] {
        if version(database)? != Some(present) {
            write(database, present)?;
        }
    }
    Ok(())
}

fn write(database: &Database, version: u32) -> Result<(), StoreError> {
    table(database)?.insert(KEY, &version.to_be_bytes())?;
    database.sync()
}

fn table(database: &Database) -> Result<Table, StoreError> {
    database.table(TABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn databases() -> (tempfile::TempDir, Database, Database) {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let open = |name: &str| {
            let path = directory.path().join(name);
            Database::new(
                sled::Config::new().path(&path).open().expect("a database"),
                &path,
                0,
            )
            .expect("a database")
        };
        let (journal, content) = (open("journal"), open("content"));
        (directory, journal, content)
    }

    #[test]
    fn a_new_store_gets_the_present_version_and_keeps_it() {
        let (_directory, journal, content) = databases();
        assert_eq!(version(&journal).expect("read"), None);
        for _ in 0..2 {
            upgrade(&journal, &content).expect("upgrade");
            assert_eq!(version(&journal).expect("read"), Some(SCHEMA_VERSION));
            assert_eq!(version(&content).expect("read"), Some(SCHEMA_VERSION));
        }
    }

    #[test]
    fn a_newer_store_is_refused_and_left_alone() {
        let (_directory, journal, content) = databases();
        write(&journal, SCHEMA_VERSION + 1).expect("write");
        let error = upgrade(&journal, &content).expect_err("newer");
        assert!(
            matches!(
                error,
                StoreError::Newer {
                    found: 2,
                    supported: 1
                }
            ),
            "{error}"
        );
        assert_eq!(version(&journal).expect("read"), Some(SCHEMA_VERSION + 1));
        assert_eq!(version(&content).expect("read"), None);
    }

    #[test]
    fn an_older_store_is_led_through_every_version() {
        let (_directory, journal, content) = databases();
        fn note(journal: &Database, _: &Database) -> Result<(), StoreError> {
            let table = journal.table("notes")?;
            let at = version(journal)?.expect("a migration starts from a version");
            table.insert(&at.to_be_bytes(), b"ran")
        }
        write(&journal, 1).expect("write");
        let steps = [
            Migration { from: 1, run: note },
            Migration { from: 2, run: note },
        ];
        upgrade_to(3, &steps, &journal, &content).expect("upgrade");
        assert_eq!(version(&journal).expect("read"), Some(3));
        assert_eq!(journal.table("notes").expect("table").scan(&[]).count(), 2);
        let error = upgrade_to(5, &steps, &journal, &content).expect_err("no way from 3");
        assert!(
            matches!(error, StoreError::NoMigration { found: 3 }),
            "{error}"
        );
    }
}
