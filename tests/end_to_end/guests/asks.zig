//! Uses all that a person may grant, and says in each decision what came of it.

const autodidact = @import("autodidact");
const host = autodidact.host;

const Asks = struct {
    pub const name = "asks-zig";
    pub const version = "0.1.0";
    pub const capabilities = [_]host.Capability{ .log, .generate, .embed, .score, .data };

    pub fn init(_: anytype, _: *autodidact.Problem) ?Asks {
        return .{};
    }

    pub fn decideAll(_: *const Asks, records: []const autodidact.Record, problem: *autodidact.Problem) ?[]const autodidact.Decision {
        host.log(.info, "asked");
        const memory = autodidact.scratch();
        const requests = memory.alloc(host.Generation, records.len) catch @trap();
        const instructions = memory.alloc([]const u8, records.len) catch @trap();
        const continuations = memory.alloc(host.Continuation, records.len) catch @trap();
        for (records, requests, instructions, continuations) |record, *request, *instruction, *continuation| {
            request.* = host.Generation.ask(record.instruction, 4).choosing(&.{ "yes", "no" });
            instruction.* = record.instruction;
            continuation.* = host.Continuation.answer(record.instruction, "好 Yes.");
        }
        const said = host.generate(requests, problem) orelse return null;
        const vectors = host.embed(instructions, problem) orelse return null;
        const likelihoods = host.score(continuations, problem) orelse return null;
        const file = host.files()[0].bytes();
        const content = host.read(file, problem) orelse return null;
        var why = autodidact.Problem{};
        if (host.read("none", &why) != null) return null;
        const decisions = memory.alloc(autodidact.Decision, records.len) catch @trap();
        for (decisions, said, vectors, likelihoods) |*decision, answer, vector, likelihood| {
            var square: f64 = 0;
            for (vector.values()) |value| square += @as(f64, value) * value;
            const hundredths: u64 = @intFromFloat(square * 100 + 0.5);
            const note = autodidact.print("{s}; {d} numbers, {d}; {d} tokens; {s}: {s}; {s}", .{
                answer.text.bytes(), vector.values().len, hundredths, likelihood.tokens, file, content, why.message,
            });
            decision.* = .{ .note = note, .score = likelihood.log_probability };
        }
        return decisions;
    }
};

comptime {
    autodidact.exportPlugin(Asks);
}
