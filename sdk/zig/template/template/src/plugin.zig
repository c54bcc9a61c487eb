//! Asks for new instructions as a numbered list, in English or Chinese, and reads the list that comes back.

const std = @import("std");
const autodidact = @import("autodidact");

/// What a prompt says in a language.
const Words = struct {
    opening: [2][]const u8,
    demand: []const u8,
    kind: [2][]const u8,
    known: []const u8,
    closing: [2][]const u8,
};

const english = Words{
    .opening = .{ "Write ", " new tasks for an assistant that can only read and write text." },
    .demand = "Each task can be finished with words alone, and says all that is needed to do it.",
    .kind = .{ "They are of this kind: ", "." },
    .known = "These tasks are taken:",
    .closing = .{ "Go on with a numbered list from ", ", a task on each line, and write nothing else." },
};

const chinese = Words{
    .opening = .{ "请为一个只会读写文字的助手写 ", " 个新任务。" },
    .demand = "每个任务只用文字就能完成，并且把要做的事说清楚。",
    .kind = .{ "类别：", "。" },
    .known = "已经有的任务：",
    .closing = .{ "请接着第 ", " 条写成编号列表，一行一个任务，不要写别的。" },
};

const Plugin = struct {
    pub const name = "{{name}}";
    pub const version = "0.1.0";
    pub const config_schema =
        \\{
        \\  "type": "object",
        \\  "additionalProperties": false,
        \\  "properties": {
        \\    "count": {
        \\      "description": "How many instructions a prompt asks for; 0 for as many as the workflow wants.",
        \\      "type": "integer", "minimum": 0, "maximum": 100, "default": 0
        \\    },
        \\    "demand": {
        \\      "description": "A sentence about what new instructions must be like besides.",
        \\      "type": "string", "default": ""
        \\    }
        \\  }
        \\}
    ;
    pub const Config = struct { count: u32 = 0, demand: []const u8 = "" };

    config: Config,

    pub fn init(config: Config, problem: *autodidact.Problem) ?Plugin {
        if (config.count <= 100) return .{ .config = config };
        problem.tell("count: expected 0 to 100, found {d}", .{config.count});
        return null;
    }

    pub fn render(self: *const Plugin, request: *const autodidact.Request, problem: *autodidact.Problem) ?autodidact.Rendered {
        const language = request.language.bytes();
        const words = if (std.mem.eql(u8, language, "en")) english else if (std.mem.eql(u8, language, "zh")) chinese else {
            problem.tell("there are no words for {s}; there are for en and zh", .{language});
            return null;
        };
        const count = if (self.config.count > 0) self.config.count else request.count;
        var prompt = autodidact.Builder{};
        prompt.print("{s}{d}{s}\n{s}\n", .{ words.opening[0], count, words.opening[1], words.demand });
        if (self.config.demand.len > 0) prompt.print("{s}\n", .{self.config.demand});
        if (kindOf(request)) |kind| prompt.print("{s}{s}{s}\n", .{ words.kind[0], kind, words.kind[1] });
        prompt.print("\n{s}\n", .{words.known});
        for (request.examples(), 1..) |example, number| {
            prompt.print("{d}. ", .{number});
            appendOnOneLine(&prompt, example.instruction.bytes());
            prompt.append("\n");
        }
        const next = request.examples().len + 1;
        prompt.print("\n{s}{d}{s}", .{ words.closing[0], next, words.closing[1] });
        return .ask(prompt.built());
    }

    pub fn parse(_: *const Plugin, completion: *const autodidact.Completion, _: *autodidact.Problem) ?[]const autodidact.Item {
        var items: std.ArrayList(autodidact.Item) = .empty;
        var lines = std.mem.splitScalar(u8, completion.text.bytes(), '\n');
        while (lines.next()) |line| {
            const item = afterNumber(line) orelse continue;
            items.append(autodidact.scratch(), .of(item)) catch @panic("no memory");
        }
        // The last one of a text that was cut counts where it is whole.
        if (completion.is_cut and items.items.len > 0 and !endsSentence(items.items[items.items.len - 1].instruction.bytes())) {
            _ = items.pop();
        }
        return items.items;
    }
};

fn kindOf(request: *const autodidact.Request) ?[]const u8 {
    const spoken = autodidact.scratch().dupe(u8, request.task_type.bytes()) catch @panic("no memory");
    std.mem.replaceScalar(u8, spoken, '_', ' ');
    const topic = request.topic.bytes();
    if (spoken.len == 0) return if (topic.len > 0) topic else null;
    return if (topic.len > 0) autodidact.print("{s}, {s}", .{ spoken, topic }) else spoken;
}

fn appendOnOneLine(prompt: *autodidact.Builder, text: []const u8) void {
    var words = std.mem.tokenizeAny(u8, text, &std.ascii.whitespace);
    if (words.next()) |first| prompt.append(first);
    while (words.next()) |word| {
        prompt.append(" ");
        prompt.append(word);
    }
}

/// Takes a number off a line: `3.`, `3)`, `３．`, `3、`, `（3）`; not that of `3.5 metres`.
fn afterNumber(line: []const u8) ?[]const u8 {
    var rest = autodidact.text.characters(line);
    var character = autodidact.text.foldWidth(rest.nextCodepoint() orelse return null);
    while (character == ' ' or character == '\t' or character == '*' or character == '(') {
        character = autodidact.text.foldWidth(rest.nextCodepoint() orelse return null);
    }
    var digits: usize = 0;
    while (character >= '0' and character <= '9') : (digits += 1) {
        character = autodidact.text.foldWidth(rest.nextCodepoint() orelse return null);
    }
    const is_mark = switch (character) {
        '.', ')', ':', '、' => true,
        else => false,
    };
    const after = line[rest.i..];
    const is_decimal = character == '.' and after.len > 0 and std.ascii.isDigit(after[0]);
    if (digits < 1 or digits > 3 or !is_mark or is_decimal) return null;
    const item = autodidact.text.trim(std.mem.trimStart(u8, after, "*"));
    return if (item.len > 0) item else null;
}

fn endsSentence(text: []const u8) bool {
    for ([_][]const u8{ ".", "!", "?", "。", "！", "？", "\"", "”" }) |end| {
        if (std.mem.endsWith(u8, text, end)) return true;
    }
    return false;
}

comptime {
    autodidact.exportPlugin(Plugin);
}
