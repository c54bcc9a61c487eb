//! How calls cross: memory, and the layouts that the canonical ABI gives the records of the WIT.

const std = @import("std");

/// Memory lives until the answer of a call was read; then all of it is free again.
var arena = std.heap.ArenaAllocator.init(std.heap.wasm_allocator);

/// Gives memory that lives for this call.
pub fn scratch() std.mem.Allocator {
    return arena.allocator();
}

/// Writes a text in memory that lives for this call.
pub fn print(comptime format: []const u8, values: anytype) []const u8 {
    return std.fmt.allocPrint(scratch(), format, values) catch @trap();
}

/// A text that grows, in memory that lives for this call: for what has many parts, since `print` copies whatever it is given.
pub const Builder = struct {
    bytes: std.ArrayList(u8) = .empty,

    /// Adds a text.
    pub fn append(self: *Builder, part: []const u8) void {
        self.bytes.appendSlice(scratch(), part) catch @trap();
    }

    /// Adds what a format makes of values.
    pub fn print(self: *Builder, comptime format: []const u8, values: anytype) void {
        self.bytes.print(scratch(), format, values) catch @trap();
    }

    /// Shows what is there so far; what is added later may move it.
    pub fn built(self: *const Builder) []const u8 {
        return self.bytes.items;
    }
};

/// Takes memory that lives for this call.
pub fn take(comptime T: type, length: usize) []T {
    return scratch().alloc(T, length) catch @trap();
}

pub fn realloc(old: ?[*]u8, old_size: usize, alignment: usize, size: usize) callconv(.c) ?[*]u8 {
    // Where nothing is wanted, any aligned address will do.
    if (size == 0) return @ptrFromInt(alignment);
    const taken = scratch().rawAlloc(size, std.mem.Alignment.fromByteUnits(alignment), @returnAddress()) orelse @trap();
    if (old) |bytes| @memcpy(taken[0..@min(old_size, size)], bytes[0..@min(old_size, size)]);
    return taken;
}

pub fn postReturn(_: *const Result) callconv(.c) void {
    // More than most calls take. To keep all of a large one's would take as much again, since it is put together in one piece.
    _ = arena.reset(.{ .retain_with_limit = 1 << 20 });
}

/// What to mend, in words for people.
pub const Problem = struct {
    message: []const u8 = "",

    /// Says what it is; the author returns null then.
    pub fn tell(self: *Problem, comptime format: []const u8, values: anytype) void {
        self.message = print(format, values);
    }
};

/// A text or list as it crosses.
pub const Slice = extern struct {
    start: [*]const u8,
    length: usize,

    pub fn of(text: []const u8) Slice {
        return list(u8, text);
    }

    /// An empty slice may point anywhere; the host wants an address in memory all the same, aligned for what could be there.
    pub fn list(comptime T: type, items: []const T) Slice {
        const nowhere: [*]const u8 = @ptrFromInt(8);
        return .{ .start = if (items.len > 0) @ptrCast(items.ptr) else nowhere, .length = items.len };
    }

    /// Lays out a list of texts, which have to stay where they are.
    pub fn texts(list_of_texts: []const []const u8) Slice {
        const laid = take(Slice, list_of_texts.len);
        for (laid, list_of_texts) |*one, text| one.* = of(text);
        return list(Slice, laid);
    }

    /// Shows it as a text.
    pub fn bytes(self: Slice) []const u8 {
        return self.start[0..self.length];
    }

    /// Shows it as a list.
    pub fn elements(self: Slice, comptime T: type) []const T {
        const first: [*]const T = @ptrCast(@alignCast(self.start));
        return first[0..self.length];
    }
};

pub const OptionText = extern struct {
    is_some: bool,
    text: Slice,

    pub fn of(value: ?[]const u8) OptionText {
        return .{ .is_some = value != null, .text = Slice.of(value orelse "") };
    }
};

pub const OptionNumber = extern struct {
    is_some: bool,
    number: f64,

    pub fn of(value: ?f64) OptionNumber {
        return .{ .is_some = value != null, .number = value orelse 0 };
    }
};

pub const Description = extern struct {
    name: Slice,
    version: Slice,
    kinds: Slice,
    config_schema: Slice,
    capabilities: Slice,
};

pub const Result = extern struct { is_error: bool, payload: Slice };

var result: Result = undefined;

pub fn ok(comptime T: type, list: []const T) *const Result {
    result = .{ .is_error = false, .payload = Slice.list(T, list) };
    return &result;
}

pub fn failed(problem: Problem) *const Result {
    result = .{ .is_error = true, .payload = Slice.of(problem.message) };
    return &result;
}

pub const Decision = extern struct { drop_reason: OptionText, note: OptionText, score: OptionNumber };

pub const Outcome = extern struct {
    tag: enum(u8) { accept, correct, drop },
    /// The new answer, or the reason.
    text: Slice align(8),
    note: OptionText,
    score: OptionNumber,
};

pub const Scored = extern struct { value: OptionNumber, note: OptionText };

/// An example to show in the prompt; texts are empty where there is nothing.
pub const Example = extern struct { instruction: Slice, input: Slice, output: Slice, task_type: Slice, topic: Slice };

/// What a prompt is to ask for.
pub const Request = extern struct {
    /// The ISO 639-1 code, such as `en` or `zh`.
    language: Slice,
    example_list: extern struct { start: [*]const Example, length: usize },
    /// The form of task that is wanted; empty for any.
    task_type: Slice,
    /// What it is to be about; empty for anything.
    topic: Slice,
    /// How many new instructions are wanted.
    count: u32,
    /// For templates that choose among wordings.
    seed: u64,

    /// Shows the examples, in the order in which to show them.
    pub fn examples(self: *const Request) []const Example {
        return self.example_list.start[0..self.example_list.length];
    }
};

/// What a model said to a request.
pub const Completion = extern struct {
    request: Request,
    text: Slice,
    /// It had as many tokens as it may have.
    is_cut: bool,
};

const Message = extern struct { role: enum(u8) { system, user, assistant }, content: Slice };

/// Lays out a conversation in which the user asks.
pub fn question(text: []const u8) Slice {
    const turns = take(Message, 1);
    turns[0] = .{ .role = .user, .content = Slice.of(text) };
    return Slice.list(Message, turns);
}

/// A request, written out.
pub const Rendered = extern struct {
    is_chat: bool,
    prompt: Slice,
    stop: Slice,

    /// Asks a model in the form that it was trained on.
    pub fn ask(text: []const u8) Rendered {
        return .{ .is_chat = true, .prompt = question(text), .stop = Slice.of("") };
    }

    /// Shows a model a text to go on with, as it is.
    pub fn goOn(start: []const u8) Rendered {
        return .{ .is_chat = false, .prompt = Slice.of(start), .stop = Slice.of("") };
    }
};

/// A new instruction; its form and topic where the model says them, empty for the request's.
pub const Item = extern struct {
    instruction: Slice,
    task_type: Slice,
    topic: Slice,

    pub fn of(instruction: []const u8) Item {
        return .{ .instruction = Slice.of(instruction), .task_type = Slice.of(""), .topic = Slice.of("") };
    }
};

comptime {
    const sizes = .{ .{ Decision, 40 }, .{ Outcome, 48 }, .{ Scored, 32 }, .{ Request, 48 }, .{ Completion, 64 }, .{ Rendered, 20 }, .{ Item, 24 } };
    for (sizes) |size| std.debug.assert(@sizeOf(size[0]) == size[1] or @import("builtin").target.cpu.arch != .wasm32);
}
