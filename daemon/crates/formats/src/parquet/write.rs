//! Writing rows.

use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::data_type::{ByteArray, ByteArrayType};
use ::parquet::errors::Result;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::parser::parse_message_type;
use autodidact_domain::{Body, Example, Language, TaskType};

use super::MIXED_KEY;

/// The most rows of a row group.
const GROUP_ROWS: usize = 1 << 16;

/// A cell; nothing where the row has no such field.
type Cell<T> = Option<T>;

/// A column of one type.
struct Column<'rows> {
    name: &'static str,
    cells: Cells<'rows>,
}

/// The cells of a column.
enum Cells<'rows> {
    /// Texts.
    Texts(Vec<Cell<&'rows str>>),
    /// Lists of texts.
    Lists(Vec<Cell<&'rows [String]>>),
    /// Lists of groups of two texts, by these names.
    Pairs([&'static str; 2], Vec<Cell<Vec<[&'rows str; 2]>>>),
}

/// Writes examples, each of which [`crate::own`] holds.
///
/// # Panics
/// Never: a schema of these columns is a right one, levels are counted with the values, and memory takes every write.
pub(crate) fn write(examples: &[&Example]) -> Vec<u8> {
    write_file(examples).expect("columns of one length and a right schema can be written to memory")
}

fn write_file(examples: &[&Example]) -> Result<Vec<u8>> {
    let used: Vec<&'static str> = columns(examples)
        .into_iter()
        .filter(Column::says_something)
        .map(|column| column.name)
        .collect();
    let is_used = |column: &Column<'_>| used.contains(&column.name);
    let fields = columns(&[]).into_iter().filter(is_used);
    let schema: String = fields.map(|column| column.schema()).collect();
    let schema = Arc::new(parse_message_type(&format!(
        "message records {{ {schema} }}"
    ))?);
    let kinds = |body: &Body| match body {
        Body::Instruction { output, .. } => u8::from(output.is_some()),
        Body::Chat { .. } => 2,
        Body::Text { .. } => 3,
        Body::Labelled { .. } => 4,
        Body::Tagged { .. } => 5,
    };
    let mut kinds = examples.iter().map(|example| kinds(&example.body));
    let first = kinds.next();
    let mixed = kinds
        .any(|kind| Some(kind) != first)
        .then(|| vec![KeyValue::new(MIXED_KEY.to_string(), "true".to_string())]);
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_key_value_metadata(mixed)
        .build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
    for rows in examples.chunks(GROUP_ROWS) {
        let mut group = writer.next_row_group()?;
        for column in columns(rows).into_iter().filter(is_used) {
            column.write(&mut group)?;
        }
        group.close()?;
    }
    writer.into_inner()
}

/// Takes rows apart into every column that there is.
fn columns<'rows>(rows: &[&'rows Example]) -> Vec<Column<'rows>> {
    let texts = |name: &'static str, get: fn(&'rows Example) -> Cell<&'rows str>| Column {
        name,
        cells: Cells::Texts(rows.iter().map(|example| get(example)).collect()),
    };
    let lists = |name: &'static str, get: fn(&'rows Example) -> Cell<&'rows [String]>| Column {
        name,
        cells: Cells::Lists(rows.iter().map(|example| get(example)).collect()),
    };
    let pairs = |name: &'static str,
                 names: [&'static str; 2],
                 get: fn(&'rows Example) -> Cell<Vec<[&'rows str; 2]>>| Column {
        name,
        cells: Cells::Pairs(names, rows.iter().map(|example| get(example)).collect()),
    };
    vec![
        texts("instruction", |example| match &example.body {
            Body::Instruction { instruction, .. } => Some(instruction),
            _ => None,
        }),
        texts("input", |example| match &example.body {
            Body::Instruction { input, .. } => input.as_deref(),
            _ => None,
        }),
        texts("output", |example| match &example.body {
            Body::Instruction { output, .. } => output.as_deref(),
            _ => None,
        }),
        pairs("instances", ["input", "output"], |example| {
            match &example.body {
                Body::Instruction { output: None, .. } => Some(Vec::new()),
                _ => None,
            }
        }),
        pairs("messages", ["role", "content"], |example| {
            let Body::Chat { messages } = &example.body else {
                return None;
            };
            let turns = messages.iter();
            Some(turns.map(|m| [m.role.as_str(), &m.content]).collect())
        }),
        texts("text", |example| match &example.body {
            Body::Text { text } | Body::Labelled { text, .. } => Some(text),
            _ => None,
        }),
        texts("label", |example| match &example.body {
            Body::Labelled { label, .. } => Some(label),
            _ => None,
        }),
        lists("tokens", |example| match &example.body {
            Body::Tagged { tokens, .. } => Some(tokens),
            _ => None,
        }),
        lists("ner_tags", |example| match &example.body {
            Body::Tagged { tags, .. } => Some(tags),
            _ => None,
        }),
        texts("task_type", |example| example.task_type.map(TaskType::name)),
        texts("topic", |example| example.topic.as_deref()),
        lists("labels", |example| {
            (!example.labels.is_empty()).then_some(&example.labels)
        }),
        texts("language", |example| example.language.map(Language::code)),
    ]
}

/// Values of a leaf with the levels that say where they stand.
#[derive(Default)]
struct Leaf {
    values: Vec<ByteArray>,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
}

impl Leaf {
    /// Adds a list's values, in a column of optional lists of required values: at level 0 is none, at 1 an empty one, at 2 a value;
    /// the first of a row repeats at 0, the others at 1.
    fn add_list<'text>(&mut self, list: Option<impl Iterator<Item = &'text str>>) {
        let before = self.values.len();
        let is_list = list.is_some();
        for text in list.into_iter().flatten() {
            self.repetitions.push(i16::from(self.values.len() > before));
            self.definitions.push(2);
            self.values.push(ByteArray::from(text));
        }
        if self.values.len() == before {
            self.repetitions.push(0);
            self.definitions.push(i16::from(is_list));
        }
    }

    fn write(&self, group: &mut SerializedRowGroupWriter<'_, Vec<u8>>) -> Result<()> {
        let Some(mut column) = group.next_column()? else {
            return Ok(());
        };
        // Columns that are no lists have no repetition levels.
        let repetitions = (!self.repetitions.is_empty()).then_some(&self.repetitions[..]);
        column.typed::<ByteArrayType>().write_batch(
            &self.values,
            Some(&self.definitions),
            repetitions,
        )?;
        column.close()
    }
}

impl Column<'_> {
    fn says_something(&self) -> bool {
        match &self.cells {
            Cells::Texts(cells) => cells.iter().any(Option::is_some),
            Cells::Lists(cells) => cells.iter().any(Option::is_some),
            Cells::Pairs(_, cells) => cells.iter().any(Option::is_some),
        }
    }

    /// Writes its part of the schema, in the specification's language.
    fn schema(&self) -> String {
        let name = self.name;
        let element = match &self.cells {
            Cells::Texts(_) => return format!("optional binary {name} (STRING);"),
            Cells::Lists(_) => "required binary element (STRING);".to_string(),
            Cells::Pairs([first, second], _) => format!(
                "required group element {{ required binary {first} (STRING); required binary {second} (STRING); }}"
            ),
        };
        format!("optional group {name} (LIST) {{ repeated group list {{ {element} }} }}")
    }

    fn write(&self, group: &mut SerializedRowGroupWriter<'_, Vec<u8>>) -> Result<()> {
        match &self.cells {
            Cells::Texts(cells) => {
                let mut leaf = Leaf::default();
                for cell in cells {
                    leaf.definitions.push(i16::from(cell.is_some()));
                    leaf.values.extend(cell.map(ByteArray::from));
                }
                leaf.write(group)
            }
            Cells::Lists(cells) => {
                let mut leaf = Leaf::default();
                for cell in cells {
                    leaf.add_list(cell.map(|list| list.iter().map(String::as_str)));
                }
                leaf.write(group)
            }
            Cells::Pairs(_, cells) => {
                for place in 0..2 {
                    let mut leaf = Leaf::default();
                    for cell in cells {
                        let list = cell.as_ref().map(|list| list.iter());
                        leaf.add_list(list.map(|list| list.map(|pair| pair[place])));
                    }
                    leaf.write(group)?;
                }
                Ok(())
            }
        }
    }
}
