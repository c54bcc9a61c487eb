//! The functions that a component exports, made of the author's struct.

const std = @import("std");
const abi = @import("abi.zig");
const Batch = @import("record.zig").Batch;
const Record = @import("record.zig").Record;

pub fn Of(comptime Plugin: type) type {
    return struct {
        const Config = if (@hasDecl(Plugin, "Config")) Plugin.Config else struct {};
        const kinds = blk: {
            var list: []const u8 = "";
            for ([_][]const u8{ "decide", "render", "validate", "score" }, 0..) |function, kind| {
                if (has(function)) list = list ++ [_]u8{kind};
            }
            break :blk list;
        };

        /// Tells whether it answers, for a record or a batch at a time.
        pub fn has(comptime function: []const u8) bool {
            return @hasDecl(Plugin, function) or @hasDecl(Plugin, function ++ "All");
        }

        /// The plugin with the configuration that it was made of, so that one is read once and not for every batch.
        var plugin: ?Plugin = null;
        var known: []u8 = &.{};
        var kept = std.heap.ArenaAllocator.init(std.heap.wasm_allocator);

        fn configured(config: []const u8, problem: *abi.Problem) ?*const Plugin {
            if (plugin != null and std.mem.eql(u8, known, config)) return &plugin.?;
            plugin = null;
            _ = kept.reset(.retain_capacity);
            known = kept.allocator().dupe(u8, config) catch @trap();
            const read = readConfig(known, problem) orelse return null;
            plugin = Plugin.init(read, problem);
            return if (plugin) |*made| made else null;
        }

        fn readConfig(config: []const u8, problem: *abi.Problem) ?Config {
            const object = std.json.parseFromSliceLeaky(std.json.Value, kept.allocator(), config, .{}) catch std.json.Value.null;
            if (object != .object) {
                problem.tell("the configuration is no object", .{});
                return null;
            }
            var read = Config{};
            var settings = object.object.iterator();
            while (settings.next()) |setting| {
                if (!set(&read, setting.key_ptr.*, setting.value_ptr.*, problem)) return null;
            }
            return read;
        }

        fn set(read: *Config, name: []const u8, value: std.json.Value, problem: *abi.Problem) bool {
            const names = @typeInfo(Config).@"struct".field_names;
            if (names.len == 0) {
                problem.tell("{s} takes no configuration", .{Plugin.name});
                return false;
            }
            inline for (names) |known_name| if (std.mem.eql(u8, name, known_name)) {
                const T = @FieldType(Config, known_name);
                // The library would take a number out of a text.
                const is_text_for_number = value == .string and (@typeInfo(T) == .int or @typeInfo(T) == .float);
                if (!is_text_for_number) {
                    if (std.json.parseFromValueLeaky(T, kept.allocator(), value, .{})) |set_to| {
                        @field(read, known_name) = set_to;
                        return true;
                    } else |_| {}
                }
                problem.tell("{s}: expected {s}", .{ name, expected(T) });
                return false;
            };
            problem.tell("{s}: there is no such setting; there are {s}", .{ name, comptime joined(names) });
            return false;
        }

        fn expected(comptime T: type) []const u8 {
            return switch (@typeInfo(T)) {
                .int => |int| std.fmt.comptimePrint("a whole number of {d} bits{s}", .{ int.bits, if (int.signedness == .unsigned) ", 0 or more" else "" }),
                .float => "a number",
                .bool => "true or false",
                .@"enum" => |choices| "one of " ++ comptime joined(choices.field_names),
                else => "a text, or a list or object as the schema says",
            };
        }

        fn joined(comptime names: []const [:0]const u8) []const u8 {
            var list: []const u8 = "";
            for (names) |name| list = list ++ (if (list.len > 0) ", " else "") ++ name;
            return list;
        }

        pub fn describe() callconv(.c) *const abi.Description {
            const static = struct {
                var description: abi.Description = undefined;
            };
            static.description = .{
                .name = abi.Slice.of(Plugin.name),
                .version = abi.Slice.of(Plugin.version),
                .kinds = abi.Slice.of(kinds),
                .config_schema = abi.Slice.of(if (@hasDecl(Plugin, "config_schema")) Plugin.config_schema else ""),
                .capabilities = abi.Slice.of(if (@hasDecl(Plugin, "capabilities")) std.mem.sliceAsBytes(&Plugin.capabilities) else ""),
            };
            return &static.description;
        }

        pub fn checkConfig(config: [*]const u8, config_length: usize) callconv(.c) *const abi.Result {
            var problem = abi.Problem{};
            if (configured(config[0..config_length], &problem) == null) return abi.failed(problem);
            return abi.ok(u8, &.{});
        }

        pub fn filter(config: [*]const u8, config_length: usize, text: [*]const u8, text_length: usize, ends: [*]const u32, ends_length: usize) callconv(.c) *const abi.Result {
            return each(abi.Decision, "decide", config[0..config_length], .{ .text = text[0..text_length], .ends = ends[0..ends_length] });
        }

        pub fn validate(config: [*]const u8, config_length: usize, text: [*]const u8, text_length: usize, ends: [*]const u32, ends_length: usize) callconv(.c) *const abi.Result {
            return each(abi.Outcome, "validate", config[0..config_length], .{ .text = text[0..text_length], .ends = ends[0..ends_length] });
        }

        pub fn score(config: [*]const u8, config_length: usize, text: [*]const u8, text_length: usize, ends: [*]const u32, ends_length: usize) callconv(.c) *const abi.Result {
            return each(abi.Scored, "score", config[0..config_length], .{ .text = text[0..text_length], .ends = ends[0..ends_length] });
        }

        fn each(comptime Laid: type, comptime judge: []const u8, config: []const u8, batch: Batch) *const abi.Result {
            var problem = abi.Problem{};
            const made = configured(config, &problem) orelse return abi.failed(problem);
            const laid = abi.take(Laid, batch.length());
            if (@hasDecl(Plugin, judge ++ "All")) {
                const records = abi.take(Record, batch.length());
                for (records, 0..) |*record, index| record.* = batch.at(index);
                const answers = @field(Plugin, judge ++ "All")(made, records, &problem) orelse return abi.failed(problem);
                if (answers.len != laid.len) @panic("not as many answers as records");
                for (laid, answers) |*one, answer| one.* = answer.laid();
            } else {
                for (laid, 0..) |*one, index| one.* = @field(Plugin, judge)(made, batch.at(index)).laid();
            }
            return abi.ok(Laid, laid);
        }

        pub fn render(config: [*]const u8, config_length: usize, requests: [*]const abi.Request, length: usize) callconv(.c) *const abi.Result {
            var problem = abi.Problem{};
            const made = configured(config[0..config_length], &problem) orelse return abi.failed(problem);
            const rendered = abi.take(abi.Rendered, length);
            for (rendered, requests[0..length]) |*one, *request| {
                one.* = made.render(request, &problem) orelse return abi.failed(problem);
            }
            return abi.ok(abi.Rendered, rendered);
        }

        pub fn parse(config: [*]const u8, config_length: usize, completions: [*]const abi.Completion, length: usize) callconv(.c) *const abi.Result {
            var problem = abi.Problem{};
            const made = configured(config[0..config_length], &problem) orelse return abi.failed(problem);
            const read = abi.take(abi.Slice, length);
            for (read, completions[0..length]) |*one, *completion| {
                const items: []const abi.Item = made.parse(completion, &problem) orelse return abi.failed(problem);
                one.* = abi.Slice.list(abi.Item, items);
            }
            return abi.ok(abi.Slice, read);
        }
    };
}
