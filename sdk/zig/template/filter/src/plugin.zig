//! Drops instructions that shout or say too little.

const autodidact = @import("autodidact");

const Plugin = struct {
    pub const name = "{{name}}";
    pub const version = "0.1.0";
    pub const config_schema =
        \\{
        \\  "type": "object",
        \\  "additionalProperties": false,
        \\  "properties": {
        \\    "max_marks": {
        \\      "description": "The most exclamation marks, of either width, that are kept.",
        \\      "type": "integer", "minimum": 0, "default": 2
        \\    },
        \\    "min_tokens": {
        \\      "description": "The least tokens that are kept: a word, a number, or one Chinese character.",
        \\      "type": "integer", "minimum": 0, "default": 3
        \\    }
        \\  }
        \\}
    ;
    pub const Config = struct { max_marks: u32 = 2, min_tokens: u32 = 3 };

    config: Config,

    pub fn init(config: Config, _: *autodidact.Problem) ?Plugin {
        return .{ .config = config };
    }

    pub fn decide(self: *const Plugin, record: autodidact.Record) autodidact.Decision {
        const tokens = autodidact.text.countTokens(record.instruction);
        if (tokens < self.config.min_tokens) return dropped("too_short", tokens, "tokens");
        const marks = countMarks(record.instruction);
        if (marks > self.config.max_marks) return dropped("shouts", marks, "exclamation marks");
        return .keep;
    }

    fn dropped(reason: []const u8, count: usize, what: []const u8) autodidact.Decision {
        return .{ .drop_reason = reason, .note = autodidact.print("{d} {s}", .{ count, what }), .score = @floatFromInt(count) };
    }
};

fn countMarks(text: []const u8) usize {
    var marks: usize = 0;
    var rest = autodidact.text.characters(text);
    while (rest.nextCodepoint()) |character| {
        if (autodidact.text.foldWidth(character) == '!') marks += 1;
    }
    return marks;
}

comptime {
    autodidact.exportPlugin(Plugin);
}
