"""Drops instructions that shout: three exclamation marks or more, of either width."""

from autodidact_plugin import Filter, drop, export, keep


class Shout(Filter):
    name = "shout-python"

    def decide(self, record):
        instruction = record.instruction
        marks = instruction.count("!") + instruction.count("！")
        if marks < 3:
            return keep()
        return drop("shouts", note="exclamation marks, counted in the score", score=marks)


export(Shout)
