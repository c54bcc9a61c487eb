//! Records as plugins see them.

/// The texts of a record, as the WIT says.
pub const fields = 7;

/// One record; texts are empty where there is nothing.
pub const Record = struct {
    /// What to do.
    instruction: []const u8 = "",
    /// What to do it to.
    input: []const u8 = "",
    /// The answer; empty before answers are generated.
    output: []const u8 = "",
    /// The ISO 639-1 code of the instruction's language, such as `en` or `zh`.
    language: []const u8 = "",
    /// The form of the task, such as `classification` or `open_generation`.
    task_type: []const u8 = "",
    /// What it is about.
    topic: []const u8 = "",
    /// The labels that a classification may have, one a line.
    labels: []const u8 = "",
};

/// A batch as the WIT lays it out.
pub const Batch = struct {
    text: []const u8,
    ends: []const u32,

    pub fn length(self: Batch) usize {
        return self.ends.len / fields;
    }

    pub fn at(self: Batch, index: usize) Record {
        const first = fields * index;
        return .{
            .instruction = self.field(first),
            .input = self.field(first + 1),
            .output = self.field(first + 2),
            .language = self.field(first + 3),
            .task_type = self.field(first + 4),
            .topic = self.field(first + 5),
            .labels = self.field(first + 6),
        };
    }

    fn field(self: Batch, index: usize) []const u8 {
        const start = if (index > 0) self.ends[index - 1] else 0;
        const end = self.ends[index];
        if (end < start or end > self.text.len) @trap();
        return self.text[start..end];
    }
};
