//! Scores how full a text is, from 0 for nothing to 1 for as many tokens as are wanted.

const autodidact = @import("autodidact");

const Plugin = struct {
    pub const name = "{{name}}";
    pub const version = "0.1.0";
    pub const config_schema =
        \\{
        \\  "type": "object",
        \\  "additionalProperties": false,
        \\  "properties": {
        \\    "field": {
        \\      "description": "Which text is scored.",
        \\      "enum": ["instruction", "output"], "default": "output"
        \\    },
        \\    "target_tokens": {
        \\      "description": "The tokens that are worth 1: a word, a number, or one Chinese character.",
        \\      "type": "integer", "minimum": 1, "default": 60
        \\    }
        \\  }
        \\}
    ;
    pub const Config = struct { field: enum { instruction, output } = .output, target_tokens: u32 = 60 };

    config: Config,

    pub fn init(config: Config, problem: *autodidact.Problem) ?Plugin {
        if (config.target_tokens >= 1) return .{ .config = config };
        problem.tell("target_tokens: expected 1 or more, found 0", .{});
        return null;
    }

    pub fn score(self: *const Plugin, record: autodidact.Record) autodidact.Score {
        const text = switch (self.config.field) {
            .instruction => record.instruction,
            .output => record.output,
        };
        if (text.len == 0) return .{ .note = autodidact.print("there is no {t}", .{self.config.field}) };
        const tokens: f64 = @floatFromInt(autodidact.text.countTokens(text));
        const target: f64 = @floatFromInt(self.config.target_tokens);
        return .{ .value = @min(tokens / target, 1), .note = autodidact.print("{d} tokens", .{tokens}) };
    }
};

comptime {
    autodidact.exportPlugin(Plugin);
}
