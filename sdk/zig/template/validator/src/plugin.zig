//! Takes blanks off answers, and drops those that are empty or too long.

const autodidact = @import("autodidact");

const Plugin = struct {
    pub const name = "{{name}}";
    pub const version = "0.1.0";
    pub const config_schema =
        \\{
        \\  "type": "object",
        \\  "additionalProperties": false,
        \\  "properties": {
        \\    "trim": {
        \\      "description": "Whether blanks around an answer are taken off.",
        \\      "type": "boolean", "default": true
        \\    },
        \\    "max_tokens": {
        \\      "description": "The most tokens of an answer: a word, a number, or one Chinese character.",
        \\      "type": "integer", "minimum": 1, "default": 800
        \\    }
        \\  }
        \\}
    ;
    pub const Config = struct { trim: bool = true, max_tokens: u32 = 800 };

    config: Config,

    pub fn init(config: Config, problem: *autodidact.Problem) ?Plugin {
        if (config.max_tokens >= 1) return .{ .config = config };
        problem.tell("max_tokens: expected 1 or more, found 0", .{});
        return null;
    }

    pub fn validate(self: *const Plugin, record: autodidact.Record) autodidact.Outcome {
        // The ideographic blank is one too.
        const trimmed = autodidact.text.trim(record.output);
        if (trimmed.len == 0) return .{ .drop = .{ .reason = "empty_answer" } };
        const tokens = autodidact.text.countTokens(trimmed);
        if (tokens > self.config.max_tokens) {
            const note = autodidact.print("{d} tokens", .{tokens});
            return .{ .drop = .{ .reason = "too_long", .note = note, .score = @floatFromInt(tokens) } };
        }
        if (self.config.trim and trimmed.len != record.output.len) {
            return .{ .correct = .{ .output = trimmed, .note = "blanks around it are gone" } };
        }
        return .accept;
    }
};

comptime {
    autodidact.exportPlugin(Plugin);
}
