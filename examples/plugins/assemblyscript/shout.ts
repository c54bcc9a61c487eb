// Drops instructions that shout: three exclamation marks or more, of either width.

import { Decision, Plugin, Record, register } from "../../../sdk/assemblyscript/index";
export * from "../../../sdk/assemblyscript/exports/filter";

class Shout extends Plugin {
  decide(record: Record): Decision {
    const instruction = record.instruction;
    let marks = 0;
    for (let at = 0; at < instruction.length; at++) {
      const code = instruction.charCodeAt(at);
      if (code == 0x21 || code == 0xff01) marks++;
    }
    return marks < 3 ? Decision.keep() : Decision.drop("shouts", "exclamation marks, counted in the score", marks);
  }
}

register(new Shout("shout-assemblyscript", "0.1.0"));
