"""Uses all that a person may grant, and says in each decision what came of it."""

from autodidact_plugin import Filter, data, export, keep, model
from autodidact_plugin.log import log


class Asks(Filter):
    name = "asks-python"
    capabilities = ("log", "generate", "embed", "score", "data")

    def decide_all(self, records):
        log("info", "asked")
        instructions = [record.instruction for record in records]
        said = model.generate(instructions, 4, choices=["yes", "no"])
        vectors = model.embed(instructions)
        likelihoods = model.score([(instruction, "好 Yes.") for instruction in instructions])
        file = data.files()[0]
        content = data.read(file).decode()
        try:
            data.read("none")
        except OSError as error:
            why = str(error)

        def decision(answer, vector, likelihood):
            square = round(100 * sum(value * value for value in vector))
            log_probability, tokens = likelihood
            note = f"{answer}; {len(vector)} numbers, {square}; {tokens} tokens; {file}: {content}; {why}"
            return keep(note, log_probability)

        return list(map(decision, said, vectors, likelihoods))


export(Asks)
