"""Asks for new instructions as a numbered list, in English or Chinese, and reads the list that comes back."""

import re

from autodidact_plugin import ConfigError, Item, Template, ask, export, read_config

WORDS = {
    "en": {
        "opening": "Write {count} new tasks for an assistant that can only read and write text.",
        "demand": "Each task can be finished with words alone, and says all that is needed to do it.",
        "kind": "They are of this kind: {kind}.",
        "known": "These tasks are taken:",
        "closing": "Go on with a numbered list from {next}, a task on each line, and write nothing else.",
    },
    "zh": {
        "opening": "请为一个只会读写文字的助手写 {count} 个新任务。",
        "demand": "每个任务只用文字就能完成，并且把要做的事说清楚。",
        "kind": "类别：{kind}。",
        "known": "已经有的任务：",
        "closing": "请接着第 {next} 条写成编号列表，一行一个任务，不要写别的。",
    },
}
# `3.`, `3)`, `３．`, `3、`, `（3）`; not the number of `3.5 metres`.
NUMBERED = re.compile(r"[\s*(（]*\d{1,3}(?:\.(?!\d)|[)、．）:：])\**\s*(.+?)\s*$")
SENTENCE_ENDS = tuple('.!?。！？"”')


class Plugin(Template):
    name = "{{name}}"
    version = "0.1.0"
    config_schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "count": {
                "description": "How many instructions a prompt asks for; 0 for as many as the workflow wants.",
                "type": "integer", "minimum": 0, "maximum": 100, "default": 0,
            },
            "demand": {
                "description": "A sentence about what new instructions must be like besides.",
                "type": "string", "default": "",
            },
        },
    }

    def __init__(self, config):
        self.settings = read_config(config, count=0, demand="")
        if not 0 <= self.settings.count <= 100:
            raise ConfigError(f"count: expected 0 to 100, found {self.settings.count}")

    def render(self, request):
        words = WORDS.get(request.language)
        if words is None:
            raise ConfigError(f"there are no words for {request.language}; there are for en and zh")
        lines = [words["opening"].format(count=self.settings.count or request.count), words["demand"]]
        if self.settings.demand:
            lines.append(self.settings.demand)
        kind = ", ".join(filter(None, (request.task_type.replace("_", " "), request.topic)))
        if kind:
            lines.append(words["kind"].format(kind=kind))
        lines += ["", words["known"]]
        for number, example in enumerate(request.examples, start=1):
            lines.append(f"{number}. {' '.join(example.instruction.split())}")
        lines += ["", words["closing"].format(next=len(request.examples) + 1)]
        return ask("\n".join(lines))

    def parse(self, completion):
        found = map(NUMBERED.match, completion.text.splitlines())
        items = [match.group(1) for match in found if match]
        # The last one of a text that was cut counts where it is whole.
        if completion.is_cut and items and not items[-1].endswith(SENTENCE_ENDS):
            items.pop()
        return [Item(instruction) for instruction in items]


export(Plugin)
